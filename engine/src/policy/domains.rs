//! Which domains are ours. A scanner asks the bare address, because that is all it knows; who asks for a domain of ours
//! has been told of it.

use std::net::IpAddr;

use sip_parse::{Host, Message, Method, StartLine, Uri};

/// Names and addresses that requests of strangers may be for.
#[derive(Clone, Debug, Default)]
pub struct Domains {
    /// In lower case, sorted.
    names: Vec<Box<[u8]>>,
    addresses: Vec<IpAddr>,
}

impl<S: AsRef<str>> FromIterator<S> for Domains {
    /// Of names (`example.com`) and addresses (`192.0.2.1`, `2001:db8::1`, brackets allowed).
    fn from_iter<I: IntoIterator<Item = S>>(domains: I) -> Self {
        let mut all = Self::default();
        for domain in domains {
            let domain = domain.as_ref();
            match domain.trim_start_matches('[').trim_end_matches(']').parse() {
                Ok(address) => all.addresses.push(address),
                Err(_) => all.names.push(without_root(domain.as_bytes()).to_ascii_lowercase().into()),
            }
        }
        all.names.sort_unstable();
        all
    }
}

/// `example.com.` is `example.com` (RFC 1034 §3.1).
fn without_root(name: &[u8]) -> &[u8] {
    name.strip_suffix(b".").unwrap_or(name)
}

impl Domains {
    /// Is none configured? Then every domain is ours.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.addresses.is_empty()
    }

    /// Is this host one of ours? Names compare without case, addresses by value.
    pub fn hold(&self, host: Host<'_>) -> bool {
        match host.ip() {
            Some(address) => self.addresses.contains(&address),
            None => {
                let name = without_root(host.as_bytes()).iter().map(u8::to_ascii_lowercase);
                self.names.binary_search_by(|ours| ours.iter().copied().cmp(name.clone())).is_ok()
            }
        }
    }

    /// Is this a request to a domain that is not ours? Asked of the Request-URI in REGISTER, which names the registrar
    /// (RFC 3261 §10.2), and of To in all others; requests within a dialog (with a To-tag) go to where the dialog is,
    /// and pass. A URI without a host (`tel:`) names no domain of ours. What cannot be read is not judged.
    pub fn refuse(&self, message: &Message<'_>) -> bool {
        if self.is_empty() {
            return false;
        }
        let uri = match message.start_line() {
            StartLine::Response { .. } => return false,
            StartLine::Request { method: Method::Register, .. } => message.request_uri(),
            StartLine::Request { .. } => {
                let Ok(to) = message.to() else { return false };
                if to.tag.is_some() {
                    return false;
                }
                to.uri()
            }
        };
        match uri {
            Ok(Uri::Sip(uri)) => !self.hold(uri.host),
            Ok(_) => true,
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip_parse::{Index, Mode};

    fn refused(domains: &[&str], method: &str, uri: &str, to: &str) -> bool {
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nFrom: <sip:1@x>;tag=1\r\nTo: {to}\r\n\
             Call-ID: 1\r\nCSeq: 1 {method}\r\n\r\n"
        );
        let mut index: Index = Index::new();
        let message = index.parse(text.as_bytes(), Mode::Lenient).expect("the test's own message parses");
        domains.iter().collect::<Domains>().refuse(&message)
    }

    #[test]
    fn a_register_is_for_its_request_uri_and_others_for_to() {
        let ours = &["example.com"];
        assert!(!refused(ours, "REGISTER", "sip:example.com", "<sip:100@192.0.2.1>"));
        assert!(refused(ours, "REGISTER", "sip:192.0.2.1", "<sip:100@example.com>"));
        assert!(!refused(ours, "INVITE", "sip:100@192.0.2.1", "<sip:100@example.com>"));
        assert!(refused(ours, "INVITE", "sip:100@example.com", "<sip:100@192.0.2.1>"));
        assert!(refused(ours, "INVITE", "sip:100@example.com", "sip:100@other.example"));
    }

    #[test]
    fn a_domain_is_the_same_in_any_case_with_a_port_and_with_the_root_behind_it() {
        for to in ["<sip:1@EXAMPLE.com>", "sips:1@Example.Com:5061;lr", "\"x\" <sip:example.com.>", "sip:example.com"] {
            assert!(!refused(&["example.COM."], "INVITE", "sip:x", to), "{to}");
        }
        for to in ["<sip:1@example.com.evil.example>", "<sip:example.com@evil.example>", "<sip:1@xexample.com>"] {
            assert!(refused(&["example.com"], "INVITE", "sip:x", to), "{to}");
        }
    }

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        let ours = &["2001:db8::1", "192.0.2.1"];
        for to in ["<sip:1@[2001:DB8:0:0:0:0:0:1]>", "<sip:1@[2001:db8::0.0.0.1]:5060>", "<sip:1@192.0.2.1>"] {
            assert!(!refused(ours, "INVITE", "sip:x", to), "{to}");
        }
        assert!(!refused(&["[2001:db8::1]"], "INVITE", "sip:x", "<sip:1@[2001:db8:0::1]>"));
        // one of many
        let many: Vec<String> = (0..1_000).map(|n| format!("d{n}.example.com")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(!refused(&many, "INVITE", "sip:x", "<sip:1@D777.example.com>"));
        assert!(refused(&many, "INVITE", "sip:x", "<sip:1@d1000.example.com>"));
        assert!(refused(ours, "INVITE", "sip:x", "<sip:1@[2001:db8::2]>"));
        assert!(refused(ours, "INVITE", "sip:x", "<sip:1@192.0.2.10>"));
    }

    #[test]
    fn what_is_within_a_dialog_passes_but_a_register_is_never_in_one() {
        let ours = &["example.com"];
        for method in ["BYE", "ACK", "INVITE", "NOTIFY"] {
            assert!(!refused(ours, method, "sip:1@192.0.2.1", "<sip:1@192.0.2.1>;tag=7"), "{method}");
        }
        assert!(refused(ours, "INVITE", "sip:x", "<sip:1@192.0.2.1;tag=7>"), "a tag of the URI is none");
        assert!(refused(ours, "INVITE", "sip:x", "<sip:1@192.0.2.1>;tag="), "an empty tag is none");
        assert!(refused(ours, "REGISTER", "sip:192.0.2.1", "<sip:1@192.0.2.1>;tag=7"));
    }

    #[test]
    fn a_uri_without_a_domain_is_foreign_and_an_unreadable_one_is_not_judged() {
        assert!(refused(&["example.com"], "INVITE", "sip:x", "<tel:+15550100>"));
        assert!(!refused(&["example.com"], "INVITE", "sip:x", "<sip:100@"));
        assert!(!refused(&["example.com"], "REGISTER", "sip:", "<sip:100@x>"));
        assert!(!refused(&[], "INVITE", "sip:x", "<sip:1@other.example>"), "no domains, no rule");
    }
}

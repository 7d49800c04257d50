//! `xdp.domains`: the names and addresses under which callers ask for this server.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer};

/// Most domains: each request of an unknown source is compared with them.
pub const MAX_DOMAINS: usize = 1_000;
/// The longest name, bytes (RFC 1035 §2.3.4, less the dots of the wire format).
const NAME_MAX: usize = 253;
/// The longest part of a name, bytes (RFC 1035 §2.3.4).
const LABEL_MAX: usize = 63;

/// A list of domains in the form in which they are compared.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let domains = Vec::<String>::deserialize(deserializer)?;
    Ok(domains.into_iter().map(|domain| canonical(&domain)).collect())
}

/// Lower case, without the root's dot, an IPv6 address without brackets and in its shortest form (RFC 5952).
pub(super) fn canonical(domain: &str) -> String {
    let inner = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Ok(address) = inner.unwrap_or(domain).parse::<IpAddr>()
        && inner.is_none_or(|_| address.is_ipv6())
    {
        return address.to_string();
    }
    domain.strip_suffix('.').unwrap_or(domain).to_ascii_lowercase()
}

/// Is this, in its canonical form, a host as RFC 3261 §25.1 writes them? An underscore is let through, as servers do.
pub(super) fn is_host(domain: &str) -> bool {
    if domain.parse::<IpAddr>().is_ok() {
        return true;
    }
    let is_label = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // All digits at the end: an address with a slip in it.
    let last = domain.rsplit('.').next().unwrap_or_default();
    domain.len() <= NAME_MAX && domain.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_what_only_looks_like_one() {
        for (written, form) in [
            ("Example.COM", "example.com"),
            ("sip.example.com.", "sip.example.com"),
            ("pbx", "pbx"),
            ("_sip.example.com", "_sip.example.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8:0::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
        ] {
            assert_eq!(canonical(written), form);
            assert!(is_host(form), "{form}");
        }
        let (label, name) = ("a".repeat(64), format!("{}.example", "a.".repeat(126)));
        for written in [
            "",
            ".",
            "a..b",
            "a b",
            "sip:example.com",
            "example.com:5060",
            "*.example.com",
            "192.0.2.256",
            "192.0.2",
            "[192.0.2.1]",
            "[example.com]",
            "-a.example",
            "a-.example",
            "b\u{fc}cher.example",
            &label,
            &name,
        ] {
            assert!(!is_host(&canonical(written)), "{written}");
        }
    }
}

//! Credentials that answer a challenge: Digest with MD5 and without `qop` (RFC 2617 §3.2.2.1), which every server takes
//! that asks for no more.

use md5::{Digest, Md5};
use sip_parse::Message;

/// The header line with its line end that answers the challenge in `reply`, a 401 or a 407; `None`: there is none that can
/// be answered.
pub fn answer(reply: &Message<'_>, method: &str, uri: &str, user: &str, password: &str) -> Option<String> {
    let is_md5 = |algorithm: Option<&[u8]>| algorithm.is_none_or(|name| name.eq_ignore_ascii_case(b"MD5"));
    let proxy = reply.proxy_authenticates().map(|challenge| ("Proxy-Authorization", challenge));
    let challenges = reply.www_authenticates().map(|challenge| ("Authorization", challenge)).chain(proxy);
    let digests = challenges.filter_map(|(name, challenge)| Some((name, challenge.ok()?)));
    let (name, challenge) = digests.into_iter().find(|(_, it)| it.is_digest() && is_md5(it.get(b"algorithm")))?;
    let text = |value: Option<&[u8]>| Some(String::from_utf8_lossy(value?).into_owned());
    let (realm, nonce) = (text(challenge.realm())?, text(challenge.nonce())?);
    let opaque = text(challenge.get(b"opaque")).map(|opaque| format!(", opaque=\"{opaque}\"")).unwrap_or_default();
    let md5 = |text: String| format!("{:x}", Md5::digest(text.as_bytes()));
    let (secret, asked) = (md5(format!("{user}:{realm}:{password}")), md5(format!("{method}:{uri}")));
    let response = md5(format!("{secret}:{nonce}:{asked}"));
    Some(format!(
        "{name}: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
         response=\"{response}\"{opaque}\r\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip_parse::{Index, Mode};

    fn reply(line: &str) -> String {
        format!("SIP/2.0 401 Unauthorized\r\n{line}\r\nContent-Length: 0\r\n\r\n")
    }

    /// The credentials of RFC 2069's errata (ID 749), whose scheme this is.
    #[test]
    fn the_example_of_the_rfc_is_answered_as_it_says() {
        let challenge = "WWW-Authenticate: Digest realm=\"testrealm@host.com\", \
                         nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
        let (mut index, text): (Index, _) = (Index::new(), reply(challenge));
        let message = index.parse(text.as_bytes(), Mode::Lenient).unwrap();
        let line = answer(&message, "GET", "/dir/index.html", "Mufasa", "CircleOfLife").unwrap();
        assert!(line.starts_with("Authorization: Digest username=\"Mufasa\", realm=\"testrealm@host.com\""), "{line}");
        assert!(line.contains("response=\"1949323746fe6a43ef61f9606e7febea\""), "{line}");
        assert!(line.ends_with("opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"\r\n"), "{line}");
    }

    #[test]
    fn what_cannot_be_answered_is_not() {
        for line in [
            "Date: now",
            "WWW-Authenticate: Basic realm=\"x\"",
            "WWW-Authenticate: Digest realm=\"x\", nonce=\"1\", algorithm=SHA-256",
        ] {
            let (mut index, text): (Index, _) = (Index::new(), reply(line));
            let message = index.parse(text.as_bytes(), Mode::Lenient).unwrap();
            assert_eq!(answer(&message, "REGISTER", "sip:x", "a", "b"), None, "{line}");
        }
    }
}

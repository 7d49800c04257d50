use sip_parse::{Message, Mode, StartLine, Uri};

/// Numbers whose calls go before all others. `urn:service:sos` and what stands under it (RFC 5031 §4.2) always do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emergency {
    /// As [`dialled`] reads them.
    numbers: Vec<Vec<u8>>,
}

impl Emergency {
    /// These numbers (`relay.emergency`), with separators or without.
    pub fn of(numbers: &[String]) -> Self {
        Self { numbers: numbers.iter().map(|number| dialled(number.as_bytes()).collect()).collect() }
    }

    /// Does this request call one, or does this belong to such a call? The number stands in the Request-URI. The service
    /// may have left it for the address of whoever answers, and then stands in To; so does the number within a dialog and in
    /// responses.
    pub fn is_called(&self, message: &Message<'_>) -> bool {
        message.request_uri().is_ok_and(|uri| self.is_one(uri))
            || message.to().is_ok_and(|to| {
                let begins = to.tag.is_none() && matches!(message.start_line(), StartLine::Request { .. });
                let called = |uri| if begins { is_sos(uri) } else { self.is_one(uri) };
                Uri::parse(to.addr_spec, Mode::Lenient).is_ok_and(called)
            })
    }

    fn is_one(&self, uri: Uri<'_>) -> bool {
        match uri {
            Uri::Sip(sip) => sip.user.is_some_and(|user| self.has(user)),
            Uri::Tel(tel) => self.has(tel.number),
            other => is_sos(other),
        }
    }

    fn has(&self, user: &[u8]) -> bool {
        self.numbers.iter().any(|number| dialled(user).eq(number.iter().copied()))
    }
}

/// The service's name compares without case (RFC 5031 §3), its parts are parted by dots.
fn is_sos(uri: Uri<'_>) -> bool {
    let Uri::Urn { nid, nss } = uri else { return false };
    let first = nss.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-').next().unwrap_or_default();
    nid.eq_ignore_ascii_case(b"service") && first.eq_ignore_ascii_case(b"sos")
}

/// A number as it was dialled: without `+` in front, visual separators (RFC 3966 §5.1.1) and parameters, its escapes
/// undone.
fn dialled(user: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = user.split(|byte| *byte == b';').next().unwrap_or_default();
    let bytes = std::iter::from_fn(move || {
        let (byte, behind) = match rest {
            [b'%', high, low, behind @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (nibble(*high) << 4 | nibble(*low), behind)
            }
            [byte, behind @ ..] => (*byte, behind),
            [] => return None,
        };
        rest = behind;
        Some(byte)
    });
    bytes.skip_while(|byte| *byte == b'+').filter(|byte| !b"-.() ".contains(byte))
}

/// Of a hexadecimal digit.
fn nibble(digit: u8) -> u8 {
    if digit.is_ascii_digit() { digit - b'0' } else { (digit | 0x20) - b'a' + 10 }
}

#[cfg(test)]
mod tests {
    use sip_parse::Index;

    use super::*;

    fn is_called(method: &str, uri: &str, to: &str) -> bool {
        let numbers = ["112", "+1-911", "*77", "#5"].map(str::to_owned);
        let request = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK1\r\nFrom: <sip:1@e.com>;tag=1\r\n\
             To: {to}\r\nCall-ID: 1\r\nCSeq: 1 {method}\r\n\r\n"
        );
        let mut index: Index = Index::new();
        let message = index.parse(request.as_bytes(), Mode::Lenient).expect("a request");
        Emergency::of(&numbers).is_called(&message)
    }

    #[test]
    fn numbers_are_known_however_they_are_dialled() {
        for uri in [
            "sip:112@e.com",
            "sip:+112@e.com",
            "sip:1-1-2@e.com;user=phone",
            "sip:(1)1.2;phone-context=+49@e.com",
            "sips:112:secret@e.com",
            "sip:%31%31%32@e.com",
            "tel:112;phone-context=e.com",
            "tel:1-1-2",
            "sip:1911@e.com",
            "sip:*77@e.com",
            "sip:%2A77@e.com",
            "sip:%235@e.com",
        ] {
            assert!(is_called("INVITE", uri, "<sip:112@e.com>"), "{uri}");
        }
        for uri in ["sip:1120@e.com", "sip:911@e.com", "sip:e.com", "sip:01-12@e.com", "sip:112.e.com", "tel:113"] {
            assert!(!is_called("INVITE", uri, "<sip:112@e.com>"), "{uri}");
        }
        assert!(!Emergency::default().has(b"112"));
        // An empty number is no number, whatever is dialled.
        assert!(!is_called("INVITE", "sip:+@e.com", "<sip:+@e.com>"));
    }

    #[test]
    fn what_belongs_to_such_a_call_has_its_number_in_to() {
        let told = |start: &str, to: &str| {
            let text = format!(
                "{start} \r\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK1\r\nFrom: <sip:1@e.com>;tag=1\r\nTo: {to}\r\n\
                 Call-ID: 1\r\nCSeq: 1 BYE\r\n\r\n"
            )
            .replace(" \r\n", "\r\n");
            let mut index: Index = Index::new();
            let message = index.parse(text.as_bytes(), Mode::Lenient).expect("a message");
            Emergency::of(&["112".to_owned()]).is_called(&message)
        };
        let bye = "BYE sip:desk@192.0.2.9 SIP/2.0";
        assert!(told(bye, "<sip:112@e.com>;tag=2") && told(bye, "<urn:service:sos>;tag=2"));
        assert!(!told(bye, "<sip:112@e.com>") && !told(bye, "<sip:113@e.com>;tag=2"));
        assert!(told("SIP/2.0 200 OK", "<sip:112@e.com>;tag=2") && told("SIP/2.0 100 Trying", "<sip:112@e.com>"));
        assert!(!told("SIP/2.0 200 OK", "<sip:113@e.com>;tag=2"));
    }

    #[test]
    fn the_services_of_rfc_5031() {
        // §4.2, and what its §3 says of case
        for urn in [
            "urn:service:sos",
            "urn:service:sos.ambulance",
            "urn:service:sos.animal-control",
            "urn:service:sos.fire",
            "urn:service:sos.gas",
            "urn:service:sos.marine",
            "urn:service:sos.mountain",
            "urn:service:sos.physician",
            "urn:service:sos.poison",
            "urn:service:sos.police",
            "URN:Service:SOS.Fire",
        ] {
            assert!(is_called("INVITE", urn, "<sip:2@e.com>"), "{urn}");
            assert!(is_called("INVITE", "sip:psap@e.com", &format!("<{urn}>")), "To: {urn}");
        }
        // §4.3, other services, other names
        for urn in [
            "urn:service:counseling",
            "urn:service:counseling.suicide",
            "urn:service:sosa",
            "urn:service:sos-x",
            "urn:service:fire.sos",
            "urn:other:sos",
            "urn:service:",
        ] {
            assert!(!is_called("INVITE", urn, "<sip:2@e.com>"), "{urn}");
            assert!(!is_called("INVITE", "sip:psap@e.com", &format!("<{urn}>")), "To: {urn}");
        }
    }
}

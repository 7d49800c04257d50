use vos_common::sip::{DATAGRAM_MIN, LEADING_MAX, TRAILING_MAX};

/// What is wrong with a start line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Bytes of the payload in front of what is wrong.
    pub(super) at: usize,
    /// What stands there; `None`: the payload ends there.
    pub(super) byte: Option<u8>,
    /// What should be there.
    pub(super) wrong: &'static str,
}

/// Where the start line of a payload begins, as `judge` sees it: leading line ends are skipped, a bounded number.
pub(super) fn start(payload: &[u8]) -> usize {
    payload.iter().take(LEADING_MAX).take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}

/// The start line of a payload, without its line end.
pub(super) fn start_line(payload: &[u8]) -> &[u8] {
    let line = &payload[start(payload)..];
    let end = line.iter().position(|byte| *byte == b'\n').unwrap_or(line.len());
    line[..end].strip_suffix(b"\r").unwrap_or(&line[..end])
}

/// The first byte for which a payload that `judge` calls malformed is no SIP.
pub(super) fn fault(payload: &[u8]) -> Fault {
    const VERSION: &[u8; 8] = b" SIP/2.0";
    let at = start(payload);
    let fault = |at: usize, wrong| Fault { at, byte: payload.get(at).copied(), wrong };
    if !payload.get(at).is_some_and(|byte| (b'!'..0x7f).contains(byte)) {
        return fault(at, "a start line begins with a printable character");
    }
    let searched = payload.get(at + 8..).unwrap_or_default();
    let Some(feed) = searched.iter().position(|byte| *byte == b'\n') else {
        return fault(payload.len(), "the datagram ends, and its start line does not");
    };
    let feed = at + 8 + feed;
    let trailing = payload[at..feed].iter().rev().take(TRAILING_MAX + 1);
    let end = feed - trailing.take_while(|byte| matches!(byte, b'\r' | b' ' | b'\t')).count();
    let Some(from) = end.checked_sub(VERSION.len()).filter(|from| *from >= at) else {
        return fault(at, "a start line has a method, a URI and SIP/2.0");
    };
    let right =
        |(byte, expected): (&u8, &u8)| byte.eq_ignore_ascii_case(expected) || (*expected == b' ' && *byte == b'\t');
    let first = payload[from..end].iter().zip(VERSION).position(|pair| !right(pair));
    match first {
        Some(first) => fault(from + first, "a start line ends with a blank and SIP/2.0"),
        None => fault(at, "a request line has a method and a URI in front of SIP/2.0"),
    }
}

const _: () = assert!(DATAGRAM_MIN > 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_that_is_wrong() {
        let at = |payload: &[u8]| {
            let fault = fault(payload);
            (fault.at, fault.byte)
        };
        assert_eq!(at(b"GET / HTTP/1.1\r\nHost: x\r\n"), (6, Some(b'H')));
        assert_eq!(at(b"INVITE sip:a@b SIP/3.0\r\n\r\n"), (19, Some(b'3')));
        assert_eq!(at(b"\r\nINVITE sip:a@b SIP/2.1\r\n\r\n"), (23, Some(b'1')));
        assert_eq!(at(b"INVITE sip:a@bSIP/2.0\r\n\r\n"), (13, Some(b'b')));
        assert_eq!(at(b" INVITE sip:a@b SIP/2.0\r\n\r\n"), (0, Some(b' ')));
        assert_eq!(at(b"\x16\x03\x01 a TLS hello would be longer\n"), (0, Some(0x16)));
        assert_eq!(at(b"INVITE sip:a@b SIP/2.0"), (22, None));
        assert_eq!(at(b"SIP/2.0\r\nVia: x\r\n"), (0, Some(b'S')));
        assert_eq!(at(b""), (0, None));
    }

    #[test]
    fn any_bytes_have_a_fault_within_them() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..20_000 {
            let payload: Vec<u8> = (0..state % 60)
                .map(|n| {
                    state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(n | 1);
                    b"\r\n \tSIP/2.0aZ\0"[(state >> 60) as usize % 13]
                })
                .collect();
            state = state.rotate_left(17) ^ 0x9e37;
            let fault = fault(&payload);
            assert!(fault.at <= payload.len());
            assert_eq!(fault.byte, payload.get(fault.at).copied());
            assert!(start_line(&payload).len() <= payload.len());
        }
    }
}

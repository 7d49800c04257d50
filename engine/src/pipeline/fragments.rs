//! A fragment, taken apart for the view of its whole.

use vos_common::packet::{Flow, LATER};

use crate::reassembly::Fragment;

/// A fragment taken apart; `None` if it is cut short.
pub(super) fn fragment<'a>(frame: &'a [u8], flow: &'a Flow) -> Option<Fragment<'a>> {
    let from = if flow.src.is_v4() || flow.fragment == LATER {
        flow.l4 as usize
    } else {
        fragment_headers(frame, flow).find(|(_, more)| *more)?.0
    };
    let (head, rest) = frame.split_at_checked(from)?;
    let bytes = rest.get(..(flow.end as usize).checked_sub(from)?)?;
    Some(Fragment { flow, head, bytes, last: is_last(frame, flow) })
}

/// The fragment headers of an IPv6 packet, as far as XDP walks; they need not be the last of the extension headers (RFC 8200
/// §4.5). Of each: where it ends, and whether more fragments follow.
pub(crate) fn fragment_headers(frame: &[u8], flow: &Flow) -> impl Iterator<Item = (usize, bool)> {
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    let (l3, l4) = (flow.l3 as usize, flow.l4 as usize);
    let (mut next, mut at) = (frame.get(l3 + 6).copied(), l3 + 40);
    std::iter::from_fn(move || {
        while at < l4 {
            let header = frame.get(at..at + 8)?;
            let kind = next.replace(header[0])?;
            at += match kind {
                FRAGMENT => 8,
                // In words of four bytes (RFC 4302 §2.2).
                AUTHENTICATION => (usize::from(header[1]) + 2) * 4,
                _ => (usize::from(header[1]) + 1) * 8,
            };
            if kind == FRAGMENT {
                return Some((at, header[3] & 1 != 0));
            }
        }
        None
    })
}

/// Is no fragment to follow this one? IPv4: the MF bit (RFC 791 §3.1); IPv6: the M bit (RFC 8200 §4.5).
fn is_last(frame: &[u8], flow: &Flow) -> bool {
    if flow.fragment != LATER {
        false
    } else if flow.src.is_v4() {
        frame.get(flow.l3 as usize + 6).is_some_and(|flags| flags & 0x20 == 0)
    } else {
        // What stands in front of a later fragment is its fragment header.
        (flow.l4 as usize).checked_sub(5).and_then(|at| frame.get(at)).is_some_and(|flags| flags & 1 == 0)
    }
}

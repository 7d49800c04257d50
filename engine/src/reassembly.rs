//! A view of datagrams that arrive in fragments, so that the whole of them is seen and counted.
//!
//! The fragments themselves are relayed as they come: nothing is delayed and nothing is held. Only what overlaps is
//! dropped. Should a rule want to drop a datagram for its whole, it would keep back the fragment that completes it:
//! without that, the kernel never delivers. What stays incomplete here has been judged by its first fragment. The table is shared, because a NIC may spread the fragments of one
//! datagram over queues; its lock is taken for fragments only.

use std::sync::{Mutex, PoisonError};

use vos_common::state::FRAGMENT_LIFE;

/// Datagrams in view at a time. More at once, and the oldest is forgotten: judged by its first fragment.
pub const DATAGRAMS: usize = 64;
/// Longest datagram in view, bytes, UDP header included. SIP over UDP beyond this does not occur.
pub const DATAGRAM_MAX: usize = 16 * 1024;
/// Pieces of a datagram that may lie apart from each other at a time.
const RANGES: usize = 16;

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Names the datagram.
    pub key: u64,
    /// Offset of the fragment's bytes in it.
    pub offset: usize,
    /// Is it the end of it?
    pub last: bool,
}

/// The datagrams in view.
#[derive(Debug)]
pub struct Reassembly {
    table: Mutex<Vec<Datagram>>,
}

#[derive(Clone, Debug)]
struct Datagram {
    key: u64,
    /// ns of `CLOCK_MONOTONIC`; 0: the slot is free.
    since: u64,
    length: Option<usize>,
    overlapped: bool,
    /// What is there: start and end, sorted, apart from each other.
    ranges: Vec<(usize, usize)>,
    bytes: Vec<u8>,
}

impl Default for Reassembly {
    fn default() -> Self {
        let empty = || Datagram {
            key: 0,
            since: 0,
            length: None,
            overlapped: false,
            ranges: Vec::with_capacity(RANGES + 1),
            bytes: vec![0; DATAGRAM_MAX],
        };
        Self { table: Mutex::new((0..DATAGRAMS).map(|_| empty()).collect()) }
    }
}

impl Reassembly {
    /// Adds a fragment; calls `whole` with the datagram if that completes it. `false`: it overlaps another, so the
    /// kernel will discard the datagram (RFC 5722, and Linux for IPv4), and this fragment should not be relayed.
    pub fn add(&self, piece: &Piece, bytes: &[u8], now: u64, whole: impl FnOnce(&[u8])) -> bool {
        let end = piece.offset + bytes.len();
        if end > DATAGRAM_MAX || bytes.is_empty() {
            return true;
        }
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = |d: &Datagram| d.since != 0 && now.saturating_sub(d.since) < FRAGMENT_LIFE;
        let slot = table.iter().position(|d| d.key == piece.key && alive(d)).or_else(|| {
            let oldest = table.iter().enumerate().min_by_key(|(_, d)| d.since).map(|(at, _)| at)?;
            table[oldest].begin(piece.key, now);
            Some(oldest)
        });
        let Some(datagram) = slot.and_then(|slot| table.get_mut(slot)) else { return true };
        if !datagram.put(piece, bytes, end) {
            return false;
        }
        if let Some(length) = datagram.length
            && datagram.ranges.as_slice() == [(0, length)]
        {
            whole(&datagram.bytes[..length]);
            datagram.since = 0;
        }
        true
    }
}

impl Datagram {
    fn begin(&mut self, key: u64, now: u64) {
        self.key = key;
        self.since = now.max(1);
        self.length = None;
        self.overlapped = false;
        self.ranges.clear();
    }

    /// `false`: overlaps.
    fn put(&mut self, piece: &Piece, bytes: &[u8], end: usize) -> bool {
        let range = (piece.offset, end);
        let twice = self.ranges.iter().any(|r| r.0 <= range.0 && range.1 <= r.1)
            && self.bytes.get(range.0..range.1) == Some(bytes);
        if twice {
            return !self.overlapped;
        }
        let beyond = self.length.is_some_and(|length| end > length || piece.last && end != length)
            || piece.last && self.ranges.last().is_some_and(|last| last.1 > end);
        self.overlapped |= beyond || self.ranges.iter().any(|r| r.0 < range.1 && range.0 < r.1);
        if self.overlapped {
            return false;
        }
        if self.ranges.len() == RANGES {
            // Too scattered to follow: from here on judged by its first fragment.
            self.since = 0;
            return true;
        }
        if piece.last {
            self.length = Some(end);
        }
        self.bytes[range.0..range.1].copy_from_slice(bytes);
        let at = self.ranges.partition_point(|r| r.0 < range.0);
        self.ranges.insert(at, range);
        self.ranges.dedup_by(|next, last| {
            let adjacent = last.1 == next.0;
            if adjacent {
                last.1 = next.1;
            }
            adjacent
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn piece(key: u64, offset: usize, last: bool) -> Piece {
        Piece { key, offset, last }
    }

    proptest! {
        /// Cut anywhere, in any order, some pieces twice: the datagram is seen once, and whole.
        #[test]
        fn a_datagram_in_pieces_is_seen_once_and_whole(
            length in 16usize..4_000,
            cuts in proptest::collection::vec(1usize..500, 0..10),
            order in any::<u64>(),
        ) {
            let datagram: Vec<u8> = (0..length).map(|i| (i * 7 + i / 256) as u8).collect();
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut * 8).filter(|cut| *cut < length).collect();
            ends.extend([0, length]);
            ends.sort_unstable();
            ends.dedup();
            let mut pieces: Vec<(usize, usize)> = ends.windows(2).map(|w| (w[0], w[1])).collect();
            let twice = pieces[order as usize % pieces.len()];
            let turns = order as usize % pieces.len();
            pieces.rotate_left(turns);
            if order % 2 == 0 { pieces.reverse() }
            // not as the last: a piece that comes again after the whole was seen begins another view
            pieces.insert(0, twice);
            let seen = std::cell::RefCell::new(Vec::new());
            let fragments = Reassembly::default();
            for (from, to) in pieces {
                let fits = fragments.add(&piece(1, from, to == length), &datagram[from..to], 5, |whole| {
                    seen.borrow_mut().push(whole.to_vec());
                });
                prop_assert!(fits);
            }
            let expect = if ends.len() == 2 { 2 } else { 1 };
            prop_assert_eq!(seen.borrow().len(), expect);
            prop_assert_eq!(&seen.borrow()[0], &datagram);
        }
    }

    #[test]
    fn an_overlap_is_refused_and_so_is_what_follows() {
        let fragments = Reassembly::default();
        let never = |_: &[u8]| panic!("not whole");
        assert!(fragments.add(&piece(1, 0, false), &[1; 16], 5, never));
        assert!(!fragments.add(&piece(1, 8, false), &[2; 16], 5, never));
        assert!(!fragments.add(&piece(1, 24, true), &[3; 8], 5, never));
        // beyond the end that the last fragment told
        assert!(fragments.add(&piece(2, 8, true), &[1; 8], 5, never));
        assert!(!fragments.add(&piece(2, 16, false), &[1; 8], 5, never));
        assert!(fragments.add(&piece(3, 8, true), &[1; 8], 5, never));
        assert!(!fragments.add(&piece(3, 16, true), &[1; 8], 5, never));
    }

    #[test]
    fn a_view_ends_after_its_life_and_makes_room_for_another() {
        let fragments = Reassembly::default();
        let never = |_: &[u8]| panic!("not whole");
        assert!(fragments.add(&piece(1, 0, false), &[1; 8], 5, never));
        assert!(fragments.add(&piece(1, 8, true), &[1; 8], 5 + FRAGMENT_LIFE, never));
        // more datagrams than there is room for: the oldest goes, nothing is refused
        for key in 10..10 + 2 * DATAGRAMS as u64 {
            assert!(fragments.add(&piece(key, 0, false), &[1; 8], key, never));
        }
        // too long, too scattered, empty: not followed, not refused
        assert!(fragments.add(&piece(500, DATAGRAM_MAX, true), &[1; 8], 5, never));
        assert!(fragments.add(&piece(501, 0, false), &[], 5, never));
        for n in 0..40 {
            assert!(fragments.add(&piece(502, n * 16, false), &[1; 8], 5, never));
        }
    }
}

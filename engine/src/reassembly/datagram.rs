use vos_common::packet::Flow;
use vos_common::reason::Reason;
use vos_common::state::FRAGMENT_LIFE;

use super::spent::Spent;
use super::{DATAGRAM_MAX, Fragment, Guest, HEAD_MAX};

/// Pieces of a datagram that may lie apart from each other at a time. Those of one sender come in order, but for
/// single ones; who strews more is not followed.
const RANGES: usize = 16;

/// A datagram in view: what came of it, in place, behind the headers of its first fragment.
#[derive(Clone, Debug)]
pub(super) struct Datagram {
    name: u64,
    source: u64,
    known: bool,
    /// Of the fragment that came first; what outlives the view is kept by it.
    flow: Flow,
    /// ns of `CLOCK_MONOTONIC`; 0: the slot is free.
    since: u64,
    /// When a fragment was relayed last, ns of `CLOCK_MONOTONIC`.
    relayed: u64,
    length: Option<usize>,
    refused: Option<Reason>,
    /// Bytes of the headers, which end at [`HEAD_MAX`]; 0 before the first fragment has come.
    head: usize,
    /// What is there: start and end, sorted, apart from each other.
    ranges: Vec<(usize, usize)>,
    /// Headers, and from [`HEAD_MAX`] on the datagram: a frame as it would be, had nobody cut it.
    bytes: Vec<u8>,
}

/// How a fragment fits into what is there.
pub(super) enum Fit {
    /// It is in view now.
    Fits,
    /// It was there, byte for byte: relayed again.
    Twice,
    /// It cannot be: another says otherwise, or did before.
    Refused(Reason),
    /// Too long or too scattered a datagram.
    Unfollowed,
}

impl Default for Datagram {
    fn default() -> Self {
        Self {
            name: 0,
            source: 0,
            known: false,
            flow: Flow::default(),
            since: 0,
            relayed: 0,
            length: None,
            refused: None,
            head: 0,
            ranges: Vec::with_capacity(RANGES + 1),
            bytes: vec![0; HEAD_MAX + DATAGRAM_MAX],
        }
    }
}

impl Datagram {
    pub(super) fn is_taken(&self) -> bool {
        self.since != 0
    }

    pub(super) fn is(&self, name: u64) -> bool {
        self.is_taken() && self.name == name
    }

    pub(super) fn is_over(&self, now: u64) -> bool {
        self.is_taken() && now.saturating_sub(self.since) >= FRAGMENT_LIFE
    }

    pub(super) fn name(&self) -> u64 {
        self.name
    }

    pub(super) fn source(&self) -> u64 {
        self.source
    }

    /// Does its source go before unknown ones?
    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    pub(super) fn since(&self) -> u64 {
        self.since
    }

    pub(super) fn has_first(&self) -> bool {
        self.head != 0
    }

    pub(super) fn begin(&mut self, name: u64, guest: &Guest, flow: &Flow, now: u64) {
        (self.name, self.source, self.known, self.flow) = (name, guest.source, guest.known, *flow);
        (self.since, self.relayed) = (now.max(1), 0);
        (self.length, self.refused, self.head) = (None, None, 0);
        self.ranges.clear();
    }

    pub(super) fn free(&mut self) {
        self.since = 0;
    }

    /// Nothing more of it is relayed while it is in view; `reason` says why.
    pub(super) fn refuse(&mut self, reason: Reason) -> Reason {
        self.refused = Some(reason);
        reason
    }

    /// Out of view: what was relayed of it, if fragments are, is remembered, with `reason` for what comes behind.
    pub(super) fn spend(&mut self, spent: Option<&mut Spent>, reason: Reason) {
        if let Some(spent) = spent
            && self.relayed != 0
        {
            let reason = self.refused.unwrap_or(reason);
            spent.gone(self.name, self.has_first(), &self.flow, self.relayed, reason);
        }
        self.free();
    }

    /// Puts a fragment in its place.
    pub(super) fn put(&mut self, fragment: &Fragment<'_>, now: u64) -> Fit {
        if let Some(reason) = self.refused {
            return Fit::Refused(reason);
        }
        let start = fragment.flow.offset as usize;
        // All but the last are cut at eight bytes; the kernel ignores what is beyond (`ip_frag_queue`).
        let length = if fragment.last { fragment.bytes.len() } else { fragment.bytes.len() & !7 };
        let (bytes, end) = (&fragment.bytes[..length], start + length);
        if bytes.is_empty() {
            // Of nothing the kernel makes nothing.
            return Fit::Twice;
        }
        if end > DATAGRAM_MAX || fragment.head.len() > HEAD_MAX {
            return Fit::Unfollowed;
        }
        let place = HEAD_MAX + start..HEAD_MAX + end;
        let is_there = self.ranges.iter().any(|range| range.0 <= start && end <= range.1);
        let ends_elsewhere = self.length.is_some_and(|length| end > length || fragment.last && end != length)
            || fragment.last && self.ranges.last().is_some_and(|range| range.1 > end);
        let same = || self.bytes[place.clone()] == *bytes && self.is_protocol_of(fragment);
        if is_there && !ends_elsewhere && same() {
            if fragment.last {
                self.length = Some(end);
            }
            self.relayed = now.max(1);
            return Fit::Twice;
        }
        if ends_elsewhere || self.ranges.iter().any(|range| range.0 < end && start < range.1) {
            return Fit::Refused(self.refuse(Reason::Overlap));
        }
        if self.ranges.len() == RANGES {
            return Fit::Unfollowed;
        }
        if fragment.last {
            self.length = Some(end);
        }
        if fragment.is_first() {
            self.head = fragment.head.len();
            self.bytes[HEAD_MAX - self.head..HEAD_MAX].copy_from_slice(fragment.head);
        }
        self.bytes[place].copy_from_slice(bytes);
        self.insert(start, end);
        self.relayed = now.max(1);
        Fit::Fits
    }

    /// A first IPv6 fragment also says what its bytes are, in its fragment header (RFC 8200 §4.5).
    fn is_protocol_of(&self, fragment: &Fragment<'_>) -> bool {
        let next = |head: &[u8]| head.len().checked_sub(8).and_then(|at| head.get(at).copied());
        !fragment.is_first() || self.flow.src.is_v4() || next(fragment.head) == next(&self.bytes[..HEAD_MAX])
    }

    fn insert(&mut self, start: usize, end: usize) {
        let at = self.ranges.partition_point(|range| range.0 < start);
        self.ranges.insert(at, (start, end));
        self.ranges.dedup_by(|next, last| {
            let adjacent = last.1 == next.0;
            if adjacent {
                last.1 = next.1;
            }
            adjacent
        });
    }

    /// The frame as it would be had nobody cut it, once all of it is there. Checksums are those of the first fragment.
    pub(super) fn whole(&mut self) -> Option<&[u8]> {
        let length = self.length?;
        if self.ranges.as_slice() != [(0, length)] || !self.has_first() {
            return None;
        }
        let from = HEAD_MAX - self.head;
        let l3 = from + self.flow.l3 as usize;
        if self.flow.src.is_v4() {
            // RFC 791 §3.1: total length, flags and offset
            let total = (HEAD_MAX + length - l3) as u16;
            self.bytes[l3 + 2..l3 + 4].copy_from_slice(&total.to_be_bytes());
            self.bytes[l3 + 6..l3 + 8].fill(0);
        } else {
            // RFC 8200 §3: payload length; §4.5: offset and M flag. What is left is an atomic fragment (RFC 6946).
            let payload = (HEAD_MAX + length - l3 - 40) as u16;
            self.bytes[l3 + 4..l3 + 6].copy_from_slice(&payload.to_be_bytes());
            self.bytes[HEAD_MAX - 6..HEAD_MAX - 4].fill(0);
        }
        Some(&self.bytes[from..HEAD_MAX + length])
    }
}

//! What the softswitch answers, as the egress program saw it leave; and who sends OPTIONS that are answered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use vos_common::rule::Addr;
use vos_common::state::REPLY_HEAD;

use crate::policy::Answer;
use crate::xdp::ip;

/// Addresses remembered. More, and the one that was seen longest ago is forgotten.
pub const CANDIDATES_MAX: usize = 4_096;

/// Who sends OPTIONS that the softswitch answers with 2xx.
#[derive(Debug, Default)]
pub struct Pings {
    seen: Mutex<HashMap<IpAddr, (u64, Instant)>>,
}

impl Pings {
    /// Each address with the number of its OPTIONS that were answered, and when the last was.
    pub fn list(&self) -> Vec<(IpAddr, u64, Duration)> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<_> = seen.iter().map(|(ip, (count, last))| (*ip, *count, last.elapsed())).collect();
        list.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        list
    }

    /// A response went out.
    pub fn observe(&self, answer: &Answer) {
        if !answer.options || !(200..=299).contains(&answer.status) {
            return;
        }
        let to = ip(answer.to);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= CANDIDATES_MAX && !seen.contains_key(&to) {
            let oldest = seen.iter().min_by_key(|(_, (_, last))| *last).map(|(ip, _)| *ip);
            oldest.map(|ip| seen.remove(&ip));
        }
        let entry = seen.entry(to).or_insert((0, Instant::now()));
        *entry = (entry.0 + 1, Instant::now());
    }
}

/// A record of the ring: address, port, length, payload ([`vos_common::state::Reply`]).
pub(crate) fn read(record: &[u8]) -> Option<(Addr, u16, &[u8])> {
    let to = Addr::from_bytes(*record.first_chunk()?);
    let port = u32::from_ne_bytes(*record.get(16..)?.first_chunk()?) as u16;
    let length = u32::from_ne_bytes(*record.get(20..)?.first_chunk()?) as usize;
    Some((to, port, record.get(REPLY_HEAD..REPLY_HEAD + length)?))
}

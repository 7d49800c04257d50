//! What the softswitch answers, as the egress program saw it leave. So far: who sends OPTIONS that are answered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aya::maps::{MapData, RingBuf};
use sip_parse::{Index, Method, Mode, StartLine};
use vos_common::rule::Addr;
use vos_common::state::REPLY_HEAD;

use crate::xdp::ip;

/// How often the ring is looked into. It holds 4 MiB; at 40,000 responses of 1 KB a second that is 100 ms.
const PERIOD: Duration = Duration::from_millis(20);
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

    /// Reads one response that went to `to`.
    pub fn observe(&self, to: IpAddr, response: &[u8], index: &mut Index) {
        if !answers_options(response, index) {
            return;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= CANDIDATES_MAX && !seen.contains_key(&to) {
            let oldest = seen.iter().min_by_key(|(_, (_, last))| *last).map(|(ip, _)| *ip);
            oldest.map(|ip| seen.remove(&ip));
        }
        let entry = seen.entry(to).or_insert((0, Instant::now()));
        *entry = (entry.0 + 1, Instant::now());
    }

    /// Reads the ring until `stop`.
    pub fn follow(&self, mut ring: RingBuf<MapData>, stop: &AtomicBool) {
        let mut index = Index::new();
        while !stop.load(Relaxed) {
            while let Some(record) = ring.next() {
                if let Some((to, response)) = read(&record) {
                    self.observe(to, response, &mut index);
                }
            }
            std::thread::sleep(PERIOD);
        }
    }
}

/// A record of the ring: address, port, length, payload ([`vos_common::state::Reply`]).
fn read(record: &[u8]) -> Option<(IpAddr, &[u8])> {
    let to = Addr::from_bytes(*record.first_chunk()?);
    let length = u32::from_ne_bytes(*record.get(20..)?.first_chunk()?) as usize;
    Some((ip(to), record.get(REPLY_HEAD..REPLY_HEAD + length)?))
}

fn answers_options(response: &[u8], index: &mut Index) -> bool {
    let Ok(message) = index.parse(response, Mode::Lenient) else { return false };
    let success = matches!(message.start_line(), StartLine::Response { code: 200..=299, .. });
    success && message.cseq().is_ok_and(|cseq| cseq.method == Method::Options)
}

//! Dropped packets, as they arrived: from the XDP program's ring and from the workers to [`Events`].
//!
//! The ring lives as long as the engine and is not pinned. Pinned, it would hand the next engine packets of yesterday;
//! so, while no engine is there, the program that stays attached fills a ring that nobody reads (1 MiB) and then takes
//! no samples, which costs it one refused helper call for each it would have taken.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use sip_parse::{Index, Mode};
use vos_common::packet::{self, Frame as _, LATER, SCTP, TCP, UDP};
use vos_common::rate::Limit;
use vos_common::reason::Reason;
use vos_common::state::{SAMPLE_HEAD, SAMPLE_MAX, Sample};

use crate::control::clock::Clock;
use crate::control::terminal::printable;
use crate::events::{Dropped, Event, Events, Frame, What};
use crate::policy::{Evidence, Observation};
use crate::xdp::ip;

/// How often the ring is looked into. It holds 1 MiB: 500 frames of 2 KB, five times what arrives in this time when
/// every reason of 64 CPUs has something to show.
const PERIOD: Duration = Duration::from_millis(20);
/// Samples of workers on their way, 2 KB each.
const QUEUED_MAX: usize = 64;
/// Bytes kept of a start line or a User-Agent.
const TEXT_MAX: usize = 256;

/// Where a worker shows what it drops, and says what happens.
#[derive(Debug)]
pub struct Door {
    queue: u32,
    clocks: [u64; Reason::ALL.len()],
    samples: SyncSender<Sample>,
    events: Arc<Events>,
}

impl Door {
    /// Shows a dropped frame, within `limit` of each reason. Never waits, allocates nothing. `now`: ns of
    /// `CLOCK_MONOTONIC`.
    #[inline]
    pub fn show(&mut self, limit: &Limit, reason: Reason, frame: &[u8], now: u64) {
        if limit.every == 0 {
            // as in the kernel: no limit is no samples
            return;
        }
        if let Some(clock) = limit.claim(self.clocks[reason as usize], now) {
            self.clocks[reason as usize] = clock;
            self.send(reason, frame, now);
        }
    }

    /// Tells whoever watches, at once. Not for what may happen with every packet: it allocates and takes a lock.
    pub fn tell(&self, what: What) {
        self.events.publish(Event::now(what));
    }

    fn send(&self, reason: Reason, frame: &[u8], now: u64) {
        let captured = frame.len().min(SAMPLE_MAX);
        let mut sample = Sample {
            at: now,
            reason: reason as u32,
            queue: self.queue,
            len: frame.len() as u32,
            captured: captured as u32,
            data: [0; SAMPLE_MAX],
        };
        sample.data[..captured].copy_from_slice(&frame[..captured]);
        let _one_sample_less = self.samples.try_send(sample);
    }
}

/// Reads samples and makes events of them.
pub struct Samples {
    events: Arc<Events>,
    door: SyncSender<Sample>,
    own: Receiver<Sample>,
    index: Index,
    policy: Option<crossbeam_channel::Sender<Observation>>,
}

impl Samples {
    /// For `events`.
    pub fn new(events: Arc<Events>) -> Self {
        let (door, own) = sync_channel(QUEUED_MAX);
        Self { events, door, own, index: Index::new(), policy: None }
    }

    /// Tells the policy what dropped packets say of their sources.
    #[must_use]
    pub fn telling(self, policy: crossbeam_channel::Sender<Observation>) -> Self {
        Self { policy: Some(policy), ..self }
    }

    /// A door for the worker of `queue`.
    pub fn door(&self, queue: u32) -> Door {
        let events = Arc::clone(&self.events);
        Door { queue, clocks: [0; Reason::ALL.len()], samples: self.door.clone(), events }
    }

    /// Reads ring and doors until `stop`.
    pub fn follow(mut self, mut ring: RingBuf<MapData>, stop: &AtomicBool) {
        while !stop.load(Relaxed) {
            let clock = Clock::now();
            while let Some(record) = ring.next() {
                if let Some(seen) = Seen::of_record(&record) {
                    self.publish(&seen, clock);
                }
            }
            self.drain(clock);
            std::thread::sleep(PERIOD);
        }
    }

    /// What came through the doors.
    fn drain(&mut self, clock: Clock) {
        while let Ok(sample) = self.own.try_recv() {
            if let Some(seen) = Seen::of(&sample) {
                self.publish(&seen, clock);
            }
        }
    }

    fn publish(&mut self, seen: &Seen<'_>, clock: Clock) {
        let told = self.policy.as_ref().zip(Evidence::of_drop(seen.reason)).zip(packet::flow(&seen.frame));
        if let Some(((policy, evidence), flow)) = told {
            let _one_hint_less = policy.try_send(Observation::Offence(evidence, flow.src));
        }
        if let Some(dropped) = dropped(seen, &mut self.index) {
            self.events.publish(Event::at(clock.wall_ns_of(seen.at), What::Drop(Box::new(dropped))));
        }
    }
}

/// A sample, its frame as long as it is.
struct Seen<'a> {
    at: u64,
    reason: Reason,
    queue: u32,
    len: u32,
    frame: &'a [u8],
}

impl<'a> Seen<'a> {
    fn of(sample: &'a Sample) -> Option<Self> {
        let frame = sample.data.get(..sample.captured as usize)?;
        let reason = *Reason::ALL.get(sample.reason as usize)?;
        Some(Self { at: sample.at, reason, queue: sample.queue, len: sample.len, frame })
    }

    /// A record of the ring: a [`Sample`] that ends with its frame.
    fn of_record(record: &'a [u8]) -> Option<Self> {
        let (head, data) = record.split_at_checked(SAMPLE_HEAD)?;
        let word = |at: usize| Some(u32::from_ne_bytes(*head.get(at..)?.first_chunk()?));
        Some(Self {
            at: u64::from_ne_bytes(*head.first_chunk()?),
            reason: *Reason::ALL.get(word(8)? as usize)?,
            queue: word(12)?,
            len: word(16)?,
            frame: data.get(..word(20)? as usize)?,
        })
    }
}

/// What there is to tell of a frame. `None`: it has no addresses, and was never dropped.
fn dropped(seen: &Seen<'_>, index: &mut Index) -> Option<Dropped> {
    let frame = seen.frame;
    let flow = packet::flow(&frame)?;
    let l4 = flow.l4 as usize;
    let has_ports = flow.fragment != LATER && matches!(flow.proto, UDP | TCP | SCTP);
    let port = |at: usize| has_ports.then(|| frame.be16(at)).flatten();
    let payload = (has_ports && flow.proto == UDP).then(|| frame.get(l4 + 8..(flow.end as usize).min(frame.len())));
    let payload = payload.flatten().unwrap_or_default();
    let user_agent = index.parse(payload, Mode::Lenient).ok().and_then(|message| message.user_agent());
    Some(Dropped {
        reason: seen.reason.label().to_owned(),
        queue: seen.queue,
        source: ip(flow.src).to_string(),
        source_port: port(l4),
        destination: ip(flow.dst).to_string(),
        destination_port: port(l4 + 2),
        length: seen.len,
        start_line: first_line(payload).map(text),
        user_agent: user_agent.map(text),
        frame: Some(Frame(frame.into())),
    })
}

/// The first line of a payload, if it begins as a text does.
fn first_line(payload: &[u8]) -> Option<&[u8]> {
    let start = payload.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let line = payload[start..].split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    (0x20..0x7f).contains(line.first()?).then_some(line)
}

/// Somebody's bytes as a text that no terminal obeys.
pub(crate) fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_MAX)]);
    match printable(&text) {
        Cow::Borrowed(_) => text.into_owned(),
        Cow::Owned(shown) => shown,
    }
}

#[cfg(test)]
mod tests {
    use vos_common::cases::{self, Packet};

    use super::*;
    use crate::events::Wanted;

    const SECOND: u64 = 1_000_000_000;
    const RATE: u32 = 10;

    fn record(at: u64, reason: u32, frame: &[u8], captured: u32) -> Vec<u8> {
        let words = [reason, 3, frame.len() as u32, captured].map(u32::to_ne_bytes).concat();
        [&at.to_ne_bytes()[..], &words, frame].concat()
    }

    fn scan() -> Vec<u8> {
        let request = b"OPTIONS sip:1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.66:5061;branch=z9hG4bK1\r\n\
            From: <sip:1@x>;tag=1\r\nTo: <sip:1@x>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nUser-Agent: friendly\xff-sc\x1b[2Janner\r\n\r\n";
        Packet::v4([203, 0, 113, 66]).sip(request).build()
    }

    fn read(record: &[u8]) -> Option<Dropped> {
        dropped(&Seen::of_record(record)?, &mut Index::new())
    }

    #[test]
    fn a_record_of_the_ring_tells_what_the_packet_was() {
        let frame = scan();
        let seen = read(&record(7, Reason::Stealth as u32, &frame, frame.len() as u32)).expect("a sample");
        assert_eq!((seen.reason.as_str(), seen.queue, seen.length), ("stealth", 3, frame.len() as u32));
        assert_eq!((seen.source.as_str(), seen.destination.as_str()), ("203.0.113.66", "192.0.2.1"));
        assert_eq!(seen.destination_port, Some(5060));
        assert_eq!(seen.start_line.as_deref(), Some("OPTIONS sip:1@192.0.2.1 SIP/2.0"));
        assert_eq!(seen.user_agent.as_deref(), Some("friendly\u{fffd}-sc\\u{1b}[2Janner"));
        assert_eq!(seen.frame, Some(Frame(frame.into())));
    }

    #[test]
    fn what_is_no_sip_still_shows_its_first_line_and_no_terminal_obeys_it() {
        let frame = Packet::v4([203, 0, 113, 66]).sip(b"\r\nGET /\x1b[2J HTTP/1.1\r\nUser-Agent: x\r\n\r\n").build();
        let seen = read(&record(7, Reason::Malformed as u32, &frame, frame.len() as u32)).expect("a sample");
        assert_eq!((seen.start_line.as_deref(), seen.user_agent), (Some("GET /\\u{1b}[2J HTTP/1.1"), None));
    }

    #[test]
    fn what_dropped_packets_say_of_their_sources_is_told_to_the_policy() {
        let (policy, told) = crossbeam_channel::bounded(4);
        let mut samples = Samples::new(Arc::default()).telling(policy);
        let frame = scan();
        for reason in [Reason::Scanner, Reason::Blocked, Reason::Malformed, Reason::Stealth] {
            let record = record(7, reason as u32, &frame, frame.len() as u32);
            samples.publish(&Seen::of_record(&record).expect("a sample"), Clock::now());
        }
        let expected = [Evidence::Scanner, Evidence::Malformed, Evidence::Stealth]
            .map(|evidence| Observation::Offence(evidence, vos_common::rule::Addr::v4([203, 0, 113, 66])));
        assert_eq!(told.try_iter().collect::<Vec<_>>(), expected);
        // a policy that does not keep up, or has ended, loses hints and no events
        drop(told);
        let record = record(7, Reason::Scanner as u32, &frame, frame.len() as u32);
        samples.publish(&Seen::of_record(&record).expect("a sample"), Clock::now());
    }

    #[test]
    fn records_that_are_cut_or_strange_are_none() {
        let frame = scan();
        let whole = record(7, Reason::Stealth as u32, &frame, frame.len() as u32);
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "{length} bytes");
        }
        assert_eq!(read(&record(7, Reason::ALL.len() as u32, &frame, frame.len() as u32)), None);
        assert_eq!(read(&record(7, 6, b"no frame", 8)), None);
    }

    #[test]
    fn every_packet_of_the_table_has_an_event_or_no_addresses() {
        for case in cases::all() {
            let head = &case.frame[..case.frame.len().min(SAMPLE_MAX)];
            let there = read(&record(7, 6, head, head.len() as u32)).is_some();
            assert_eq!(there, packet::flow(&head).is_some(), "{}", case.name);
        }
    }

    #[test]
    fn later_fragments_have_no_ports_and_binary_has_no_line() {
        let later = Packet::v4([203, 0, 113, 66]).raw(17, b"OPTIONS sip:a SIP/2.0\r\n").fragment(800, false, 7).build();
        let seen = read(&record(7, 4, &later, later.len() as u32)).expect("a sample");
        assert_eq!((seen.source_port, seen.destination_port, seen.start_line), (None, None, None));
        let binary = Packet::v4([203, 0, 113, 66]).sip(b"\x80\x81\x82\x83 SIP/2.0\r\n").build();
        let seen = read(&record(7, 4, &binary, binary.len() as u32)).expect("a sample");
        assert_eq!((seen.destination_port, seen.start_line), (Some(5060), None));
    }

    #[test]
    fn a_worker_shows_ten_a_second_of_each_reason_and_never_waits() {
        let events = Arc::new(Events::default());
        let (mut samples, limit) = (Samples::new(Arc::clone(&events)), Limit::per_second(RATE, RATE, 0));
        let mut door = samples.door(5);
        let (now, frame) = (100 * SECOND, scan());
        for _ in 0..1_000 {
            door.show(&limit, Reason::ForeignDomain, &frame, now);
            door.show(&limit, Reason::Overlap, &frame, now);
        }
        for n in 0..1_000 {
            door.show(&limit, Reason::ForeignDomain, &frame, now + n * SECOND / 1_000);
        }
        samples.drain(Clock::now());
        let count = |reason: Reason| {
            let wanted = Wanted { reason: Some(reason.label().to_owned()), frames: false };
            events.recent(&wanted).len() as u32
        };
        assert_eq!((count(Reason::ForeignDomain), count(Reason::Overlap)), (2 * RATE - 1, RATE));
        let mut greedy = samples.door(6);
        for n in 0..1_000 {
            greedy.show(&limit, Reason::Overlap, &[0; 4_000], now + n * SECOND);
        }
        drop(samples);
        greedy.show(&limit, Reason::Overlap, &frame, now + 2_000 * SECOND);
    }
}

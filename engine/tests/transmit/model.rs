//! A queue without a NIC: frames arrive, are decided on, answered, sent and taken back in any order, and at the end each
//! of them is free again.
//!
//! The rings and the driver behind them are played here; everything else is the engine's own.

use std::collections::{BTreeSet, VecDeque};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use etherparse::PacketBuilder;
use vos_common::cases::{CALLER_V4, CALLER_V6, OWN_V4, OWN_V6};
use vos_common::packet;
use vos_common::reason::Reason;
use vos_common::rule::Addr;
use vos_engine::config::Answer;
use vos_engine::pipeline::{self, Action, Checksum, Context, Scratch, Way};
use vos_engine::policy::{Secret, Sources, Suspensions};
use vos_engine::pressure::Pressed;
use vos_engine::reassembly::Reassembly;
use vos_engine::ruleset::Ruleset;
use vos_engine::shield::Shield;
use vos_engine::transmit::{End, Learned, Own, Sent, Transmitter};
use vos_engine::xsk::{Frame, Frames};
use xsk_rs::config::{FrameSize, UmemConfig};
use xsk_rs::{FrameDesc, Umem};

use crate::parsed::Parsed;

const FRAMES: u32 = 64;
const CHUNK: u32 = 2_048;
/// What the kernel keeps in front of a packet.
const HEADROOM: usize = 256;
/// Few, so that the ring is often full.
const SLOTS: usize = 4;
const MTU: u32 = 1_500;

/// What came of it all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Frames that came in.
    pub(crate) arrived: u64,
    /// To the softswitch, as they came.
    pub(crate) relayed: u64,
    /// To the softswitch, put together from fragments.
    pub(crate) whole: u64,
    /// Answered in place.
    pub(crate) replied: u64,
    /// Of these, found no room in the ring.
    pub(crate) late: u64,
    /// Taken.
    pub(crate) swallowed: u64,
    /// Dropped.
    pub(crate) dropped: u64,
    /// Datagrams that were handed to the ring.
    pub(crate) ring: u64,
    /// Those that came from an address that is not ours.
    pub(crate) foreign: u64,
    /// Those that found no way.
    pub(crate) lost: u64,
}

/// Some are known.
struct Odd;

impl Sources for Odd {
    fn is_known(&self, src: &Addr) -> bool {
        src.to_bytes()[15] & 1 == 1
    }

    fn is_named(&self, src: &Addr) -> bool {
        self.is_known(src)
    }

    fn is_trusted(&self, _: &Addr) -> bool {
        false
    }
}

/// The queue, what plays its kernel, and what decides.
pub(crate) struct Model {
    umem: Umem,
    frames: Frames,
    fill: VecDeque<FrameDesc>,
    tx: VecDeque<FrameDesc>,
    /// What the frames on their way to the TX ring must say; `None`: answered in place.
    outgoing: VecDeque<Option<(SocketAddr, SocketAddr, Vec<u8>)>>,
    transmitter: Transmitter,
    scratch: Scratch,
    fragments: Reassembly,
    secret: Secret,
    shield: Shield,
    rules: Ruleset,
    now: u64,
    /// What came of it so far.
    pub(crate) tally: Tally,
}

/// What is left of the input.
struct Steps<'a>(&'a [u8]);

impl<'a> Steps<'a> {
    fn byte(&mut self) -> Option<u8> {
        self.bytes(1).first().copied()
    }

    fn number(&mut self) -> usize {
        let bytes = self.bytes(2);
        bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
    }

    /// As many as there are, at most so many.
    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

impl Model {
    /// All frames are free. Needs CAP_NET_RAW, as every UMEM.
    pub(crate) fn new() -> Self {
        let config = UmemConfig::builder().frame_size(FrameSize::new(CHUNK).unwrap()).build().unwrap();
        let (umem, free) = Umem::new(config, FRAMES.try_into().unwrap(), false).expect("a UMEM (as root)");
        let frames = Frames::new(umem.clone(), free, CHUNK as usize, SLOTS);
        let own = Own::new(&[IpAddr::from(OWN_V4), IpAddr::from(OWN_V6)]);
        let domains = ["example.com"].iter().collect();
        Self {
            umem,
            frames,
            fill: VecDeque::new(),
            tx: VecDeque::new(),
            outgoing: VecDeque::new(),
            transmitter: Transmitter::new(MTU, Arc::new(own), Some(Learned::new(1)), None),
            scratch: Scratch::default(),
            fragments: Reassembly::default(),
            secret: Secret::default(),
            shield: Shield::default(),
            rules: Ruleset {
                enforce: Reason::ForeignDomain.bit(),
                domains,
                briefs: true,
                shield: true,
                answer: Answer { keep_alives: true, options: true, options_pass_every: 3, refuse_calls: true },
                ..Ruleset::default()
            },
            now: 1,
            tally: Tally::default(),
        }
    }

    /// Does what the bytes say, then lets everything come to rest.
    pub(crate) fn run(&mut self, bytes: &[u8]) {
        let mut steps = Steps(bytes);
        self.give(FRAMES as usize / 2);
        while let Some(step) = steps.byte() {
            match step % 9 {
                0 | 1 => {
                    let length = steps.number();
                    let frame = steps.bytes(length.min(CHUNK as usize - HEADROOM)).to_vec();
                    self.arrive(&frame, Way::Datagrams);
                }
                op @ 2..=4 => self.call(&mut steps, op == 4),
                5 => self.send(&mut steps),
                6 => self.give(usize::from(steps.byte().unwrap_or(0))),
                7 => self.drive(usize::from(steps.byte().unwrap_or(0))),
                _ => {
                    let byte = steps.byte().unwrap_or(0);
                    self.now += u64::from(byte) * 500_000_000;
                    self.scratch.answers.dead = byte & 1 != 0;
                }
            }
            self.balance();
        }
        self.rest();
    }

    /// Somebody sends a datagram, whole or in two fragments.
    fn call(&mut self, steps: &mut Steps<'_>, cut: bool) {
        let (kind, who, id) = (steps.number(), steps.byte().unwrap_or(0), self.tally.arrived as u32);
        let length = steps.number();
        let payload = steps.bytes(length.min(1_472));
        let way = if kind & 1 == 0 { Way::Datagrams } else { Way::Frames };
        let mut frame = whole(kind & 2 == 0, kind & 4 != 0, who, payload);
        if kind & 0xf00 == 0xf00
            && let Some(byte) = frame.get_mut(kind >> 4 & 0xff)
        {
            *byte ^= 0x40;
        }
        if !cut {
            return self.arrive(&frame, way);
        }
        for fragment in in_two(&frame, id) {
            self.arrive(&fragment, way);
        }
    }

    /// The relay's peer sends to a caller.
    fn send(&mut self, steps: &mut Steps<'_>) {
        let [kind, who] = [steps.byte().unwrap_or(0), steps.byte().unwrap_or(0)];
        let length = steps.number();
        let payload = steps.bytes(length.min(1_600));
        let v4 = kind & 1 == 0;
        let (own, caller) = (own(v4 == (kind & 0x30 != 0x30)), caller(v4, who));
        let from = if kind & 0xe == 0xe { caller } else { own };
        let sent = self.transmitter.send(&mut self.frames, &end(from), &end(caller), payload, self.now);
        assert_eq!(sent == Sent::Foreign, from == caller);
        match sent {
            Sent::Ring => {
                self.tally.ring += 1;
                self.outgoing.push_back(Some((from, caller, payload.to_vec())));
            }
            Sent::Foreign => self.tally.foreign += 1,
            Sent::Lost => self.tally.lost += 1,
            Sent::Kernel => panic!("there is none"),
        }
    }

    /// The kernel is given frames to receive into.
    fn give(&mut self, count: usize) {
        let fill = &mut self.fill;
        self.frames.give(count, |descs| {
            fill.extend(descs);
            descs.len()
        });
    }

    /// The driver sends up to so many, and gives them back.
    fn drive(&mut self, count: usize) {
        let Self { frames, tx, .. } = self;
        frames.send(|descs| {
            let taken = descs.len().min(count);
            tx.extend(&descs[..taken]);
            taken
        });
        for _ in 0..count {
            let Some(desc) = self.tx.pop_front() else { return };
            // SAFETY: the frame is the driver's, which is played here.
            let parsed = Parsed::of(unsafe { self.umem.data(&desc) }.contents());
            let parsed = parsed.expect("what leaves is right");
            match self.outgoing.pop_front().expect("what leaves was sent") {
                Some(sent) => assert_eq!((parsed.from, parsed.to, parsed.payload), sent),
                None => assert!([own(true), own(false)].contains(&parsed.from), "{parsed:?}"),
            }
            // SAFETY: the driver has sent it.
            unsafe { self.frames.complete(&[desc]) };
        }
    }

    /// A frame comes in, if there is one to receive it into, and is decided on.
    fn arrive(&mut self, bytes: &[u8], way: Way) {
        let Some(mut desc) = self.fill.pop_front() else { return };
        // SAFETY: the frame is the kernel's, which is played here.
        let mut data = unsafe { self.umem.data_mut(&mut desc) };
        data.cursor().set_pos(0);
        data.cursor().write_all(bytes).expect("it fits");
        let mut batch = Vec::with_capacity(1);
        // SAFETY: the kernel has received it.
        unsafe { self.frames.receive(&[desc], &mut batch) };
        let frame = batch.pop().expect("it lies in the UMEM");
        assert_eq!((frame.len(), self.frames.held()), (bytes.len(), 1));
        self.tally.arrived += 1;
        self.handle(frame, way);
    }

    /// As the worker does.
    fn handle(&mut self, mut frame: Frame, way: Way) {
        let Self { rules, fragments, secret, shield, scratch, now, .. } = self;
        let (shield, pressed) = (Some(&*shield), &Pressed::default());
        let context = Context {
            rules,
            sources: &Odd,
            fragments,
            secret,
            relay: way,
            shield,
            pressed,
            suspensions: &Suspensions::new(Secret::default()),
        };
        let length = frame.len();
        let room = self.frames.room(&mut frame);
        let action = pipeline::handle(room, length, scratch, &context, || *now).action;
        match action {
            Action::Relay(checksum) => {
                assert!(checksum == Checksum::Whole || length > 42);
                self.tally.relayed += 1;
                if let Some(flow) = packet::flow(&&room[..length]) {
                    self.transmitter.learn(&room[..length], &flow, self.now);
                }
            }
            Action::RelayWhole => {
                assert_eq!(way, Way::Datagrams);
                self.tally.whole += 1;
                let parsed = Parsed::of(&scratch.whole).expect("what is handed on as a whole is right");
                assert!(!parsed.payload.is_empty());
            }
            Action::Reply(length, _) => {
                self.tally.replied += 1;
                match self.transmitter.reply(&mut self.frames, frame, length) {
                    Sent::Ring => self.outgoing.push_back(None),
                    _ => self.tally.late += 1,
                }
                return;
            }
            Action::Swallow(_) => self.tally.swallowed += 1,
            Action::Drop(_) => self.tally.dropped += 1,
        }
        self.frames.release(frame);
    }

    /// Nobody holds a frame, and the kernel has what it was given.
    fn balance(&self) {
        let frames = &self.frames;
        assert_eq!((frames.held(), frames.bad_descriptors()), (0, 0));
        assert_eq!(frames.receiving(), self.fill.len());
        assert_eq!(frames.sending(), self.outgoing.len());
        assert!(frames.sending() <= SLOTS);
        assert_eq!(frames.free() + frames.receiving() + frames.sending(), FRAMES as usize);
    }

    /// The driver sends all it has, the kernel gives back what it did not need: each frame is there, and once.
    fn rest(&mut self) {
        self.drive(SLOTS);
        while !self.fill.is_empty() {
            self.arrive(&[], Way::Frames);
        }
        self.balance();
        assert_eq!(self.frames.free(), FRAMES as usize);
        let mut all: Vec<Frame> = std::iter::from_fn(|| self.frames.take()).collect();
        let chunks = all.iter_mut().map(|frame| self.frames.room(frame).as_ptr() as usize / CHUNK as usize);
        assert_eq!(chunks.collect::<BTreeSet<_>>().len(), FRAMES as usize);
        all.into_iter().for_each(|frame| self.frames.release(frame));
    }
}

fn own(v4: bool) -> SocketAddr {
    if v4 { (OWN_V4, 5_060).into() } else { (OWN_V6, 5_060).into() }
}

fn caller(v4: bool, who: u8) -> SocketAddr {
    let (mut v4_addr, mut v6_addr) = (CALLER_V4, CALLER_V6);
    (v4_addr[3], v6_addr[15]) = (who & 7 | 8, who & 7 | 8);
    if v4 { (v4_addr, 5_061).into() } else { (v6_addr, 5_061).into() }
}

fn end(at: SocketAddr) -> End {
    let addr = match at.ip() {
        IpAddr::V4(ip) => Addr::v4(ip.octets()),
        IpAddr::V6(ip) => Addr::from_bytes(ip.octets()),
    };
    End { addr, port: at.port() }
}

/// A caller's datagram, by etherparse.
fn whole(v4: bool, tagged: bool, who: u8, payload: &[u8]) -> Vec<u8> {
    let (from, to) = (caller(v4, who), own(v4));
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, who], [2, 0, 0, 0, 1, 0]);
    let octets = |at: SocketAddr| end(at).addr.to_bytes();
    let short = |at: SocketAddr| *octets(at).last_chunk::<4>().expect("16 bytes");
    let (id, hops) = (7.try_into().expect("a VLAN"), 64);
    let ip = match (tagged, v4) {
        (false, true) => link.ipv4(short(from), short(to), hops),
        (false, false) => link.ipv6(octets(from), octets(to), hops),
        (true, true) => link.single_vlan(id).ipv4(short(from), short(to), hops),
        (true, false) => link.single_vlan(id).ipv6(octets(from), octets(to), hops),
    };
    let mut frame = Vec::new();
    ip.udp(from.port(), to.port()).write(&mut frame, payload).expect("a vector takes all");
    frame
}

/// The same in two fragments (RFC 791 §3.1, RFC 8200 §4.5), as far as it can be cut.
fn in_two(frame: &[u8], id: u32) -> Vec<Vec<u8>> {
    let Some(flow) = packet::flow(&frame) else { return vec![frame.to_vec()] };
    let (l3, l4) = (flow.l3 as usize, flow.l4 as usize);
    let (head, datagram) = frame.split_at(l4);
    let first = (datagram.len() / 2).next_multiple_of(8);
    if first < 16 || first >= datagram.len() {
        return vec![frame.to_vec()];
    }
    let piece = |offset: usize, bytes: &[u8], more: bool| {
        let mut head = head.to_vec();
        if flow.src.is_v4() {
            head[l3 + 2..l3 + 4].copy_from_slice(&((l4 - l3 + bytes.len()) as u16).to_be_bytes());
            head[l3 + 4..l3 + 6].copy_from_slice(&(id as u16).to_be_bytes());
            let field = (offset / 8) as u16 | u16::from(more) << 13;
            head[l3 + 6..l3 + 8].copy_from_slice(&field.to_be_bytes());
            head[l3 + 10..l3 + 12].fill(0);
            let sum = vos_engine::datagram::sum(&head[l3..l4]);
            head[l3 + 10..l3 + 12].copy_from_slice(&(!sum).to_be_bytes());
        } else {
            head[l3 + 4..l3 + 6].copy_from_slice(&((8 + bytes.len()) as u16).to_be_bytes());
            head[l3 + 6] = 44;
            head.extend([17, 0]);
            head.extend((offset as u16 | u16::from(more)).to_be_bytes());
            head.extend(id.to_be_bytes());
        }
        [&head, bytes].concat()
    };
    vec![piece(0, &datagram[..first], true), piece(first, &datagram[first..], false)]
}

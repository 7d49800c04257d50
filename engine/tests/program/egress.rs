//! The egress program by BPF_PROG_TEST_RUN: what it copies to user space, and what not.

use aya::maps::{Map, RingBuf};
use aya::programs::SchedClassifier;
use aya::{Ebpf, EbpfLoader, TestRun, TestRunOptions};
use vos_bench::maps;
use vos_common::cases::{self, Packet};
use vos_common::rule::Addr;
use vos_common::state::{BUDGETS, BYES, PROVISIONAL, REPLY_HEAD};
use vos_engine::xdp::OBJECT;

/// TC_ACT_UNSPEC: the next program decides.
const NEXT: u32 = u32::MAX;
const CALLEE: u16 = 5_062;

const BYE: &[u8] = b"BYE sip:100@198.51.100.20:5062 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKb\r\n\
    From: <sip:200@example.com>;tag=s\r\nTo: <sip:100@example.com>;tag=1\r\nCall-ID: 1@x\r\nCSeq: 2 BYE\r\n\
    Content-Length: 0\r\n\r\n";

fn response(status: &str) -> Vec<u8> {
    format!("SIP/2.0 {status}\r\nVia: SIP/2.0/UDP 198.51.100.20;branch=z9hG4bK1\r\nCSeq: 1 INVITE\r\n\r\n").into_bytes()
}

struct Egress(Ebpf);

impl Egress {
    /// The program where these flags are set.
    fn with(flags: u64) -> Self {
        let mut ebpf = EbpfLoader::new().load(OBJECT).unwrap();
        let mut world = maps::world();
        world.config.flags |= flags;
        maps::fill(&mut ebpf, &world).unwrap();
        let program: &mut SchedClassifier = ebpf.program_mut("vos_egress").unwrap().try_into().unwrap();
        program.load().unwrap();
        Self(ebpf)
    }

    /// The records that come of a frame, which goes on in any case.
    fn copies(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        let program: &SchedClassifier = self.0.program("vos_egress").unwrap().try_into().unwrap();
        let ran = program.test_run(TestRunOptions { data_in: Some(frame), ..Default::default() }).unwrap();
        assert_eq!(ran.return_value, NEXT);
        let mut ring: RingBuf<_> = RingBuf::<&mut aya::maps::MapData>::try_from(map(&mut self.0)).unwrap();
        let mut records = Vec::new();
        while let Some(record) = ring.next() {
            records.push(record.to_vec());
        }
        records
    }

    /// The one record that comes of a packet.
    #[track_caller]
    fn copy(&mut self, packet: &Packet) -> Vec<u8> {
        let records = self.copies(&packet.build());
        assert_eq!(records.len(), 1);
        records.into_iter().next().unwrap()
    }

    #[track_caller]
    fn passes_over(&mut self, what: &str, packet: &Packet) {
        assert_eq!(self.copies(&packet.build()), Vec::<Vec<u8>>::new(), "{what}");
    }
}

fn map(ebpf: &mut Ebpf) -> &mut Map {
    ebpf.map_mut("REPLIES").unwrap()
}

/// UDP from a port of the server's.
fn from(packet: Packet, port: u16, payload: &[u8]) -> Packet {
    let length = 8 + payload.len() as u16;
    let header = [port.to_be_bytes(), CALLEE.to_be_bytes(), length.to_be_bytes(), [0; 2]].concat();
    packet.raw(17, &[&header[..], payload].concat())
}

fn out(payload: &[u8]) -> Packet {
    from(Packet::v4(cases::OWN_V4).to(&cases::CALLER_V4), 5060, payload)
}

/// A record as `vos_common::state::Reply` lays it out: where it went, port, length, payload.
fn record(to: Addr, payload: &[u8]) -> Vec<u8> {
    let numbers = [u32::from(CALLEE).to_ne_bytes(), (payload.len() as u32).to_ne_bytes()].concat();
    let record = [&to.to_bytes()[..], &numbers, payload].concat();
    assert_eq!(record.len(), REPLY_HEAD + payload.len());
    record
}

#[test]
fn byes_are_copied_where_they_are_asked_for_and_as_they_left() {
    let mut egress = Egress::with(BYES);
    assert_eq!(egress.copy(&out(BYE)), record(Addr::v4(cases::CALLER_V4), BYE));
    let v6 = Packet::v6(cases::OWN_V6).to(&cases::CALLER_V6);
    assert_eq!(egress.copy(&from(v6, 5060, BYE)), record(Addr::from_bytes(cases::CALLER_V6), BYE));
    // the other SIP port
    let other = from(Packet::v4(cases::OWN_V4).to(&cases::CALLER_V4), 5080, BYE);
    assert_eq!(egress.copy(&other), record(Addr::v4(cases::CALLER_V4), BYE));
    // as much as there is room for
    let long = [BYE, &[b'x'; 2_600]].concat();
    assert_eq!(egress.copy(&out(&long)), record(Addr::v4(cases::CALLER_V4), &long[..2_048]));
    // a first fragment holds what ends the call
    let first = out(BYE).fragment(0, true, 7);
    assert_eq!(egress.copy(&first), record(Addr::v4(cases::CALLER_V4), BYE));
}

#[test]
fn without_being_asked_for_they_are_not() {
    for flags in [0, PROVISIONAL, BUDGETS, PROVISIONAL | BUDGETS] {
        let mut egress = Egress::with(flags);
        egress.passes_over("BYE", &out(BYE));
        let ok = response("200 OK");
        assert_eq!(egress.copy(&out(&ok)), record(Addr::v4(cases::CALLER_V4), &ok));
    }
}

#[test]
fn nothing_else_is_copied_with_them() {
    let mut egress = Egress::with(BYES);
    let mut others: Vec<Vec<u8>> =
        ["INVITE", "ACK", "CANCEL", "OPTIONS", "NOTIFY", "REGISTER", "UPDATE", "BYEBYE", "XBYE"]
            .map(cases::request)
            .into();
    // RFC 3261 §7.1: a method's case matters, and no softswitch writes another; §7.2: one blank
    others.extend([
        b"bye sip:a SIP/2.0\r\n\r\n".to_vec(),
        b"BYE\tsip:a SIP/2.0\r\n\r\n".to_vec(),
        b"BYE ".to_vec(),
        vec![],
    ]);
    others.extend([b"\r\n\r\n".to_vec(), b"\r\nBYE sip:a SIP/2.0\r\n\r\n".to_vec()]);
    for payload in &others {
        egress.passes_over(&String::from_utf8_lossy(payload), &out(payload));
    }
    egress.passes_over("a provisional response", &out(&response("183 Session Progress")));
    egress.passes_over("from another port", &from(Packet::v4(cases::OWN_V4), 4_000, BYE));
    egress.passes_over("a later fragment", &out(BYE).fragment(800, false, 7));
    let tcp = [&5060u16.to_be_bytes()[..], &CALLEE.to_be_bytes(), &[0; 4], BYE].concat();
    egress.passes_over("TCP", &Packet::v4(cases::OWN_V4).to(&cases::CALLER_V4).raw(6, &tcp));
    let ok = response("486 Busy Here");
    assert_eq!(egress.copy(&out(&ok)), record(Addr::v4(cases::CALLER_V4), &ok), "final responses, as ever");
}

#[test]
fn provisional_responses_and_byes_are_asked_for_apart() {
    let ringing = response("180 Ringing");
    let mut egress = Egress::with(PROVISIONAL | BYES);
    assert_eq!(egress.copy(&out(&ringing)), record(Addr::v4(cases::CALLER_V4), &ringing));
    assert_eq!(egress.copy(&out(BYE)), record(Addr::v4(cases::CALLER_V4), BYE));
}

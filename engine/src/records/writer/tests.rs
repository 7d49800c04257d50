//! What is told goes in, with a clock, and lines come out.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;
use tempfile::TempDir;
use vos_common::rule::Addr;

use super::super::record::{Call, Cause, Suspension, What};
use super::super::{INTERVAL, SOURCES_MAX, SUMMARY_MAX};
use super::*;

const SECOND: u64 = 1_000_000_000;

struct Nobody;

impl Sources for Nobody {
    fn is_known(&self, _: &Addr) -> bool {
        false
    }

    fn is_named(&self, _: &Addr) -> bool {
        false
    }

    fn is_trusted(&self, _: &Addr) -> bool {
        false
    }
}

struct Desk {
    directory: TempDir,
    config: config::Records,
    records: Records,
    writer: Writer,
    now: u64,
}

impl Desk {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let config = config::Records { file: directory.path().join("r.jsonl"), ..config::Records::default() };
        let (records, writer) = Writer::new(Box::new(Nobody), &config);
        Self { directory, config, records, writer, now: SECOND }
    }

    fn turn(&mut self, attack: bool) {
        self.writer.turn(&self.config, attack, Clock::at(1_700_000_000 * SECOND + self.now, self.now));
    }

    fn tell(&self, source: u32, status: u16) {
        self.records.tell(record(source, status));
    }

    /// Kinds and counts of what there is in the file.
    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.config.file).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn kinds(&self) -> Vec<String> {
        self.lines().iter().map(|line| line["kind"].as_str().expect("a kind").to_owned()).collect()
    }
}

fn record(source: u32, status: u16) -> Record {
    let call = Call {
        source: IpAddr::V4(source.into()),
        source_port: 5060,
        known: false,
        from: "sip:a@e.com".into(),
        to: "sip:b\u{9b}@e.com".into(),
        request_uri: String::new(),
        call_id: "1".into(),
        user_agent: String::new(),
        seconds: None,
        cause: Cause { status, reason_phrase: String::new(), reason: String::new() },
    };
    Record { time: 5.0, what: What::ZeroDuration(Box::new(call)) }
}

fn suspension() -> Record {
    let source = Some(IpAddr::V4(7.into()));
    Record { time: 5.0, what: What::Suspension(Suspension { source, user: String::new(), refusals: 6, seconds: 180 }) }
}

#[test]
fn in_an_attack_lines_become_summaries_by_themselves_and_single_again_afterwards() {
    let mut desk = Desk::new();
    desk.tell(1, 404);
    desk.turn(false);
    assert_eq!(desk.kinds(), ["zero_duration"]);
    for n in 0..50 {
        desk.tell(n % 2, 404);
        desk.records.tell(suspension());
        desk.turn(true);
        desk.now += SECOND;
    }
    // what is rare by nature stays as it is
    assert!(desk.kinds()[1..].iter().all(|kind| kind == "suspension") && desk.kinds().len() == 51);
    desk.now = SECOND + INTERVAL;
    desk.turn(true);
    assert_eq!(desk.kinds()[51..], ["summary", "summary"]);
    assert!(desk.lines()[51..].iter().all(|line| line["count"] == 25 && line["counts"]["zero_duration"]["404"] == 25));
    // The attack ends before the interval does.
    desk.tell(9, 486);
    desk.turn(true);
    desk.tell(9, 487);
    desk.turn(false);
    let lines = desk.lines();
    assert_eq!(desk.kinds()[53..], ["summary", "zero_duration"]);
    assert_eq!((&lines[53]["source"], &lines[54]["status"]), (&"0.0.0.9".into(), &487.into()));
    let counts = desk.records.counts();
    assert_eq!((counts.written(Kind::Summary), counts.written(Kind::ZeroDuration), counts.summarised()), (3, 2, 51));
}

#[test]
fn on_is_single_in_an_attack_too() {
    let mut desk = Desk::new();
    desk.config.zero_duration = ZeroDuration::On;
    desk.tell(1, 404);
    desk.turn(true);
    assert_eq!(desk.kinds(), ["zero_duration"]);
}

/// Ten minutes of a million sources: what the documentation promises of the disk.
#[test]
fn an_attack_grows_the_file_by_no_more_than_is_promised() {
    let mut desk = Desk::new();
    let mut told = 0u64;
    for second in 0..600u32 {
        for n in 0..1_000u32 {
            desk.tell(second.wrapping_mul(1_667).wrapping_add(n), 400 + (n % 100) as u16);
            told += 1;
        }
        desk.turn(true);
        desk.now += SECOND;
    }
    desk.turn(false);
    let length = std::fs::metadata(&desk.config.file).expect("written").len();
    let bound = 10 * (SOURCES_MAX as u64 + 1) * SUMMARY_MAX as u64;
    assert!(length <= bound, "{length} of {bound}");
    let lines = desk.lines();
    assert_eq!(lines.len(), 10 * (SOURCES_MAX + 1));
    assert_eq!(lines.iter().map(|line| line["count"].as_u64().expect("a count")).sum::<u64>(), told);
    assert_eq!(desk.records.counts().summarised(), told);
}

#[test]
fn a_reload_switches_off_and_on_and_elsewhere() {
    let mut desk = Desk::new();
    desk.tell(1, 404);
    desk.turn(true);
    let (first, file) = (desk.config.file.clone(), desk.directory.path().join("other.jsonl"));
    desk.config.file = std::path::PathBuf::new();
    desk.turn(true);
    assert!(!desk.records.is_on());
    desk.tell(1, 404);
    desk.turn(true);
    let text = std::fs::read_to_string(&first).expect("what there was is written");
    assert_eq!(text.lines().count(), 1);
    desk.config.file = file;
    desk.turn(false);
    desk.tell(1, 404);
    desk.turn(false);
    assert_eq!(desk.kinds(), ["zero_duration"]);
    assert_eq!(std::fs::read_to_string(&first).expect("there"), text);
}

#[test]
fn what_finds_no_room_is_counted_and_nobody_waits() {
    let mut desk = Desk::new();
    for n in 0..TOLD as u32 + 5 {
        desk.tell(n, 404);
    }
    assert_eq!(desk.records.counts().lost(Loss::Busy), 5);
    desk.config.file = "/dev/full".into();
    desk.turn(false);
    assert_eq!(desk.records.counts().lost(Loss::File), TOLD as u64);
    assert_eq!(desk.records.counts().written(Kind::ZeroDuration), 0);
    // the broker is nowhere, and takes what it has room for
    desk.config.file = desk.directory.path().join("r.jsonl");
    desk.config.exchange = "vos.records".into();
    for n in 0..super::super::UNSENT as u32 + 7 {
        desk.tell(n, 404);
        if n % 100 == 0 {
            desk.turn(false);
        }
    }
    desk.turn(false);
    assert_eq!(desk.records.counts().lost(Loss::Broker), 7);
    assert_eq!(desk.lines().len(), super::super::UNSENT + 7);
}

#[test]
fn no_terminal_obeys_a_line() {
    let mut desk = Desk::new();
    desk.tell(1, 404);
    desk.turn(false);
    let text = std::fs::read_to_string(&desk.config.file).expect("written");
    assert!(text.contains("\\u009b") && !text.contains('\u{9b}'), "{text}");
    assert_eq!(desk.lines()[0]["to"], "sip:b\u{9b}@e.com");
}

/// Every text is as long as can be, of nothing but what is escaped.
#[test]
fn no_line_is_longer_than_is_promised() {
    let desk = &mut Desk::new();
    let text = super::super::text(&[1; 1_000]);
    let call = Call {
        from: text.clone(),
        to: text.clone(),
        request_uri: text.clone(),
        call_id: text.clone(),
        user_agent: text.clone(),
        seconds: Some(599.999),
        cause: Cause { status: 403, reason_phrase: text.clone(), reason: text },
        ..match record(u32::MAX, 403).what {
            What::ZeroDuration(call) => *call,
            other => panic!("{other:?}"),
        }
    };
    desk.records.tell(Record { time: 1_767_225_600.125, what: What::ZeroDuration(Box::new(call)) });
    desk.turn(false);
    let length = std::fs::metadata(&desk.config.file).expect("written").len();
    assert!((10 << 10..12 << 10).contains(&length), "{length}");
}

/// Each example in the documentation is what the types write, and there is one of every kind.
#[test]
fn the_documentation_shows_every_kind_as_it_is_written() {
    let text = include_str!("../../../../docs/records.md");
    let mut kinds = BTreeMap::<Kind, u32>::new();
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let record: Record = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(serde_json::to_string(&record).expect("JSON"), line);
        *kinds.entry(record.kind()).or_default() += 1;
    }
    assert_eq!(kinds.into_keys().collect::<Vec<_>>(), Kind::ALL);
    for number in [format!("{} KiB", SUMMARY_MAX.div_ceil(1_024)), format!("{SOURCES_MAX} sources")] {
        assert!(text.contains(&number), "{number}");
    }
}

//! The frames of `vos-bench verdict` get the verdicts that their rows say, and what does otherwise is not timed.
//!
//! Needs root.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use vos_bench::object::{XDP_DROP, XDP_PASS, returning, scatter};
use vos_bench::process::output;
use vos_bench::verdict::rows::{Expect, Place, Row, Senders, rows};
use vos_bench::verdict::{Effort, Foreign, measure, table::Cell};
use vos_bench::{Result, Stop};
use vos_common::cases::World;
use vos_common::reason::Reason;
use vos_common::verdict::{Action, Verdict, judge};

const SHORT: Effort = Effort { rounds: 1, packets: 1_000 };

fn foreign(name: &str, object: Vec<u8>) -> Foreign {
    Foreign { name: name.to_owned(), object, fills: Vec::new() }
}

/// Without those that need a million map entries.
fn quick() -> Vec<Row> {
    rows().into_iter().filter(|row| row.place != Place::Listed(20)).collect()
}

#[test]
fn rows_say_what_judge_says() {
    let mut worlds: Vec<(Place, World)> = Vec::new();
    for row in rows() {
        let Expect::Verdict(expect) = row.expect else { continue };
        if worlds.iter().all(|(place, _)| *place != row.place) {
            worlds.push((row.place, row.place.world()));
        }
        let (_, world) = worlds.iter().find(|(place, _)| *place == row.place).unwrap();
        assert_eq!(judge(&row.frame.as_slice(), world).verdict, expect, "{}", row.name);
        if let Senders::Many(scatter) = row.senders {
            let mut frame = row.frame.clone();
            for address in scatter.addresses().step_by(0xf_fff1).take(64) {
                frame[26..30].copy_from_slice(&address);
                assert_eq!(judge(&frame.as_slice(), world).verdict, expect, "{} from {address:?}", row.name);
            }
        }
    }
}

#[test]
fn a_wrong_verdict_is_an_error() {
    let said = |name: &str, expect| {
        let row = rows().into_iter().find(|row| row.name == name).unwrap();
        measure(&[Row { expect, ..row }], &[], SHORT, &Stop::never()).unwrap_err().to_string()
    };
    for (action, reason) in [(Action::Pass, Reason::Stealth), (Action::Drop, Reason::Malformed)] {
        let error = said("OPTIONS", Expect::Verdict(Verdict { action, reason }));
        assert!(error.contains("OPTIONS") && error.contains("Stealth, 1000"), "{error}");
    }
    let error = said("egress: request", Expect::Egress { copied: true });
    assert!(error.contains("egress: request") && error.contains("copied 0"), "{error}");
}

#[test]
fn others_are_timed_where_they_are_right() {
    let others = [
        foreign("passes", returning("xdp", XDP_PASS)),
        foreign("drops", returning("xdp", XDP_DROP)),
        // No successor: it fails.
        foreign("fails", scatter([0; 4], [0; 4])),
    ];
    let rows = quick();
    let report = measure(&rows, &others, SHORT, &Stop::never()).unwrap();
    assert_eq!(report.lines().len(), rows.len());
    for (row, line) in rows.iter().zip(report.lines()) {
        let cells = line.cells.as_slice();
        let [Cell::Ns(empty), Cell::Ns(ours), others @ ..] = cells else { panic!("{}: {cells:?}", row.name) };
        // Of many senders it is a sum of three times, and so few packets say little.
        assert!(row.senders != Senders::One || (*empty > 0 && *ours > 0), "{}: {cells:?}", row.name);
        match row.expect {
            Expect::Verdict(verdict) if row.place == Place::Usual => {
                let right = |action| match verdict.action == action {
                    true => matches!(others[usize::from(action == Action::Drop)], Cell::Ns(_)),
                    false => others[usize::from(action == Action::Drop)] == Cell::Wrong(Some(action)),
                };
                assert!(right(Action::Pass) && right(Action::Drop), "{}: {cells:?}", row.name);
                assert_eq!(others[2], Cell::Wrong(None), "{}", row.name);
            }
            _ => assert_eq!(others, [Cell::None; 3], "{}", row.name),
        }
    }
}

fn vos_bench(arguments: &[&str]) -> Result<String> {
    output(Command::new(env!("CARGO_BIN_EXE_vos-bench")).arg("verdict").args(arguments))
}

#[test]
fn the_command_takes_objects_and_map_entries_and_renews_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let empty = format!("nothing={}", write("empty.o", &returning("xdp", XDP_PASS)));
    let ours = format!("ours={}", write("vos.o", vos_engine::xdp::OBJECT));
    let readme = write("README.md", b"a\n<!-- bench-verdict:begin -->\nold\n<!-- bench-verdict:end -->\nb\n");
    let entry = format!("ours:EXACT={}:{}", "00".repeat(16), "00".repeat(24));
    let run = ["--rounds", "1", "--packets", "1000", "--json", "--object", &empty, "--object", &ours];
    let said = vos_bench(&[&run[..], &["--fill", &entry, "--readme", &readme]].concat()).unwrap();
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["programs"], serde_json::json!(["empty", "vos-fastpath", "nothing", "ours"]));
    for (row, line) in rows().iter().zip(report["rows"].as_array().unwrap()) {
        assert_eq!(line["frame"], row.name);
        assert!([0, 1].iter().all(|column| line["cells"][column].is_u64()), "{line}");
    }
    let text = std::fs::read_to_string(Path::new(&readme)).unwrap();
    assert!(text.starts_with("a\n<!-- ") && text.ends_with("-->\nb\n") && text.contains("| OPTIONS "), "{text}");
    assert!(!text.contains("old\n") && !text.contains("nothing"), "{text}");

    let absent = vos_bench(&[&run[..], &["--fill", "ours:BLOCKED=00000000:01"]].concat()).unwrap_err().to_string();
    assert!(absent.contains("no map BLOCKED"), "{absent}");
    let sizes = vos_bench(&[&run[..], &["--fill", "ours:EXACT=00000000:01"]].concat()).unwrap_err().to_string();
    assert!(sizes.contains("EXACT"), "{sizes}");
}

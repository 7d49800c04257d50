//! What other commands have measured, for the same page.

use std::fmt::Write;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use vos_bench::{Error, Result};

use super::plot::{Axis, Line, Scale, plot};
use super::{escape, html};
use crate::relay::{self, Carried};
use crate::report::grouped;
use crate::scale::Series;
use crate::shield::outcome::Outcome;

/// What `shield` and `remote` have written, or `--json` of `verdict`, `scale` or `relay` has printed.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Part {
    /// Good traffic under attack: more set-ups, measured another time.
    #[serde(skip_deserializing)]
    Shield(Box<Outcome>),
    /// What a verdict costs.
    Verdict {
        /// The programs: the empty one, ours, others.
        programs: Vec<String>,
        /// Frames.
        rows: Vec<Frame>,
    },
    /// What grows with lists and sources.
    Scale(Vec<Series>),
    /// How much each path carries.
    Relay(Vec<Carried>),
}

/// A frame, and what it took each program.
#[derive(Debug, Deserialize)]
pub(crate) struct Frame {
    frame: String,
    verdict: String,
    /// Nanoseconds, or words.
    cells: Vec<Value>,
}

impl Part {
    /// From this file.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read(file).map_err(Error::io(format!("read {}", file.display())))?;
        // Not by way of `untagged`, which has no integers as keys (serde #1183): statuses are counted by such.
        if let Ok(outcome) = serde_json::from_slice(&text) {
            return Ok(Self::Shield(Box::new(outcome)));
        }
        serde_json::from_slice(&text).map_err(|_| {
            Error::Other(format!(
                "{}: not what `vos-bench shield` or `remote` writes, nor what `verdict`, `scale` or `relay` prints, with \
                 --json",
                file.display()
            ))
        })
    }

    /// Its section of the page.
    pub(super) fn section(&self) -> String {
        match self {
            // Among the set-ups of the first.
            Self::Shield(_) => String::new(),
            Self::Verdict { programs, rows } => verdicts(programs, rows),
            Self::Scale(series) => growth(series),
            Self::Relay(all) => {
                let mut text =
                    "<h2>What each path carries</h2>\n<p>The highest rate of OPTIONS, in requests a second, of \
                                which 99.9 % were answered, and the CPU time of a request at seven tenths of it.</p>\n"
                        .to_owned();
                text += &html(&relay::table(all));
                text
            }
        }
    }
}

/// A bar for each frame: what it takes our program, beside what it takes an empty one.
fn verdicts(programs: &[String], rows: &[Frame]) -> String {
    /// Columns of the empty program and of ours.
    const EMPTY: usize = 0;
    const OURS: usize = 1;
    let ns = |row: &Frame, column: usize| row.cells.get(column).and_then(Value::as_u64);
    let most = rows.iter().filter_map(|row| ns(row, OURS)).max().unwrap_or(1).max(1) as f64;
    let mut text = "<h2>What a verdict costs</h2>\n<p>Nanoseconds that the XDP program takes for a packet, \
                    by BPF_PROG_TEST_RUN; an empty program takes the dark part.</p>\n<div class=\"bars long\">\n"
        .to_owned();
    for row in rows {
        let (Some(ours), Some(empty)) = (ns(row, OURS), ns(row, EMPTY)) else { continue };
        let [whole, dark] = [ours, empty.min(ours)].map(|ns| ns as f64 * 100.0 / most);
        let _ = writeln!(
            text,
            "<div><span>{}</span><i><b style=\"width:{whole:.1}%\"><b style=\"width:{:.1}%\"></b></b></i>\
             <em>{ours}</em></div>",
            escape(&row.frame),
            dark * 100.0 / whole.max(f64::MIN_POSITIVE)
        );
    }
    text += "</div>\n";
    let mut table = vec![["frame", "verdict"].map(str::to_owned).to_vec()];
    table[0].extend(programs.iter().map(|name| format!("{name}, ns")));
    for row in rows {
        let mut line = vec![row.frame.clone(), row.verdict.clone()];
        line.extend((0..programs.len()).map(|at| ns(row, at).map(|ns| ns.to_string()).unwrap_or_default()));
        table.push(line);
    }
    text + &format!("<details><summary>as a table</summary>\n{}</details>\n", html(&table))
}

fn growth(all: &[Series]) -> String {
    let line = |(colour, series): (usize, &Series)| Line {
        name: series.what.clone(),
        points: series.points.iter().map(|(size, ns)| (*size as f64, *ns as f64)).collect(),
        colour,
    };
    let lines: Vec<Line> = all.iter().enumerate().map(line).collect();
    let most = all.iter().flat_map(|series| &series.points).map(|(_, ns)| *ns).max().unwrap_or(1);
    let size = Axis { title: "entries, or sources", scale: Scale::Log };
    let cost = Axis { title: "ns a packet", scale: Scale::Linear(most as f64 * 1.1) };
    let caption: Vec<String> =
        all.iter().map(|series| format!("{}: size to the power of {:.2}", series.what, series.exponent)).collect();
    let sizes = all.iter().flat_map(|series| &series.points).map(|(size, _)| *size);
    format!(
        "<h2>What lists and sources cost</h2>\n<p>A verdict while the blocklist grows, and while ever more unknown sources \
         register, from {} to {}.</p>\n<figure>{}<figcaption>{}.</figcaption></figure>\n",
        grouped(sizes.clone().min().unwrap_or(0)),
        grouped(sizes.max().unwrap_or(0)),
        plot(&lines, size, cost),
        escape(&caption.join("; "))
    )
}

#[cfg(test)]
mod tests {
    use vos_bench::verdict::table::{Cell, Line as Written};

    use super::*;

    fn section(json: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), json).unwrap();
        Part::read(file.path()).unwrap().section()
    }

    #[test]
    fn each_command_has_its_section() {
        let row = |frame, verdict: &str, cells: [Cell; 2]| Written {
            frame,
            verdict: verdict.to_owned(),
            cells: cells.to_vec(),
        };
        let rows =
            [row("a <b>", "drop", [Cell::Ns(20), Cell::Ns(80)]), row("other", "pass", [Cell::None, Cell::Wrong(None)])];
        let rows = serde_json::to_string(&rows).unwrap();
        let verdict = section(&format!(r#"{{"rounds":3,"programs":["empty","vos"],"rows":{rows},"goals":[]}}"#));
        assert!(verdict.contains("a &lt;b&gt;") && verdict.contains("<em>80</em>"), "{verdict}");
        assert!(verdict.contains("width:100.0%") && verdict.contains("width:25.0%"), "{verdict}");
        let scale = section(r#"[{"what":"blocklist","points":[[1024,100],[1048576,200]],"exponent":0.1}]"#);
        assert!(scale.contains("<svg") && scale.contains("blocklist: size to the power of 0.10"), "{scale}");
        let relay = section(
            r#"[{"path":"re-entry","queues":2,"rate":40000,"engine_ns":null,"machine_ns":5.0,
                "stages_ns":[1.0,null,null]}]"#,
        );
        assert!(relay.contains("40,000") && relay.contains("re-entry"), "{relay}");
    }

    #[test]
    fn what_is_none_of_them_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{}").unwrap();
        let error = Part::read(file.path()).unwrap_err().to_string();
        assert!(error.contains("--json") && error.contains(&file.path().display().to_string()), "{error}");
    }
}

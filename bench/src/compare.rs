//! Two runs of `shield` or `remote`, side by side: what has become better, and what worse.

use std::path::PathBuf;

use vos_bench::Result;
use vos_bench::markdown::aligned;

use crate::shield::outcome::{Flood, Outcome, Turn};
use crate::shield::table::{cost, figure, percent, title};

/// The comparison's options.
#[derive(clap::Args)]
pub(crate) struct CompareOptions {
    /// What `vos-bench shield --json` or `vos-bench remote --json` wrote
    #[arg(value_name = "A.json")]
    before: PathBuf,
    /// What it wrote another time, or elsewhere
    #[arg(value_name = "B.json")]
    after: PathBuf,
}

/// Prints the table.
pub(crate) fn run(options: &CompareOptions) -> Result<()> {
    let (before, after) = (Outcome::read(&options.before)?, Outcome::read(&options.after)?);
    if before.machine.cpu != after.machine.cpu || before.machine.kernel != after.machine.kernel {
        crate::say("These are of different machines or kernels: only shares of one run are worth comparing.\n");
    }
    crate::say(&aligned(&table(&before, &after)));
    Ok(())
}

/// What both have measured.
fn table(before: &Outcome, after: &Outcome) -> Vec<Vec<String>> {
    let head = ["flood and way in", "what", "A", "B", "B / A"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    let floods = before.floods();
    let floods: Vec<Option<Flood>> = std::iter::once(None).chain(floods.into_iter().map(Some)).collect();
    for (flood, (setup, _)) in floods.iter().flat_map(|flood| before.setups.iter().map(move |setup| (flood, setup))) {
        let both = |of: fn(&Turn) -> f64| Some((figure(before, setup, *flood, of)?, figure(after, setup, *flood, of)?));
        let mut line = |what: &str, values: Option<(f64, f64)>, show: fn(f64) -> String| {
            let Some((a, b)) = values else { return };
            let name = format!("{}, {setup}", title(*flood));
            table.push(vec![name, what.to_owned(), show(a), show(b), format!("{:.2}", b / a)]);
        };
        line("answered, %", both(|turn| turn.success() * 100.0), percent);
        line("p50, µs", both(|turn| turn.registers.latency.p50), whole);
        line("p99, µs", both(|turn| turn.registers.latency.p99), whole);
    }
    for (setup, _) in &before.setups {
        let Some((a, b)) = cost(before, setup).zip(cost(after, setup)) else { continue };
        let cells =
            [format!("a dropped packet, {setup}"), "CPU, ns".to_owned(), whole(a), whole(b), format!("{:.2}", b / a)];
        table.push(cells.to_vec());
    }
    table
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::shield::outcome::Cost;
    use vos_bench::{CallReport, JunkReport, LoadReport};

    fn outcome(p50: f64, answered: u64, busy: f64) -> Outcome {
        let mut registers = LoadReport { sent: 100, answered, ..LoadReport::default() };
        (registers.latency.p50, registers.latency.p99) = (p50, 10.0 * p50);
        let (setup, flood) = ("filter".to_owned(), None);
        let calls = CallReport::default();
        let turn = Turn {
            setup: setup.clone(),
            round: 1,
            flood,
            junk: None,
            registers,
            calls,
            overflowed: 0,
            survived: None,
            busy,
            lasted: 1.0,
        };
        let junk = JunkReport { sent: 1_000_000, ..JunkReport::default() };
        Outcome {
            is_remote: false,
            machine: Machine::default(),
            server: String::new(),
            rounds: 1,
            seconds: 1.0,
            setups: vec![(setup.clone(), String::new())],
            turns: vec![turn],
            costs: vec![Cost { setup, round: 1, junk, busy }],
        }
    }

    #[test]
    fn what_both_have_is_held_side_by_side() {
        let (before, after) = (outcome(100.0, 100, 2.0), outcome(50.0, 99, 1.0));
        let lines: Vec<String> = table(&before, &after).iter().map(|line| line.join("|")).collect();
        assert_eq!(
            lines[1..],
            [
                "no flood, filter|answered, %|100|99.0|0.99",
                "no flood, filter|p50, µs|100|50|0.50",
                "no flood, filter|p99, µs|1000|500|0.50",
                "a dropped packet, filter|CPU, ns|2000|1000|0.50",
            ]
        );
        assert_eq!(
            table(&before, &Outcome { setups: Vec::new(), turns: Vec::new(), costs: Vec::new(), ..after }).len(),
            1
        );
    }

    #[test]
    fn a_run_is_read_as_it_was_written() {
        let file = std::env::temp_dir().join(format!("vos-bench-compare-{}.json", std::process::id()));
        std::fs::write(&file, crate::to_json(&outcome(1.0, 1, 1.0))).unwrap();
        let read_again = Outcome::read(&file).unwrap();
        assert_eq!(crate::to_json(&read_again), crate::to_json(&outcome(1.0, 1, 1.0)));
        std::fs::write(&file, "{}").unwrap();
        assert!(Outcome::read(&file).unwrap_err().to_string().contains("vos-bench shield --json"));
        std::fs::remove_file(file).unwrap();
    }
}

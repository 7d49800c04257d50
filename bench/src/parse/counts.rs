use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use vos_bench::process::output;
use vos_bench::{Error, Result, Stop};

use super::SAMPLE;
use super::messages::Message;
use super::table::{Build, Figures};

/// The calls of the two runs whose difference counts: some for tables that fill at first, and few enough for a
/// fraction of a second under valgrind.
const CALLS: [u32; 2] = [20, 60];

/// A tool of valgrind, and the line in which it tells its count.
struct Tool {
    options: &'static [&'static str],
    /// What stands before the number.
    label: &'static str,
}

const INSTRUCTIONS: Tool =
    Tool { options: &["--tool=callgrind", "--callgrind-out-file=/dev/null"], label: "Collected :" };
const ALLOCATIONS: Tool = Tool {
    options: &["--tool=memcheck", "--undef-value-errors=no", "--leak-check=no", "--read-inline-info=no"],
    label: "total heap usage:",
};

/// Is there a valgrind? To be asked before anything that takes its time.
pub(super) fn ready() -> Result<()> {
    output(Command::new("valgrind").arg("--version")).map(drop).map_err(name_the_package)
}

/// Adds to each parser its instructions for [`SAMPLE`] and its allocations over all messages that it takes.
pub(super) fn add(figures: &mut [Figures], messages: &[Message], stop: &Stop) -> Result<()> {
    let sample = messages.iter().position(|message| message.name == SAMPLE);
    let sample = sample.ok_or_else(|| Error::Other(format!("the corpus has no {SAMPLE}.sip")))?;
    // Counts do not mind company.
    let queue = Mutex::new(figures.iter_mut());
    let counter = || {
        while let Some(figures) = next(&queue) {
            count(figures, messages, sample, stop)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let counters: Vec<_> = (0..cores).map(|_| scope.spawn(counter)).collect();
        counters.into_iter().try_for_each(|counter| counter.join().expect("it has no reason to panic"))
    })
}

fn next<T>(queue: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    queue.lock().expect("no holder has a reason to panic").next()
}

fn count(figures: &mut Figures, messages: &[Message], sample: usize, stop: &Stop) -> Result<()> {
    let file = |at: usize| figures.nanoseconds[at].and_then(|_| messages[at].file(&figures.parser));
    let files: Vec<_> = (0..messages.len()).filter_map(file).collect();
    if let Some(file) = file(sample) {
        figures.instructions = Some(a_call(&INSTRUCTIONS, figures, &[file], stop)?);
    }
    // The other build allocates as much.
    if figures.build != Build::V3 && !files.is_empty() {
        figures.allocations = Some(a_call(&ALLOCATIONS, figures, &files, stop)? / files.len() as f64);
    }
    Ok(())
}

/// What one call for each of the files adds to the count.
fn a_call(tool: &Tool, figures: &Figures, files: &[&Path], stop: &Stop) -> Result<f64> {
    let run = |calls: u32| {
        stop.check()?;
        let mut valgrind = Command::new("valgrind");
        valgrind.args(tool.options).arg("--log-fd=1").arg(&figures.program);
        if figures.build == Build::Foreign {
            valgrind.arg("--count").arg(calls.to_string()).arg(&figures.parser).args(files);
        } else {
            valgrind.args(["parse", "--only", &figures.parser, "--count", &calls.to_string()]);
            files.iter().for_each(|file| _ = valgrind.arg("--message").arg(file));
        }
        number_after(tool.label, &output(&mut valgrind)?)
    };
    let [few, many] = [run(CALLS[0])?, run(CALLS[1])?];
    Ok((many - few) / f64::from(CALLS[1] - CALLS[0]))
}

fn name_the_package(error: Error) -> Error {
    match error {
        Error::ProgramMissing { program, .. } => {
            Error::ProgramMissing { program, remedy: "apt install valgrind".to_owned() }
        }
        other => other,
    }
}

/// `==7==   total heap usage: 1,234 allocs, …`: 1234
fn number_after(label: &str, log: &str) -> Result<f64> {
    let number = log.split_once(label).and_then(|(_, rest)| rest.split_whitespace().next());
    let number = number.and_then(|number| number.replace(',', "").parse().ok());
    number.ok_or_else(|| Error::Other(format!("valgrind tells no {label:?}: {}", log.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_in_the_log() {
        let log = "==7== \n==7==   total heap usage: 1,234 allocs, 1,230 frees\n==7== Collected : 42\n";
        assert_eq!(number_after(ALLOCATIONS.label, log).unwrap(), 1234.0);
        assert_eq!(number_after(INSTRUCTIONS.label, log).unwrap(), 42.0);
        assert!(number_after("Events", log).is_err());
    }
}

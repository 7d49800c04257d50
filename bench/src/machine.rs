//! Where a measurement was made: what a reader has to know to make it again.

use std::fs;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// The machine and the command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Machine {
    /// `uname -r`
    pub(crate) kernel: String,
    /// As /proc/cpuinfo has it.
    pub(crate) cpu: String,
    /// Cores that this process may use.
    pub(crate) cores: usize,
    /// Is it a guest of another one? Then its clock is the host's to give.
    pub(crate) is_virtual: bool,
    /// MiB of memory.
    pub(crate) memory: u64,
    /// This program's version.
    pub(crate) version: String,
    /// When, RFC 3339, UTC.
    pub(crate) date: String,
    /// What was typed.
    pub(crate) command: String,
}

impl Machine {
    /// This one, now. What cannot be read is left empty.
    pub(crate) fn here() -> Self {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let (info, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
        let mut words: Vec<String> = std::env::args().collect();
        if let Some(program) = words.first_mut() {
            *program = "vos-bench".to_owned();
        }
        hide_passwords(&mut words);
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: field(&info, "model name").unwrap_or_default().to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            is_virtual: field(&info, "flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            memory: field(&memory, "MemTotal")
                .and_then(|size| size.split(' ').next()?.parse::<u64>().ok())
                .unwrap_or(0)
                / 1024,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            command: words.join(" "),
        }
    }
}

/// Reports are handed on.
fn hide_passwords(words: &mut [String]) {
    const OPTION: &str = "--password";
    let mut is_next = false;
    for word in words {
        if is_next {
            "***".clone_into(word);
        } else if word.strip_prefix(OPTION).is_some_and(|rest| rest.starts_with('=')) {
            *word = format!("{OPTION}=***");
        }
        is_next = word == OPTION;
    }
}

/// The first line `NAME : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == name))
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_report_holds_a_password() {
        let mut words = ["a", "--password", "p", "--password=p", "--to", "p"].map(str::to_owned);
        hide_passwords(&mut words);
        assert_eq!(words, ["a", "--password", "***", "--password=***", "--to", "p"]);
    }

    #[test]
    fn fields_are_read() {
        let info = "processor\t: 0\nmodel name\t: A CPU @ 2.0 GHz\nflags\t\t: fpu hypervisor lm\n\nprocessor\t: 1\n";
        assert_eq!(field(info, "model name"), Some("A CPU @ 2.0 GHz"));
        assert_eq!(field(info, "flags"), Some("fpu hypervisor lm"));
        assert_eq!(field(info, "bogomips"), None);
        let here = Machine::here();
        assert!(here.cores > 0 && here.memory > 0 && !here.kernel.is_empty(), "{here:?}");
    }
}

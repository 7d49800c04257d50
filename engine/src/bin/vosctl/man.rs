//! `vosctl man`, `vosctl completions`: what the command line says of itself, for man and for shells.

/// What is done with each command.
mod examples;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory, ValueEnum};
use clap_complete::Shell as Known;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::Cli;
use crate::answer::{EXIT_CODES, EXIT_NOTES, Failure};
use examples::EXAMPLES;

/// Administration commands: vosctl is in sbin.
const SECTION: &str = "8";

const FILES: [(&str, &str); 3] = [
    ("/run/vos/IFACE.sock", "where the engine of an interface is asked; see --iface and --run-dir"),
    ("/etc/vos/vos.toml", "the engine's configuration, each key with its meaning"),
    ("/var/lib/vos/IFACE.redb", "the rules on disk; the engine's alone"),
];

/// Shells whose completions are tested.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Write a page for each command into this directory; without it, the page of vosctl itself is printed.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn completions(shell: Shell) -> Result<u8, Failure> {
    let shell = match shell {
        Shell::Bash => Known::Bash,
        Shell::Zsh => Known::Zsh,
        Shell::Fish => Known::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "vosctl", &mut script);
    Ok(io::stdout().write_all(&script).map(|()| 0)?)
}

pub(crate) fn man(args: &ManArgs) -> Result<u8, Failure> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let Some(dir) = &args.dir else {
        return Ok(io::stdout().write_all(&page(&command)?).map(|()| 0)?);
    };
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", dir.display()));
    fs::create_dir_all(dir).and_then(|()| write_all(&command, dir)).map_err(named)?;
    Ok(0)
}

fn write_all(command: &Command, dir: &Path) -> io::Result<()> {
    fs::write(dir.join(format!("{}.{SECTION}", name(command))), page(command)?)?;
    command.get_subcommands().try_for_each(|command| write_all(command, dir))
}

fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone()).section(SECTION).source("vos-fastpath").manual("System administration");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let is_tool = name(command) == "vosctl";
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(notes) = command.get_after_help().filter(|_| !is_tool) {
        let mut roff = Roff::default();
        roff.control("SH", ["NOTES"]);
        verbatim(&mut roff, &notes.to_string());
        roff.to_writer(&mut page)?;
    }
    ending(command).to_writer(&mut page)?;
    Ok(page)
}

/// What clap does not know.
fn ending(command: &Command) -> Roff {
    let mut roff = Roff::default();
    roff.control("SH", ["EXIT STATUS"]);
    for (code, what) in EXIT_CODES {
        roff.control("TP", []);
        roff.text([bold(code.to_string())]);
        roff.text([roman(what)]);
    }
    roff.control("PP", []);
    roff.text([roman(EXIT_NOTES.replace('\n', " "))]);
    roff.control("SH", ["FILES"]);
    for (file, what) in FILES {
        roff.control("TP", []);
        roff.text([bold(file)]);
        roff.text([roman(what)]);
    }
    let own = name(command).strip_prefix("vosctl-");
    let first = |examples: &'static [(&str, &str)]| examples.first().copied();
    let examples: Vec<_> = match own {
        None => EXAMPLES.iter().filter_map(|(_, examples)| first(examples)).take(10).collect(),
        Some(own) => {
            EXAMPLES.iter().filter(|(name, _)| *name == own).flat_map(|(_, all)| all.iter().copied()).collect()
        }
    };
    if !examples.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
    }
    for (words, what) in examples {
        roff.control("TP", []);
        roff.text([bold(format!("vosctl {words}"))]);
        roff.text([roman(what)]);
    }
    roff.control("SH", ["SEE ALSO"]);
    let others = own.map_or("vosctl man --dir DIR writes a page for each command", |_| "vosctl(8)");
    roff.text([roman(others)]);
    roff
}

fn verbatim(roff: &mut Roff, text: &str) {
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}

#[cfg(test)]
mod tests {
    use std::process::Command as Process;

    use clap::Parser;

    use super::*;

    /// Words as a shell parts them; quotes only.
    fn words(line: &str) -> Vec<String> {
        let parts = line.split('"').enumerate();
        let words = parts.flat_map(|(at, part)| match at % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        });
        words.collect()
    }

    #[test]
    fn every_command_has_examples_and_each_is_taken() {
        let command = Cli::command();
        for command in command.get_subcommands() {
            assert!(EXAMPLES.iter().any(|(name, _)| *name == command.get_name()), "{}", command.get_name());
        }
        for (name, examples) in EXAMPLES {
            for (line, what) in *examples {
                let words = words(line);
                assert!(
                    line.starts_with(name.split('-').next().expect("a word")) && what.ends_with(['.', '?']),
                    "{line}: {what}"
                );
                if let Err(error) = Cli::try_parse_from(["vosctl".to_owned()].into_iter().chain(words)) {
                    panic!("{line}: {error}");
                }
            }
        }
    }

    #[test]
    fn each_command_has_a_page_that_man_reads_without_a_word() {
        let directory = tempfile::tempdir().expect("a directory");
        let pages = directory.path().join("man8");
        man(&ManArgs { dir: Some(pages.clone()) }).expect("written");
        let count = fs::read_dir(&pages).expect("there").count();
        let mut command = Cli::command();
        command.build();
        let nested =
            |command: &Command| command.get_subcommands().filter(|command| command.get_name() != "help").count();
        let expected = 1 + command
            .get_subcommands()
            .filter(|command| command.get_name() != "help")
            .map(|command| 1 + nested(command))
            .sum::<usize>();
        assert_eq!(count, expected);
        let page = fs::read_to_string(pages.join("vosctl-block.8")).expect("there");
        assert!(page.contains("vosctl block 203.0.113.7"), "{page}");
        for entry in fs::read_dir(&pages).expect("there") {
            let path = entry.expect("an entry").path();
            let page = fs::read_to_string(&path).expect("a page");
            for part in ["SH NAME", "SH SYNOPSIS", "SH \"EXIT STATUS\"", "SH FILES", "SH \"SEE ALSO\""] {
                assert!(page.contains(part), "{part} of {}", path.display());
            }
            // whatever it warns of is a mistake
            let Ok(shown) = Process::new("groff").args(["-man", "-Tutf8", "-ww"]).arg(&path).output() else {
                assert!(std::env::var_os("VOS_REQUIRE_ALL").is_none_or(|set| set != "1"), "this test needs groff");
                eprintln!("SKIPPED: this test needs groff");
                return;
            };
            assert!(
                shown.status.success() && shown.stderr.is_empty(),
                "{}: {}",
                path.display(),
                String::from_utf8_lossy(&shown.stderr)
            );
        }
    }
}

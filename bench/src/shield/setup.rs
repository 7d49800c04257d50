//! What stands between the network and the server.

use std::path::{Path, PathBuf};

use vos_bench::process::output;
use vos_bench::verdict::program::Loaded;
use vos_bench::{Error, Result, Stop};
use vos_common::reason::Reason;

use crate::demo::engine::{Engine, Programs};
use crate::demo::site::Site;

/// The rules that sites use today.
const IPTABLES: &str = include_str!("../../firewall/iptables.rules");
/// The same for nftables.
const NFTABLES: &str = include_str!("../../firewall/nftables.nft");

/// Reasons of packets that go on to the server.
const SURVIVES: [Reason; 3] = [Reason::Kernel, Reason::Redirected, Reason::NotOurs];

/// A way in: its name, what it is, and how it is made.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) name: String,
    pub(super) what: String,
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    Kernel,
    Iptables,
    Nftables,
    /// The engine with these words and this at the end of its `vos.toml`; in attack mode or not.
    Engine {
        words: &'static [&'static str],
        toml: &'static str,
        attack: bool,
    },
    /// Somebody else's XDP program.
    Object(PathBuf),
    /// An XDP program that drops everything: the least that a packet can cost. No server can be reached by it.
    Drop,
}

/// `vos.toml` by which only what the engine has to decide about is redirected.
const NEEDED: &str = "[relay]\nredirect = \"needed\"\n";

/// Names, what they are, and how they are made.
static KNOWN: [(&str, &str, Way); 11] = [
    ("kernel", "the kernel alone", Way::Kernel),
    ("iptables", "iptables with string, hashlimit, recent and connlimit, as sites of VOS3000 have it", Way::Iptables),
    ("nftables", "nftables with a meter for each method and source", Way::Nftables),
    ("filter", "vos-engine --mode filter", engine(&["--mode", "filter"])),
    ("filter-attack", "the same in attack mode", attacked(&["--mode", "filter"])),
    ("relay", "vos-engine, every SIP packet by the relay, re-entry, sleeping", engine(&["--wait", "sleep"])),
    ("relay-attack", "the same in attack mode", attacked(&["--wait", "sleep"])),
    (
        "relay-needed",
        "the same as relay, but only of what the engine has to decide about",
        Way::Engine { words: &["--wait", "sleep"], toml: NEEDED, attack: false },
    ),
    ("relay-busy", "the same as relay, busy polling", engine(&["--wait", "busy"])),
    ("relay-raw", "the same as relay, by a raw socket", engine(&["--inject", "raw", "--wait", "sleep"])),
    ("drop", "an XDP program that drops everything", Way::Drop),
];

const fn engine(words: &'static [&'static str]) -> Way {
    Way::Engine { words, toml: "", attack: false }
}

const fn attacked(words: &'static [&'static str]) -> Way {
    Way::Engine { words, toml: "", attack: true }
}

/// What holds a set-up up; dropped, all of it is gone.
#[derive(Default)]
pub(super) struct Held<'a> {
    engine: Option<Engine>,
    _firewall: Option<Firewall<'a>>,
    /// Detached with it.
    _program: Option<Loaded>,
}

/// Rules in the server's namespace.
struct Firewall<'a> {
    site: &'a Site,
    nftables: bool,
}

impl Setup {
    /// That of this name.
    pub(super) fn of(name: &str) -> Result<Self> {
        let known = KNOWN.iter().find(|(known, ..)| *known == name);
        let names = || KNOWN.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ");
        let (name, what, way) =
            known.ok_or_else(|| Error::Other(format!("there is no set-up {name}: {}, or --xdp NAME=FILE", names())))?;
        Ok(Self { name: (*name).to_owned(), what: (*what).to_owned(), way: way.clone() })
    }

    /// Somebody else's XDP program.
    pub(super) fn object(name: &str, file: &Path) -> Self {
        let way = Way::Object(file.to_owned());
        Self { name: name.to_owned(), what: "another XDP program (--xdp)".to_owned(), way }
    }

    /// Can good traffic come through?
    pub(super) fn passes(&self) -> bool {
        !matches!(self.way, Way::Drop)
    }

    /// Sets it up; engines have this `vos.toml`.
    pub(super) fn hold<'a>(&self, site: &'a Site, programs: &Programs, toml: &str, stop: &Stop) -> Result<Held<'a>> {
        match &self.way {
            Way::Kernel => Ok(Held::default()),
            Way::Iptables | Way::Nftables => {
                let nftables = matches!(self.way, Way::Nftables);
                Ok(Held { _firewall: Some(Firewall::raise(site, nftables)?), ..Held::default() })
            }
            Way::Engine { words, toml: more, attack } => {
                let engine = programs.start(site, &format!("{toml}{more}"), words, stop)?;
                if *attack {
                    engine.tool(&["attack", "on", "--ttl", "1h"])?;
                }
                Ok(Held { engine: Some(engine), ..Held::default() })
            }
            Way::Object(file) => {
                let object = std::fs::read(file).map_err(Error::io(format!("read {}", file.display())))?;
                Self::attached(site, Loaded::foreign_object(&self.name, &object)?)
            }
            Way::Drop => Self::attached(site, Loaded::dropping()?),
        }
    }

    fn attached(site: &Site, mut program: Loaded) -> Result<Held<'_>> {
        site.server.enter(|| program.attach(&site.iface))??;
        Ok(Held { _program: Some(program), ..Held::default() })
    }
}

impl Held<'_> {
    /// Packets that the engine has let through so far; an error if it has not counted each packet once.
    pub(super) fn survivors(&self) -> Result<Option<u64>> {
        let Some(engine) = &self.engine else { return Ok(None) };
        let counters = engine.counters()?;
        let counted: u64 = counters.reasons.values().sum();
        if counted != counters.judged {
            let judged = counters.judged;
            return Err(Error::Other(format!(
                "the engine judged {judged} packets and counted {counted}: {counters:?}"
            )));
        }
        Ok(Some(SURVIVES.iter().map(|reason| counters.reason(reason.label())).sum()))
    }

    /// Takes it down in good order.
    pub(super) fn leave(mut self) -> Result<()> {
        self.engine.take().map_or(Ok(()), |engine| engine.leave().map(drop))
    }
}

impl<'a> Firewall<'a> {
    fn raise(site: &'a Site, nftables: bool) -> Result<Self> {
        let (program, name, rules) = if nftables {
            ("nft", "nftables.nft", NFTABLES)
        } else if output(site.server.command("iptables-legacy").arg("--version")).is_ok() {
            ("iptables-legacy-restore", "iptables.rules", IPTABLES)
        } else {
            ("iptables-restore", "iptables.rules", IPTABLES)
        };
        let file = site.dir("firewall")?.join(name);
        std::fs::write(&file, rules).map_err(Error::io(format!("write {}", file.display())))?;
        let raised = Self { site, nftables };
        let mut command = site.server.command(program);
        output(if nftables { command.arg("-f") } else { &mut command }.arg(&file))?;
        Ok(raised)
    }
}

impl Drop for Firewall<'_> {
    fn drop(&mut self) {
        let flush: &[&[&str]] = if self.nftables {
            &[&["nft", "flush", "ruleset"]]
        } else {
            &[&["iptables-legacy", "-F"], &["iptables-legacy", "-X"], &["iptables", "-F"], &["iptables", "-X"]]
        };
        for words in flush {
            // The namespace goes soon after: what is left in it goes as well.
            let _ = output(self.site.server.command(words[0]).args(&words[1..]));
        }
    }
}

//! A change of one thing, as a command of `ethtool`: what is executed is what is printed.

use std::fmt;
use std::io;
use std::process::{Command, Stdio};

use thiserror::Error;

use super::{GRO_HW, LRO, NTUPLE, PortRule, RX_VLAN, Udp};
use crate::programs;

/// One change of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Switch an offload, by the kernel's name for it such as [`LRO`].
    Feature {
        /// Which.
        name: String,
        /// On or off.
        on: bool,
    },
    /// Have so many queues. The card is reset.
    Channels {
        /// For packets that arrive; `None`: as many as there are.
        rx: Option<u32>,
        /// For packets that leave.
        tx: Option<u32>,
        /// For both.
        combined: Option<u32>,
    },
    /// Have rings of so many descriptors. The card is reset.
    Rings {
        /// For packets that arrive; `None`: as long as they are.
        rx: Option<u32>,
        /// For packets that leave.
        tx: Option<u32>,
    },
    /// Interrupt so many microseconds after a packet's arrival.
    RxUsecs(u32),
    /// Shall the driver choose that by itself?
    AdaptiveRx(bool),
    /// Every queue in turn, and again by the driver's choice after a change of channels.
    RssDefault,
    /// Every one of these queues in turn.
    RssEven {
        /// The first.
        first: u32,
        /// How many.
        queues: u32,
    },
    /// Choose a queue for UDP by these fields (`RXH_` bits).
    HashFields {
        /// Over which IP.
        udp: Udp,
        /// Bits.
        fields: u64,
    },
    /// Add a rule; the driver or `ethtool` chooses its id.
    AddRule(PortRule),
    /// Delete the rule with this id.
    DeleteRule(u32),
}

/// A command of `ethtool` that did not do it.
#[derive(Debug, Error)]
pub enum Refused {
    /// The program is not there.
    #[error("there is no program ethtool: run `apt install ethtool`")]
    NoProgram,
    /// It cannot be started.
    #[error("{command}: {source}")]
    Unstarted {
        /// As it can be pasted.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// It said no.
    #[error("{command}: {said}")]
    Said {
        /// As it can be pasted.
        command: String,
        /// In its words.
        said: String,
    },
}

impl Change {
    /// The words behind `ethtool`.
    pub fn words(&self, iface: &str) -> Vec<String> {
        let mut words = Words(Vec::new());
        match self {
            Self::Feature { name, on } => words.say(&["-K", iface, pasted(name), if *on { "on" } else { "off" }]),
            Self::Channels { rx, tx, combined } => {
                words.say(&["-L", iface]).number("rx", *rx).number("tx", *tx).number("combined", *combined)
            }
            Self::Rings { rx, tx } => words.say(&["-G", iface]).number("rx", *rx).number("tx", *tx),
            Self::RxUsecs(usecs) => words.say(&["-C", iface]).number("rx-usecs", Some(*usecs)),
            Self::AdaptiveRx(on) => words.say(&["-C", iface, "adaptive-rx", if *on { "on" } else { "off" }]),
            Self::RssDefault => words.say(&["-X", iface, "default"]),
            Self::RssEven { first, queues } => {
                // `start 0` is understood by new kernels' drivers only
                let first = (*first > 0).then_some(*first);
                words.say(&["-X", iface]).number("start", first).number("equal", Some(*queues))
            }
            Self::HashFields { udp, fields } => {
                words.say(&["-N", iface, "rx-flow-hash", udp.word(), &letters(*fields)])
            }
            Self::AddRule(PortRule { udp, port, queue }) => words
                .say(&["-N", iface, "flow-type", udp.word()])
                .number("dst-port", Some(u32::from(*port)))
                .number("action", Some(*queue)),
            Self::DeleteRule(id) => words.say(&["-N", iface]).number("delete", Some(*id)),
        };
        words.0
    }

    /// As it can be pasted into a shell.
    pub fn command(&self, iface: &str) -> String {
        // Interface names may hold anything but blanks and slashes.
        let words = self.words(iface);
        let words = std::iter::once("ethtool").chain(words.iter().map(String::as_str));
        shlex::try_join(words).unwrap_or_else(|_| format!("{self:?}"))
    }

    /// Has the program do it, in the network namespace of this thread. Waits until the driver is done.
    pub fn make(&self, iface: &str) -> Result<(), Refused> {
        let command = self.command(iface);
        let program = programs::find("ethtool").ok_or(Refused::NoProgram)?;
        let ran = Command::new(program).args(self.words(iface)).stdin(Stdio::null()).env("LC_ALL", "C").output();
        let ran = ran.map_err(|source| Refused::Unstarted { command: command.clone(), source })?;
        // Of a rule that was refused it says so, and ends as if it were not.
        let is_rule = matches!(self, Self::AddRule(_) | Self::DeleteRule(_));
        if ran.status.success() && (!is_rule || ran.stderr.is_empty()) {
            return Ok(());
        }
        let said = [ran.stderr, ran.stdout].concat();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let said = if lines.is_empty() { ran.status.to_string() } else { lines.join("; ") };
        Err(Refused::Said { command, said })
    }
}

impl Refused {
    /// Does the driver not have what it was told to set? Most say so when they are asked already, some not before.
    pub fn is_unsupported(&self) -> bool {
        let words = ["Operation not supported", "unsupported parameter"];
        matches!(self, Self::Said { said, .. } if words.iter().any(|word| said.contains(word)))
    }
}

impl fmt::Display for Udp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

struct Words(Vec<String>);

impl Words {
    fn say(&mut self, words: &[&str]) -> &mut Self {
        self.0.extend(words.iter().map(|&word| word.to_owned()));
        self
    }

    fn number(&mut self, name: &str, value: Option<u32>) -> &mut Self {
        if let Some(value) = value {
            self.0.extend([name.to_owned(), value.to_string()]);
        }
        self
    }
}

/// The name that `ethtool -K` documents, for offloads that have one.
fn pasted(feature: &str) -> &str {
    match feature {
        LRO => "lro",
        RX_VLAN => "rxvlan",
        NTUPLE => "ntuple",
        GRO_HW => "rx-gro-hw",
        other => other,
    }
}

/// The letters of `rx-flow-hash` (`ethtool(8)`), for the bits that have one.
fn letters(fields: u64) -> String {
    let bits = [(1, 'm'), (2, 'v'), (3, 't'), (4, 's'), (5, 'd'), (6, 'f'), (7, 'n'), (31, 'r')];
    bits.iter().filter(|(bit, _)| fields & 1 << bit != 0).map(|(_, letter)| letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_the_commands_of_the_manual() {
        let command = |change: Change| change.command("eth0");
        assert_eq!(command(Change::Feature { name: LRO.into(), on: false }), "ethtool -K eth0 lro off");
        let channels = Change::Channels { rx: None, tx: None, combined: Some(4) };
        assert_eq!(command(channels), "ethtool -L eth0 combined 4");
        assert_eq!(command(Change::Rings { rx: Some(4_096), tx: None }), "ethtool -G eth0 rx 4096");
        assert_eq!(command(Change::AdaptiveRx(false)), "ethtool -C eth0 adaptive-rx off");
        assert_eq!(command(Change::RxUsecs(8)), "ethtool -C eth0 rx-usecs 8");
        assert_eq!(command(Change::RssEven { first: 0, queues: 4 }), "ethtool -X eth0 equal 4");
        assert_eq!(command(Change::RssEven { first: 1, queues: 3 }), "ethtool -X eth0 start 1 equal 3");
        let by_ports = Change::HashFields { udp: Udp::V6, fields: super::super::HASH_ADDRESSES_AND_PORTS };
        assert_eq!(command(by_ports), "ethtool -N eth0 rx-flow-hash udp6 sdfn");
        let rule = PortRule { udp: Udp::V4, port: 5060, queue: 0 };
        assert_eq!(command(Change::AddRule(rule)), "ethtool -N eth0 flow-type udp4 dst-port 5060 action 0");
        let said = |said: &str| Refused::Said { command: String::new(), said: said.into() };
        // igb of Linux 7.3, of a rule and of adaptive-rx
        assert!(said("rmgr: Cannot insert RX class rule: Operation not supported").is_unsupported());
        assert!(said("netlink error: cannot modify an unsupported parameter (offset 36)").is_unsupported());
        assert!(!said("netlink error: Invalid argument").is_unsupported());
        assert_eq!(Change::DeleteRule(1_023).command("a b"), "ethtool -N 'a b' delete 1023");
    }
}

//! What came of a comparison, as it is written to a file and read again.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use vos_bench::junk::Mix;
use vos_bench::{CallReport, Error, JunkReport, LoadReport, Result};

use crate::machine::Machine;

/// A whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Where, when and how.
    pub(crate) machine: Machine,
    /// Who answered: Kamailio, OpenSIPS, the responder.
    pub(crate) server: String,
    /// Is that on another machine? Then what its cores worked is unknown here.
    #[serde(default)]
    pub(crate) is_remote: bool,
    /// How often each set-up had its turn.
    pub(crate) rounds: usize,
    /// How long each turn was, seconds.
    pub(crate) seconds: f64,
    /// Set-ups in the order in which they are shown, and what each is.
    pub(crate) setups: Vec<(String, String)>,
    /// Every turn, in the order in which they were taken.
    pub(crate) turns: Vec<Turn>,
    /// What a dropped packet costs.
    pub(crate) costs: Vec<Cost>,
}

/// A flood: of what, from how many, how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Flood {
    /// What is sent.
    pub(crate) mix: Mix,
    /// Addresses that it comes from; 0: a new one for each packet.
    pub(crate) sources: u64,
    /// Packets a second; 0: as many as can be sent.
    pub(crate) rate: u64,
}

/// Good traffic by one set-up, with or without a flood.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Turn {
    pub(crate) setup: String,
    pub(crate) round: usize,
    pub(crate) flood: Option<Flood>,
    /// What the flood's sender says.
    pub(crate) junk: Option<JunkReport>,
    /// Phones that register again, with credentials.
    pub(crate) registers: LoadReport,
    /// Calls, with all that RFC 3261 repeats.
    pub(crate) calls: CallReport,
    /// Frames that the wire had no room for.
    pub(crate) overflowed: u64,
    /// Packets that the engine let through, where there is one.
    pub(crate) survived: Option<u64>,
    /// What all cores worked meanwhile, seconds; and how long it took.
    pub(crate) busy: f64,
    pub(crate) lasted: f64,
}

/// The cost of a flood that has the machine for itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) setup: String,
    pub(crate) round: usize,
    pub(crate) junk: JunkReport,
    /// What all cores worked meanwhile, seconds: the sender's share is in it, and is the same for all.
    pub(crate) busy: f64,
}

impl Cost {
    /// CPU time of a packet, ns.
    pub(crate) fn ns(&self) -> f64 {
        self.busy * 1e9 / self.junk.sent.max(1) as f64
    }
}

impl Flood {
    /// What it is, without how fast: turns of one kind make one line of a plot.
    pub(crate) fn kind(&self) -> String {
        let what = match self.mix {
            Mix::Scanner => "scanner's OPTIONS",
            Mix::Options => "OPTIONS",
            Mix::Register => "REGISTERs",
            Mix::Invite => "INVITEs",
            Mix::Malformed => "garbage",
            Mix::Fragments => "INVITEs in fragments",
            Mix::All => "all kinds of junk",
        };
        match self.sources {
            0 => format!("{what}, each from a new address"),
            1 => format!("{what} from one address"),
            count => format!("{what} from {count} addresses"),
        }
    }
}

impl Turn {
    /// Registrations and calls that were answered, of all there were, 0 to 1.
    pub(crate) fn success(&self) -> f64 {
        let done = self.registers.answered + self.calls.succeeded;
        done as f64 / (self.registers.sent + self.calls.calls).max(1) as f64
    }
}

impl Outcome {
    /// What `vos-bench shield --json` or `vos-bench remote --json` wrote.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read(file).map_err(Error::io(format!("read {}", file.display())))?;
        let wrong = |error| {
            Error::Other(format!(
                "{}: not what `vos-bench shield --json` writes, nor `remote`: {error}",
                file.display()
            ))
        };
        serde_json::from_slice(&text).map_err(wrong)
    }

    /// Adds other set-ups that were measured in the same way.
    pub(crate) fn add(&mut self, other: Self) -> Result<()> {
        let is_known = |name: &str| self.setups.iter().any(|(known, _)| known == name);
        if let Some((name, _)) = other.setups.iter().find(|(name, _)| is_known(name)) {
            return Err(Error::Other(format!("{name} is in both files: measure one of them with another --name")));
        }
        let how = |of: &Self| (of.is_remote, of.server.clone(), of.rounds, of.seconds, of.machine.cpu.clone());
        if how(self) != how(&other) {
            let what = "these runs are of different servers, machines, rounds or seconds";
            return Err(Error::Other(format!("{what}: `vos-bench compare` holds them side by side")));
        }
        self.setups.extend(other.setups);
        self.turns.extend(other.turns);
        self.costs.extend(other.costs);
        Ok(())
    }

    /// The turns of a set-up under a flood.
    pub(crate) fn of<'a>(&'a self, setup: &'a str, flood: Option<Flood>) -> impl Iterator<Item = &'a Turn> {
        self.turns.iter().filter(move |turn| turn.setup == setup && turn.flood == flood)
    }

    /// What came of this round alone.
    pub(crate) fn round(&self, round: usize) -> Self {
        let (turns, costs) = (self.turns.iter(), self.costs.iter());
        Self {
            turns: turns.filter(|turn| turn.round == round).cloned().collect(),
            costs: costs.filter(|cost| cost.round == round).cloned().collect(),
            ..Self { turns: Vec::new(), costs: Vec::new(), ..self.clone() }
        }
    }

    /// The floods, each once, by kind and rate; as many as can be sent come last.
    pub(crate) fn floods(&self) -> Vec<Flood> {
        let floods = self.turns.iter().filter_map(|turn| turn.flood);
        let order = |flood: Flood| ((flood.mix, flood.sources, flood.rate.wrapping_sub(1)), flood);
        floods.map(order).collect::<BTreeMap<_, _>>().into_values().collect()
    }
}

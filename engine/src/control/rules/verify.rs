//! Is the kernel's side as it should be?

use ipnet::IpNet;
use vos_common::rule::{GATE_BLOCKS, GATE_WORDS, GateBlock, Rule};

use super::RuleBook;
use super::node::Write;
use crate::control::maps::{InspectMaps, MapError};

/// An entry that is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amiss {
    /// Of this prefix.
    pub(crate) net: IpNet,
    /// What the kernel holds.
    pub(crate) held: Option<Rule>,
    /// What it should hold.
    pub(crate) wanted: Option<Rule>,
}

/// How the kernel's gate differs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gates {
    /// IPv4 /24s whose rules are not looked for; of IPv6, which has one gate, one more.
    pub(crate) shut: u64,
    /// IPv4 /24s where rules are looked for in vain; of IPv6 one more.
    pub(crate) open: u64,
}

impl RuleBook {
    /// The entries that are not as they should be, of at most `limit` prefixes behind `last`, and the last of these
    /// prefixes; `None`: there are no more. `held` says what the kernel held for a prefix a while ago: who is as it
    /// should be there is not asked for again.
    pub(crate) fn inspect(
        &self,
        last: Option<IpNet>,
        limit: usize,
        now: u64,
        held: impl Fn(&IpNet) -> Option<Rule>,
        maps: &mut dyn InspectMaps,
    ) -> Result<(Vec<Amiss>, Option<IpNet>), MapError> {
        let (mut amiss, mut looked) = (Vec::new(), None);
        for (net, node) in self.nodes_after(last).take(limit) {
            looked = Some(net);
            // the next sweep writes it anew
            if node.due.is_some_and(|due| 0 < due && due <= now) {
                continue;
            }
            let (held, wanted) = (held(&net), (!node.is_bare()).then(|| self.project(&net, now)));
            if held != wanted {
                amiss.push(Amiss { net, held, wanted });
            }
        }
        Ok((confirmed(amiss, maps)?, looked))
    }

    /// Those of `held` that the book does not know and the kernel still holds.
    pub(crate) fn inspect_strays(
        &self,
        held: &[(IpNet, Rule)],
        maps: &mut dyn InspectMaps,
    ) -> Result<Vec<Amiss>, MapError> {
        let strays = held.iter().filter(|(net, _)| !self.nodes.contains_key(net));
        let strays = strays.map(|(net, rule)| Amiss { net: *net, held: Some(*rule), wanted: None });
        confirmed(strays.collect(), maps)
    }

    /// Has the kernel hold what it should.
    pub(crate) fn mend(&mut self, amiss: &[Amiss], maps: &mut dyn InspectMaps) -> Result<(), MapError> {
        for Amiss { net, held, wanted } in amiss {
            if let Some(node) = self.nodes.get_mut(net) {
                node.rule = *held;
            }
            // one by one: what cannot be mended keeps nothing else from it
            self.write(&[Write { net: *net, old: *held, new: *wanted }], maps)?;
        }
        Ok(())
    }

    /// How the kernel's gates differ, and something done about it: those that are shut must be opened before entries
    /// are put, those that are open for nothing are shut when entries are gone.
    pub(crate) fn inspect_gates(&self, mend: Option<Mend>, maps: &mut dyn InspectMaps) -> Result<Gates, MapError> {
        let mut gates = Gates::default();
        for index in 0..GATE_BLOCKS {
            let (held, wanted) = (maps.gate_of(index)?, self.gate.block(index));
            let (shut, open) = (bits(wanted, &held), bits(&held, wanted));
            gates.shut += shut;
            gates.open += open;
            match mend {
                Some(Mend::Open) if shut > 0 => maps.gate(index, &std::array::from_fn(|n| held[n] | wanted[n]))?,
                Some(Mend::Shut) if open > 0 => maps.gate(index, wanted)?,
                _ => {}
            }
        }
        let (held, wanted) = (maps.has_v6_rules()?, self.v6);
        gates.shut += u64::from(wanted && !held);
        gates.open += u64::from(held && !wanted);
        match mend {
            Some(Mend::Open) if wanted && !held => maps.v6_rules(true)?,
            Some(Mend::Shut) if held && !wanted => maps.v6_rules(false)?,
            _ => {}
        }
        Ok(gates)
    }
}

/// What is done about gates that are not as they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mend {
    /// Those that are shut are opened.
    Open,
    /// Those that are open for nothing are shut.
    Shut,
}

/// Those that are amiss still.
fn confirmed(suspects: Vec<Amiss>, maps: &mut dyn InspectMaps) -> Result<Vec<Amiss>, MapError> {
    if suspects.is_empty() {
        return Ok(suspects);
    }
    let nets: Vec<IpNet> = suspects.iter().map(|suspect| suspect.net).collect();
    let held = maps.get(&nets)?;
    let now = suspects.into_iter().zip(held).map(|(suspect, held)| Amiss { held, ..suspect });
    Ok(now.filter(|amiss| amiss.held != amiss.wanted).collect())
}

/// How many bits `one` has that `other` has not.
fn bits(one: &GateBlock, other: &GateBlock) -> u64 {
    (0..GATE_WORDS).map(|n| u64::from((one[n] & !other[n]).count_ones())).sum()
}

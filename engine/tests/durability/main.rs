//! What is acknowledged is on the disk: whatever becomes of the process, and of the disk.

/// A disk that is full.
mod full;
/// A process that is killed.
mod killed;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ipnet::IpNet;
use vos_common::rule::{GATE_WORDS, GateBlock, Rule};
use vos_engine::control::Control;
use vos_engine::control::ask::{Ask, By, End, Refusal};
use vos_engine::control::clock::Clock;
use vos_engine::control::decide::Filter;
use vos_engine::control::decision::{Kind, Origin};
use vos_engine::control::maps::{InspectMaps, MapError, Reader, RuleMaps};

/// A kernel as a table; clones are the same.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<HashMap<IpNet, Rule>>>);

impl Table {
    fn nets(&self) -> Vec<IpNet> {
        let mut nets: Vec<IpNet> = self.0.lock().unwrap().keys().copied().collect();
        nets.sort_unstable();
        nets
    }
}

impl RuleMaps for Table {
    fn put(&mut self, net: IpNet, rule: Rule) -> Result<(), MapError> {
        self.0.lock().unwrap().insert(net, rule);
        Ok(())
    }

    fn delete(&mut self, net: IpNet) -> Result<(), MapError> {
        self.0.lock().unwrap().remove(&net);
        Ok(())
    }

    fn gate(&mut self, _: u32, _: &GateBlock) -> Result<(), MapError> {
        Ok(())
    }

    fn v6_rules(&mut self, _: bool) -> Result<(), MapError> {
        Ok(())
    }
}

impl InspectMaps for Table {
    fn get(&mut self, nets: &[IpNet]) -> Result<Vec<Option<Rule>>, MapError> {
        Ok(nets.iter().map(|net| self.0.lock().unwrap().get(net).copied()).collect())
    }

    fn gate_of(&mut self, _: u32) -> Result<GateBlock, MapError> {
        Ok([0; GATE_WORDS])
    }

    fn has_v6_rules(&mut self) -> Result<bool, MapError> {
        Ok(false)
    }

    fn reader(&self) -> Result<Reader, MapError> {
        let table = self.clone();
        Ok(Box::new(move || Ok(table.0.lock().unwrap().iter().map(|(net, rule)| (*net, *rule)).collect())))
    }
}

fn open(path: &Path, kernel: &Table) -> Result<Control, Refusal> {
    Control::open(path, Box::new(kernel.clone()), None, Clock::now)
}

fn root() -> By {
    By { origin: Origin::Cli, who: "root".into(), force: false, operator: None }
}

fn block(net: IpNet) -> Ask {
    Ask::block(net, End::Never, "")
}

fn unblock(net: IpNet) -> Ask {
    Ask::Remove { net, kind: Kind::Block }
}

fn listed(control: &Control) -> Vec<IpNet> {
    control.list(&Filter::default()).iter().map(|listed| listed.decision.net).collect()
}

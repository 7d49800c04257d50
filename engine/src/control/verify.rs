//! Do disk, book and kernel agree? They do unless somebody else writes to the maps, or the engine is wrong.
//!
//! Compared a part at a time, so that decisions can be made meanwhile; what differs is looked at again under the lock,
//! because it may only have changed between one look and the other.

use std::collections::HashMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::address::show;
use crate::control::ask::Refusal;
use crate::control::decide::{Control, Inner, RUN_MAX};
use crate::control::decision::{Decision, Key};
use crate::control::figures::Compared;
use crate::control::rules::{Amiss, Gates, Mend};

/// Differences that are named; all are counted.
pub const EXAMPLES_MAX: usize = 20;

/// What was compared, and what differed: answer to `POST /v1/verify`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verified {
    /// Decisions in the book, those that are held back among them.
    pub decisions: u64,
    /// Decisions that are in force and have no entry in the kernel's maps.
    pub missing: u64,
    /// Entries that say something else than they should.
    pub wrong: u64,
    /// Entries without a decision.
    pub extra: u64,
    /// IPv4 /24s whose rules the kernel does not look for; of IPv6, which has one gate, one more.
    pub gates_shut: u64,
    /// IPv4 /24s where it looks for rules in vain, which costs only time; of IPv6 one more.
    pub gates_open: u64,
    /// Decisions that are not on the disk.
    pub rows_missing: u64,
    /// Decisions that the disk has otherwise.
    pub rows_wrong: u64,
    /// Rows of the disk that are no decisions here.
    pub rows_extra: u64,
    /// What differed, in words, at most [`EXAMPLES_MAX`].
    pub examples: Vec<String>,
    /// Was the kernel's side put right? The disk is never written.
    pub repaired: bool,
}

impl Verified {
    /// Differences on the kernel's side, which can be repaired.
    pub const fn in_kernel(&self) -> u64 {
        self.missing + self.wrong + self.extra + self.gates_shut + self.gates_open
    }

    /// Differences on the disk, which the next start takes for the truth.
    pub const fn on_disk(&self) -> u64 {
        self.rows_missing + self.rows_wrong + self.rows_extra
    }

    fn name(&mut self, example: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example());
        }
    }

    fn count(&mut self, amiss: &[Amiss]) {
        for Amiss { net, held, wanted } in amiss {
            let (count, what) = match (held, wanted) {
                (None, _) => (&mut self.missing, "has no entry in the kernel"),
                (Some(_), Some(_)) => (&mut self.wrong, "has an entry in the kernel that says something else"),
                (Some(_), None) => (&mut self.extra, "has an entry in the kernel, and no decision"),
            };
            *count += 1;
            self.name(|| format!("{} {what}", show(*net)));
        }
    }
}

impl Control {
    /// Compares disk, book and kernel, and with `repair` has the kernel hold what it should, without a hole in between.
    /// A million decisions take some seconds, during which others are made.
    pub fn verify(&self, repair: bool) -> Result<Verified, Refusal> {
        self.sweep()?;
        let mut verified = Verified { repaired: repair, ..Verified::default() };
        self.verify_kernel(repair, &mut verified)?;
        self.verify_disk(&mut verified)?;
        verified.decisions = self.count().iter().sum::<usize>() as u64;
        let in_kernel = if repair { 0 } else { verified.in_kernel() };
        let compared = Compared { wall_ns: self.clock().wall_ns(), in_kernel, on_disk: verified.on_disk() };
        *self.compared.lock() = Some(compared);
        Ok(verified)
    }

    fn verify_kernel(&self, repair: bool, verified: &mut Verified) -> Result<(), Refusal> {
        let reader = self.lock().maps.reader()?;
        let mut held = reader()?;
        held.sort_unstable_by_key(|(net, _)| *net);
        // Gates are opened before what lies behind them is put, and shut when it is gone.
        verified.gates_shut = self.lock().gates(repair.then_some(Mend::Open))?.shut;
        let rule_of = |net: &IpNet| held.binary_search_by_key(net, |(net, _)| *net).ok().map(|at| held[at].1);
        let mut last = None;
        loop {
            let mut inner = self.lock();
            let now = self.clock().mono_ns();
            let Inner { book, maps, .. } = &mut *inner;
            let (amiss, looked) = book.inspect(last, RUN_MAX, now, rule_of, maps.as_mut())?;
            inner.mend(&amiss, repair, verified)?;
            last = looked;
            if last.is_none() {
                break;
            }
        }
        for held in held.chunks(RUN_MAX) {
            let mut inner = self.lock();
            let Inner { book, maps, .. } = &mut *inner;
            let strays = book.inspect_strays(held, maps.as_mut())?;
            inner.mend(&strays, repair, verified)?;
        }
        verified.gates_open = self.lock().gates(repair.then_some(Mend::Shut))?.open;
        Ok(())
    }

    fn verify_disk(&self, verified: &mut Verified) -> Result<(), Refusal> {
        let rows = self.lock().store.rows()?;
        let mut on_disk: HashMap<Key, Fingerprint> = HashMap::new();
        rows.each(|row| {
            on_disk.insert(row.key(), fingerprint(&row));
        })?;
        drop(rows);
        let mut suspects = Vec::new();
        let mut last = None;
        loop {
            let inner = self.lock();
            let (page, looked) = inner.book.page(last, RUN_MAX, 0);
            suspects.extend(page.iter().filter(|it| !take(&mut on_disk, it)).map(|it| it.key()));
            last = looked;
            if last.is_none() {
                suspects
                    .extend(inner.held.iter().filter(|(_, it)| !take(&mut on_disk, &it.decision)).map(|(key, _)| *key));
                break;
            }
        }
        suspects.extend(on_disk.into_keys());
        suspects.sort_unstable();
        suspects.dedup();
        for key in suspects {
            self.lock().verify_row(key, verified)?;
        }
        Ok(())
    }
}

/// What tells one decision at a key from another.
type Fingerprint = (u64, Option<u64>);

fn fingerprint(decision: &Decision) -> Fingerprint {
    (decision.made.stamp.bits(), decision.until)
}

/// Is it among these? Then it is taken out.
fn take(on_disk: &mut HashMap<Key, Fingerprint>, decision: &Decision) -> bool {
    let key = decision.key();
    on_disk.get(&key).is_some_and(|found| *found == fingerprint(decision)) && on_disk.remove(&key).is_some()
}

impl Inner {
    fn gates(&mut self, mend: Option<Mend>) -> Result<Gates, Refusal> {
        Ok(self.book.inspect_gates(mend, self.maps.as_mut())?)
    }

    fn mend(&mut self, amiss: &[Amiss], repair: bool, verified: &mut Verified) -> Result<(), Refusal> {
        verified.count(amiss);
        if repair {
            self.book.mend(amiss, self.maps.as_mut())?;
        }
        Ok(())
    }

    /// Looks again at one row.
    fn verify_row(&mut self, key: Key, verified: &mut Verified) -> Result<(), Refusal> {
        let row = self.store.decision(key)?;
        let here = self.held.get(&key).map(|held| &held.decision).or_else(|| self.book.any(&key));
        let (count, what) = match (here, &row) {
            (Some(here), Some(row)) if here == row => return Ok(()),
            (None, None) => return Ok(()),
            // it is buried by the next sweep
            (None, Some(row)) if self.unburied.iter().any(|ended| ended.key() == row.key()) => return Ok(()),
            (Some(_), Some(_)) => (&mut verified.rows_wrong, "is otherwise on the disk"),
            (Some(_), None) => (&mut verified.rows_missing, "is not on the disk"),
            (None, Some(_)) => (&mut verified.rows_extra, "is on the disk, and not in force"),
        };
        *count += 1;
        verified.name(|| format!("the rule to {} {} {what}", key.1, show(key.0)));
        Ok(())
    }
}

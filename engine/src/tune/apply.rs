//! A profile, put in force: what is there is on disk first, then one knob after the other.

use std::collections::HashSet;

use super::host::Machine;
use super::journal::{Found, Journal, Store};
use super::plan::{INTERRUPTS, Line, Plan, Planner, Site, State};
use super::setting::{Knob, Phase, Value};
use super::{Host, Profile, TuneError, coalescing};

/// What is to be done.
pub struct Order<'a> {
    /// The machine, asked.
    pub host: &'a Host,
    /// The machine, changed. The same, but for tests.
    pub machine: &'a dyn Machine,
    /// The profile.
    pub profile: &'a Profile,
    /// Of the site.
    pub site: &'a Site,
    /// Where the journal is.
    pub store: &'a Store,
    /// Shall what resets the card be done beside an engine?
    pub force: bool,
}

impl Order<'_> {
    /// What would be done; nothing is.
    pub fn plan(&self) -> Result<Plan, TuneError> {
        let (journal, note) = self.journal()?;
        let mut plan = self.planned(Some(&journal), &HashSet::new())?;
        plan.notes.splice(..0, note);
        Ok(plan)
    }

    fn planned(&self, journal: Option<&Journal>, refused: &HashSet<Knob>) -> Result<Plan, TuneError> {
        let Self { host, profile, site, store, force, .. } = *self;
        Planner { host, profile, site, journal, store, force, refused }.plan()
    }

    /// What was there before, and what must be said about it.
    fn journal(&self) -> Result<(Journal, Option<String>), TuneError> {
        let fresh = || Journal::new(self.host, &self.profile.name);
        match self.store.read(self.host)? {
            Found::None => Ok((fresh(), None)),
            Found::BeforeReboot(old) => {
                let note = format!("{} was in force before the machine was rebooted: it begins anew", old.profile);
                Ok((fresh(), Some(note)))
            }
            Found::Current(journal) => Ok((journal, None)),
        }
    }
}

/// Puts a profile in force. The plan that comes back says what became of each knob. An error is one before the first
/// change, or one of the journal, after which nothing more is changed.
pub fn apply(order: &Order<'_>) -> Result<Plan, TuneError> {
    let (mut journal, note) = order.journal()?;
    let mut refused = HashSet::new();
    let mut done: Vec<Line> = Vec::new();
    let (mut notes, mut interrupts) = (Vec::new(), false);
    for phase in Phase::ALL {
        // A change of channels brings interrupts that were not there, and another RSS table.
        let plan = order.planned(Some(&journal), &refused)?;
        record(order, &mut journal, &plan)?;
        let of_phase = |line: &Line| line.knob.as_ref().map_or(Phase::Rest, Knob::phase) == phase;
        for mut line in plan.lines.into_iter().filter(of_phase) {
            if let (Some(knob), State::Change(value)) = (&line.knob, &line.state) {
                line.state = set(order, &mut journal, knob, value, line.command.as_deref().unwrap_or_default());
                if !matches!(line.state, State::Done(_)) {
                    refused.insert(knob.clone());
                }
            }
            done.push(line);
        }
        (notes, interrupts) = (plan.notes, plan.interrupts);
    }
    finish(order, &mut journal, &done)?;
    notes.splice(..0, note);
    Ok(Plan { lines: done, notes, interrupts })
}

/// Has on disk what is there, and what it is to become.
fn record(order: &Order<'_>, journal: &mut Journal, plan: &Plan) -> Result<(), TuneError> {
    let old = journal.clone();
    journal.profile.clone_from(&order.profile.name);
    journal.interrupts = plan.interrupts;
    for line in &plan.lines {
        let (Some(knob), Some(now)) = (&line.knob, &line.now) else { continue };
        let asked = match &line.state {
            State::Change(value) => value,
            State::InPlace => now,
            _ => continue,
        };
        let others = if knob.is_shared() { order.store.all_others(order.host, knob) } else { Vec::new() };
        // what another interface's profile has put there was not there before
        let theirs = others.iter().find(|(_, entry)| entry.is_ours(now)).map(|(_, entry)| entry);
        let before = theirs.map_or(now, |entry| &entry.before);
        if journal.entry(knob).is_none_or(|entry| !(entry.is_in_place(now) && line.state == State::InPlace)) {
            journal.note(knob, before, asked);
        }
        if matches!(line.state, State::Change(_)) || theirs.is_some() {
            journal.will_be(knob, asked);
        }
    }
    if *journal != old {
        journal.complete = false;
        order.store.write(journal)?;
    }
    Ok(())
}

/// Writes a knob, and looks what came of it.
fn set(order: &Order<'_>, journal: &mut Journal, knob: &Knob, value: &Value, command: &str) -> State {
    // a table that is on record can be put back
    if *knob == Knob::Channels
        && journal.entry(&Knob::RssTable).is_some()
        && order.host.table_blocks(value)
        && let Err(why) = order.host.even_out()
    {
        return State::of(why);
    }
    if let Err(why) = coalescing::write(order.machine, order.store, journal, knob, value) {
        return State::of(why);
    }
    match order.machine.read(knob) {
        Ok(now) => {
            let before = journal.entry(knob).map(|entry| &entry.before);
            if before == Some(&now) && now != *value {
                return State::Failed(format!("{command}: it was taken, and is {now} still"));
            }
            // a driver may round
            journal.will_be(knob, &now);
            State::Done(now)
        }
        Err(why) => State::Failed(format!("it was set, and cannot be read now: {why:?}")),
    }
}

/// The end: what was put back is forgotten, and so are values of profiles before this one.
fn finish(order: &Order<'_>, journal: &mut Journal, lines: &[Line]) -> Result<(), TuneError> {
    let old = journal.clone();
    for line in lines {
        let Some(knob) = &line.knob else { continue };
        let failed = matches!(line.state, State::Failed(_) | State::Held(_));
        if let Some(entry) = journal.entry_mut(knob)
            && !failed
            && let Some(last) = entry.ours.pop()
        {
            entry.ours = vec![last];
        }
    }
    // what the driver turned out not to have
    let skipped = lines.iter().filter(|line| matches!(line.state, State::Skipped(_)));
    let skipped: HashSet<&Knob> = skipped.filter_map(|line| line.knob.as_ref()).collect();
    let named: HashSet<&Knob> = lines.iter().filter_map(|line| line.knob.as_ref()).collect();
    let interrupts = journal.interrupts;
    journal.entries.retain_mut(|entry| {
        let is_as_before = order.machine.read(&entry.knob).is_ok_and(|now| now == entry.before);
        let back = is_as_before && (entry.asked == entry.before || skipped.contains(&entry.knob));
        if back && interrupts && matches!(entry.knob, Knob::Irq { .. }) {
            // Placed where it was: known, and not ours. What is not on record came later.
            entry.ours.clear();
        }
        // what is as it was, and was written once, is the start again
        if entry.ours.is_empty() { named.contains(&entry.knob) } else { !back }
    });
    journal.complete = !lines.iter().any(|line| matches!(line.state, State::Held(_)));
    if *journal != old { order.store.write(journal) } else { Ok(()) }
}

/// What differs now from what a journal says was put there. No line is [`State::Change`]: nothing is done.
pub fn drift(host: &Host, journal: &Journal) -> Vec<Line> {
    let line = |entry: &super::journal::Entry| {
        let knob = entry.knob.clone();
        match host.read(&knob) {
            Ok(now) if entry.is_in_place(&now) => Line::of(host, knob, Some(now), State::InPlace),
            Ok(now) => {
                let state = State::Failed(format!("should be {}", entry.asked));
                Line::of(host, knob, Some(now), state)
            }
            Err(super::host::Unread::Absent(why)) => Line::of(host, knob, None, State::Skipped(why)),
            Err(super::host::Unread::Failed(why)) => Line::of(host, knob, None, State::Failed(why)),
        }
    };
    let mut lines: Vec<Line> = journal.entries.iter().map(line).collect();
    if !journal.interrupts {
        return lines;
    }
    lines.extend(host.interrupts_await().map(|why| Line::failed(INTERRUPTS, why)));
    for (number, name, _) in host.interrupts() {
        let knob = Knob::Irq { number, name };
        if journal.entry(&knob).is_none()
            && let Ok(now) = host.read(&knob)
        {
            let why =
                format!("came after {0}: vosctl tune {0} --iface {1} gives it its own", journal.profile, host.iface());
            lines.push(Line::of(host, knob, Some(now), State::Failed(why)));
        }
    }
    lines
}

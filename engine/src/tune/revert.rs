//! Everything back as it was: each value that vosctl has written, unless somebody has decided anew since.

use super::host::{Machine, Unread};
use super::journal::{Entry, Journal, Store};
use super::plan::{Line, State};
use super::setting::{Knob, Phase, Value};
use super::{Host, TuneError, coalescing};

/// Puts back what a journal says was there, and forgets it. `machine` is the host, but for tests; `dry`: says what would
/// be done. What somebody else has changed since stays, unless `force`.
pub fn revert(
    host: &Host,
    machine: &dyn Machine,
    store: &Store,
    mut journal: Journal,
    force: bool,
    dry: bool,
) -> Result<Vec<Line>, TuneError> {
    // Rules name queues, and a table keeps them from being taken away: first the rules, then the queues.
    journal.entries.sort_by_key(|entry| (entry.knob.phase() != Phase::Rules, entry.knob.phase(), entry.knob.clone()));
    // Who has changed what is seen before anything moves: queues that come back bring values of the driver's with them.
    let begin = |entry: &Entry| {
        let (now, state) = begin(host, machine, store, entry, force)?;
        let mut line = Line::of(host, entry.knob.clone(), now, state);
        if makes_way(host, &journal, &entry.knob, &line.state) {
            line.command = line.command.map(|command| host.even_out_before(&command));
        }
        Some(line)
    };
    let mut lines: Vec<Line> = journal.entries.iter().filter_map(begin).collect();
    coalescing::order(host, &mut lines);
    if dry {
        return Ok(lines);
    }
    let begun = journal.clone();
    let mut put_back = |knob: &Knob, value: &Value| put_back(host, machine, store, &mut journal, knob, value);
    for line in &mut lines {
        let Some(knob) = &line.knob else { continue };
        match &line.state {
            State::Change(value) => line.state = put_back(knob, value),
            State::InPlace => {
                if let Some(before) = line.now.as_ref().filter(|now| machine.read(knob).is_ok_and(|is| is != **now)) {
                    line.command = Some(host.command(knob, before));
                    line.state = put_back(knob, before);
                }
            }
            // an interrupt of a queue that was not there
            State::Skipped(_) if line.now.is_none() => {
                let Some(entry) = begun.entry(knob) else { continue };
                if let Ok(now) = machine.read(knob)
                    && now != entry.before
                {
                    line.command = Some(host.command(knob, &entry.before));
                    line.state = put_back(knob, &entry.before);
                    line.now = Some(now);
                }
            }
            _ => {}
        }
    }
    let left: Vec<&Knob> =
        lines.iter().filter(|line| is_left(&line.state)).filter_map(|line| line.knob.as_ref()).collect();
    if left.is_empty() {
        store.remove()?;
    } else {
        journal.interrupts = false;
        // and what was to be otherwise meanwhile alone
        journal.entries.retain(|entry| left.contains(&&entry.knob) || begun.entry(&entry.knob) != Some(entry));
        store.write(&journal)?;
    }
    Ok(lines)
}

/// Is there something to put back still?
fn is_left(state: &State) -> bool {
    matches!(state, State::Failed(_) | State::Held(_))
}

/// What is there, and what it is to become; `None`: vosctl has not touched it.
fn begin(
    host: &Host,
    machine: &dyn Machine,
    store: &Store,
    entry: &Entry,
    force: bool,
) -> Option<(Option<Value>, State)> {
    entry.ours.last()?;
    let others = if entry.knob.is_shared() { store.others(host, &entry.knob) } else { Vec::new() };
    // the last one puts it back; until then it is as the others want it
    let target = others.last().map_or(&entry.before, |(_, theirs)| &theirs.asked);
    Some(match machine.read(&entry.knob) {
        Ok(now) if now == *target && others.is_empty() => (Some(now), State::InPlace),
        Ok(now) if now == *target => {
            let why = format!("the profile of {} needs it: goes back with that", names(&others));
            (Some(now), State::Skipped(why))
        }
        Ok(now) if store.is_ours(host, entry, &now) || force => (Some(now), State::Change(target.clone())),
        Ok(now) => {
            let why = format!(
                "is {now}, which vosctl has not set; it was {target}. `vosctl tune --revert --force` puts that back; if it \
                 is to stay, delete {}",
                store.file().display()
            );
            (Some(now), State::Held(why))
        }
        Err(Unread::Absent(why)) => (None, State::Skipped(why)),
        Err(Unread::Failed(why)) => (None, State::Failed(why)),
    })
}

fn names(others: &[(String, Entry)]) -> String {
    let names: Vec<&str> = others.iter().map(|(iface, _)| iface.as_str()).collect();
    names.join(", ")
}

/// Writes a value, and looks whether it is there.
fn put_back(
    host: &Host,
    machine: &dyn Machine,
    store: &Store,
    journal: &mut Journal,
    knob: &Knob,
    value: &Value,
) -> State {
    if makes_way(host, journal, knob, &State::Change(value.clone()))
        && let Err(why) = host.even_out()
    {
        return State::of(why);
    }
    let command = host.command(knob, value);
    if let Err(why) = coalescing::write(machine, store, journal, knob, value) {
        return State::of(why);
    }
    match machine.read(knob) {
        Ok(now) if now == *value => State::Done(now),
        Ok(now) => State::Failed(format!("{command}: it was taken, and is {now} now")),
        Err(why) => State::Failed(format!("it was put back, and cannot be read now: {why:?}")),
    }
}

/// Must RSS' table make way for the queues that come back? It is on record, and follows them.
fn makes_way(host: &Host, journal: &Journal, knob: &Knob, state: &State) -> bool {
    let State::Change(value) = state else { return false };
    *knob == Knob::Channels && journal.entry(&Knob::RssTable).is_some() && host.table_blocks(value)
}

//! `rx-usecs` and `adaptive-rx`: drivers such as i40e, ice and iavf refuse to change the first while the second is on.

use super::Host;
use super::host::{Machine, Unset};
use super::journal::{Journal, Store};
use super::plan::{Line, State};
use super::setting::{Knob, Value};

/// Has `rx-usecs` set while `adaptive-rx` is off: before that is switched on, or after it is switched off. Where it is on
/// and stays, the command says that it is off meanwhile.
pub(super) fn order(host: &Host, lines: &mut [Line]) {
    let place = |lines: &[Line], knob: &Knob| lines.iter().position(|line| line.knob.as_ref() == Some(knob));
    let Some(usecs) = place(lines, &Knob::RxUsecs) else { return };
    let adaptive = place(lines, &Knob::AdaptiveRx);
    let becomes = adaptive.and_then(|at| match &lines[at].state {
        State::Change(Value::Switch(on)) => Some(*on),
        _ => None,
    });
    let (first, last) = match (adaptive, becomes) {
        (Some(adaptive), Some(true)) => (usecs, adaptive),
        (Some(adaptive), Some(false)) => (adaptive, usecs),
        _ => (usecs, usecs),
    };
    if first > last {
        lines.swap(first, last);
    }
    let is_on = host.card().coalescing().is_ok_and(|now| now.adaptive_rx);
    if becomes.is_none()
        && is_on
        && let Some(command) = &mut lines[usecs].command
    {
        let switch = |on| host.command(&Knob::AdaptiveRx, &Value::Switch(on));
        *command = format!("{} && {command} && {}", switch(false), switch(true));
    }
}

/// Writes a knob. Where that is `rx-usecs` and `adaptive-rx` is on, it is off meanwhile, which is on disk before.
pub(super) fn write(
    machine: &dyn Machine,
    store: &Store,
    journal: &mut Journal,
    knob: &Knob,
    value: &Value,
) -> Result<(), Unset> {
    let (on, off) = (Value::Switch(true), Value::Switch(false));
    if *knob != Knob::RxUsecs || machine.read(&Knob::AdaptiveRx).as_ref() != Ok(&on) {
        return machine.write(knob, value);
    }
    let kept = |journal: &Journal| store.write(journal).map_err(|error| Unset::Refused(error.to_string()));
    let before = journal.clone();
    journal.note(&Knob::AdaptiveRx, &on, &off);
    journal.will_be(&Knob::AdaptiveRx, &off);
    kept(journal)?;
    let paused = machine.write(&Knob::AdaptiveRx, &off);
    let written = machine.write(knob, value);
    if paused.is_ok() {
        // if that fails it stays on record
        machine.write(&Knob::AdaptiveRx, &on)?;
    }
    *journal = before;
    kept(journal)?;
    written
}

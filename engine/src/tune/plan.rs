//! What differs from a profile on this machine: a line for each knob.

use std::collections::HashSet;

use super::host::{Machine, OWN_QUEUE, Unread, Unset};
use super::journal::{Journal, Store};
use super::profile::{Goal, Profile, Said};
use super::setting::{Knob, Phase, Value};
use super::{Host, TuneError, coalescing};
use crate::config::CoreList;
use crate::ethtool::{
    Channels, GRO_HW, HASH_ADDRESSES, HASH_ADDRESSES_AND_PORTS, LRO, NTUPLE, RX_VLAN, Rings, Udp, even_table,
};

/// What of the site's configuration a profile is about.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// `xdp.sip_ports`.
    pub sip_ports: Vec<u16>,
    /// `worker.cores`; empty: wherever the scheduler likes.
    pub worker_cores: Vec<usize>,
    /// Does an engine run on the interface?
    pub engine_runs: bool,
}

/// A line's label, for all interrupts.
pub(super) const INTERRUPTS: &str = "CPUs of the card's IRQs";

/// What is with one knob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is as it should be.
    InPlace,
    /// It is to be set to this.
    Change(Value),
    /// It was set; this is what is there.
    Done(Value),
    /// This machine has none, or it is somebody else's: nothing is wrong.
    Skipped(String),
    /// It is left as it is until somebody insists.
    Held(String),
    /// It cannot be read or set.
    Failed(String),
}

/// One knob.
#[derive(Clone, Debug)]
pub struct Line {
    /// Which; `None`: of a kind that this machine has none of.
    pub knob: Option<Knob>,
    /// What it is, for people.
    pub label: String,
    /// What it is set to now.
    pub now: Option<Value>,
    /// What it is to be.
    pub state: State,
    /// What an operator would type for it.
    pub command: Option<String>,
}

impl State {
    /// Of a knob that was not set.
    pub(super) fn of(why: Unset) -> Self {
        match why {
            Unset::Unsupported(why) => Self::Skipped(why),
            Unset::Refused(why) => Self::Failed(why),
        }
    }
}

impl Line {
    pub(super) fn of(host: &Host, knob: Knob, now: Option<Value>, state: State) -> Self {
        let command = match &state {
            State::Change(value) => Some(host.command(&knob, value)),
            _ => None,
        };
        Self { label: knob.to_string(), knob: Some(knob), now, state, command }
    }

    fn skipped(label: &str, why: impl Into<String>) -> Self {
        Self { knob: None, label: label.to_owned(), now: None, state: State::Skipped(why.into()), command: None }
    }

    pub(super) fn failed(label: &str, why: impl Into<String>) -> Self {
        Self { state: State::Failed(why.into()), ..Self::skipped(label, "") }
    }
}

/// The whole of it.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In the order in which it is done.
    pub lines: Vec<Line>,
    /// What vosctl does not do by itself, with the commands.
    pub notes: Vec<String>,
    /// Are the card's interrupts given their CPUs?
    pub interrupts: bool,
}

/// What a plan is made from.
#[derive(Debug)]
pub struct Planner<'a> {
    /// The machine.
    pub host: &'a Host,
    /// What is wanted.
    pub profile: &'a Profile,
    /// Of the site.
    pub site: &'a Site,
    /// What was there before.
    pub journal: Option<&'a Journal>,
    /// Where others' journals are.
    pub store: &'a Store,
    /// Shall what resets the card be done beside an engine?
    pub force: bool,
    /// What was refused a moment ago.
    pub refused: &'a HashSet<Knob>,
}

impl Planner<'_> {
    /// Compares.
    pub fn plan(&self) -> Result<Plan, TuneError> {
        let cpus = Cpus::of(self.host, self.profile, self.site)?;
        let mut plan = Plan::default();
        let queues = self.channels(&cpus, &mut plan);
        self.rings(&mut plan);
        self.features(&mut plan);
        self.coalescing(&mut plan);
        self.steering(queues, &mut plan);
        self.devices(&mut plan);
        self.interrupts(&cpus, &mut plan);
        self.governor(&cpus, &mut plan);
        self.sysctls(&mut plan);
        self.left_over(&mut plan);
        plan.lines.sort_by_key(|line| line.knob.as_ref().map_or(Phase::Rest, Knob::phase));
        coalescing::order(self.host, &mut plan.lines);
        self.advise(&cpus, &mut plan);
        Ok(plan)
    }

    /// A knob that is to have this value.
    fn want(&self, plan: &mut Plan, knob: Knob, wanted: impl FnOnce(&Value) -> Result<Value, String>) {
        let line = match self.host.read(&knob) {
            Err(Unread::Absent(why)) => Line::of(self.host, knob, None, State::Skipped(why)),
            Err(Unread::Failed(why)) => Line::of(self.host, knob, None, State::Failed(why)),
            Ok(now) => match wanted(&self.base(&knob, &now)) {
                Err(why) => Line::of(self.host, knob, Some(now), State::Skipped(why)),
                Ok(wanted) => {
                    let state = self.compare(&knob, &now, wanted);
                    Line::of(self.host, knob, Some(now), state)
                }
            },
        };
        plan.lines.push(line);
    }

    /// From what a goal such as `at_least` is reckoned: what was there before vosctl came, unless others rely on what is.
    fn base(&self, knob: &Knob, now: &Value) -> Value {
        let entry = self.journal.and_then(|journal| journal.entry(knob));
        match entry {
            Some(entry)
                if self.store.is_ours(self.host, entry, now) && self.store.others(self.host, knob).is_empty() =>
            {
                entry.before.clone()
            }
            _ => now.clone(),
        }
    }

    fn compare(&self, knob: &Knob, now: &Value, wanted: Value) -> State {
        let known = self.journal.and_then(|journal| journal.entry(knob));
        // the kernel may have made something else of it
        let taken = known.is_some_and(|entry| entry.asked == wanted && entry.is_in_place(now));
        if *now == wanted || taken {
            return State::InPlace;
        }
        if knob.phase() == Phase::Reset && self.site.engine_runs && !self.force {
            return State::Held(format!(
                "should be {wanted}, and setting it resets the card, while an engine is at work there: stop vos-engine \
                 first, or insist with --force and restart it"
            ));
        }
        State::Change(wanted)
    }

    /// The number of queues that there will be; `None`: the driver does not tell.
    fn channels(&self, cpus: &Cpus, plan: &mut Plan) -> Option<u32> {
        let now = self.host.channels();
        // some tell of RSS alone (atlantic)
        let queues = now.as_ref().map(|now| now.rx + now.combined);
        let queues = queues.or_else(|_| self.host.card().rss_queues()).ok();
        let Some(said) = self.profile.get("interface.channels") else { return queues };
        let Ok(now @ Channels { max_rx, max_tx, max_combined, .. }) = now else {
            self.want(plan, Knob::Channels, |now| Ok(now.clone()));
            return queues;
        };
        let max = if max_combined > 0 { max_combined } else { max_rx };
        let driver = self.host.card().driver().unwrap_or_default();
        let native = now.native_xdp_max(&driver);
        let in_words = match said {
            Said::Word(word) if word == "engine" => self.profile.engine_cores().len() as u32,
            Said::Word(word) if word == "cores" => cpus.physical as u32,
            _ => max,
        };
        let asked = |now: u32| match said {
            Said::Number(goal) => narrow(goal.of(u64::from(now))),
            _ => in_words.min(native),
        };
        if !matches!(said, Said::Number(_)) && native < in_words.min(max) {
            plan.notes
                .push(format!("{driver} takes native XDP with {native} of {max} queues at most: no more are used"));
        }
        let mut will_be = queues;
        self.want(plan, Knob::Channels, |base| {
            let Value::Channels { rx, tx, combined } = *base else { return Ok(base.clone()) };
            let count = asked(rx + combined).clamp(1, max.max(1));
            will_be = Some(count);
            // cards have the one kind or the other
            Ok(match max_combined > 0 {
                true => Value::Channels { rx: 0, tx: 0, combined: count },
                false => {
                    Value::Channels { rx: count, tx: if max_tx > 0 { count.min(max_tx) } else { tx }, combined: 0 }
                }
            })
        });
        let line = plan.lines.last_mut();
        let held = line.as_ref().is_some_and(|line| matches!(line.state, State::Held(_)));
        // a profile that names the table has it on record
        if let Some(Line { state: State::Change(value), command: Some(command), .. }) = line
            && self.profile.word("steering.sip").is_some()
            && self.host.table_blocks(value)
        {
            *command = self.host.even_out_before(command);
        }
        if held || self.refused.contains(&Knob::Channels) { queues } else { will_be }
    }

    fn rings(&self, plan: &mut Plan) {
        let (rx, tx) = (self.profile.get("interface.rx_ring"), self.profile.get("interface.tx_ring"));
        if rx.is_none() && tx.is_none() {
            return;
        }
        let max = self.host.rings().map_or((0, 0), |Rings { max_rx, max_tx, .. }| (max_rx, max_tx));
        let length = |said: Option<&Said>, base: u32, max: u32| match said {
            None => base,
            Some(Said::Number(goal)) => narrow(goal.of(u64::from(base))).min(max),
            // one descriptor is the driver's (bnxt: 2047)
            Some(_) if max.checked_add(1).is_some_and(u32::is_power_of_two) => max,
            // Some want one for AF_XDP without copies (ice_xsk_pool_setup() of Linux 6.1), and have 8160.
            Some(_) => max.checked_ilog2().map_or(0, |log| 1 << log).max(base),
        };
        self.want(plan, Knob::Rings, |base| {
            let Value::Rings { rx: base_rx, tx: base_tx } = *base else { return Ok(base.clone()) };
            Ok(Value::Rings { rx: length(rx, base_rx, max.0), tx: length(tx, base_tx, max.1) })
        });
    }

    fn features(&self, plan: &mut Plan) {
        let features = [("interface.lro", LRO), ("interface.gro_hw", GRO_HW), ("interface.rx_vlan", RX_VLAN)];
        let own_queue = self.profile.word("steering.sip") == Some("own-queue");
        let wanted = features.into_iter().filter_map(|(key, name)| Some((name, self.profile.switch(key)?)));
        for (name, on) in wanted.chain(own_queue.then_some((NTUPLE, true))) {
            let fixed = matches!(self.host.card().feature(name), Ok(Some(feature)) if feature.fixed);
            self.want(plan, Knob::Feature(name.to_owned()), |now| match *now == Value::Switch(on) {
                true => Ok(now.clone()),
                false if fixed => Err(format!("the driver of {} keeps it {now} ([fixed])", self.host.iface())),
                false => Ok(Value::Switch(on)),
            });
        }
    }

    fn coalescing(&self, plan: &mut Plan) {
        if let Some(on) = self.profile.switch("interface.adaptive_rx") {
            self.want(plan, Knob::AdaptiveRx, |_| Ok(Value::Switch(on)));
        }
        if let Some(goal) = self.profile.number("interface.rx_usecs") {
            self.want(plan, Knob::RxUsecs, |base| match base {
                Value::Usecs(usecs) => Ok(Value::Usecs(narrow(goal.of(u64::from(*usecs))))),
                other => Ok(other.clone()),
            });
        }
    }

    fn steering(&self, queues: Option<u32>, plan: &mut Plan) {
        if let Some(word) = self.profile.word("steering.sip") {
            let queues = queues.map(|queues| self.in_reach_of_rss(queues));
            let mut first = 0;
            match queues {
                _ if word != "own-queue" => {}
                None => plan.lines.push(Line::skipped("rules for SIP", self.number_unknown())),
                Some(0 | 1) => {
                    plan.lines.push(Line::skipped("rules for SIP", "there is one queue: nothing to steer"));
                }
                Some(_) => first = u32::from(self.rules(plan)),
            }
            self.want(plan, Knob::RssTable, |base| match (base, queues) {
                (_, None) => Err(self.number_unknown()),
                (Value::Table(table), Some(queues)) => Ok(Value::Table(even_table(table.len(), first, queues - first))),
                (other, _) => Ok(other.clone()),
            });
        }
        let fields = match self.profile.word("steering.udp_hash") {
            Some("addresses") => HASH_ADDRESSES,
            Some(_) => HASH_ADDRESSES_AND_PORTS,
            None => return,
        };
        for udp in Udp::ALL {
            self.want(plan, Knob::HashFields(udp), |_| Ok(Value::Fields(fields)));
        }
    }

    /// So many of these queues RSS can choose among: with ixgbe 16 of 63.
    fn in_reach_of_rss(&self, queues: u32) -> u32 {
        match (self.host.card().rss_queues(), self.host.channels()) {
            (Ok(reach), Ok(now)) if (1..now.rx + now.combined).contains(&reach) => queues.min(reach),
            _ => queues,
        }
    }

    fn number_unknown(&self) -> String {
        format!("the driver of {} does not tell how many queues there are", self.host.iface())
    }

    /// Rules that take SIP to queue 0; may all else be kept from there?
    fn rules(&self, plan: &mut Plan) -> bool {
        let begin = plan.lines.len();
        for &port in &self.site.sip_ports {
            for udp in Udp::ALL {
                let knob = Knob::PortRule { udp, port };
                let ours = self.journal.and_then(|journal| journal.entry(&knob));
                let theirs = |now: &Value| *now != Value::Queue(None) && !ours.is_some_and(|entry| entry.is_ours(now));
                let found = self.host.read(&knob).ok().filter(theirs);
                self.want(plan, knob, |_| match found {
                    Some(Value::Queue(Some(queue))) if queue != OWN_QUEUE => Err(format!(
                        "there is one to queue {queue} already, which stays (ethtool -n {})",
                        self.host.iface()
                    )),
                    _ => Ok(Value::Queue(Some(OWN_QUEUE))),
                });
            }
        }
        let works = |line: &Line| match &line.state {
            State::InPlace => true,
            State::Change(_) => line.knob.as_ref().is_some_and(|knob| !self.refused.contains(knob)),
            _ => false,
        };
        let rules = &plan.lines[begin..];
        !rules.is_empty() && rules.iter().all(works)
    }

    fn devices(&self, plan: &mut Plan) {
        for key in ["interface.napi_defer_hard_irqs", "interface.gro_flush_timeout"] {
            if let (Some(goal), Some((_, file))) = (self.profile.number(key), key.split_once('.')) {
                self.number(plan, Knob::Device(file.to_owned()), goal);
            }
        }
    }

    fn sysctls(&self, plan: &mut Plan) {
        for (key, goal) in self.profile.sysctls() {
            self.number(plan, Knob::Sysctl(key.to_owned()), goal);
        }
    }

    fn number(&self, plan: &mut Plan, knob: Knob, goal: Goal) {
        self.want(plan, knob, |base| match base {
            Value::Text(text) => match text.parse() {
                Ok(now) => Ok(Value::Text(goal.of(now).to_string())),
                Err(_) => Err(format!("it is `{text}`, which is no number")),
            },
            other => Ok(other.clone()),
        });
    }

    fn interrupts(&self, cpus: &Cpus, plan: &mut Plan) {
        let cores = match self.profile.get("irq.cores") {
            None => return,
            Some(Said::Cores(list)) => list.cores().to_vec(),
            Some(Said::Word(word)) if word == "workers" => self.site.worker_cores.clone(),
            Some(Said::Word(word)) if word == "others" => cpus.others.clone(),
            Some(_) => cpus.in_turn.clone(),
        };
        if cores.is_empty() {
            let why = "worker.cores of vos.toml names no core: name one a queue";
            return plan.lines.push(Line::skipped(INTERRUPTS, why));
        }
        if let Some(core) = cores.iter().find(|core| !cpus.online.contains(core)) {
            let why = format!("there is no CPU {core}: {} are online", list(&cpus.online));
            return plan.lines.push(Line::failed(INTERRUPTS, why));
        }
        plan.interrupts = true;
        if let Some(why) = self.host.interrupts_await() {
            return plan.lines.push(Line::failed(INTERRUPTS, why));
        }
        let interrupts = self.host.interrupts();
        if interrupts.is_empty() {
            let why = format!("{} has none that are a queue's, as far as /sys shows", self.host.iface());
            return plan.lines.push(Line::skipped(INTERRUPTS, why));
        }
        for (number, name, queue) in interrupts {
            let core = cores[queue as usize % cores.len()];
            self.want(plan, Knob::Irq { number, name }, |_| Ok(Value::Text(core.to_string())));
        }
    }

    fn governor(&self, cpus: &Cpus, plan: &mut Plan) {
        let Some(governor) = self.profile.word("cpu.governor") else { return };
        let choices: Vec<_> = cpus.online.iter().map(|&cpu| (cpu as u32, self.host.governors(cpu as u32))).collect();
        if choices.iter().all(|(_, offered)| offered.is_none()) {
            let why = "the CPUs' clock is not Linux' to choose here (no cpufreq)";
            return plan.lines.push(Line::skipped("governor", why));
        }
        for (cpu, offered) in choices {
            self.want(plan, Knob::Governor(cpu), |_| match offered {
                Some(offered) if !offered.iter().any(|word| word == governor) => {
                    Err(format!("there is no `{governor}`: the driver offers {}", offered.join(", ")))
                }
                _ => Ok(Value::Text(governor.to_owned())),
            });
        }
    }

    /// What an earlier profile has set, and this one does not name, goes back to what it was.
    fn left_over(&self, plan: &mut Plan) {
        for entry in self.journal.iter().flat_map(|journal| &journal.entries) {
            let named = plan.lines.iter().any(|line| line.knob.as_ref() == Some(&entry.knob));
            if named || entry.ours.is_empty() {
                continue;
            }
            let knob = entry.knob.clone();
            let line = match self.host.read(&knob) {
                Err(Unread::Absent(why)) => Line::of(self.host, knob, None, State::Skipped(why)),
                Err(Unread::Failed(why)) => Line::of(self.host, knob, None, State::Failed(why)),
                Ok(now) if now != entry.before && !self.store.is_ours(self.host, entry, &now) => {
                    let why = "the profile before had set it, and somebody has changed it since: it stays".to_owned();
                    Line::of(self.host, knob, Some(now), State::Skipped(why))
                }
                Ok(now) if !self.store.others(self.host, &knob).is_empty() => {
                    let why = "another interface's profile needs it".to_owned();
                    Line::of(self.host, knob, Some(now), State::Skipped(why))
                }
                Ok(now) if self.names_other_queues(&entry.before) => {
                    let why = format!("goes back to {} with the queues that it names", entry.before);
                    Line::of(self.host, knob, Some(now), State::Skipped(why))
                }
                Ok(now) => {
                    let state = self.compare(&knob, &now, entry.before.clone());
                    let state = if now == entry.before { State::InPlace } else { state };
                    Line::of(self.host, knob, Some(now), state)
                }
            };
            plan.lines.push(line);
        }
    }

    /// Is this a table for more queues than there are?
    fn names_other_queues(&self, value: &Value) -> bool {
        let Value::Table(table) = value else { return false };
        let queues = self.host.card().rss_queues().unwrap_or(u32::MAX);
        table.iter().any(|queue| *queue >= queues)
    }

    fn advise(&self, cpus: &Cpus, plan: &mut Plan) {
        let engine = self.profile.engine_cores();
        let moves_irqs = plan.lines.iter().any(|line| matches!(line.knob, Some(Knob::Irq { .. })));
        if moves_irqs && self.host.runs("irqbalance") {
            plan.notes.push(
                "irqbalance runs and moves interrupts as it likes: systemctl disable --now irqbalance".to_owned(),
            );
        }
        if engine.is_empty() {
            return;
        }
        if engine != self.site.worker_cores {
            plan.notes.push(format!(
                "the engine is not on these cores: worker.cores = \"{}\" in vos.toml, and restart vos-engine",
                list(engine)
            ));
        }
        let mut others = cpus.others.clone();
        others.sort_unstable();
        let others = list(&others);
        let softswitches = ["opensips", "kamailio", "asterisk", "freeswitch"];
        let found: Vec<_> = softswitches.into_iter().filter(|name| self.host.has_unit(name)).collect();
        for name in &found {
            let directory = format!("/etc/systemd/system/{name}.service.d");
            plan.notes.push(format!(
                "{name} on the other cores: mkdir -p {directory} && printf '[Service]\\nCPUAffinity={others}\\n' > \
                 {directory}/cpus.conf && systemctl daemon-reload && systemctl restart {name}"
            ));
        }
        if found.is_empty() {
            plan.notes
                .push(format!("keep the softswitch on the other cores: CPUAffinity={others} in its systemd unit"));
        }
    }
}

/// The CPUs of this machine.
struct Cpus {
    online: Vec<usize>,
    /// The same, one of each core before the second of any: how CPUs are counted differs from machine to machine.
    in_turn: Vec<usize>,
    /// Of these those that neither are the engine's nor share a core with them; all but the engine's if that leaves none.
    others: Vec<usize>,
    /// How many cores they are.
    physical: usize,
}

impl Cpus {
    fn of(host: &Host, profile: &Profile, site: &Site) -> Result<Self, TuneError> {
        let online = host.online()?.cores().to_vec();
        let engine = profile.engine_cores();
        if engine.iter().any(|core| !online.contains(core)) {
            return Err(TuneError::NoCores {
                profile: profile.name.clone(),
                cores: list(engine),
                online: list(&online),
            });
        }
        let engine = if engine.is_empty() { &site.worker_cores } else { engine };
        let shared: HashSet<usize> = engine.iter().flat_map(|&core| host.siblings(core)).collect();
        let mut in_turn = online.clone();
        in_turn.sort_by_key(|&cpu| (host.siblings(cpu).iter().position(|&sibling| sibling == cpu), cpu));
        let without = |these: &dyn Fn(usize) -> bool| in_turn.iter().copied().filter(|cpu| !these(*cpu)).collect();
        let mut others: Vec<usize> = without(&|cpu| shared.contains(&cpu) || engine.contains(&cpu));
        if others.is_empty() {
            others = without(&|cpu| engine.contains(&cpu));
        }
        if others.is_empty() {
            others.clone_from(&in_turn);
        }
        let physical =
            online.iter().filter(|&&cpu| host.siblings(cpu).first().is_none_or(|first| *first == cpu)).count();
        Ok(Self { online, in_turn, others, physical: physical.max(1) })
    }
}

/// Cores as people write them.
fn list(cores: &[usize]) -> String {
    let words: Vec<String> = cores.iter().map(ToString::to_string).collect();
    words.join(",").parse::<CoreList>().map_or_else(|_| words.join(","), |list| list.to_string())
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::calls::Calls;
use super::counts::Loss;
use super::file::Journal;
use super::record::{Kind, Record};
use super::seen::Seen;
use super::summary::Summaries;
use super::{CALLS, Inbox, Line, Records, TOLD, open};
use crate::config::{self, ZeroDuration};
use crate::control::clock::Clock;
use crate::control::terminal::printable_json;
use crate::live::Live;
use crate::policy::Sources;
use crate::seldom::Seldom;

/// How often the queues are looked into.
const PERIOD: Duration = Duration::from_millis(20);
/// How often what waits in vain is looked for, ns.
const SWEEP: u64 = 1_000_000_000;
/// How often the same trouble is told: a disk may be full for hours.
const COMPLAIN: Duration = Duration::from_secs(60);

/// The thread that writes.
pub struct Writer {
    inbox: Inbox,
    calls: Calls,
    summaries: Summaries,
    journal: Option<Journal>,
    /// What is to be written: kinds and lines.
    pending: Pending,
    swept: u64,
    trouble: Seldom,
}

#[derive(Default)]
struct Pending {
    kinds: Vec<Kind>,
    lines: Vec<String>,
}

impl Pending {
    fn push(&mut self, record: &Record) {
        // Every record has a form in JSON.
        let Ok(text) = serde_json::to_string(record) else { return };
        let mut line = printable_json(&text).into_owned();
        line.push('\n');
        self.kinds.push(record.kind());
        self.lines.push(line);
    }
}

impl Writer {
    /// The thread's part, and what the others tell it something by.
    pub fn new(sources: Box<dyn Sources + Send>, config: &config::Records) -> (Records, Self) {
        let (records, inbox) = open();
        inbox.shared.on.store(config.is_on(), Relaxed);
        let writer = Self {
            inbox,
            calls: Calls::new(sources),
            summaries: Summaries::default(),
            journal: None,
            pending: Pending::default(),
            swept: 0,
            trouble: Seldom::default(),
        };
        (records, writer)
    }

    /// Works until nobody tells anything any more ([`Records::close`]); what was told until then is written.
    pub fn follow(mut self, live: &Arc<Live>) {
        loop {
            let began = Instant::now();
            let last = self.inbox.shared.closed.load(Relaxed);
            let (in_force, clock) = (live.in_force(), Clock::now());
            let attack = in_force.kernel.attack_until > clock.mono_ns();
            self.turn(&in_force.config.records, attack, clock);
            if last {
                return self.end();
            }
            drop(in_force);
            std::thread::sleep(PERIOD.saturating_sub(began.elapsed()));
        }
    }

    /// Takes what was told so far, and writes what comes of it.
    pub(super) fn turn(&mut self, config: &config::Records, attack: bool, clock: Clock) {
        self.switch(config);
        let summarise = attack && config.zero_duration != ZeroDuration::On;
        if !summarise || self.summaries.is_due(clock.mono_ns()) {
            self.flush();
        }
        for record in self.inbox.told.clone().try_iter().take(TOLD) {
            self.take(&record, summarise, clock);
        }
        let mut made = Vec::new();
        for seen in self.inbox.calls.try_iter().take(CALLS) {
            match seen {
                Seen::Invited(invited) => self.calls.invited(&invited, clock),
                Seen::Ended(ended) => self.calls.ended(&ended, config, clock, &mut |record| made.push(record)),
            }
        }
        if clock.mono_ns().saturating_sub(self.swept) >= SWEEP {
            self.swept = clock.mono_ns();
            self.calls.sweep(config, clock, &mut |record| made.push(record));
        }
        self.inbox.shared.counts.lose(Loss::Displaced, std::mem::take(&mut self.calls.displaced));
        for record in made {
            self.take(&record, summarise, clock);
        }
        self.write(!config.exchange.is_empty());
    }

    /// The configuration may have changed.
    fn switch(&mut self, config: &config::Records) {
        let was_on = self.inbox.shared.on.swap(config.is_on(), Relaxed);
        if was_on && !config.is_on() {
            // What was told until now belongs into the file that was.
            self.flush();
            self.write(false);
            self.calls.forget();
            info!("records: no longer written");
        }
        if !config.is_on() {
            self.close_file();
            return;
        }
        match &mut self.journal {
            Some(journal) if journal.is_at(&config.file) => journal.set_bounds(config.max(), config.keep),
            _ => {
                self.close_file();
                self.journal = Some(Journal::new(&config.file, config.max(), config.keep));
                info!("records: written to {}", config.file.display());
            }
        }
    }

    fn take(&mut self, record: &Record, summarise: bool, clock: Clock) {
        match record.call() {
            Some(call) if summarise => {
                self.summaries.add(record.time, record.kind(), call, clock.mono_ns());
                self.inbox.shared.counts.summarise();
            }
            _ => self.pending.push(record),
        }
    }

    fn flush(&mut self) {
        self.summaries.flush(&mut |record| self.pending.push(&record));
    }

    fn write(&mut self, publish: bool) {
        let Pending { kinds, lines } = std::mem::take(&mut self.pending);
        let (Some(journal), false) = (&mut self.journal, lines.is_empty()) else { return };
        let counts = &self.inbox.shared.counts;
        let (written, result) = journal.write(&lines);
        kinds[..written].iter().for_each(|kind| counts.write(*kind));
        let lost = (lines.len() - written) as u64;
        counts.lose(Loss::File, lost);
        if let (Err(error), Some(lost)) = (result, self.trouble.more(lost, COMPLAIN)) {
            warn!("records: {lost} lines are lost: {}: {error}", journal.path().display());
        }
        if publish {
            for (kind, line) in kinds.into_iter().zip(lines) {
                let line = Line { kind, text: line.trim_end().into() };
                if self.inbox.unsent.try_send(line).is_err() {
                    counts.lose(Loss::Broker, 1);
                }
            }
        }
    }

    fn close_file(&mut self) {
        if let Some(journal) = self.journal.take()
            && let Err(error) = journal.sync()
        {
            warn!("records: {}: {error}", journal.path().display());
        }
    }

    fn end(mut self) {
        self.flush();
        self.write(true);
        self.close_file();
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("journal", &self.journal).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

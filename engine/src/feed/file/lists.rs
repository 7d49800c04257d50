//! What the watched files hold, line by line, and what of it was brought into force.
//!
//! A line is acted upon when it appears or changes, not each time it is read: so what an operator unblocks stays
//! unblocked until the line changes, or leaves and comes back, and a block that has ended by its `ttl=` is not renewed.
//! This is known as long as the engine runs. At its start everything is a new line, but for what the store says of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use tracing::info;

use crate::control::Control;
use crate::control::ask::{Ask, By, Done, End, Refusal};
use crate::control::decide::Filter;
use crate::control::decision::{Decision, Kind, Origin};

/// Asked at once. More: an operator's command waits longer (some 5 µs each). Fewer: a commit to disk for each few.
const BATCH: usize = 8_192;
/// What was refused is asked again so often, seconds: a trust may be taken back, a disk emptied. So is what another node's
/// file blocks. Shorter: many lines that several nodes have cost more. Longer: one that leaves the other file is let in for
/// longer.
const AGAIN: u64 = 60;
/// How far the time of a decision may be from that of its line, seconds: long lists take a while.
const SLACK: u64 = 60;

/// What a line says, the defaults of its file filled in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wish {
    pub(super) end: End,
    pub(super) reason: Arc<str>,
}

/// A line with its number.
pub(super) type Numbered = (usize, IpNet, Wish);

/// What came of a file that was read.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Blocks made.
    pub(super) made: u64,
    /// Blocks taken back.
    pub(super) lifted: u64,
    /// Lines about which there was nothing to do.
    pub(super) already: u64,
    /// The numbers of lines that are not in force, and why.
    pub(super) refused: Vec<(usize, Refusal)>,
}

/// A line that was read.
struct Entry {
    wish: Wish,
    /// From when its `ttl=` counts, unix seconds.
    since: u64,
    /// When it is asked again, unix seconds.
    again: Option<u64>,
}

impl Entry {
    fn until(&self) -> Option<u64> {
        match self.wish.end {
            End::Never => None,
            End::After(ttl) => Some(self.since.saturating_add(ttl)),
            End::At(until) => Some(until),
        }
    }

    fn has_ended(&self, now: u64) -> bool {
        self.until().is_some_and(|until| until <= now)
    }

    fn ask(&self, net: IpNet) -> Ask {
        Ask::block(net, self.until().map_or(End::Never, End::At), Arc::clone(&self.wish.reason))
    }
}

/// One file.
#[derive(Default)]
struct List {
    /// Who has read it last; whoever began before that comes too late.
    turn: u64,
    /// `None`: it was not read since the start.
    entries: Option<HashMap<IpNet, Entry>>,
    /// When the next of them is asked again, unix seconds.
    due: Option<u64>,
    /// What has left and could not be taken back, for want of a disk.
    stuck: HashSet<IpNet>,
}

impl List {
    fn hold(&mut self, entries: HashMap<IpNet, Entry>) {
        self.due = entries.values().filter_map(|entry| entry.again).min();
        self.entries = Some(entries);
    }
}

/// Every file, and which of them are to be watched.
#[derive(Default)]
struct Watched {
    lists: BTreeMap<Arc<str>, List>,
    wanted: BTreeSet<Arc<str>>,
    /// Since this turn.
    since: u64,
    /// When it was looked for what files of other nodes block, unix seconds.
    looked: u64,
}

impl Watched {
    /// May it be acted for this file?
    fn has(&self, path: &Arc<str>, turn: u64) -> bool {
        let is_wanted = turn > self.since || self.wanted.contains(path);
        is_wanted && self.lists.get(path).is_none_or(|list| turn >= list.turn)
    }
}

/// All watched files. What they want is brought into force one file after the other.
pub struct Lists {
    control: Arc<Control>,
    turn: AtomicU64,
    watched: Mutex<Watched>,
}

impl Lists {
    /// No file yet.
    pub fn new(control: Arc<Control>) -> Self {
        Self { control, turn: AtomicU64::default(), watched: Mutex::default() }
    }

    /// A turn that is later than all before.
    pub fn next_turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Unix seconds.
    pub(super) fn now(&self) -> u64 {
        self.control.clock().wall_s()
    }

    /// Only these files are watched from `turn` on: what others have made, even before the engine was started, ends.
    /// Blocks until it is done.
    pub fn keep_only(&self, paths: BTreeSet<Arc<str>>, turn: u64) {
        let mut watched = self.lock();
        if turn < watched.since {
            return;
        }
        (watched.wanted, watched.since) = (paths, turn);
        let Watched { lists, wanted, .. } = &mut *watched;
        // one that is later than this is watched again
        lists.retain(|path, list| wanted.contains(path) || list.turn > turn);
        let mut left: BTreeMap<Arc<str>, Vec<IpNet>> = BTreeMap::new();
        let is_left = |made: &Decision| !wanted.contains(&made.who) && !lists.contains_key(&made.who);
        for made in self.standing().filter(is_left) {
            left.entry(made.who).or_default().push(made.net);
        }
        for (path, nets) in left {
            // what cannot be taken back for want of a disk the next start tries again
            let lifted = self.lift(lists, &path, &nets);
            info!("{path} is not watched any longer: {lifted} unblocked");
        }
    }

    /// Brings what was read into force; `written` is when the file was, unix seconds. `None`: somebody else has the turn.
    pub(super) fn apply(&self, path: &Arc<str>, turn: u64, lines: Vec<Numbered>, written: u64) -> Option<Report> {
        let now = self.control.clock().wall_after(0)?;
        let mut watched = self.lock();
        if !watched.has(path, turn) {
            return None;
        }
        let list = watched.lists.entry(Arc::clone(path)).or_default();
        list.turn = turn;
        let (before, stuck) = (list.entries.take(), mem::take(&mut list.stuck));
        let standing: HashMap<IpNet, Decision> = match before {
            Some(_) => HashMap::new(),
            None => self.standing().filter(|decision| decision.who == *path).map(|made| (made.net, made)).collect(),
        };
        let (mut entries, mut asked, count) = (HashMap::with_capacity(lines.len()), HashMap::new(), lines.len());
        for (number, net, wish) in lines {
            let known = before.as_ref().and_then(|before| before.get(&net));
            let since = match (known, standing.get(&net)) {
                (Some(known), _) => known.since,
                (None, Some(made)) => since(made, wish.end),
                (None, None) if before.is_none() => written.min(now),
                (None, None) => now,
            };
            if known.is_none_or(|known| known.wish != wish || known.again.is_some()) {
                asked.insert(net, number);
            } else {
                asked.remove(&net);
            }
            entries.insert(net, Entry { wish, since, again: None });
        }
        let gone =
            |net: &&IpNet| entries.get(*net).is_none_or(|entry| entry.has_ended(now) && asked.contains_key(*net));
        let before = before.unwrap_or_default();
        let mut left: Vec<IpNet> = before.keys().chain(standing.keys()).chain(&stuck).filter(gone).copied().collect();
        left.sort_unstable();
        asked.retain(|net, _| entries.get(net).is_some_and(|entry| !entry.has_ended(now)));
        let mut report = self.put(path, &mut entries, asked, now);
        report.already = (count as u64).saturating_sub(report.made + report.refused.len() as u64);
        list.hold(entries);
        report.lifted = self.lift(&mut watched.lists, path, &left);
        Some(report)
    }

    /// Asks again what was refused and what could not be taken back, if its time has come.
    pub(super) fn again(&self, path: &Arc<str>, turn: u64) -> Report {
        let (mut watched, now) = (self.lock(), self.now());
        self.look_elsewhere(&mut watched, now);
        let Some(list) = watched.lists.get_mut(path).filter(|list| list.turn == turn) else { return Report::default() };
        let mut report = Report::default();
        if list.due.is_some_and(|due| due <= now)
            && let Some(mut entries) = list.entries.take()
        {
            entries.values_mut().filter(|entry| entry.has_ended(now)).for_each(|entry| entry.again = None);
            let is_due = |entry: &Entry| entry.again.is_some_and(|again| again <= now);
            let asked = entries.iter().filter(|(_, entry)| is_due(entry)).map(|(net, _)| (*net, 0)).collect();
            report = self.put(path, &mut entries, asked, now);
            list.hold(entries);
        }
        let stuck: Vec<IpNet> = mem::take(&mut list.stuck).into_iter().collect();
        report.lifted = self.lift(&mut watched.lists, path, &stuck);
        report
    }

    /// A line is asked again where a file of another node blocks what it does, or has put its block in the place of this
    /// one's: that node takes it back without asking here.
    fn look_elsewhere(&self, watched: &mut Watched, now: u64) {
        let node = self.control.node();
        if node.is_empty() || now.abs_diff(watched.looked) < AGAIN {
            return;
        }
        watched.looked = now;
        let theirs = self.made_by_files(Some(node)).filter(|there| !self.control.is_own(&there.made));
        let theirs: Vec<IpNet> = theirs.map(|there| there.net).collect();
        if theirs.is_empty() {
            return;
        }
        for list in watched.lists.values_mut() {
            let Some(mut entries) = list.entries.take() else { continue };
            for net in &theirs {
                if let Some(entry) = entries.get_mut(net).filter(|entry| !entry.has_ended(now)) {
                    entry.again.get_or_insert(now + AGAIN);
                }
            }
            list.hold(entries);
        }
    }

    fn put(
        &self,
        path: &Arc<str>,
        entries: &mut HashMap<IpNet, Entry>,
        asked: HashMap<IpNet, usize>,
        now: u64,
    ) -> Report {
        let (by, mut report) = (By::feed(Origin::File, Arc::clone(path)), Report::default());
        let mut asked: Vec<_> = asked.into_iter().collect();
        asked.sort_unstable_by_key(|(net, number)| (*number, *net));
        for asked in asked.chunks(BATCH) {
            let asks: Vec<Ask> = asked.iter().filter_map(|(net, _)| Some(entries.get(net)?.ask(*net))).collect();
            let results = self.control.submit(&by, asks, None).results;
            for ((net, number), result) in asked.iter().zip(results) {
                let Some(entry) = entries.get_mut(net) else { continue };
                entry.again = None;
                match result {
                    Ok(Done::Already(there)) => {
                        // an operator's word comes first, and this behind it
                        let lasts = |there: u64| entry.until().is_none_or(|until| until > there);
                        let behind = there.until.filter(|there| lasts(*there));
                        // another node's file takes it back without asking here
                        let theirs = there.origin == Origin::File && !self.control.is_own(&there.made);
                        entry.again = behind.into_iter().chain(theirs.then_some(now + AGAIN)).min();
                    }
                    Ok(_) => report.made += 1,
                    Err(refusal) => {
                        entry.again = Some(now + AGAIN);
                        report.refused.push((*number, refusal));
                    }
                }
            }
        }
        report
    }

    /// Takes back what this file made at these prefixes, and brings in what other files want there.
    fn lift(&self, lists: &mut BTreeMap<Arc<str>, List>, path: &Arc<str>, nets: &[IpNet]) -> u64 {
        let (by, mut lifted, mut stuck) = (By::feed(Origin::File, Arc::clone(path)), Vec::new(), HashSet::new());
        for nets in nets.chunks(BATCH) {
            let asks = nets.iter().map(|net| Ask::Remove { net: *net, kind: Kind::Block }).collect();
            for (net, result) in nets.iter().zip(self.control.submit(&by, asks, None).results) {
                match result {
                    Ok(_) => lifted.push(*net),
                    Err(Refusal::Store(_) | Refusal::Maps(_)) => drop(stuck.insert(*net)),
                    // it has ended, or is somebody else's
                    Err(_) => {}
                }
            }
        }
        if let Some(list) = lists.get_mut(path) {
            list.stuck = stuck;
        }
        let now = self.now();
        for (other, list) in lists.iter_mut().filter(|(other, _)| *other != path) {
            let Some(mut entries) = list.entries.take() else { continue };
            let wanted = |net: &&IpNet| entries.get(*net).is_some_and(|entry| !entry.has_ended(now));
            let asked: HashMap<_, _> = lifted.iter().filter(wanted).map(|net| (*net, 0)).collect();
            if asked.is_empty() {
                list.entries = Some(entries);
            } else {
                self.put(other, &mut entries, asked, now);
                list.hold(entries);
            }
        }
        lifted.len() as u64
    }

    /// What files of this node have made, whatever it was called then.
    fn standing(&self) -> impl Iterator<Item = Decision> {
        self.made_by_files(None).filter(|made| self.control.is_own(&made.made))
    }

    /// What files have made, of every node or elsewhere than on the one of this name.
    fn made_by_files(&self, elsewhere: Option<Arc<str>>) -> impl Iterator<Item = Decision> {
        let (origin, kind) = (Some(Origin::File), Some(Kind::Block));
        let made = self.control.list(&Filter { origin, kind, elsewhere, ..Filter::default() });
        made.into_iter().map(|listed| listed.decision)
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From when the `ttl=` of a line counts, whose block stands since before the engine was started.
fn since(standing: &Decision, end: End) -> u64 {
    let made = standing.made.stamp.seconds();
    match (end, standing.until) {
        (End::After(ttl), Some(until)) if until.saturating_sub(ttl).abs_diff(made) <= SLACK => {
            until.saturating_sub(ttl)
        }
        _ => made,
    }
}

#[cfg(test)]
mod tests;

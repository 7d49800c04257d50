//! A watched file of addresses: what is in it is blocked, what has left it is not.
//!
//! It may block and take back what it blocked itself on this node, nothing else. A file that cannot be read, or is gone,
//! changes nothing: it is an error, not an empty list.

/// What the files hold, and what of it is in force.
mod lists;
/// When a file is to be read.
mod pace;
/// What inotify tells.
mod watch;

use std::fs::{File, OpenOptions, metadata};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use nix::fcntl::OFlag;
use tracing::{debug, info, warn};

use crate::config::FileFeed;
use crate::control::ask::End;
use crate::control::terminal::printable;
use crate::feed::Tally;
use crate::feed::lines::{self, Line, Takes, Unreadable};
use lists::{Numbered, Report, Wish};
use pace::{Due, LOOK, Pace, Version};
use watch::Watch;

pub use lists::Lists;

/// Lines named in the log each time, of those that are bad and of those that are refused. Fewer: the one that matters is
/// missed. More: a file of another kind fills the log.
const TOLD: usize = 10;

/// What the feed of this file is called.
pub fn name(path: &Path) -> String {
    format!("file {}", path.display())
}

/// Follows a file until it is aborted. Whoever follows the same file later has a later `turn`.
pub async fn follow(feed: FileFeed, lists: Arc<Lists>, turn: u64, tally: Arc<Tally>) {
    let mut watched = Watched::new(feed, lists, turn, tally);
    loop {
        // A network file system may let us wait for minutes.
        let looked = tokio::task::spawn_blocking(move || {
            watched.look();
            watched
        });
        watched = match looked.await {
            Ok(watched) => watched,
            // the runtime ends
            Err(_) => return,
        };
        watched.wait().await;
    }
}

/// A file, and how far it has been followed.
struct Watched {
    feed: FileFeed,
    path: Arc<str>,
    reason: Arc<str>,
    lists: Arc<Lists>,
    turn: u64,
    tally: Arc<Tally>,
    pace: Pace,
    watch: Option<Watch>,
    /// What is wrong with what was read last.
    verdict: String,
    /// What was told last: is it not there, and what is wrong?
    told: Option<(bool, String)>,
    /// The lines that were named in the log last.
    named: Vec<String>,
}

impl Watched {
    fn new(feed: FileFeed, lists: Arc<Lists>, turn: u64, tally: Arc<Tally>) -> Self {
        let (path, reason): (Arc<str>, _) = (feed.path.to_string_lossy().into(), feed.reason.as_str().into());
        let watch = Watch::new(&feed.path).inspect_err(|error| {
            warn!(
                "{path}: looking every {LOOK:?}, without inotify: {error}; is fs.inotify.max_user_instances too low?"
            );
        });
        let (pace, watch) = (Pace::default(), watch.ok());
        Self {
            feed,
            path,
            reason,
            lists,
            turn,
            tally,
            pace,
            watch,
            verdict: String::new(),
            told: None,
            named: Vec::new(),
        }
    }

    /// Until something has happened, or it is time for a look.
    async fn wait(&self) {
        let looking = tokio::time::sleep(LOOK);
        match &self.watch {
            None => looking.await,
            Some(watch) => tokio::select! {
                () = looking => {}
                waited = watch.wait() => if waited.is_err() { tokio::time::sleep(LOOK).await },
            },
        }
    }

    /// Looks at the file, reads it if it is to be read, and asks again for what was refused before, or is another node's.
    fn look(&mut self) {
        if let Some(Err(error)) = self.watch.as_mut().map(|watch| watch.drain(&mut self.pace)) {
            debug!("{}: inotify: {error}", self.path);
        }
        match self.try_look() {
            // what was told holds
            Ok(false) => {}
            Ok(true) => self.tell(false, self.verdict.clone()),
            Err(error) => self.tell(true, format!("{error}; what it blocked stays blocked")),
        }
        let report = self.lists.again(&self.path, self.turn);
        add(&self.tally.applied, report.made + report.lifted);
        if report.made + report.lifted > 0 {
            info!("{}: asked again, {} blocked and {} unblocked", self.path, report.made, report.lifted);
        }
    }

    /// Says what is wrong, once.
    fn tell(&mut self, is_down: bool, trouble: String) {
        if matches!(&self.told, Some((down, told)) if (*down, told) == (is_down, &trouble)) {
            return;
        }
        match is_down {
            true => self.tally.down(&*trouble),
            false => self.tally.up(),
        }
        if !trouble.is_empty() {
            self.tally.complain(&*trouble);
            warn!("{}: {trouble}", self.path);
        }
        self.told = Some((is_down, trouble));
    }

    /// Is the verdict one of the file as it is?
    fn try_look(&mut self) -> io::Result<bool> {
        let found = metadata(&self.feed.path).inspect_err(|_| self.pace.gone())?;
        if !found.is_file() {
            self.pace.gone();
            return Err(io::Error::other("it is no regular file"));
        }
        let version = Version::of(&found);
        let due = self.pace.look(version, Instant::now(), self.lists.now());
        if due == Due::No {
            return Ok(self.pace.has_read(version));
        }
        // What was a file may be a FIFO by now, and keep us waiting.
        let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&self.feed.path)?;
        let version = self::version(&file)?;
        let bytes = match lines::bytes_of(&file) {
            Ok(bytes) => bytes,
            Err(Unreadable::Io(error)) => return Err(error),
            Err(too_large) => {
                self.pace.read(version, true);
                self.verdict = format!("{too_large}; what it blocked stays blocked");
                return Ok(true);
            }
        };
        if !self::version(&file)?.is_as(&version) {
            // somebody writes: the next look decides
            return Ok(false);
        }
        let end = match due {
            Due::Lines => bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1),
            _ => bytes.len(),
        };
        self.pace.read(version, end == bytes.len());
        let Some(verdict) = self.take(&bytes[..end], version.written()) else { return Ok(false) };
        self.verdict = verdict;
        Ok(true)
    }

    /// Brings what is in the file into force. Gives what is wrong with it; `None`: another has the turn.
    fn take(&mut self, bytes: &[u8], written: u64) -> Option<String> {
        let (mut good, mut bad, mut first) = (Vec::new(), 0, Vec::new());
        for line in lines::read(bytes, Takes::Blocks) {
            match line {
                Ok(line) => good.push(self.wanted(line)),
                Err(line) => {
                    bad += 1;
                    if first.len() < TOLD {
                        first.push(line.to_string());
                    }
                }
            }
        }
        add(&self.tally.read, good.len() as u64 + bad);
        add(&self.tally.bad, bad);
        if self.feed.strict && bad > 0 {
            let line = self.name(&first);
            return Some(format!("bad lines: {bad}, and it is strict: what it blocked stays as it is; {line}"));
        }
        let report = self.lists.apply(&self.path, self.turn, good, written)?;
        let refused = report.refused.len() as u64;
        let Report { made, lifted, already, .. } = report;
        add(&self.tally.applied, made + lifted);
        add(&self.tally.already, already);
        add(&self.tally.refused, refused);
        if made + lifted > 0 {
            info!("{}: {made} blocked, {lifted} unblocked, {already} as before", self.path);
        }
        first.extend(report.refused.iter().take(TOLD).map(|(number, why)| format!("line {number}: {why}")));
        let line = self.name(&first);
        Some(match bad + refused {
            0 => String::new(),
            _ => format!("bad lines: {bad}, refused: {refused}; {line}"),
        })
    }

    /// Names the first lines with which something is wrong in the log, unless it has just named them; gives the first.
    fn name(&mut self, lines: &[String]) -> String {
        let lines: Vec<String> = lines.iter().map(|line| printable(line).into_owned()).collect();
        if self.named != lines {
            lines.iter().for_each(|line| warn!("{}: {line}", self.path));
            self.named = lines;
        }
        self.named.first().cloned().unwrap_or_default()
    }

    fn wanted(&self, line: Line) -> Numbered {
        let end = self.feed.ttl.map_or(End::Never, |ttl| End::After(ttl.as_secs()));
        let wish =
            Wish { end: line.end.unwrap_or(end), reason: line.reason.unwrap_or_else(|| Arc::clone(&self.reason)) };
        (line.number, line.net, wish)
    }
}

fn version(file: &File) -> io::Result<Version> {
    Ok(Version::of(&file.metadata()?))
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Relaxed);
}

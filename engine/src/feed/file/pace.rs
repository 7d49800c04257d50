//! When a watched file is to be read: not before whoever writes it is done, as far as that can be seen.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// How often the file is looked at beside what inotify tells, which is silent about network file systems. More often:
/// system calls for nothing. Less often: a block comes later there.
pub(super) const LOOK: Duration = Duration::from_secs(2);
/// How long a file must be still that nobody is seen to have finished.
const STILL: Duration = Duration::from_secs(10);
/// The same while somebody has been seen to write it and not to close it: `export >FILE` empties it at once.
const ABANDONED: Duration = Duration::from_secs(600);
/// A file that grows without pause is read at least so often.
const GROWING: Duration = Duration::from_secs(30);

/// One state of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    place: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            place: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Is it the same content, as far as that can be told from outside?
    pub(super) fn is_as(&self, other: &Self) -> bool {
        // whoever is done may still give it away
        Self { changed: other.changed, ..*self } == *other
    }

    /// When it was written last, unix seconds.
    pub(super) fn written(&self) -> u64 {
        u64::try_from(self.modified.0).unwrap_or(0)
    }
}

/// What is to be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing: it is as it was, or somebody writes it.
    No,
    /// It is complete: read it.
    Whole,
    /// Somebody adds to it: read it up to its last line end.
    Lines,
}

/// What was read, what was seen since, and whether somebody is writing.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Was it complete?
    read: Option<(Version, bool)>,
    /// The version looked at last, and since when it is that.
    seen: Option<(Version, Instant)>,
    /// Since when it is another than was read.
    differs: Option<Instant>,
    writing: bool,
    closed: bool,
}

impl Pace {
    /// Somebody writes.
    pub(super) fn written(&mut self) {
        (self.writing, self.closed) = (true, false);
    }

    /// Whoever wrote is done, or has put another file in its place.
    pub(super) fn closed(&mut self) {
        (self.writing, self.closed) = (false, true);
    }

    /// There is no such file.
    pub(super) fn gone(&mut self) {
        *self = Self { read: self.read, ..Self::default() };
    }

    /// This version was read.
    pub(super) fn read(&mut self, version: Version, complete: bool) {
        (self.read, self.differs) = (Some((version, complete)), None);
    }

    /// Was this version read?
    pub(super) fn has_read(&self, version: Version) -> bool {
        self.read.is_some_and(|(read, _)| read == version)
    }

    /// What is to be done with the file, which is of this version `now`; `wall` is the same in unix seconds.
    pub(super) fn look(&mut self, version: Version, now: Instant, wall: u64) -> Due {
        let closed = std::mem::take(&mut self.closed);
        if self.read == Some((version, true)) {
            self.differs = None;
            return Due::No;
        }
        let since = match self.seen {
            Some((seen, since)) if seen == version => since,
            _ => self.seen.insert((version, now)).1,
        };
        let (still, differs) = (now - since, now - *self.differs.get_or_insert(now));
        let grown = self.read.is_some_and(|(read, _)| read.place == version.place && read.size < version.size);
        // found at the start: nobody has been seen to write it, and its own time tells
        let found = self.read.is_none() && version.written().saturating_add(LOOK.as_secs()) <= wall;
        match () {
            () if closed || found => Due::Whole,
            () if grown && (still >= LOOK || differs >= GROWING) => Due::Lines,
            () if still >= if self.writing { ABANDONED } else { STILL } => Due::Whole,
            () => Due::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: u64 = 1_000_000;

    fn version(inode: u64, size: u64, modified: u64) -> Version {
        let modified = (modified as i64, 0);
        Version { place: (1, inode), size, modified, changed: modified }
    }

    /// A file that has been read, and what is due after so many seconds, looked at every second.
    struct Watched {
        pace: Pace,
        begin: Instant,
        seconds: u64,
    }

    impl Watched {
        fn new(read: Version) -> Self {
            let (mut pace, begin) = (Pace::default(), Instant::now());
            pace.read(read, true);
            Self { pace, begin, seconds: 0 }
        }

        fn look(&mut self, version: Version) -> Due {
            self.seconds += 1;
            let now = self.begin + Duration::from_secs(self.seconds);
            self.pace.look(version, now, WALL + self.seconds)
        }

        /// The seconds until something is due, and what.
        fn until_due(&mut self, mut version: impl FnMut(u64) -> Version) -> (u64, Due) {
            let begin = self.seconds;
            loop {
                let due = self.look(version(self.seconds - begin));
                if due != Due::No || self.seconds - begin > 10_000 {
                    return (self.seconds - begin, due);
                }
            }
        }
    }

    #[test]
    fn a_file_that_is_closed_or_replaced_is_read_at_once_and_only_once() {
        let mut file = Watched::new(version(1, 10, WALL));
        assert_eq!(file.look(version(1, 10, WALL)), Due::No);
        file.pace.written();
        assert_eq!(file.look(version(1, 0, WALL + 1)), Due::No);
        file.pace.closed();
        assert_eq!(file.look(version(1, 5, WALL + 2)), Due::Whole);
        file.pace.read(version(1, 5, WALL + 2), true);
        file.pace.closed();
        assert_eq!(file.look(version(1, 5, WALL + 2)), Due::No);
        assert_eq!(file.until_due(|_| version(1, 5, WALL + 2)), (10_001, Due::No));
    }

    #[test]
    fn one_that_nobody_is_seen_to_finish_is_read_once_it_is_still() {
        // by another client of a network file system
        assert_eq!(Watched::new(version(1, 10, WALL)).until_due(|_| version(2, 5, WALL + 1)), (11, Due::Whole));
        // the shell has emptied it, and the export takes its time
        let mut file = Watched::new(version(1, 10, WALL));
        file.pace.written();
        assert_eq!(file.until_due(|_| version(1, 0, WALL + 1)), (601, Due::Whole));
    }

    #[test]
    fn one_that_grows_is_read_in_a_pause_and_now_and_then_without() {
        let mut file = Watched::new(version(1, 10, WALL));
        file.pace.written();
        assert_eq!(file.until_due(|_| version(1, 20, WALL + 1)), (3, Due::Lines));
        let mut file = Watched::new(version(1, 10, WALL));
        file.pace.written();
        assert_eq!(file.until_due(|second| version(1, 20 + second, WALL + second)), (31, Due::Lines));
        // what was behind the last line end is read when it is clear that no more comes
        file.pace.read(version(1, 99, WALL), false);
        file.pace.writing = false;
        assert_eq!(file.until_due(|_| version(1, 99, WALL)), (11, Due::Whole));
    }

    #[test]
    fn what_is_there_at_the_start_is_read_at_once_unless_it_was_written_just_now() {
        let begin = Instant::now();
        assert_eq!(Pace::default().look(version(1, 10, WALL - 2), begin, WALL), Due::Whole);
        let mut fresh = Pace::default();
        assert_eq!(fresh.look(version(1, 10, WALL - 1), begin, WALL), Due::No);
        assert_eq!(fresh.look(version(1, 10, WALL - 1), begin + LOOK, WALL + 2), Due::Whole);
        // a clock that was wrong
        let mut early = Pace::default();
        assert_eq!(early.look(version(1, 10, WALL + 99), begin, WALL), Due::No);
        assert_eq!(early.look(version(1, 10, WALL + 99), begin + STILL, WALL + 10), Due::Whole);
    }

    #[test]
    fn a_file_that_comes_back_as_it_was_is_not_read_again() {
        let mut file = Watched::new(version(1, 10, WALL));
        file.pace.written();
        file.pace.gone();
        assert_eq!(file.until_due(|_| version(1, 10, WALL)), (10_001, Due::No));
        assert_eq!(file.until_due(|_| version(2, 10, WALL + 1)).0, 11);
    }
}

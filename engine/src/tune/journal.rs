//! What was there before: one file an interface, whole or not at all, on disk before anything is changed.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, fcntl};
use serde::{Deserialize, Serialize};

use super::setting::{Knob, Value};
use super::{Host, TuneError};
use crate::ethtool::even_table;
use crate::kept;

/// The format that this program writes, and the only one that it reads.
const VERSION: u32 = 1;

/// What was there, and what was put in its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    version: u32,
    /// Name of the profile, or its path.
    pub profile: String,
    /// Was everything tried? Not if it was killed in the middle, or if something was held back beside an engine.
    pub complete: bool,
    /// Does the profile give the card's interrupts their CPUs? They may come later than it.
    #[serde(default)]
    pub interrupts: bool,
    index: u32,
    namespace: u64,
    boot_id: String,
    /// In the order in which they were met.
    pub entries: Vec<Entry>,
}

/// One knob.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Which.
    pub knob: Knob,
    /// What it was before the first change.
    pub before: Value,
    /// What the profile wants.
    pub asked: Value,
    /// What vosctl may have written, the last at the end, as the kernel took it; empty: it was in place already.
    pub ours: Vec<Value>,
}

impl Entry {
    /// Is this value one that vosctl has written, or that came of it? After a change of channels the driver shares out
    /// anew, every queue in turn.
    pub fn is_ours(&self, value: &Value) -> bool {
        let by_driver = match value {
            Value::Table(table) => {
                let queues = table.iter().max().map_or(0, |last| last + 1);
                even_table(table.len(), 0, queues) == *table
            }
            _ => false,
        };
        self.ours.contains(value) || by_driver
    }

    /// Is this what the profile wants, or what the kernel made of it?
    pub fn is_in_place(&self, value: &Value) -> bool {
        *value == self.asked || self.ours.last() == Some(value)
    }

    /// That vosctl is about to write, or has written, this.
    fn will_be(&mut self, value: &Value) {
        self.ours.retain(|ours| ours != value);
        self.ours.push(value.clone());
    }
}

impl Journal {
    /// One that holds nothing yet.
    pub fn new(host: &Host, profile: &str) -> Self {
        Self {
            version: VERSION,
            profile: profile.to_owned(),
            complete: false,
            interrupts: false,
            index: host.index,
            namespace: namespace(),
            boot_id: host.boot_id(),
            entries: Vec::new(),
        }
    }

    /// What is known of a knob.
    pub fn entry(&self, knob: &Knob) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.knob == *knob)
    }

    pub(super) fn entry_mut(&mut self, knob: &Knob) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.knob == *knob)
    }

    /// Notes what is there, and what is wanted. The oldest value that was there stays.
    pub fn note(&mut self, knob: &Knob, before: &Value, asked: &Value) {
        match self.entry_mut(knob) {
            Some(entry) => entry.asked = asked.clone(),
            None => self.entries.push(Entry {
                knob: knob.clone(),
                before: before.clone(),
                asked: asked.clone(),
                ours: Vec::new(),
            }),
        }
    }

    /// Notes that a knob is about to be written, or what the kernel made of it.
    pub fn will_be(&mut self, knob: &Knob, value: &Value) {
        if let Some(entry) = self.entry_mut(knob) {
            entry.will_be(value);
        }
    }
}

/// The directory of the journals, locked.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    file: PathBuf,
    lock: Option<Flock<fs::File>>,
}

/// A journal that was found.
#[derive(Debug)]
pub enum Found {
    /// There is none.
    None,
    /// It is about this machine as it runs.
    Current(Journal),
    /// The machine was started since: nothing of it is there any more.
    BeforeReboot(Journal),
}

impl Store {
    /// Opens the directory `tune` under the engine's `control.state_dir` to write there; nobody else does meanwhile.
    pub fn lock(state_dir: &Path, iface: &str) -> Result<Self, TuneError> {
        let mut store = Self::look(state_dir, iface);
        let path = store.directory.join("lock");
        let journal = |source| TuneError::Journal { path: path.clone(), source };
        fs::create_dir_all(&store.directory).map_err(journal)?;
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(journal)?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
            nix::errno::Errno::EWOULDBLOCK => TuneError::Busy { path: path.clone() },
            error => journal(error.into()),
        })?;
        store.lock = Some(lock);
        Ok(store)
    }

    /// Has the programs that are started from now on hold the lock as well: an `ethtool` that outlives a killed vosctl is
    /// waited for before anything is put back.
    pub fn share_lock(&self) -> Result<(), TuneError> {
        let Some(lock) = &self.lock else { return Ok(()) };
        let shared = fcntl(&**lock, FcntlArg::F_SETFD(FdFlag::empty()));
        shared.map(drop).map_err(|error| TuneError::Journal { path: self.directory.join("lock"), source: error.into() })
    }

    /// The same only to read.
    pub fn look(state_dir: &Path, iface: &str) -> Self {
        let directory = state_dir.join("tune");
        let file = directory.join(format!("{iface}.json"));
        Self { directory, file, lock: None }
    }

    /// The journal's file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What is known of the interface. Of one that was made anew only what is the machine's.
    pub fn read(&self, host: &Host) -> Result<Found, TuneError> {
        let Some(mut journal) = read(&self.file)? else { return Ok(Found::None) };
        if journal.boot_id != host.boot_id() {
            return Ok(Found::BeforeReboot(journal));
        }
        if journal.namespace != namespace() {
            return Err(TuneError::OtherNamespace { path: self.file.clone(), iface: host.iface().to_owned() });
        }
        if journal.index != host.index {
            journal.entries.retain(|entry| entry.knob.is_shared());
            journal.index = host.index;
        }
        Ok(Found::Current(journal))
    }

    /// What the journals of other interfaces say of a knob that is the machine's. Who is no more needs nothing any more.
    pub fn others(&self, host: &Host, knob: &Knob) -> Vec<(String, Entry)> {
        let mut found = self.all_others(host, knob);
        found.retain(|(iface, _)| host.has(iface));
        found
    }

    /// The same, with interfaces that are no more: what they have set is there still.
    pub fn all_others(&self, host: &Host, knob: &Knob) -> Vec<(String, Entry)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let iface = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let is_other = path.extension().is_some_and(|ending| ending == "json") && path != self.file;
            if is_other
                && let Ok(Some(journal)) = read(&path)
                && (&journal.boot_id, journal.namespace) == (&host.boot_id(), namespace())
                && let Some(entry) = journal.entry(knob)
            {
                found.push((iface, entry.clone()));
            }
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        found
    }

    /// Has vosctl written this value: for this interface, or for one that is no more?
    pub fn is_ours(&self, host: &Host, entry: &Entry, value: &Value) -> bool {
        let of_gone = |(iface, theirs): &(String, Entry)| theirs.is_ours(value) && !host.has(iface);
        entry.is_ours(value) || (entry.knob.is_shared() && self.all_others(host, &entry.knob).iter().any(of_gone))
    }

    /// Has it on disk when it returns.
    pub fn write(&self, journal: &Journal) -> Result<(), TuneError> {
        let failed = |source| TuneError::Journal { path: self.file.clone(), source };
        let bytes = serde_json::to_vec_pretty(journal).map_err(|error| failed(error.into()))?;
        kept::write(&self.file, &bytes).map_err(failed)
    }

    /// There is nothing to put back any more.
    pub fn remove(&self) -> Result<(), TuneError> {
        let removed = match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::File::open(&self.directory).and_then(|directory| directory.sync_all()),
        };
        removed.map_err(|source| TuneError::Journal { path: self.file.clone(), source })
    }
}

fn read(file: &Path) -> Result<Option<Journal>, TuneError> {
    let bytes = match fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|source| TuneError::Journal { path: file.into(), source })?,
    };
    let unknown = |what: String| TuneError::UnknownJournal { path: file.into(), what };
    // The version first: another one may have other fields.
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| unknown(error.to_string()))?;
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {}
        Some(version) => return Err(unknown(format!("version {version}"))),
        None => return Err(unknown("it has no version".into())),
    }
    serde_json::from_value(value).map(Some).map_err(|error| unknown(error.to_string()))
}

/// The network namespace of this thread, by its inode.
fn namespace() -> u64 {
    fs::metadata("/proc/thread-self/ns/net").map_or(0, |file| file.ino())
}

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::MapInfo;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use thiserror::Error;

use super::OBJECT;

const BPFFS: &str = "/sys/fs/bpf";

/// The maps that are pinned: those that hold policy, configuration or counts.
pub(super) const MAPS: [&str; 16] = [
    "CONFIG",
    "HOMES",
    "PORTS",
    "EXACT",
    "PREFIX",
    "GATE",
    "BUDGETS",
    "HEART",
    "XSKS",
    "REASONS",
    "WOULD_DROP",
    "VERIFIED",
    "SIGNATURES",
    "SOURCES",
    "PREFIXES",
    "REPLIES",
];

/// Maps that layouts before this one had.
const RETIRED: [&str; 1] = ["FRAGMENTS"];

/// Pins cannot be used. The message names the fix.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PinError {
    /// No BPF file system, and it cannot be mounted.
    #[error("{BPFFS} is no BPF file system and cannot be mounted ({0}): run `mount -t bpf bpf {BPFFS}` as root")]
    NotMounted(nix::Error),
    /// An engine has it.
    #[error("vos-engine is running on {iface}: stop it first")]
    InUse {
        /// The interface.
        iface: String,
    },
    /// A file in it.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The directory of one interface, locked as long as this is there: one engine an interface, wherever its other
/// directories are. And beside it, for an upgrade with another map layout, the one that takes its place.
#[derive(Debug)]
pub(super) struct Pins {
    dir: PathBuf,
    fresh: Option<PathBuf>,
    _lock: Flock<File>,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> PinError {
    let path = path.to_path_buf();
    |source| PinError::Io { path, source }
}

impl Pins {
    /// The directory of `iface`; it need not exist.
    pub(super) fn directory(iface: &str) -> PathBuf {
        Path::new(BPFFS).join("vos").join(iface)
    }

    /// Makes the directory, mounting the file system where that may be done.
    pub(super) fn open(iface: &str) -> Result<Self, PinError> {
        let mounted = statfs(BPFFS).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC);
        if !mounted {
            mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), None::<&str>).map_err(PinError::NotMounted)?;
        }
        let dir = Self::directory(iface);
        fs::create_dir_all(&dir).map_err(at(&dir))?;
        let lock = lock(&dir, iface)?;
        let fresh = (!same_layout(&dir)).then(|| fresh(&dir, iface));
        if let Some(fresh) = &fresh {
            // what an upgrade that died half-way left
            remove(fresh)?;
            fs::create_dir_all(fresh).map_err(at(fresh))?;
        }
        Ok(Self { dir, fresh, _lock: lock })
    }

    /// Where the maps are while the programs are loaded.
    pub(super) fn loading(&self) -> &Path {
        self.fresh.as_deref().unwrap_or(&self.dir)
    }

    /// Where a pin is, for good.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The program is on its link: maps of another layout take the place of the old ones.
    pub(super) fn settle(&mut self) -> Result<(), PinError> {
        let Some(fresh) = self.fresh.take() else { return Ok(()) };
        for name in MAPS {
            let (from, to) = (fresh.join(name), self.dir.join(name));
            let _there_may_be_none = fs::remove_file(&to);
            fs::rename(&from, &to).map_err(at(&to))?;
        }
        for name in RETIRED {
            let _there_may_be_none = fs::remove_file(self.dir.join(name));
        }
        fs::remove_dir(&fresh).map_err(at(&fresh))
    }
}

/// Where maps of another layout are until they take the place of those in `dir`.
fn fresh(dir: &Path, iface: &str) -> PathBuf {
    dir.with_file_name(format!("{iface}~"))
}

fn lock(dir: &Path, iface: &str) -> Result<Flock<File>, PinError> {
    let file = File::open(dir).map_err(at(dir))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| PinError::InUse { iface: iface.to_owned() })
}

/// Do the maps pinned in `dir`, as far as there are any, look as this engine's do?
pub(super) fn same_layout(dir: &Path) -> bool {
    let Ok(object) = aya_obj::Object::parse(OBJECT) else { return false };
    MAPS.iter().all(|name| {
        let path = dir.join(name);
        if !path.exists() {
            return true;
        }
        let (Some(ours), Ok(theirs)) = (object.maps.get(*name), MapInfo::from_pin(&path)) else { return false };
        ours.key_size() == theirs.key_size()
            && ours.value_size() == theirs.value_size()
            && ours.max_entries() == theirs.max_entries()
            && theirs.map_type().is_ok_and(|kind| kind as u32 == ours.map_type())
    })
}

/// Removes what is pinned for `iface` and says what it was. Refused while an engine runs.
pub(super) fn remove_all(iface: &str) -> Result<Vec<String>, PinError> {
    let dir = Pins::directory(iface);
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let _lock = lock(&dir, iface)?;
    // and what an upgrade that died half-way left
    remove(&fresh(&dir, iface))?;
    remove(&dir)
}

fn remove(dir: &Path) -> Result<Vec<String>, PinError> {
    let mut removed = Vec::new();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(removed),
        entries => entries.map_err(at(dir))?,
    };
    for entry in entries {
        let path = entry.map_err(at(dir))?.path();
        fs::remove_file(&path).map_err(at(&path))?;
        removed.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    fs::remove_dir(dir).map_err(at(dir))?;
    removed.sort();
    Ok(removed)
}

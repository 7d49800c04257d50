//! A disk that is soon full.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::{Error, Result};

/// A small file system, which only this thread and what it starts from now on can see. Dropped, it is gone.
#[derive(Debug)]
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts it over a directory. Needs root.
    pub fn mount(at: &Path, bytes: usize) -> Result<Self> {
        let failed = || Error::io(format!("mount a file system of {bytes} bytes at {}", at.display()));
        let none: Option<&str> = None;
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).map_err(failed())?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(failed())?;
        mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(format!("size={bytes}").as_str()))
            .map_err(failed())?;
        Ok(Self { at: at.to_owned() })
    }

    /// Writes on with a file of this name until nothing more goes.
    pub fn fill(&self, name: &str) -> Result<()> {
        let path = self.at.join(name);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let mut file = file.map_err(Error::io(format!("write {}", path.display())))?;
        while file.write_all(&[7; 4_096]).is_ok() {}
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still has a file there keeps that; the directory is free.
        let _it_ends_with_the_thread = umount2(&self.at, MntFlags::MNT_DETACH);
    }
}

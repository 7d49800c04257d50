//! What inotify tells of a file. Its directory is watched, not the file: editors and rsync put another in its place.

use std::fs::metadata;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::io::unix::AsyncFd;

use super::pace::Pace;
use crate::sys;

/// What happens soon after an event belongs to it: most writers do several things at once. It is also the shortest
/// time between two looks, however busy the directory is.
const SETTLE: Duration = Duration::from_millis(100);

/// The watch on the directory of a file.
pub(super) struct Watch {
    file: PathBuf,
    inotify: Inotify,
    /// A second descriptor of the same queue, to wait for.
    queue: AsyncFd<OwnedFd>,
    /// The directory that is watched: device and inode.
    on: Option<((u64, u64), WatchDescriptor)>,
}

impl Watch {
    /// Watches nothing yet; [`Watch::drain`] begins. Must be called in a tokio runtime.
    pub(super) fn new(file: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let queue = sys::awaited(inotify.as_fd().try_clone_to_owned()?)?;
        Ok(Self { file: file.to_owned(), inotify, queue, on: None })
    }

    /// Waits until something happens in the directory, and then until most of it has.
    pub(super) async fn wait(&self) -> io::Result<()> {
        self.queue.readable().await?.clear_ready();
        tokio::time::sleep(SETTLE).await;
        Ok(())
    }

    /// Tells `pace` what has happened to the file. Takes the watch to the directory that has its path now.
    pub(super) fn drain(&mut self, pace: &mut Pace) -> io::Result<()> {
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(nix::Error::EAGAIN) => break,
                Err(nix::Error::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    pace.closed();
                }
                if event.name.is_none() || event.name.as_deref() != self.file.file_name() {
                    continue;
                }
                if event.mask.contains(AddWatchFlags::IN_MODIFY) {
                    pace.written();
                } else {
                    pace.closed();
                }
            }
        }
        self.follow()
    }

    /// Directories are moved and made anew, too.
    fn follow(&mut self) -> io::Result<()> {
        let directory = self.file.parent().unwrap_or(Path::new("/"));
        let place = metadata(directory).map(|directory| (directory.dev(), directory.ino()));
        if let (Ok(place), Some((on, _))) = (&place, &self.on)
            && place == on
        {
            return Ok(());
        }
        if let Some((_, watch)) = self.on.take() {
            // the kernel forgets it with its directory
            let _gone_already = self.inotify.rm_watch(watch);
        }
        let events = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_MODIFY;
        let watch = self.inotify.add_watch(directory, events | AddWatchFlags::IN_ONLYDIR)?;
        self.on = Some((place?, watch));
        Ok(())
    }
}

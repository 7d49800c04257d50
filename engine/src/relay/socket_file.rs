//! The file of a worker's own socket, beside the consumer's: as the consumer's is owned and permitted, so that it may
//! answer, and gone when the worker is.

use std::ffi::OsString;
use std::fs::{self, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, fchownat};
use socket2::{Domain, SockAddr, Socket, Type};
use tracing::warn;

/// A bound name. Dropped, it is removed, unless somebody has put something else there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// `PATH.IFACE.QUEUE`.
pub(super) fn beside(path: &Path, iface: &str, queue: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{iface}.{queue}"));
    name.into()
}

/// Removes what an engine on `iface` has left beside `path`: sockets that nobody has open.
pub(super) fn sweep(path: &Path, iface: &str) {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return };
    let Ok(entries) = fs::read_dir(directory) else { return };
    let prefix = format!("{}.{iface}.", name.to_string_lossy());
    for entry in entries.flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(&prefix));
        if number.is_some_and(|number| number.parse::<u32>().is_ok()) && is_stale(&entry.path()) {
            let _bind_says_why = fs::remove_file(entry.path());
        }
    }
}

/// Is it a socket that nobody has open?
fn is_stale(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused =
        || -> io::Result<()> { Socket::new(Domain::UNIX, Type::DGRAM, None)?.connect(&SockAddr::unix(path)?) };
    is_socket && refused().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

impl SocketFile {
    /// Binds `socket` to `path` and gives the file owner and mode of the consumer's.
    pub(super) fn bind(socket: &Socket, path: &Path, consumer: &Metadata) -> io::Result<Self> {
        // Linux makes the file with the socket's own mode: nobody else has it before its owner does.
        fchmod(socket.as_fd(), Mode::S_IRUSR | Mode::S_IWUSR)?;
        let address = SockAddr::unix(path)?;
        match socket.bind(&address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
                fs::remove_file(path)?;
                socket.bind(&address)?;
            }
            bound => bound?,
        }
        // The name is followed once: whoever may write to the directory may put something else there.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
        let made = file.metadata()?;
        let bound = Self { path: path.to_owned(), identity: (made.dev(), made.ino()) };
        let ours = made.file_type().is_socket() && made.uid() == Uid::effective().as_raw();
        if !ours {
            return Err(io::Error::other(format!("somebody has put something else at {}", path.display())));
        }
        if let Err(error) = permit(&file, &made, consumer) {
            warn!("{}: the consumer may not be able to answer here: {error} (CAP_CHOWN?)", path.display());
        }
        Ok(bound)
    }
}

fn permit(file: &fs::File, made: &Metadata, consumer: &Metadata) -> io::Result<()> {
    if (made.uid(), made.gid()) != (consumer.uid(), consumer.gid()) {
        let (uid, gid) = (Uid::from_raw(consumer.uid()), Gid::from_raw(consumer.gid()));
        fchownat(file, "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)?;
    }
    // chmod has no flag for it, and fchmod refuses O_PATH.
    let through = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::set_permissions(through, Permissions::from_mode(consumer.mode() & 0o777))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same = fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.identity);
        if same {
            let _nobody_is_left_to_tell = fs::remove_file(&self.path);
        }
    }
}

//! The unix socket of the API: mode 0660 from its first moment, and never taken from an engine that is alive.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{Gid, Group, chown};
use thiserror::Error;

/// The socket cannot be had. The message names the fix.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Somebody answers there.
    #[error("another vos-engine serves {path}: stop it first, or give this one another run_dir")]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has the name.
    #[error("{path} is there and is no socket: move it away")]
    NotASocket {
        /// The socket.
        path: PathBuf,
    },
    /// The group does not exist.
    #[error("there is no group `{group}`: create it (groupadd {group}) or correct socket_group")]
    NoGroup {
        /// What the configuration says.
        group: String,
    },
    /// Anything else the system said.
    #[error("the socket {path} cannot be made: {source}; run_dir must be writable for vos-engine")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Where the API of the engine on `iface` listens.
pub fn path(run_dir: &Path, iface: &str) -> PathBuf {
    run_dir.join(format!("{iface}.sock"))
}

/// A bound socket; its file goes when this is dropped.
#[derive(Debug)]
pub struct Socket {
    /// Where requests come in; it does not block.
    pub listener: UnixListener,
    /// Its name: whoever serves may not be allowed to take it away.
    pub file: SocketFile,
}

/// The name in the file system.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Not if a successor has replaced it.
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _nobody_is_left_to_tell = fs::remove_file(&self.path);
        }
    }
}

/// The group that may use the socket where none is named, if there is such a group.
const GROUP: &str = "vos";

/// Makes `RUN_DIR/IFACE.sock` for owner and `group` (`""`: `vos` where there is such a group, else the engine's own).
pub fn bind(run_dir: &Path, iface: &str, group: &str) -> Result<Socket, SocketError> {
    let path = path(run_dir, iface);
    let io = |source| SocketError::Io { path: path.clone(), source };
    let gid = gid(group, &path)?;
    DirBuilder::new().recursive(true).mode(0o755).create(run_dir).map_err(io)?;
    refuse_if_alive(&path)?;
    let (listener, file) = place(&path, gid, UnixListener::bind).map_err(io)?;
    // for the runtime that will accept
    listener.set_nonblocking(true).map_err(io)?;
    Ok(Socket { listener, file })
}

/// Who may use the socket at `path` beside its owner.
pub(crate) fn gid(group: &str, path: &Path) -> Result<Option<Gid>, SocketError> {
    let name = if group.is_empty() { GROUP } else { group };
    let found = match Group::from_name(name) {
        // so says a system without a list of groups (getgrnam_r(3))
        Err(Errno::ENOENT | Errno::ESRCH) => None,
        found => found.map_err(|errno| SocketError::Io { path: path.into(), source: errno.into() })?,
    };
    if found.is_none() && !group.is_empty() {
        return Err(SocketError::NoGroup { group: name.to_owned() });
    }
    Ok(found.map(|found| found.gid))
}

/// Puts what `make` binds at `path`, for owner and group. Nobody can reach into the private directory between bind and
/// chmod; rename then replaces a stale socket at once.
pub(crate) fn place<T>(
    path: &Path,
    gid: Option<Gid>,
    make: impl FnOnce(PathBuf) -> io::Result<T>,
) -> io::Result<(T, SocketFile)> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let private = path.with_file_name(name);
    let _left_by_a_crash = fs::remove_dir_all(&private);
    DirBuilder::new().mode(0o700).create(&private)?;
    let made = (|| {
        let inner = private.join("sock");
        let made = make(inner.clone())?;
        if gid.is_some() {
            chown(&inner, None, gid)?;
        }
        fs::set_permissions(&inner, Permissions::from_mode(0o660))?;
        let identity = identity(&inner)?;
        fs::rename(&inner, path)?;
        Ok((made, SocketFile { path: path.to_owned(), identity }))
    })();
    let _an_empty_directory = fs::remove_dir_all(&private);
    made
}

fn refuse_if_alive(path: &Path) -> Result<(), SocketError> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(SocketError::NotASocket { path: path.into() });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(_) => Err(SocketError::InUse { path: path.into() }),
        // A full backlog is somebody, too.
        Err(source) if source.kind() == io::ErrorKind::WouldBlock => Err(SocketError::InUse { path: path.into() }),
        Err(source) => Err(SocketError::Io { path: path.into(), source }),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_for_owner_and_group_and_goes_with_its_owner() {
        let directory = tempfile::tempdir().expect("a directory");
        let run_dir = directory.path().join("run");
        let socket = bind(&run_dir, "eth0", "").expect("free");
        let path = path(&run_dir, "eth0");
        let mode = fs::metadata(&path).expect("made").permissions().mode() & 0o777;
        assert_eq!(mode, 0o660);
        assert_eq!(fs::read_dir(&run_dir).expect("made").count(), 1, "nothing private is left");
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_living_engine_keeps_its_socket_a_dead_one_does_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = bind(directory.path(), "eth0", "").expect("free");
        let error = bind(directory.path(), "eth0", "").expect_err("served");
        assert!(matches!(error, SocketError::InUse { .. }), "{error}");
        // killed: the listener is gone, the file is not
        let Socket { listener, file: stale } = first;
        drop(listener);
        let second = bind(directory.path(), "eth0", "").expect("stale");
        drop(stale);
        assert!(UnixStream::connect(path(directory.path(), "eth0")).is_ok(), "the successor's file stays");
        drop(second);
    }

    #[test]
    fn other_files_and_unknown_groups_are_named() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(path(directory.path(), "eth0"), "").expect("written");
        let error = bind(directory.path(), "eth0", "").expect_err("a file");
        assert!(error.to_string().contains("eth0.sock is there and is no socket"), "{error}");
        let error = bind(directory.path(), "eth1", "no-such-group").expect_err("no group");
        assert!(error.to_string().contains("groupadd no-such-group"), "{error}");
    }
}

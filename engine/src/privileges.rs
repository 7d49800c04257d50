//! What a thread may still do once its set-up is behind it (`capabilities(7)`; the kernel keeps them by thread).
//!
//! Maps, rings and sockets that are open go on working without any. What the kernel refuses such a thread it refuses to what
//! a packet or a request may talk it into; threads of one process share its memory, so this is no wall between them.

use std::io;
use std::thread::{Builder, JoinHandle};

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl::set_no_new_privs;
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle as Task};
use tracing::warn;

use crate::config::RelayTo;

/// Of the threads that look after the interface, carry out reloads and read feeds: a TAP follows its card's address and
/// `unload_on_exit` takes programs off (`CAP_NET_ADMIN`), a decoy's port may be below 1024 (`CAP_NET_BIND_SERVICE`), the
/// socket of a datagram feed has a group (`CAP_CHOWN`), and `iptables-save` tells the rules of old tables only to whom it could
/// obey (`CAP_NET_RAW`).
pub const KEPT_BY_CONTROL: [Capability; 4] =
    [Capability::CAP_NET_ADMIN, Capability::CAP_NET_BIND_SERVICE, Capability::CAP_CHOWN, Capability::CAP_NET_RAW];

/// Of the thread that writes records: their file may lie in a folder of another user.
pub const KEPT_BY_RECORDS: [Capability; 1] = [Capability::CAP_DAC_OVERRIDE];

/// Of the thread that asks phones whether they are there: it opens raw sockets when the configuration first says so.
pub const KEPT_BY_ASKER: [Capability; 1] = [Capability::CAP_NET_RAW];

/// Of a worker with this relay: nothing, unless it makes new sockets when its peer has been away. Large buffers need
/// `CAP_NET_ADMIN`, and a socket file in the consumer's directory with the consumer's owner needs the rest.
pub fn kept_by_worker(to: &RelayTo) -> &'static [Capability] {
    use Capability::{CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_NET_ADMIN};
    match to {
        RelayTo::Local => &[],
        RelayTo::Unix { .. } => &[CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_NET_ADMIN],
        RelayTo::Proxy(_) => &[CAP_NET_ADMIN],
    }
}

/// Gives up all capabilities of this thread but these, for good, and for the threads that it starts from now on. What it
/// does not have it does not get, nor by a program that it starts (`PR_SET_NO_NEW_PRIVS`). A kernel that refuses is logged:
/// the thread goes on with what it has.
pub fn keep(these: &[Capability]) {
    if let Err(error) = try_to_keep(these) {
        warn!("capabilities that are not needed any more cannot be given up: {error}");
    }
}

fn try_to_keep(these: &[Capability]) -> Result<(), caps::errors::CapsError> {
    let has = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = these.iter().copied().filter(|capability| has.contains(capability)).collect();
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    set_no_new_privs().map_err(|errno| errno.to_string().into())
}

/// Starts a thread of this name (15 bytes are shown, by `top -H` for example) that keeps these capabilities.
pub fn thread<T: Send + 'static>(
    name: impl Into<String>,
    kept: &'static [Capability],
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.into()).spawn(move || {
        keep(kept);
        work()
    })
}

/// Has work that may block done by the pool of `runtime`. A thread of the pool is started with the rights of whoever asks for
/// it, and kept for whatever comes next: so the runtime's own thread is who asks.
pub fn on_pool<T: Send + 'static>(
    runtime: &Handle,
    work: impl FnOnce() -> T + Send + 'static,
) -> Task<Result<T, JoinError>> {
    runtime.spawn(async { tokio::task::spawn_blocking(work).await })
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Protocol, Socket, Type};

    use super::*;

    fn raw_socket() -> io::Result<Socket> {
        Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP))
    }

    #[test]
    fn what_is_given_up_is_gone_for_this_thread_and_its_children_and_what_is_open_stays() {
        if !vos_bench::ready(&[]) {
            return;
        }
        let tried = thread("test", &[Capability::CAP_NET_RAW, Capability::CAP_NET_ADMIN], || {
            let open = raw_socket().expect("still allowed");
            keep(&[Capability::CAP_NET_ADMIN, Capability::CAP_SYS_ADMIN]);
            keep(&KEPT_BY_CONTROL);
            let child = std::thread::spawn(|| raw_socket().map(drop));
            let left = caps::read(None, CapSet::Permitted).expect("told");
            (open.local_addr().is_ok(), raw_socket().map(drop), child.join().expect("no panic"), left)
        });
        let (open, own, child, left) = tried.expect("starts").join().expect("no panic");
        assert!(open);
        for refused in [own, child] {
            assert_eq!(refused.expect_err("refused").raw_os_error(), Some(libc::EPERM));
        }
        assert_eq!(left, CapsHashSet::from([Capability::CAP_NET_ADMIN]), "what was given up does not come back");
        assert!(raw_socket().is_ok(), "other threads keep theirs");
    }
}

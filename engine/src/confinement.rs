//! What the threads of the API cannot do, whatever they are asked: they answer whoever reaches a socket, and need nothing
//! but what is open, the store and the kernel's maps.
//!
//! Files are kept from them by landlock (`Documentation/userspace-api/landlock.rst`), the rest by seccomp (`seccomp(2)`).
//! What needs a capability is not named here: they have none. All threads of a process share its memory: this ends what a
//! request can be talked into, not what foreign machine code could do to the threads beside it.

use std::collections::BTreeMap;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope,
};
use libc::{c_int, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter, sock_filter,
};
use tracing::{info, warn};

/// Of this kind of rights are those that landlock is asked to keep; a kernel that knows fewer keeps fewer.
const KNOWN: ABI = ABI::V6;

/// Read for each lookup in a map that has a value for each CPU.
const CPUS: &str = "/sys/devices/system/cpu/possible";

/// Newer than the C library's headers (`scripts/syscall.tbl`; the same numbers on all architectures).
const SETXATTRAT: c_long = 463;
const REMOVEXATTRAT: c_long = 466;
const FILE_SETATTR: c_long = 469;

/// System calls that are refused with `EPERM`.
const REFUSED: &[c_long] = &[
    // new ways out; what comes in is accepted from sockets that listen already
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    // whose requests no filter sees
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // programs
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    // other processes
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    // a user namespace would have capabilities; see also `clone`
    libc::SYS_unshare,
    libc::SYS_setns,
    // what landlock does not know of files, or not before Linux 6.2
    libc::SYS_truncate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    SETXATTRAT,
    REMOVEXATTRAT,
    FILE_SETATTR,
    // keys
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
];

/// Of the older calls that other architectures do not have.
#[cfg(target_arch = "x86_64")]
const REFUSED_OLD: &[c_long] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_fork,
    libc::SYS_vfork,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_OLD: &[c_long] = &[];

/// Of `bpf(2)`: what is done with the elements of maps that are open (`enum bpf_cmd`: lookup, update, delete, next key, lookup
/// and delete, and the four of these for many at once), and what an open one is (`BPF_OBJ_GET_INFO_BY_FD`).
const BPF_OF_OPEN_MAPS: [u64; 10] = [1, 2, 3, 4, 15, 21, 24, 25, 26, 27];

/// Numbers of the x32 ABI begin here (`__X32_SYSCALL_BIT`): they name the same calls once more.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// Confines this thread and those that it starts from now on, for good; `store` is the one file that they may open anew. What
/// the kernel cannot do is logged: the rest holds.
pub(crate) fn confine(store: &Path) {
    match keep_from_files(store) {
        Ok(RulesetStatus::NotEnforced) => info!(
            "this kernel has no landlock (CONFIG_SECURITY_LANDLOCK, and in lsm=): threads of the API can open files as \
             their user can"
        ),
        Ok(_) => {}
        Err(error) => warn!("threads of the API cannot be kept from files: {error}"),
    }
    if let Err(error) = refuse_calls() {
        warn!("threads of the API cannot be kept from system calls that they do not need: {error}");
    }
}

fn keep_from_files(store: &Path) -> Result<RulesetStatus, RulesetError> {
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    // after a failed write it is opened anew
    let own = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate;
    let open = [(store, own), (Path::new(CPUS), AccessFs::ReadFile.into())];
    let open = open.into_iter().filter_map(|(path, access)| Some(PathBeneath::new(PathFd::new(path).ok()?, access)));
    Ok(rules.add_rules(open.map(Ok::<_, RulesetError>))?.restrict_self()?.ruleset)
}

fn refuse_calls() -> Result<(), seccompiler::Error> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        REFUSED.iter().chain(REFUSED_OLD).map(|call| (*call, Vec::new())).collect();
    // a program that aborts signals itself, and asks what its own limits are
    let other_than = |own: &[u64]| {
        let differs = |own: &u64| SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, *own);
        Ok::<_, seccompiler::Error>(vec![SeccompRule::new(own.iter().map(differs).collect::<Result<_, _>>()?)?])
    };
    rules.insert(libc::SYS_tgkill, other_than(&[std::process::id().into()])?);
    rules.insert(libc::SYS_prlimit64, other_than(&[0])?);
    rules.insert(libc::SYS_bpf, other_than(&BPF_OF_OPEN_MAPS)?);
    // threads only: no process, and so no namespace of its own
    let thread = libc::CLONE_THREAD.cast_unsigned().into();
    let process = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(thread), 0)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![process])?]);
    let filter = refusing(rules, libc::EPERM)?;
    #[cfg(target_arch = "x86_64")]
    let filter = [&refuse_from(X32)[..], &filter].concat();
    apply_filter(&filter)?;
    // No filter sees what it is asked for; a C library that finds none makes its threads by `clone`.
    apply_filter(&refusing([(libc::SYS_clone3, Vec::new())].into(), libc::ENOSYS)?)
}

/// Answers these calls with this error.
fn refusing(rules: BTreeMap<c_long, Vec<SeccompRule>>, errno: c_int) -> Result<BpfProgram, seccompiler::Error> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let refusal = SeccompAction::Errno(errno.cast_unsigned());
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, refusal, architecture)?.try_into()?)
}

/// Refuses all system calls from this number on, and goes on with what follows (`seccomp(2)`; jumps are relative).
#[cfg(target_arch = "x86_64")]
fn refuse_from(number: u32) -> [sock_filter; 3] {
    let step = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, std::mem::offset_of!(libc::seccomp_data, nr) as u32),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, number),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned()),
    ]
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::fs::{self, File, OpenOptions, Permissions};
    use std::io::{self, Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    use std::process::Command;

    use aya::programs::ProgramType;
    use aya::sys::is_program_supported;
    use nix::sched::{CloneFlags, unshare};
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use socket2::{Domain, Protocol, Socket, Type};

    use super::*;

    /// What the system said.
    fn system(error: &(dyn Error + 'static)) -> io::Error {
        match error.downcast_ref::<io::Error>() {
            Some(said) => io::Error::from(said.kind()),
            None => error.source().map_or_else(|| io::Error::other("nothing"), system),
        }
    }

    /// As a thread of the API is begun, and what it was given before.
    fn confined<T: Send + 'static>(store: &Path, work: impl FnOnce() -> T + Send + 'static) -> T {
        let store = store.to_owned();
        let thread = std::thread::spawn(move || {
            confine(&store);
            // they inherit it
            std::thread::spawn(work).join().expect("no panic")
        });
        thread.join().expect("no panic")
    }

    #[test]
    fn it_reaches_no_files_no_sockets_no_programs_and_no_processes() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let (store, other, link) = (path("eth0.redb"), path("other"), path("link"));
        fs::write(&store, "store").and_then(|()| fs::write(&other, "other")).expect("room");
        symlink(&other, &link).expect("room");
        let listener = UnixListener::bind(path("socket")).expect("free");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("free").local_addr().expect("bound");
        let mut child = Command::new("sleep").arg("60").spawn().expect("there is one");
        let (victim, folder, socket) =
            (Pid::from_raw(child.id().cast_signed()), directory.path().to_owned(), path("socket"));
        let tried = confined(&store, move || {
            let pretended = || folder.join("new");
            vec![
                ("a file of the system", fs::read("/etc/passwd").map(drop)),
                ("a file of the process", fs::read("/proc/self/environ").map(drop)),
                ("memory of the process", OpenOptions::new().write(true).open("/proc/self/mem").map(drop)),
                ("a file beside the store", fs::read(&other).map(drop)),
                ("the same by a link", fs::read(&link).map(drop)),
                ("a new file", File::create(pretended()).map(drop)),
                ("a new folder", fs::create_dir(pretended())),
                ("a new link", symlink("/", pretended())),
                ("what is in a folder", fs::read_dir(&folder).map(drop)),
                ("a removal", fs::remove_file(&other)),
                ("another name for the store", fs::rename(folder.join("eth0.redb"), pretended())),
                (
                    "another mode for the store",
                    fs::set_permissions(folder.join("eth0.redb"), Permissions::from_mode(0o666)),
                ),
                ("a unix socket", UnixStream::connect(&socket).map(drop)),
                ("a datagram of its own", UnixDatagram::unbound().map(drop)),
                ("a TCP connection", TcpStream::connect(tcp).map(drop)),
                ("a TCP port", TcpListener::bind("127.0.0.1:0").map(drop)),
                ("a UDP port", UdpSocket::bind("127.0.0.1:0").map(drop)),
                ("a raw socket", Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)).map(drop)),
                ("frames", Socket::new(Domain::PACKET, Type::RAW, None).map(drop)),
                ("netlink", Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, None).map(drop)),
                ("a program", Command::new("true").status().map(drop)),
                ("a signal", kill(victim, Signal::SIGTERM).map_err(io::Error::from)),
                ("a namespace", unshare(CloneFlags::CLONE_NEWUSER).map_err(io::Error::from)),
                ("a BPF program", is_program_supported(ProgramType::Xdp).map(drop).map_err(|error| system(&error))),
            ]
        });
        for (what, outcome) in tried {
            let error = outcome.expect_err(what);
            assert!(error.kind() == io::ErrorKind::PermissionDenied, "{what}: {error}");
        }
        assert!(child.try_wait().expect("ours").is_none(), "it lives");
        child.kill().and_then(|()| child.wait()).expect("ours");
        drop(listener);
    }

    #[test]
    fn what_is_open_the_store_and_threads_are_left_to_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let (store, socket) = (directory.path().join("eth0.redb"), directory.path().join("socket"));
        fs::write(&store, "before").expect("room");
        let mut open = File::create(directory.path().join("open")).expect("room");
        let listener = UnixListener::bind(&socket).expect("free");
        let caller = std::thread::spawn(move || -> io::Result<String> {
            let mut stream = UnixStream::connect(socket)?;
            stream.write_all(b"?")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        let anew = store.clone();
        confined(&store, move || -> io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            stream.read_exact(&mut [0])?;
            stream.write_all(b"answer")?;
            open.write_all(b"0123456789").and_then(|()| open.set_len(4)).and_then(|()| open.sync_all())?;
            let mut store = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(anew)?;
            store.set_len(0).and_then(|()| store.write_all(b"after"))?;
            aya::util::nr_cpus().map_err(|(_, error)| error)?;
            Ok(())
        })
        .expect("all is allowed");
        assert_eq!(caller.join().expect("no panic").expect("answered"), "answer");
        assert_eq!(fs::read_to_string(&store).expect("there"), "after");
        assert_eq!(fs::metadata(directory.path().join("open")).expect("there").len(), 4);
        // this thread is as it was
        assert!(fs::read("/etc/passwd").is_ok() && UdpSocket::bind("127.0.0.1:0").is_ok());
    }
}

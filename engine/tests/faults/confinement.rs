//! What a thread of the API can do in an engine that runs: it is made to do it, as if somebody had talked it into that.

use std::fs;
use std::io::IoSlice;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::uio::{RemoteIoVec, process_vm_writev};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use vos_bench::{Program, SmallDisk};

use super::site::{PATIENCE, Site, until, within};

/// The instruction `syscall` (Intel SDM, volume 2).
const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// A thread that waits in a system call, held by ptrace(2). Dropped, it goes on as if nothing had been.
struct Puppet {
    thread: Pid,
    registers: libc::user_regs_struct,
}

impl Puppet {
    /// The thread of this name that was started first.
    fn of(program: &Program, name: &str) -> Self {
        let tasks = fs::read_dir(format!("/proc/{}/task", program.id())).unwrap().flatten();
        let is_it = |task: &fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap().trim() == name;
        let threads = tasks.filter(is_it).map(|task| task.file_name().to_string_lossy().parse().unwrap());
        let thread = Pid::from_raw(threads.min().unwrap_or_else(|| panic!("there is no thread {name}")));
        within(PATIENCE, "it waits in a system call", || {
            ptrace::seize(thread, Options::empty()).unwrap();
            ptrace::interrupt(thread).unwrap();
            let stopped = waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
            assert!(matches!(stopped, WaitStatus::PtraceEvent(..)), "{stopped:?}");
            let puppet = Self { thread, registers: ptrace::getregs(thread).unwrap() };
            let before = ptrace::read(thread, puppet.call_site() as ptrace::AddressType).unwrap().to_le_bytes();
            before.starts_with(&SYSCALL).then_some(puppet)
        })
    }

    /// Where the call stands that it waits in.
    fn call_site(&self) -> u64 {
        self.registers.rip - SYSCALL.len() as u64
    }

    /// Has it make another system call there, whose result this is.
    fn call(&self, number: libc::c_long, arguments: [u64; 4]) -> Result<u64, Errno> {
        let [rdi, rsi, rdx, r10] = arguments;
        let rip = self.call_site();
        // no call is to be begun anew
        let orig_rax = u64::MAX;
        let rax = number.cast_unsigned();
        ptrace::setregs(
            self.thread,
            libc::user_regs_struct { rax, orig_rax, rip, rdi, rsi, rdx, r10, ..self.registers },
        )
        .unwrap();
        // it may stop for something else first
        let after = loop {
            ptrace::step(self.thread, None).unwrap();
            let stopped = waitpid(self.thread, Some(WaitPidFlag::__WALL)).unwrap();
            assert!(matches!(stopped, WaitStatus::Stopped(..) | WaitStatus::PtraceEvent(..)), "{stopped:?}");
            let after = ptrace::getregs(self.thread).unwrap();
            if after.rip == self.registers.rip {
                break after;
            }
        };
        match after.rax.cast_signed() {
            error @ -4095..0 => Err(Errno::from_raw(i32::try_from(-error).unwrap())),
            done => Ok(done.cast_unsigned()),
        }
    }

    /// The same with this path as the argument of this number.
    fn call_with(
        &self,
        number: libc::c_long,
        mut arguments: [u64; 4],
        place: usize,
        path: &Path,
    ) -> Result<u64, Errno> {
        let text = [path.as_os_str().as_bytes(), b"\0"].concat();
        // far below what it uses of its stack
        let base = self.registers.rsp - 64 * 1024;
        let there = RemoteIoVec { base: usize::try_from(base).unwrap(), len: text.len() };
        assert_eq!(process_vm_writev(self.thread, &[IoSlice::new(&text)], &[there]), Ok(text.len()));
        arguments[place] = base;
        self.call(number, arguments)
    }

    fn open(&self, path: &Path, flags: i32) -> Result<u64, Errno> {
        let flags = flags.cast_unsigned().into();
        self.call_with(libc::SYS_openat, [i64::from(libc::AT_FDCWD).cast_unsigned(), 0, flags, 0o600], 1, path)
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        let _it_may_be_gone = ptrace::setregs(self.thread, self.registers);
        let _it_may_be_gone = ptrace::detach(self.thread, None);
    }
}

#[test]
fn threads_of_the_api_reach_no_files_and_no_sockets() {
    let site = Site::new();
    let engine = site.start("");
    site.tool("block 203.0.113.7");
    let (store, beside) = (site.path(&format!("state/{}.redb", site.iface)), site.path("state/new"));
    assert!(store.exists(), "{}", store.display());
    let puppet = Puppet::of(&engine, "vos-api");
    assert_eq!(puppet.call(libc::SYS_getpid, [0; 4]), Ok(engine.id().into()), "it does what it is told");

    let passwd = Path::new("/etc/passwd");
    for (path, flags) in
        [(passwd, libc::O_RDONLY), (&*beside, libc::O_CREAT | libc::O_WRONLY), (Path::new("/"), libc::O_RDONLY)]
    {
        assert_eq!(puppet.open(path, flags), Err(Errno::EACCES), "{}", path.display());
    }
    assert_eq!(puppet.call_with(libc::SYS_unlink, [0; 4], 0, &store), Err(Errno::EACCES));
    assert_eq!(puppet.call_with(libc::SYS_truncate, [0; 4], 0, &store), Err(Errno::EPERM));
    for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET, libc::AF_XDP] {
        let family = family.cast_unsigned().into();
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW] {
            let made = puppet.call(libc::SYS_socket, [family, kind.cast_unsigned().into(), 0, 0]);
            assert_eq!(made, Err(Errno::EPERM), "family {family}, type {kind}");
        }
    }
    assert_eq!(puppet.call_with(libc::SYS_execve, [0; 4], 0, Path::new("/bin/true")), Err(Errno::EPERM));
    // enum bpf_cmd: BPF_PROG_LOAD, BPF_OBJ_GET, BPF_MAP_GET_FD_BY_ID
    for command in [5, 7, 14] {
        assert_eq!(puppet.call(libc::SYS_bpf, [command, 0, 0, 0]), Err(Errno::EPERM), "{command}");
    }
    assert_eq!(puppet.call(libc::SYS_kill, [1, 0, 0, 0]), Err(Errno::EPERM));
    // Processes and namespaces of its own; the kernel has EINVAL for flags that contradict each other.
    for flags in [libc::CLONE_NEWUSER | libc::CLONE_FS, libc::CLONE_SIGHAND] {
        let made = puppet.call(libc::SYS_clone, [flags.cast_unsigned().into(), 0, 0, 0]);
        assert_eq!(made, Err(Errno::EPERM), "{flags:#x}");
    }
    assert_eq!(puppet.call(libc::SYS_clone3, [0; 4]), Err(Errno::ENOSYS));

    let opened = puppet.open(&store, libc::O_RDWR).expect("after a failed write it is opened anew");
    assert_eq!(puppet.call(libc::SYS_close, [opened, 0, 0, 0]), Ok(0));
    drop(puppet);
    until("it goes on", || site.tool("list").contains("203.0.113.7"));
    site.tool("unblock 203.0.113.7");
}

#[test]
fn a_store_that_could_not_be_written_is_opened_by_them_when_there_is_room_again() {
    let site = Site::new();
    let (state, list) = (site.path("state"), site.path("list"));
    fs::create_dir(&state).unwrap();
    let disk = SmallDisk::mount(&state, 16 << 20).unwrap();
    let _engine = site.start("");
    disk.fill("ballast").unwrap();
    let import = format!("import {}", list.display());
    // what the file has room for itself is taken
    let refused = (0..50).find_map(|n| {
        let blocks = (0..2_000).map(|host| format!("{}\n", Ipv4Addr::from(0x0a00_0000 + 2_000 * n + host)));
        fs::write(&list, blocks.collect::<String>()).unwrap();
        site.ask(&import).err()
    });
    let first = refused.expect("16 MiB are not enough").to_string();
    let second = site.ask(&import).expect_err("still full").to_string();
    for said in [first, second] {
        assert!(said.contains("free some space") && !said.contains("Permission denied"), "{said}");
    }
    fs::remove_file(state.join("ballast")).unwrap();
    site.tool("block 203.0.113.7");
    assert!(site.tool("list").contains("203.0.113.7"));
}

#[test]
fn who_switches_that_off_has_threads_as_before() {
    let site = Site::new();
    let file = site.path("vos.toml");
    fs::write(&file, "[control]\nconfine = false\n").unwrap();
    let engine = site.start(&format!("--config {}", file.display()));
    let puppet = Puppet::of(&engine, "vos-api");
    let opened = puppet.open(Path::new("/etc/passwd"), libc::O_RDONLY).expect("nothing keeps it from there");
    assert_eq!(puppet.call(libc::SYS_close, [opened, 0, 0, 0]), Ok(0));
}

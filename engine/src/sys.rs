//! Kernel calls for which no crate has a safe wrapper: TAP, ethtool, packet socket, socket options, clock.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `linux/if_ether.h`: IEEE's "local experimental" EtherType, which nothing else on a host listens to.
pub const PROBE_ETHERTYPE: u16 = 0x88b5;

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: ifreq is plain data, all zeros is a value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

/// One queue of the TAP device `name`, which is made if there is none and goes with its last queue
/// (`Documentation/networking/tuntap.rst`). Frames are written behind a `virtio_net_hdr`.
pub fn tap_queue(name: &str) -> io::Result<OwnedFd> {
    let file = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    let mut request = request(name)?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes the ifreq it is given.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(file.into())
}

/// RX queues in use on `name` now (`ETHTOOL_GCHANNELS`: RX and combined channels).
pub fn rx_channels(name: &str) -> io::Result<u32> {
    const ETHTOOL_GCHANNELS: u32 = 0x3c;
    #[repr(C)]
    #[derive(Default)]
    struct Channels {
        cmd: u32,
        max: [u32; 4],
        rx: u32,
        tx: u32,
        other: u32,
        combined: u32,
    }
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    let mut channels = Channels { cmd: ETHTOOL_GCHANNELS, ..Channels::default() };
    let mut request = request(name)?;
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    // SAFETY: SIOCETHTOOL reads and writes the struct that ifru_data points to, which is ethtool_channels.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) })?;
    Ok(channels.rx + channels.combined)
}

/// A socket that receives frames of [`PROBE_ETHERTYPE`] which arrive on interface `index` (`packet(7)`).
pub fn probe_socket(index: u32) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no memory is involved. Protocol 0: nothing is received before bind says what.
    let fd = check(unsafe { libc::socket(libc::AF_PACKET, flags, 0) })?;
    // SAFETY: just opened, nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: sockaddr_ll is plain data, all zeros is a value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = PROBE_ETHERTYPE.to_be();
    address.sll_ifindex = index as i32;
    let length = size_of::<libc::sockaddr_ll>() as u32;
    // SAFETY: the address is a sockaddr_ll of the length given.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(socket)
}

/// Lets routers cut what an IPv4 socket sends (`IP_MTU_DISCOVER`, `ip(7)`): "don't fragment" stays clear.
pub fn may_be_cut(socket: BorrowedFd<'_>) -> io::Result<()> {
    let value = libc::IP_PMTUDISC_DONT;
    let length = size_of::<i32>() as u32;
    let (level, option) = (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER);
    // SAFETY: the kernel reads four bytes.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) })?;
    Ok(())
}

/// Is this AF_XDP socket bound in zero-copy mode (`XDP_OPTIONS`)?
pub fn xsk_zero_copy(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut options = libc::xdp_options { flags: 0 };
    let mut length = size_of::<libc::xdp_options>() as u32;
    let value = (&raw mut options).cast();
    // SAFETY: the kernel writes at most `length` bytes.
    check(unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_XDP, libc::XDP_OPTIONS, value, &raw mut length) })?;
    Ok(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
}

/// Asks for busy polling (`Documentation/networking/af_xdp.rst`, "XDP_USE_NEED_WAKEUP" and busy poll): the driver
/// is polled from this socket's system calls, for `us` microseconds and `budget` packets at a time.
pub fn busy_poll(socket: BorrowedFd<'_>, us: u32, budget: u32) -> io::Result<()> {
    const SO_PREFER_BUSY_POLL: i32 = 69;
    const SO_BUSY_POLL_BUDGET: i32 = 70;
    for (option, value) in [(SO_PREFER_BUSY_POLL, 1), (libc::SO_BUSY_POLL, us), (SO_BUSY_POLL_BUDGET, budget)] {
        let value = value as i32;
        let length = size_of::<i32>() as u32;
        // SAFETY: the kernel reads four bytes.
        check(unsafe {
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const value).cast(), length)
        })?;
    }
    Ok(())
}

/// The interface of the XDP link pinned at `path`: 0 once that interface is gone (`bpf(2)`, `struct bpf_link_info`).
pub fn pinned_xdp_interface(path: &std::path::Path) -> io::Result<u32> {
    use std::os::unix::ffi::OsStrExt;
    const BPF_OBJ_GET: i32 = 7;
    const BPF_OBJ_GET_INFO_BY_FD: i32 = 15;
    /// Both commands' attributes begin with an address or an fd; the kernel wants the rest zero.
    #[repr(C)]
    #[derive(Default)]
    struct Attributes([u64; 16]);
    let bpf = |command: i32, attributes: &mut Attributes| {
        let size = size_of::<Attributes>();
        // SAFETY: the kernel reads `size` bytes, and writes where the attributes point, which outlives the call.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size) };
        check(result as i32)
    };
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let mut get = Attributes::default();
    get.0[0] = path.as_ptr() as u64;
    let fd = bpf(BPF_OBJ_GET, &mut get)?;
    // SAFETY: just opened, nobody else has it.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    // type, id, prog_id, padding, then the union, which for XDP begins with ifindex
    let mut info = [0u32; 64];
    let mut ask = Attributes::default();
    ask.0[0] = u64::from(link.as_raw_fd() as u32) | (size_of_val(&info) as u64) << 32;
    ask.0[1] = info.as_mut_ptr() as u64;
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut ask)?;
    Ok(info[4])
}

/// How good this host's clock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeState {
    /// Has something set it lately (`STA_UNSYNC` clear)?
    pub synchronised: bool,
    /// How far it is off at worst, µs, by the word of whoever keeps it.
    pub max_error_us: i64,
}

/// Asks the kernel how good its clock is (`adjtimex(2)`); nothing is changed.
pub fn time_state() -> io::Result<TimeState> {
    // SAFETY: timex is plain data, all zeros is a value; modes = 0 asks and sets nothing.
    let mut timex: libc::timex = unsafe { zeroed() };
    // SAFETY: the kernel reads and writes the struct.
    let state = check(unsafe { libc::adjtimex(&raw mut timex) })?;
    let synchronised = state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0;
    Ok(TimeState { synchronised, max_error_us: timex.maxerror })
}

/// A descriptor whose readability tokio waits for. Must be called in a runtime.
pub fn awaited(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, and is the same descriptor until it is dropped, which the AsyncFd does.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
}

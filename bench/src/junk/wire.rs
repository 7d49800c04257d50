//! Where frames leave: an `AF_PACKET` socket, many frames a system call.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, SockaddrLike, bind, sendmmsg, socket,
};
use vos_engine::pcap;

use super::frame::Ends;
use crate::{Error, Result};

/// Frames of one system call. More of them are no cheaper each, and make the sender uneven.
pub(super) const BATCH: usize = 32;
/// Room for a frame: what an Ethernet carries, with its header.
const FRAME: usize = 1_514;

pub(super) struct Wire {
    socket: OwnedFd,
    link: LinkAddr,
    headers: MultiHeaders<LinkAddr>,
    /// Frames that wait, each in a place of its own, and their lengths.
    frames: Vec<Vec<u8>>,
    waiting: usize,
}

impl Wire {
    /// Opens the interface of this name.
    pub(super) fn open(iface: &str) -> Result<Self> {
        let open = || -> nix::Result<Self> {
            // Protocol 0: nothing is received.
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
            let address = nix::ifaddrs::getifaddrs()?
                .filter(|entry| entry.interface_name == iface)
                .filter_map(|entry| entry.address)
                .find(|address| address.family() == Some(AddressFamily::Packet))
                .ok_or(Errno::ENODEV)?;
            let link = *address.as_link_addr().ok_or(Errno::ENODEV)?;
            bind(socket.as_raw_fd(), &link)?;
            let frames = (0..BATCH).map(|_| Vec::with_capacity(FRAME)).collect();
            Ok(Self { socket, link, headers: MultiHeaders::preallocate(BATCH, None), frames, waiting: 0 })
        };
        open().map_err(|errno| match errno {
            Errno::EPERM => Error::NotRoot,
            errno => Error::Io { doing: format!("send frames by {iface}"), source: errno.into() },
        })
    }

    /// The MAC address of this end.
    pub(super) fn mac(&self) -> [u8; 6] {
        self.link.addr().unwrap_or_default()
    }

    /// Takes a frame; at most [`BATCH`] wait.
    pub(super) fn push(&mut self, frame: &[u8]) {
        let place = &mut self.frames[self.waiting];
        place.clear();
        place.extend_from_slice(frame);
        self.waiting += 1;
    }

    /// Sends what waits; says how many frames the system took.
    pub(super) fn flush(&mut self) -> Result<usize> {
        let Self { socket, headers, frames, waiting, .. } = self;
        let mut done = 0;
        while done < *waiting {
            let slices: Vec<[IoSlice<'_>; 1]> =
                frames[done..*waiting].iter().map(|frame| [IoSlice::new(frame)]).collect();
            let addresses: [Option<LinkAddr>; BATCH] = [None; BATCH];
            let sent =
                sendmmsg(socket.as_raw_fd(), headers, &slices, &addresses[..slices.len()], [], MsgFlags::empty());
            match sent.map(Iterator::count) {
                Ok(sent) => done += sent,
                Err(Errno::EINTR) => {}
                // The queue is full: this frame is lost, as a card would lose it.
                Err(Errno::ENOBUFS | Errno::EAGAIN) => break,
                Err(errno) => return Err(Error::Io { doing: "send frames".to_owned(), source: errno.into() }),
            }
        }
        *waiting = 0;
        Ok(done)
    }
}

/// The Ethernet frames of a capture, from this end to the other.
pub(super) fn replay(file: &Path, ends: &Ends) -> Result<Vec<Vec<u8>>> {
    let (packets, error) = pcap::read(file);
    if let Some(error) = error {
        return Err(Error::Other(error.to_string()));
    }
    let macs = [ends.to_mac, ends.from_mac].concat();
    let fits = |frame: &Vec<u8>| (macs.len() + 2..=FRAME).contains(&frame.len());
    let frames = packets.into_iter().map(|packet| packet.frame).filter(fits);
    let frames: Vec<_> = frames.map(|frame| [&macs, &frame[macs.len()..]].concat()).collect();
    if frames.is_empty() {
        return Err(Error::Other(format!("{}: no frame of at most {FRAME} bytes in it", file.display())));
    }
    Ok(frames)
}

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;

use nix::sys::uio::writev;
use vos_common::packet;

use super::cut::cut;
use crate::netlink::{Link, Netlink};
use crate::pipeline::Checksum;
use crate::sys::{self, PROBE_ETHERTYPE};

/// `struct virtio_net_hdr`, bytes.
const VNET_HEADER: usize = 10;
/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CSUM: u8 = 1;
/// Offset of the checksum in a UDP header.
const UDP_CHECKSUM: u16 = 6;
/// Ethernet header without VLAN tags, and with two of them, bytes.
const ETHERNET: usize = 14;
const LINK_MAX: usize = 22;
/// Shortest Ethernet frame without its checksum.
const FRAME_MIN: usize = 60;

/// The TAP device that frames re-enter by. It goes when its last queue is closed.
#[derive(Debug)]
pub struct Tap {
    name: String,
    /// Keeps the device while workers come and go.
    _keeper: OwnedFd,
}

impl Tap {
    /// Makes the TAP for `nic`: with its MAC, so that the kernel takes the frames for its own, and without IPv6, so that
    /// nothing is sent by itself.
    pub fn new(nic: &Link, netlink: &mut Netlink) -> io::Result<Self> {
        let name = format!("vos{}", nic.index);
        let keeper = sys::tap_queue(&name)?;
        let _where_there_is_no_ipv6 = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
        let tap = netlink.link(&name)?;
        netlink.set_up(tap.index, nic.mac, nic.mtu.max(1_500))?;
        Ok(Self { name, _keeper: keeper })
    }

    /// Takes over another MAC address of the NIC.
    pub fn follow(&self, nic: &Link, netlink: &mut Netlink) -> io::Result<()> {
        let tap = netlink.link(&self.name)?;
        netlink.set_up(tap.index, nic.mac, nic.mtu.max(1_500))
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// One worker's queue of the TAP.
#[derive(Debug)]
pub struct Reentry {
    queue: OwnedFd,
    probes: OwnedFd,
    probe: [u8; FRAME_MIN],
    sent: u64,
    arrived: u64,
    /// The interface's, bytes of the IP packet.
    mtu: usize,
    /// For the pieces of what is longer.
    room: Vec<u8>,
}

/// Is the IP packet in `frame` longer?
fn exceeds(frame: &[u8], mtu: usize) -> bool {
    packet::flow(&frame).is_some_and(|flow| flow.end as usize - flow.l3 as usize > mtu)
}

/// Where the probe's number stands in its frame: behind the Ethernet header and the cookie.
const COOKIE: usize = 14;
const NUMBER: usize = COOKIE + 8;

impl Reentry {
    /// A queue of `tap` for frames of `nic`. `cookie` tells this worker's probes from everybody else's.
    pub fn new(tap: &Tap, nic: &Link, cookie: u64) -> io::Result<Self> {
        let mut probe = [0; FRAME_MIN];
        probe[0..6].copy_from_slice(&nic.mac);
        probe[6..12].copy_from_slice(&nic.mac);
        probe[12..14].copy_from_slice(&PROBE_ETHERTYPE.to_be_bytes());
        probe[COOKIE..NUMBER].copy_from_slice(&cookie.to_le_bytes());
        Ok(Self {
            queue: sys::tap_queue(tap.name())?,
            probes: sys::probe_socket(nic.index)?,
            probe,
            sent: 0,
            arrived: 0,
            mtu: nic.mtu as usize,
            room: Vec::with_capacity(nic.mtu as usize + LINK_MAX),
        })
    }

    /// Writes a frame to the TAP, from where it enters the NIC's ingress. One that is longer than the interface takes was
    /// put together from fragments and is cut again: redirection would lose it.
    pub fn send(&mut self, frame: &[u8], checksum: Checksum) -> io::Result<()> {
        if frame.len() <= self.mtu + ETHERNET || !exceeds(frame, self.mtu) {
            return self.write(frame, checksum);
        }
        let mut room = std::mem::take(&mut self.room);
        let sent = cut(frame, self.mtu, &mut room, |piece| self.write(piece, Checksum::Whole));
        self.room = room;
        sent
    }

    fn write(&self, frame: &[u8], checksum: Checksum) -> io::Result<()> {
        let mut header = [0; VNET_HEADER];
        if let Checksum::Partial { start } = checksum {
            // flags, gso_type, hdr_len, gso_size, csum_start, csum_offset; in host order
            header[0] = NEEDS_CSUM;
            header[6..8].copy_from_slice(&start.to_ne_bytes());
            header[8..10].copy_from_slice(&UDP_CHECKSUM.to_ne_bytes());
        }
        writev(&self.queue, &[IoSlice::new(&header), IoSlice::new(frame)])?;
        Ok(())
    }

    /// Sends a probe; `true` if it, or the one before it, came back by the NIC's ingress.
    pub fn probe(&mut self) -> bool {
        self.sent += 1;
        self.probe[NUMBER..NUMBER + 8].copy_from_slice(&self.sent.to_le_bytes());
        let frame = self.probe;
        if self.send(&frame, Checksum::Whole).is_err() {
            return false;
        }
        let mut got = [0; FRAME_MIN];
        while let Ok(length) = nix::unistd::read(&self.probes, &mut got) {
            // the socket leaves out the Ethernet header
            let mine = length >= 16 && got[..8] == self.probe[COOKIE..NUMBER];
            if let (true, Ok(number)) = (mine, got[8..16].try_into()) {
                self.arrived = self.arrived.max(u64::from_le_bytes(number));
            }
        }
        self.arrived + 1 >= self.sent && self.arrived > 0
    }
}

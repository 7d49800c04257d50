//! What a driver says that it can do with XDP, and which queues have AF_XDP sockets: the kernel's generic netlink family
//! `netdev`, since Linux 6.3 (`Documentation/netlink/specs/netdev.yaml`).

use std::fmt::Debug;
use std::io;

use netlink_packet_core::{DecodeError, Emitable, NLM_F_DUMP, NlaBuffer, NlasIterator, ParseableParametrized};
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_generic::{GenlFamily, GenlHeader, GenlMessage};
use netlink_sys::protocols::NETLINK_GENERIC;

use super::Connection;

/// What the family is called.
const FAMILY: &str = "netdev";
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_CMD_QUEUE_GET: u8 = 10;
const NETDEV_A_QUEUE_ID: u16 = 1;
const NETDEV_A_QUEUE_IFINDEX: u16 = 2;
const NETDEV_A_QUEUE_TYPE: u16 = 3;
const NETDEV_A_QUEUE_XSK: u16 = 7;
const NETDEV_QUEUE_TYPE_RX: u32 = 0;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NETDEV_A_DEV_XDP_ZC_MAX_SEGS: u16 = 4;

// enum netdev_xdp_act
const BASIC: u64 = 1;
const REDIRECT: u64 = 1 << 1;
const XSK_ZEROCOPY: u64 = 1 << 3;
const RX_SG: u64 = 1 << 5;

/// What a driver can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpFeatures {
    bits: u64,
    /// Most buffers of one packet with zero-copy; 1: a packet is one buffer. 0: the kernel does not say.
    pub zero_copy_segments: u32,
}

impl XdpFeatures {
    /// Those that a kernel tells by this word (`enum netdev_xdp_act`).
    pub const fn of(bits: u64, zero_copy_segments: u32) -> Self {
        Self { bits, zero_copy_segments }
    }

    /// Native XDP: drop, pass, send back.
    pub const fn native(self) -> bool {
        self.bits & BASIC != 0
    }

    /// Redirecting, to AF_XDP sockets as well.
    pub const fn redirect(self) -> bool {
        self.bits & REDIRECT != 0
    }

    /// AF_XDP without a copy.
    pub const fn zero_copy(self) -> bool {
        self.bits & XSK_ZEROCOPY != 0
    }

    /// Packets in more than one buffer.
    pub const fn fragments(self) -> bool {
        self.bits & RX_SG != 0
    }
}

/// Asks for the features of an interface of this network namespace. `None`: this kernel does not tell (older than 6.3).
pub fn ask(index: u32) -> io::Result<Option<XdpFeatures>> {
    let Some(family) = family()? else { return Ok(None) };
    let question = Netdev(attribute(NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes()));
    let header = GenlHeader { cmd: NETDEV_CMD_DEV_GET, version: 1 };
    let answer = Connection::open(NETLINK_GENERIC)?.ask(GenlMessage::new(header, question, family), 0)?;
    Ok(answer.iter().find_map(|message| read(&message.payload.0, index)))
}

/// The RX queues of an interface that have an AF_XDP socket. Told since 6.15: an older kernel names none.
pub fn bound_queues(index: u32) -> io::Result<Vec<u32>> {
    let Some(family) = family()? else { return Ok(Vec::new()) };
    let question = Netdev(attribute(NETDEV_A_QUEUE_IFINDEX, &index.to_ne_bytes()));
    let header = GenlHeader { cmd: NETDEV_CMD_QUEUE_GET, version: 1 };
    let answer = Connection::open(NETLINK_GENERIC)?.ask(GenlMessage::new(header, question, family), NLM_F_DUMP)?;
    Ok(answer.iter().filter_map(|message| read_queue(&message.payload.0)).collect())
}

/// The number of an RX queue with an AF_XDP socket.
fn read_queue(attributes: &[u8]) -> Option<u32> {
    let (mut id, mut rx, mut bound) = (None, false, false);
    for attribute in NlasIterator::new(attributes).map_while(Result::ok) {
        let attribute: NlaBuffer<&[u8]> = attribute;
        let number = attribute.value().try_into().ok().map(u32::from_ne_bytes);
        match attribute.kind() {
            NETDEV_A_QUEUE_ID => id = number,
            NETDEV_A_QUEUE_TYPE => rx = number == Some(NETDEV_QUEUE_TYPE_RX),
            NETDEV_A_QUEUE_XSK => bound = true,
            _ => {}
        }
    }
    id.filter(|_| rx && bound)
}

/// The number of the family; `None` where there is none.
fn family() -> io::Result<Option<u16>> {
    let ask = GenlCtrl { cmd: GenlCtrlCmd::GetFamily, nlas: vec![GenlCtrlAttrs::FamilyName(FAMILY.to_owned())] };
    match Connection::open(NETLINK_GENERIC)?.ask(GenlMessage::from_payload(ask), 0) {
        Ok(answer) => {
            Ok(answer.iter().flat_map(|message| &message.payload.nlas).find_map(|attribute| match attribute {
                GenlCtrlAttrs::FamilyId(id) => Some(*id),
                _ => None,
            }))
        }
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A message of the family: its attributes, as they are.
#[derive(Clone, Debug)]
struct Netdev(Vec<u8>);

impl GenlFamily for Netdev {
    fn family_name() -> &'static str {
        FAMILY
    }

    fn command(&self) -> u8 {
        NETDEV_CMD_DEV_GET
    }

    fn version(&self) -> u8 {
        1
    }
}

impl Emitable for Netdev {
    fn buffer_len(&self) -> usize {
        self.0.len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        buffer[..self.0.len()].copy_from_slice(&self.0);
    }
}

impl ParseableParametrized<[u8], GenlHeader> for Netdev {
    fn parse_with_param(buffer: &[u8], _header: GenlHeader) -> Result<Self, DecodeError> {
        Ok(Self(buffer.to_vec()))
    }
}

fn attribute(kind: u16, value: &[u8; 4]) -> Vec<u8> {
    [&8_u16.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat()
}

/// Reads an answer; `None` if it is not about this interface, or says nothing of XDP.
fn read(attributes: &[u8], index: u32) -> Option<XdpFeatures> {
    let (mut about, mut bits, mut segments) = (None, None, 0);
    for attribute in NlasIterator::new(attributes).map_while(Result::ok) {
        let attribute: NlaBuffer<&[u8]> = attribute;
        let value = attribute.value();
        match attribute.kind() {
            NETDEV_A_DEV_IFINDEX => about = value.try_into().ok().map(u32::from_ne_bytes),
            NETDEV_A_DEV_XDP_FEATURES => bits = value.try_into().ok().map(u64::from_ne_bytes),
            NETDEV_A_DEV_XDP_ZC_MAX_SEGS => segments = value.try_into().ok().map_or(0, u32::from_ne_bytes),
            _ => {}
        }
    }
    (about == Some(index)).then_some(())?;
    bits.map(|bits| XdpFeatures::of(bits, segments))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer as the kernel lays it out: interface 2, these features, up to these buffers.
    fn answer(features: u64, segments: Option<u32>) -> Vec<u8> {
        let mut bytes = attribute(NETDEV_A_DEV_IFINDEX, &2_u32.to_ne_bytes());
        // type 2 is padding, for the u64's alignment
        bytes.extend([4, 0, 2, 0, 12, 0, 3, 0]);
        bytes.extend(features.to_ne_bytes());
        segments
            .into_iter()
            .for_each(|count| bytes.extend(attribute(NETDEV_A_DEV_XDP_ZC_MAX_SEGS, &count.to_ne_bytes())));
        bytes
    }

    #[test]
    fn what_drivers_set_is_read() {
        // ixgbe and ice: all but what hardware does; virtio_net before 6.13, ena before zero-copy, a driver without XDP
        let full = read(&answer(0x6f, Some(17)), 2).expect("told");
        assert!(full.native() && full.redirect() && full.zero_copy() && full.fragments());
        assert_eq!(full.zero_copy_segments, 17);
        let copying = read(&answer(0x7, Some(1)), 2).expect("told");
        assert!(copying.native() && copying.redirect() && !copying.zero_copy() && !copying.fragments());
        let without = read(&answer(0, None), 2).expect("told");
        assert!(!without.native() && !without.redirect() && !without.zero_copy());
    }

    #[test]
    fn a_queue_is_bound_where_it_has_the_nest() {
        let queue = |kind: u32, xsk: bool| {
            let mut bytes = attribute(NETDEV_A_QUEUE_ID, &3_u32.to_ne_bytes());
            bytes.extend(attribute(NETDEV_A_QUEUE_TYPE, &kind.to_ne_bytes()));
            bytes.extend(attribute(NETDEV_A_QUEUE_IFINDEX, &2_u32.to_ne_bytes()));
            if xsk {
                // an empty nest, with NLA_F_NESTED
                bytes.extend([&4_u16.to_ne_bytes()[..], &(NETDEV_A_QUEUE_XSK | 1 << 15).to_ne_bytes()].concat());
            }
            read_queue(&bytes)
        };
        assert_eq!([queue(0, true), queue(0, false), queue(1, true)], [Some(3), None, None]);
        assert_eq!(read_queue(&[255; 16]), None);
    }

    #[test]
    fn other_interfaces_and_torn_answers_are_no_answer() {
        assert_eq!(read(&answer(0x6f, None), 3), None);
        let whole = answer(0x6f, Some(1));
        for length in 0..whole.len() {
            let _no_panic = read(&whole[..length], 2);
        }
        assert_eq!(read(&whole[..8], 2), None);
        assert_eq!(read(&[0; 64], 2), None);
        assert_eq!(read(&[255; 64], 2), None);
    }
}

//! A frame as it arrives. The only Ethernet, VLAN, IP and UDP offsets in the project.

use crate::rule::Addr;

/// No load may touch a byte beyond this offset: it bounds what the verifier has to follow.
pub const DEEPEST: usize = 0x0fff;

/// UDP's protocol number.
pub const UDP: u64 = 17;
/// TCP's protocol number.
pub const TCP: u64 = 6;
/// SCTP's protocol number.
pub const SCTP: u64 = 132;
/// In place of a protocol: more IPv6 extension headers than are walked, so what follows cannot be judged.
pub const TOO_DEEP: u64 = 256;

/// Bytes to read from: a slice in user space, `data..data_end` in the kernel.
pub trait Frame {
    /// Bytes in the frame, from the destination MAC on.
    fn len(&self) -> usize;

    /// Is there nothing at all?
    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// N bytes at `at`; `None` past the end.
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]>;

    /// N words of eight bytes, the first byte of each lowest.
    fn words<const N: usize>(&self, at: usize) -> Option<[u64; N]>;

    /// The same number. In the kernel the verifier forgets on the way which one it was (it keeps: at most
    /// [`DEEPEST`]), so that the paths which lead here become one.
    fn settle(&self, at: usize) -> usize;

    /// One byte.
    #[inline(always)]
    fn u8(&self, at: usize) -> Option<u8> {
        self.load::<1>(at).map(|b| b[0])
    }

    /// A 16-bit number in network byte order.
    #[inline(always)]
    fn be16(&self, at: usize) -> Option<u16> {
        self.load(at).map(u16::from_be_bytes)
    }

    /// Eight bytes, the first one lowest.
    #[inline(always)]
    fn le64(&self, at: usize) -> Option<u64> {
        self.load(at).map(u64::from_le_bytes)
    }
}

impl Frame for &[u8] {
    #[inline(always)]
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    #[inline(always)]
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    #[inline(always)]
    fn words<const N: usize>(&self, at: usize) -> Option<[u64; N]> {
        let bytes = self.get(at..at.checked_add(8 * N)?)?;
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().ok()?);
        }
        Some(words)
    }

    #[inline(always)]
    fn settle(&self, at: usize) -> usize {
        // The kernel masks; a slice must give the same answer for the same bytes.
        at & DEEPEST
    }
}

/// Not in fragments.
pub const WHOLE: u64 = 0;
/// The first fragment of several: it holds the UDP header.
pub const FIRST: u64 = 1;
/// A later fragment: what stands at [`Flow::l4`] is payload.
pub const LATER: u64 = 2;

/// Who sends what to whom. Words only: the kernel keeps it in a per-CPU value, byte fields would be copied one by one.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flow {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Destination MAC, first byte lowest; the upper 16 bits are 0.
    pub mac: u64,
    /// Offset of the IP header.
    pub l3: u64,
    /// Offset of the UDP, TCP or SCTP header (in a later fragment: of the payload).
    pub l4: u64,
    /// Offset of the first byte behind the IP packet, as its header claims.
    pub end: u64,
    /// Protocol above IP, behind all extension headers.
    pub proto: u64,
    /// [`WHOLE`], [`FIRST`] or [`LATER`].
    pub fragment: u64,
    /// Identification of the fragments (RFC 791 §3.1, RFC 8200 §4.5); 0 where there are none.
    pub ident: u64,
    /// Offset of this fragment's bytes in the datagram.
    pub offset: u64,
}

const ETH_HEADER: usize = 14;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const QINQ: u16 = 0x88a8;
const IPV6_HEADER: usize = 40;
/// IPv6 extension headers walked. Hosts send none or one; a packet with more is [`TOO_DEEP`].
const EXTENSIONS: usize = 6;
/// Extension headers must end before this offset.
const L4_MAX: usize = 1000;

/// Source and destination port of the plainest of packets: UDP or TCP over IPv4 without options, fragments or tags.
/// `None`: another kind, which [`flow`] reads.
#[inline(always)]
pub fn plain_ports(f: &impl Frame) -> Option<[u16; 2]> {
    let h = f.load::<38>(0)?;
    let ethertype_to_ident = u64::from_le_bytes([h[12], h[13], h[14], h[15], h[16], h[17], h[18], h[19]]);
    let cut_to_source = u64::from_le_bytes([h[20], h[21], h[22], h[23], h[24], h[25], h[26], h[27]]);
    // Ethertype, version and header length.
    const IPV4_20: u64 = 0x45_0008;
    // Offset and MF bit, from the second word's start; the protocol three bytes on.
    const CUT: u64 = 0xff3f;
    let proto = cut_to_source >> 24 & 0xff;
    if ethertype_to_ident & 0xff_ffff != IPV4_20 || cut_to_source & CUT != 0 || (proto != UDP && proto != TCP) {
        return None;
    }
    Some([u16::from_be_bytes([h[34], h[35]]), u16::from_be_bytes([h[36], h[37]])])
}

/// Where the frame's headers are. `None`: not IP, or cut short; not ours.
#[inline(always)]
pub fn flow(f: &impl Frame) -> Option<Flow> {
    // All paths begin with the same load, so the verifier can merge them.
    let head = f.load::<34>(0)?;
    let mac = u64::from_le_bytes([head[0], head[1], head[2], head[3], head[4], head[5], 0, 0]);
    let mut l3 = ETH_HEADER;
    let mut kind = u16::from_be_bytes([head[12], head[13]]);
    if kind == VLAN || kind == QINQ {
        kind = f.be16(16)?;
        l3 = ETH_HEADER + 4;
        if kind == VLAN || kind == QINQ {
            kind = f.be16(20)?;
            l3 = ETH_HEADER + 8;
        }
    }
    let l3 = f.settle(l3);
    match kind {
        IPV4 => ipv4(f, mac, l3),
        IPV6 => ipv6(f, mac, l3),
        _ => None,
    }
}

#[inline(always)]
fn ipv4(f: &impl Frame, mac: u64, l3: usize) -> Option<Flow> {
    let h = f.load::<20>(l3)?;
    let header = ((h[0] & 15) as usize) * 4;
    let total = u16::from_be_bytes([h[2], h[3]]) as usize;
    if h[0] >> 4 != 4 || header < 20 || total < header {
        return None;
    }
    let cut = u16::from_be_bytes([h[6], h[7]]);
    let offset = u64::from(cut & 0x1fff) << 3;
    let more = cut & 0x2000 != 0;
    let fragment = if offset != 0 {
        LATER
    } else if more {
        FIRST
    } else {
        WHOLE
    };
    Some(Flow {
        src: Addr::v4([h[12], h[13], h[14], h[15]]),
        dst: Addr::v4([h[16], h[17], h[18], h[19]]),
        mac,
        l3: l3 as u64,
        l4: (l3 + header) as u64,
        end: (l3 + total) as u64,
        proto: u64::from(h[9]),
        fragment,
        ident: u64::from(u16::from_be_bytes([h[4], h[5]])),
        offset,
    })
}

#[inline(always)]
fn ipv6(f: &impl Frame, mac: u64, l3: usize) -> Option<Flow> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const DESTINATION: u8 = 60;

    let h = f.load::<8>(l3)?;
    if h[0] >> 4 != 6 {
        return None;
    }
    let end = l3 + IPV6_HEADER + u16::from_be_bytes([h[4], h[5]]) as usize;
    let src = Addr::from_bytes(f.load::<16>(l3 + 8)?);
    let dst = Addr::from_bytes(f.load::<16>(l3 + 24)?);
    if src.is_v4() || dst.is_v4() {
        // Mapped addresses have no place on the wire (RFC 4942 §2.2): the kernel drops them, and here they would be
        // taken for IPv4.
        return None;
    }
    let mut next = h[6];
    let mut at = f.settle(l3 + IPV6_HEADER);
    let (mut fragment, mut ident, mut offset) = (WHOLE, 0, 0);
    for _ in 0..EXTENSIONS {
        match next {
            HOP_BY_HOP | ROUTING | DESTINATION | AUTHENTICATION => {
                let e = f.load::<2>(at)?;
                // RFC 4302 §2.2 counts in words of 4 bytes less 2, RFC 8200 §4 in words of 8 less 1
                at += if next == AUTHENTICATION { (e[1] as usize + 2) * 4 } else { (e[1] as usize + 1) * 8 };
                next = e[0];
            }
            FRAGMENT => {
                let e = f.load::<8>(at)?;
                let cut = u16::from_be_bytes([e[2], e[3]]);
                next = e[0];
                ident = u64::from(u32::from_be_bytes([e[4], e[5], e[6], e[7]]));
                at += 8;
                if cut & 0xfff8 != 0 {
                    (fragment, offset) = (LATER, u64::from(cut & 0xfff8));
                    break;
                }
                if cut & 1 != 0 {
                    fragment = FIRST;
                }
            }
            _ => break,
        }
        if at > L4_MAX {
            break;
        }
        at = f.settle(at);
    }
    let walked = at <= L4_MAX
        && (fragment == LATER || !matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION));
    // A later fragment may begin in the middle of an extension header (RFC 8200 §4.5): behind it is what nobody knows.
    let unknown = fragment == LATER && matches!(next, HOP_BY_HOP | ROUTING | AUTHENTICATION | DESTINATION);
    let proto = match (walked, unknown) {
        (false, _) => TOO_DEEP,
        (true, true) => UDP,
        (true, false) => u64::from(next),
    };
    let at = f.settle(at);
    Some(Flow { src, dst, mac, l3: l3 as u64, l4: at as u64, end: end as u64, proto, fragment, ident, offset })
}

/// Sources that the kernel refuses on any interface but `lo` (`ip_route_input_slow`, `ip6_rcv_core`), or that are none
/// of SIP's business (link-local). No wider: what the kernel takes must be judged, 240.0.0.0/4 included.
#[inline(always)]
pub fn martian(src: &Addr) -> bool {
    let b = src.to_bytes();
    if src.is_v4() {
        // 0/8, 127/8, 224/4, 255.255.255.255
        return b[12] == 0 || b[12] == 127 || b[12] >> 4 == 14 || src.lo >> 32 == 0xffff_ffff;
    }
    // ff00::/8, fe80::/10, ::1
    b[0] == 0xff || (b[0] == 0xfe && b[1] & 0xc0 == 0x80) || *src == LOOPBACK_V6
}

const LOOPBACK_V6: Addr = Addr::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

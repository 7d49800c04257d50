//! What a network card can be asked and told: offloads, channels, rings, coalescing, RSS, rules for flows (`ethtool(8)`).
//!
//! Read by ioctl (`linux/ethtool.h`), because text for people is no answer for programs. Changed by Debian's program
//! `ethtool`: it knows the kernel's old and new ways, and what is executed is what an operator can paste.

/// A change of one thing, as a command of `ethtool`.
mod change;

pub use change::{Change, Refused};

use std::io;
use std::os::fd::AsRawFd;

/// Offload that joins TCP segments in the card; an XDP program does not see them singly (`ethtool -k`).
pub const LRO: &str = "rx-lro";
/// The same by rules that keep segments apart; most drivers that have it refuse XDP beside it.
pub const GRO_HW: &str = "rx-gro-hw";
/// The card takes VLAN tags out of frames before XDP sees them.
pub const RX_VLAN: &str = "rx-vlan-hw-parse";
/// Rules for flows ([`Ethtool::rules`]).
pub const NTUPLE: &str = "rx-ntuple-filter";

/// One offload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// The kernel's name for it (`net/ethtool/common.c`), such as [`LRO`].
    pub name: String,
    /// Is it in use?
    pub on: bool,
    /// Can it not be changed? `ethtool -k` says `[fixed]`.
    pub fixed: bool,
}

/// Queues with an interrupt each (`ethtool -l`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// For packets that arrive.
    pub rx: u32,
    /// For packets that leave.
    pub tx: u32,
    /// For both.
    pub combined: u32,
    /// What the card can have.
    pub max_rx: u32,
    /// What the card can have.
    pub max_tx: u32,
    /// What the card can have.
    pub max_combined: u32,
}

impl Channels {
    /// The most queues with which this driver takes native XDP; most take it with all.
    ///
    /// Amazon's card keeps a queue for what XDP sends beside each: half of them at most (`ena_xdp_legal_queue_count()`).
    /// Amazon's own driver takes it with all since 2.17, and does not say so.
    pub fn native_xdp_max(&self, driver: &str) -> u32 {
        match (driver, self.max_combined) {
            ("ena", 2..) => self.max_combined / 2,
            (_, 0) => self.max_rx,
            (_, all) => all,
        }
    }
}

/// Descriptors in each ring (`ethtool -g`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rings {
    /// For packets that arrive.
    pub rx: u32,
    /// For packets that leave.
    pub tx: u32,
    /// What the card can have.
    pub max_rx: u32,
    /// What the card can have.
    pub max_tx: u32,
}

/// How long the card waits before it interrupts (`ethtool -c`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coalescing {
    /// Microseconds after a packet's arrival.
    pub rx_usecs: u32,
    /// Does the driver choose by itself?
    pub adaptive_rx: bool,
}

/// UDP over one of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Udp {
    /// `udp4`
    V4,
    /// `udp6`
    V6,
}

impl Udp {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// As `ethtool -N` calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::V4 => "udp4",
            Self::V6 => "udp6",
        }
    }

    /// `UDP_V4_FLOW`, `UDP_V6_FLOW`.
    fn flow_type(self) -> u32 {
        match self {
            Self::V4 => 2,
            Self::V6 => 6,
        }
    }

    /// Where in the union of flows the source port begins, bytes (`struct ethtool_tcpip4_spec`, `_tcpip6_spec`).
    fn source_port_at(self) -> usize {
        match self {
            Self::V4 => 8,
            Self::V6 => 32,
        }
    }
}

/// UDP to this port goes to this queue, whatever else is in the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PortRule {
    /// Over IPv4 or IPv6.
    pub udp: Udp,
    /// Destination port.
    pub port: u16,
    /// RX queue.
    pub queue: u32,
}

/// A rule for a flow, in the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// By which it is deleted; where several match, the lowest wins with most drivers.
    pub id: u32,
    /// What it does, if it is one for a UDP port and nothing else.
    pub port: Option<PortRule>,
}

/// The rules of a card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Those that there are.
    pub rules: Vec<Rule>,
}

/// Fields of a packet by which RSS chooses the queue: IP source and destination (`sd`, `RXH_IP_SRC`, `RXH_IP_DST`).
pub const HASH_ADDRESSES: u64 = 1 << 4 | 1 << 5;
/// Those and both ports (`sdfn`, `RXH_L4_B_0_1`, `RXH_L4_B_2_3`).
pub const HASH_ADDRESSES_AND_PORTS: u64 = HASH_ADDRESSES | 1 << 6 | 1 << 7;

/// Words of `struct ethtool_rxnfc`, without the list of rules at its end (`size`: 192 bytes).
const RXNFC_WORDS: usize = 48;
/// Where the number of rules stands in it.
const RULE_COUNT: usize = 46;
/// Where the list of rules begins.
const RULE_LIST: usize = 47;
/// Where `struct ethtool_rx_flow_spec` begins.
const FLOW_SPEC: usize = 4;
/// Its length in words up to, without, `ring_cookie`: flow type, 52 + 20 bytes of fields and as many of masks.
const FLOW_FIELDS: usize = 18;
/// Where `ring_cookie` stands, two words.
const RING_COOKIE: usize = FLOW_SPEC + 38;
/// Where `location` stands.
const LOCATION: usize = FLOW_SPEC + 40;
/// Bits of a flow type that say that the union's neighbour is in use, too (`FLOW_EXT`, `FLOW_MAC_EXT`, `FLOW_RSS`).
const FLOW_FLAGS: u32 = 0xe000_0000;

/// One interface, asked by `SIOCETHTOOL`.
#[derive(Debug)]
pub struct Ethtool {
    socket: socket2::Socket,
    name: String,
}

impl Ethtool {
    /// Opens a socket in the network namespace of this thread. Fails if the name is too long for one; that there is no such
    /// interface is `ENODEV` of each question.
    pub fn open(name: &str) -> io::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
        if name.len() >= libc::IFNAMSIZ {
            return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
        }
        Ok(Self { socket, name: name.to_owned() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name of the driver (`ethtool -i`).
    pub fn driver(&self) -> io::Result<String> {
        const GDRVINFO: u32 = 0x03;
        let mut info = [0; 49];
        info[0] = GDRVINFO;
        self.ask(&mut info)?;
        Ok(text(&info[1..9]))
    }

    /// All offloads, in the kernel's order.
    pub fn features(&self) -> io::Result<Vec<Feature>> {
        const GFEATURES: u32 = 0x3a;
        let names = self.feature_names()?;
        let blocks = names.len().div_ceil(32);
        let mut words = vec![0; 2 + 4 * blocks];
        (words[0], words[1]) = (GFEATURES, blocks as u32);
        self.ask(&mut words)?;
        let feature = |(bit, name): (usize, String)| {
            // available, requested, active, never changed
            let is = |which: usize| words[2 + 4 * (bit / 32) + which] & 1 << (bit % 32) != 0;
            Feature { name, on: is(2), fixed: !is(0) || is(3) }
        };
        Ok(names.into_iter().enumerate().map(feature).filter(|feature| !feature.name.is_empty()).collect())
    }

    /// The offload of this name; `None`: this kernel has none.
    pub fn feature(&self, name: &str) -> io::Result<Option<Feature>> {
        Ok(self.features()?.into_iter().find(|feature| feature.name == name))
    }

    fn feature_names(&self) -> io::Result<Vec<String>> {
        const GSSET_INFO: u32 = 0x37;
        const GSTRINGS: u32 = 0x1b;
        const FEATURES: u32 = 4;
        const NAME_WORDS: usize = 8;
        // command, reserved, a mask of sets, a count for each
        let mut sets = [GSSET_INFO, 0, 1 << FEATURES, 0, 0];
        self.ask(&mut sets)?;
        // A constant of the running kernel: it does not grow between the two questions.
        let count = sets[4] as usize;
        let mut words = vec![0; 3 + count * NAME_WORDS];
        (words[0], words[1], words[2]) = (GSTRINGS, FEATURES, sets[4]);
        self.ask(&mut words)?;
        Ok(words[3..].chunks_exact(NAME_WORDS).map(text).collect())
    }

    /// The queues. Drivers with one queue that cannot be changed answer `EOPNOTSUPP`.
    pub fn channels(&self) -> io::Result<Channels> {
        const GCHANNELS: u32 = 0x3c;
        let mut words = [0; 9];
        words[0] = GCHANNELS;
        self.ask(&mut words)?;
        let [_, max_rx, max_tx, _, max_combined, rx, tx, _, combined] = words;
        Ok(Channels { rx, tx, combined, max_rx, max_tx, max_combined })
    }

    /// The rings' lengths.
    pub fn rings(&self) -> io::Result<Rings> {
        const GRINGPARAM: u32 = 0x10;
        let mut words = [0; 9];
        words[0] = GRINGPARAM;
        self.ask(&mut words)?;
        let [_, max_rx, _, _, max_tx, rx, _, _, tx] = words;
        Ok(Rings { rx, tx, max_rx, max_tx })
    }

    /// When it interrupts.
    pub fn coalescing(&self) -> io::Result<Coalescing> {
        const GCOALESCE: u32 = 0x0e;
        let mut words = [0; 23];
        words[0] = GCOALESCE;
        self.ask(&mut words)?;
        Ok(Coalescing { rx_usecs: words[1], adaptive_rx: words[10] != 0 })
    }

    /// Queues among which RSS chooses.
    pub fn rss_queues(&self) -> io::Result<u32> {
        const GRXRINGS: u32 = 0x2d;
        let mut words = [0; RXNFC_WORDS];
        words[0] = GRXRINGS;
        self.ask(&mut words)?;
        Ok(words[2])
    }

    /// RSS' table (`ethtool -x`): the queue for each remainder of the hash. Drivers without answer `EOPNOTSUPP`.
    pub fn rss_table(&self) -> io::Result<Vec<u32>> {
        const GRXFHINDIR: u32 = 0x38;
        let mut size = [GRXFHINDIR, 0];
        self.ask(&mut size)?;
        let mut words = vec![0; 2 + size[1] as usize];
        (words[0], words[1]) = (GRXFHINDIR, size[1]);
        self.ask(&mut words)?;
        Ok(words.split_off(2))
    }

    /// Writes RSS' table as it was read. The program has no command for any table; it has for even ones ([`Change`]).
    pub fn set_rss_table(&self, table: &[u32]) -> io::Result<()> {
        const SRXFHINDIR: u32 = 0x39;
        // A size of zero would mean the driver's own table.
        if table.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut words = vec![SRXFHINDIR, table.len() as u32];
        words.extend_from_slice(table);
        self.ask(&mut words)
    }

    /// The fields by which RSS chooses for UDP (`RXH_` bits), such as [`HASH_ADDRESSES`].
    pub fn hash_fields(&self, udp: Udp) -> io::Result<u64> {
        const GRXFH: u32 = 0x29;
        let mut words = [0; RXNFC_WORDS];
        (words[0], words[1]) = (GRXFH, udp.flow_type());
        self.ask(&mut words)?;
        Ok(long(words[2], words[3]))
    }

    /// The rules for flows. Drivers without answer `EOPNOTSUPP`.
    pub fn rules(&self) -> io::Result<Rules> {
        const GRXCLSRLCNT: u32 = 0x2e;
        const GRXCLSRLALL: u32 = 0x30;
        let mut words = vec![0; RXNFC_WORDS];
        words[0] = GRXCLSRLCNT;
        self.ask(&mut words)?;
        let count = words[RULE_COUNT];
        if count == 0 {
            return Ok(Rules::default());
        }
        let mut words = vec![0; RXNFC_WORDS + count as usize];
        (words[0], words[RULE_COUNT]) = (GRXCLSRLALL, count);
        self.ask(&mut words)?;
        let found = words[RULE_COUNT].min(count) as usize;
        let rules = words[RULE_LIST..][..found].iter().map(|&id| self.rule(id)).collect::<io::Result<_>>()?;
        Ok(Rules { rules })
    }

    fn rule(&self, id: u32) -> io::Result<Rule> {
        const GRXCLSRULE: u32 = 0x2f;
        let mut words = [0; RXNFC_WORDS];
        (words[0], words[LOCATION]) = (GRXCLSRULE, id);
        self.ask(&mut words)?;
        Ok(Rule { id, port: port_rule(&words) })
    }

    /// One question or order: the first word is the command. The answer replaces the question.
    ///
    /// Every caller gives as many words as the kernel writes for its command: the struct of `linux/ethtool.h` and behind
    /// it the elements that the struct's own count announces.
    fn ask(&self, words: &mut [u32]) -> io::Result<()> {
        // SAFETY: ifreq is plain data, all zeros is a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(self.name.bytes().take(libc::IFNAMSIZ - 1)) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
        // SAFETY: SIOCETHTOOL reads and writes what ifru_data points to, by the command in it; the words are as many.
        match unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) } {
            0.. => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Does the driver not have what it was asked for?
pub fn is_unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EOPNOTSUPP)
}

/// The table that drivers begin with: every queue in turn (`ethtool_rxfh_indir_default`).
pub fn even_table(length: usize, first: u32, queues: u32) -> Vec<u32> {
    (0..length as u32).map(|at| first + at % queues.max(1)).collect()
}

/// What a rule does, if it compares the destination port of UDP and nothing else, and names a queue of the card itself.
fn port_rule(words: &[u32; RXNFC_WORDS]) -> Option<PortRule> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let (fields, masks) = bytes[4 * (FLOW_SPEC + 1)..].split_at(4 * FLOW_FIELDS);
    let masks = &masks[..4 * FLOW_FIELDS];
    let flow_type = words[FLOW_SPEC];
    let udp = Udp::ALL.into_iter().find(|udp| udp.flow_type() == flow_type & !FLOW_FLAGS)?;
    let at = udp.source_port_at() + 2;
    let others = masks.iter().enumerate().filter(|(byte, _)| !(at..at + 2).contains(byte));
    let only_the_port = others.map(|(_, mask)| mask).all(|mask| *mask == 0) && masks[at..at + 2] == [0xff, 0xff];
    let cookie = long(words[RING_COOKIE], words[RING_COOKIE + 1]);
    // The upper half is another function of the card, or its bits say "drop" or "wake".
    let queue = u32::try_from(cookie).ok()?;
    let plain = flow_type & FLOW_FLAGS == 0 && only_the_port;
    plain.then(|| PortRule { udp, port: u16::from_be_bytes([fields[at], fields[at + 1]]), queue })
}

/// A `u64` of two words, in the machine's order.
fn long(first: u32, second: u32) -> u64 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_ne_bytes());
    bytes[4..].copy_from_slice(&second.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

/// A text that ends with a zero, at the latest with its field.
fn text(words: &[u32]) -> String {
    let bytes = words.iter().flat_map(|word| word.to_ne_bytes()).take_while(|byte| *byte != 0);
    String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct ethtool_rxnfc` as `linux/ethtool.h` lays it out, by hand.
    fn answer(udp: Udp, port: u16, queue: u32) -> [u32; RXNFC_WORDS] {
        let mut bytes = [0; 4 * RXNFC_WORDS];
        // 16: flow_type, 20: fields, 92: masks, 168: ring_cookie, 176: location
        bytes[16..20].copy_from_slice(&(if udp == Udp::V4 { 2_u32 } else { 6 }).to_ne_bytes());
        let at = if udp == Udp::V4 { 10 } else { 34 };
        bytes[20 + at..][..2].copy_from_slice(&port.to_be_bytes());
        bytes[92 + at..][..2].copy_from_slice(&[0xff, 0xff]);
        bytes[168..176].copy_from_slice(&u64::from(queue).to_ne_bytes());
        let words: Vec<u32> =
            bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().expect("4"))).collect();
        words.try_into().expect("as many")
    }

    #[test]
    fn a_rule_for_a_port_is_told_from_one_that_asks_for_more() {
        for udp in Udp::ALL {
            let words = answer(udp, 5060, 3);
            assert_eq!(port_rule(&words), Some(PortRule { udp, port: 5060, queue: 3 }));
            // any other bit of a mask: a source address, a port half, a VLAN
            for byte in 92..164 {
                let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
                bytes[byte] ^= 0x80;
                let words: Vec<u32> =
                    bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().expect("4"))).collect();
                assert_eq!(port_rule(&words.try_into().expect("as many")), None, "byte {byte} of {udp:?}");
            }
        }
        let mut tcp = answer(Udp::V4, 5060, 0);
        tcp[4] = 1;
        assert_eq!(port_rule(&tcp), None);
        let mut discarded = answer(Udp::V4, 5060, 0);
        (discarded[42], discarded[43]) = (u32::MAX, u32::MAX);
        assert_eq!(port_rule(&discarded), None);
        let mut of_a_context = answer(Udp::V4, 5060, 0);
        of_a_context[4] |= 0x2000_0000;
        assert_eq!(port_rule(&of_a_context), None);
    }

    #[test]
    fn an_even_table_takes_every_queue_in_turn() {
        assert_eq!(even_table(6, 0, 4), [0, 1, 2, 3, 0, 1]);
        assert_eq!(even_table(5, 1, 3), [1, 2, 3, 1, 2]);
    }
}

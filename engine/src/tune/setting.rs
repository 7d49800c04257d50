//! One thing that can be set: what it is called, what it is set to.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ethtool::{HASH_ADDRESSES, HASH_ADDRESSES_AND_PORTS, Udp};

/// A thing that can be set. The order is that in which they are set: what resets the card comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Knob {
    /// Queues of the card.
    Channels,
    /// Lengths of its rings.
    Rings,
    /// An offload, by the kernel's name.
    Feature(String),
    /// A rule that takes UDP to a port to a queue.
    PortRule {
        /// Over which IP.
        udp: Udp,
        /// Destination port.
        port: u16,
    },
    /// Does the driver choose when the card interrupts?
    AdaptiveRx,
    /// When the card interrupts.
    RxUsecs,
    /// By what RSS chooses for UDP.
    HashFields(Udp),
    /// RSS' table.
    RssTable,
    /// A file of `/sys/class/net/IFACE/`.
    Device(String),
    /// Which CPUs take an interrupt.
    Irq {
        /// Its number, which another may have after the card was reset.
        number: u32,
        /// Its name in `/proc/interrupts`.
        name: String,
    },
    /// Who chooses the clock of this CPU.
    Governor(u32),
    /// A sysctl.
    Sysctl(String),
}

/// When a knob is set: what it says depends on those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// What may reset the card, and empty the sockets on it.
    Reset,
    /// Rules for flows.
    Rules,
    /// All else.
    Rest,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::Reset, Self::Rules, Self::Rest];
}

impl Knob {
    /// When it is set.
    pub fn phase(&self) -> Phase {
        match self {
            Self::Channels | Self::Rings | Self::Feature(_) => Phase::Reset,
            Self::PortRule { .. } => Phase::Rules,
            _ => Phase::Rest,
        }
    }

    /// Is it of the machine, not of the interface?
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Governor(_) | Self::Sysctl(_))
    }
}

impl fmt::Display for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channels => f.write_str("channels"),
            Self::Rings => f.write_str("rings"),
            Self::Feature(name) => write!(f, "offload {name}"),
            Self::PortRule { udp, port } => write!(f, "rule for {udp} port {port}"),
            Self::AdaptiveRx => f.write_str("adaptive-rx"),
            Self::RxUsecs => f.write_str("rx-usecs"),
            Self::HashFields(udp) => write!(f, "RSS fields of {udp}"),
            Self::RssTable => f.write_str("RSS table"),
            Self::Device(file) => f.write_str(file),
            Self::Irq { number, name } => write!(f, "CPUs of IRQ {number} ({name})"),
            Self::Governor(cpu) => write!(f, "governor of CPU {cpu}"),
            Self::Sysctl(key) => f.write_str(key),
        }
    }
}

/// What a knob is set to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// A file's line.
    Text(String),
    /// On or off.
    Switch(bool),
    /// Numbers of queues.
    Channels {
        /// For packets that arrive.
        rx: u32,
        /// For packets that leave.
        tx: u32,
        /// For both.
        combined: u32,
    },
    /// Numbers of descriptors.
    Rings {
        /// For packets that arrive.
        rx: u32,
        /// For packets that leave.
        tx: u32,
    },
    /// Microseconds.
    Usecs(u32),
    /// `RXH_` bits.
    Fields(u64),
    /// A queue for each remainder of the hash.
    Table(Vec<u32>),
    /// A rule's queue, if there is a rule.
    Queue(Option<u32>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Switch(on) => f.write_str(if *on { "on" } else { "off" }),
            Self::Channels { rx: 0, tx: 0, combined } => write!(f, "{combined}"),
            Self::Channels { rx, tx, combined: 0 } | Self::Rings { rx, tx } => write!(f, "{rx} RX and {tx} TX"),
            Self::Channels { rx, tx, combined } => write!(f, "{combined} and {rx} RX and {tx} TX"),
            Self::Usecs(usecs) => write!(f, "{usecs} µs"),
            Self::Fields(HASH_ADDRESSES) => f.write_str("addresses"),
            Self::Fields(HASH_ADDRESSES_AND_PORTS) => f.write_str("addresses and ports"),
            Self::Fields(bits) => write!(f, "RXH bits {bits:#x}"),
            Self::Table(table) => spread(table, f),
            Self::Queue(Some(queue)) => write!(f, "queue {queue}"),
            Self::Queue(None) => f.write_str("none"),
        }
    }
}

/// How a table shares out.
fn spread(table: &[u32], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (first, last) = (table.iter().min().copied().unwrap_or(0), table.iter().max().copied().unwrap_or(0));
    let even = crate::ethtool::even_table(table.len(), first, last - first + 1) == table;
    match (first == last, even) {
        (true, _) => write!(f, "all to queue {first}"),
        (false, true) => write!(f, "queues {first} to {last} in turn"),
        (false, false) => write!(f, "{} entries of its own", table.len()),
    }
}

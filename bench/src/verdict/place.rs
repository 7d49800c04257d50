//! The worlds that frames are met in, in memory.

use std::collections::BTreeSet;

use vos_common::cases::{Entry, World};
use vos_common::rate::{KINDS, Limit};
use vos_common::rule::{Addr, MAPPED_BITS, Rule, RuleKind};
use vos_common::state::{BUDGETS, BYES};

use super::rows::{NEIGHBOUR, Place, TRUSTED, VERIFIED};
use crate::maps;

/// IPv4 addresses: any bits where `mask` has them, those of `base` elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scatter {
    /// The free bits.
    pub mask: [u8; 4],
    /// The others.
    pub base: [u8; 4],
}

/// 2²⁰ addresses, no two in one /24: as a blocklist that grew over years looks. The blocked source of the rows is
/// among them, here and in [`THOUSAND`].
pub const MILLION: Scatter = Scatter { mask: [0x9f, 0xff, 0x3f, 0], base: [0x40, 0, 0x40, 9] };
/// 2¹⁰ of them.
pub const THOUSAND: Scatter = Scatter { mask: [0x9f, 0x0f, 0, 0], base: [0x40, 0x30, 100, 9] };

impl Scatter {
    /// All of them.
    pub fn addresses(self) -> impl Iterator<Item = [u8; 4]> {
        let (mask, base) = (u32::from_be_bytes(self.mask), u32::from_be_bytes(self.base));
        let mut bits = Some(0u32);
        std::iter::from_fn(move || {
            let now = bits?;
            // The next number that has bits in the mask only.
            bits = Some(now.wrapping_sub(mask) & mask).filter(|next| *next != 0);
            Some((base | now).to_be_bytes())
        })
    }
}

impl Place {
    /// Its rules and all else that a verdict is made from.
    pub fn world(self) -> World {
        let mut world = maps::world();
        let blocked = |scatter: Scatter| scatter.addresses().map(|address| rule(address, 32, RuleKind::Blocked));
        match self {
            // The map has no room for both.
            Self::Million => world.rules = blocked(MILLION).collect(),
            Self::Prefixes => world.rules.extend(prefixes(10_000)),
            Self::Usual | Self::Live | Self::Gateways | Self::Egress => world.rules.extend(blocked(THOUSAND)),
        }
        world.live = self == Self::Live;
        world.verified.push((Addr::v4(VERIFIED), u64::MAX));
        // The bench's clock stands still: limits that are looked at, and never reached.
        let limit = Limit { every: 1, ahead: u64::MAX / 4 };
        world.config.limits = [[limit; KINDS]; 3];
        world.config.prefix = [limit; KINDS];
        world.budgets.push((Addr::v4(TRUSTED), MAPPED_BITS + 32, [limit; KINDS]));
        world.config.flags |= match self {
            Self::Gateways => BUDGETS,
            Self::Egress => BYES,
            _ => 0,
        };
        world
    }
}

fn rule(address: [u8; 4], bits: u32, kind: RuleKind) -> Entry {
    (Addr::v4(address), MAPPED_BITS + bits, Rule { kind: kind as u32, ..Rule::default() })
}

/// Blocked prefixes, /16 to /28, the same each time: one beside [`NEIGHBOUR`], none in the rest of 198.18.0.0/15.
fn prefixes(count: usize) -> Vec<Entry> {
    let [a, b, c, _] = NEIGHBOUR;
    let mut found = BTreeSet::from([([a, b, c, 0], 28)]);
    let mut state = 0x2545_f491u32;
    while found.len() < count {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let bits = 16 + state % 13;
        let prefix = (state & u32::MAX << (32 - bits)).to_be_bytes();
        // Unicast, and not where the rows' sources and the guarded host are.
        if (1..224).contains(&prefix[0]) && ![127, 192, 198].contains(&prefix[0]) {
            found.insert((prefix, bits));
        }
    }
    found.into_iter().map(|(prefix, bits)| rule(prefix, bits, RuleKind::Blocked)).collect()
}

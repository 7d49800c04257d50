//! The worlds that frames are met in, in memory.

use std::collections::BTreeSet;

use vos_common::cases::{Entry, World};
use vos_common::rate::{KINDS, Limit};
use vos_common::rule::{Addr, MAPPED_BITS, Rule, RuleKind};
use vos_common::state::{BUDGETS, BYES};

use super::rows::{BLOCKED, NEIGHBOUR, NEWCOMER, Place, TRUSTED, VERIFIED};
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
    /// 2 to this power of [`MILLION`], the rows' blocked source among them; 20 at most.
    pub fn blocked(bits: u32) -> Self {
        Self::part(MILLION.mask, BLOCKED, bits)
    }

    /// So many sources about whom there is no rule, each in a /24 of its own while there are enough of those; 20 bits at most.
    pub fn unknown(bits: u32) -> Self {
        Self::part([0x80, 0x7f, 0xff, 0x1f], NEWCOMER, bits)
    }

    /// The first `bits` of the bits in `mask`, around `base`.
    fn part(mask: [u8; 4], base: [u8; 4], bits: u32) -> Self {
        let mut taken = u32::from_be_bytes(mask);
        while taken.count_ones() > bits {
            taken &= taken - 1;
        }
        let base = u32::from_be_bytes(base) & !taken;
        Self { mask: taken.to_be_bytes(), base: base.to_be_bytes() }
    }

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
            // The map has no room for more.
            Self::Listed(bits) => world.rules = blocked(Scatter::blocked(bits)).collect(),
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn there_are_as_many_as_the_bits_say_and_those_of_the_rows_among_them() {
        for bits in [0, 10, 14, 17, 20] {
            for (scatter, known) in [(Scatter::blocked(bits), BLOCKED), (Scatter::unknown(bits), NEWCOMER)] {
                let all: HashSet<[u8; 4]> = scatter.addresses().collect();
                assert_eq!(all.len(), 1 << bits);
                assert!(all.contains(&known), "{known:?} of {bits} bits");
                assert!(all.iter().all(|[first, ..]| (1..224).contains(first) && *first != 127), "{bits} bits");
            }
        }
        assert_eq!(Scatter::blocked(20), MILLION);
    }
}

//! The IPv4 gate as user space holds it: one bit per /24 says whether any rule lies in it or covers it.

use std::ops::RangeInclusive;

use ipnet::Ipv4Net;
use vos_common::rule::{GATE_BLOCKS, GATE_WORDS, GateBlock};

/// All 2²⁴ bits: 2 MiB, in the blocks in which the kernel map takes them.
#[derive(Debug)]
pub struct Gate {
    blocks: Vec<GateBlock>,
}

/// Bits of one block.
const BLOCK_BITS: u32 = GATE_WORDS as u32 * 64;

impl Default for Gate {
    /// No rule anywhere.
    fn default() -> Self {
        Self { blocks: vec![[0; GATE_WORDS]; GATE_BLOCKS as usize] }
    }
}

impl Gate {
    /// The words of block `index`, 0 to [`GATE_BLOCKS`] - 1.
    pub fn block(&self, index: u32) -> &GateBlock {
        &self.blocks[index as usize]
    }

    /// Puts back the words of a block.
    pub fn restore(&mut self, index: u32, words: GateBlock) {
        self.blocks[index as usize] = words;
    }

    /// Sets or clears the bits of every /24 that `net` lies in or covers. `before` is called with each block that
    /// changes, before it does.
    pub fn set(&mut self, net: Ipv4Net, on: bool, mut before: impl FnMut(u32, &GateBlock)) {
        let (first, last) = slash24s(net).into_inner();
        for index in first / BLOCK_BITS..=last / BLOCK_BITS {
            let block = &mut self.blocks[index as usize];
            let mut words = *block;
            let from = first.max(index * BLOCK_BITS) % BLOCK_BITS;
            let to = last.min(index * BLOCK_BITS + BLOCK_BITS - 1) % BLOCK_BITS;
            for word in from / 64..=to / 64 {
                let low = from.max(word * 64) % 64;
                let high = to.min(word * 64 + 63) % 64;
                let mask = (u64::MAX << low) & (u64::MAX >> (63 - high));
                if on {
                    words[word as usize] |= mask;
                } else {
                    words[word as usize] &= !mask;
                }
            }
            if words != *block {
                before(index, block);
                *block = words;
            }
        }
    }
}

/// The /24s that `net` lies in or covers, by number.
pub fn slash24s(net: Ipv4Net) -> RangeInclusive<u32> {
    u32::from(net.network()) >> 8..=u32::from(net.broadcast()) >> 8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bit as the kernel reads it.
    fn bit(gate: &Gate, n: u32) -> bool {
        gate.block(n >> 12)[(n >> 6 & 63) as usize] >> (n & 63) & 1 == 1
    }

    proptest! {
        #[test]
        fn bits_are_those_of_the_slash24s_touched(address: u32, length in 9_u8..=32, near in -3_i64..=3) {
            let net = Ipv4Net::new_assert(address.into(), length).trunc();
            let mut gate = Gate::default();
            let mut blocks = Vec::new();
            gate.set(net, true, |index, _| blocks.push(index));
            let touched = |n: u32| {
                let probe = Ipv4Net::new_assert((n << 8).into(), 24);
                net.contains(&probe) || probe.contains(&net)
            };
            for edge in [*slash24s(net).start(), *slash24s(net).end()] {
                let n = u32::try_from((i64::from(edge) + near).clamp(0, (1 << 24) - 1)).unwrap_or(0);
                prop_assert_eq!(bit(&gate, n), touched(n), "{} in {}", n, net);
            }
            let set: u32 = (0..GATE_BLOCKS).flat_map(|i| gate.block(i)).map(|word| word.count_ones()).sum();
            prop_assert_eq!(set as usize, slash24s(net).count());
            prop_assert!(blocks.iter().all(|i| gate.block(*i) != &[0; GATE_WORDS]));
            gate.set(net, true, |_, _| panic!("nothing changes the second time"));
            gate.set(net, false, |_, _| {});
            prop_assert!((0..GATE_BLOCKS).all(|i| gate.block(i) == &[0; GATE_WORDS]));
        }
    }

    #[test]
    fn the_whole_space_is_every_block() {
        let mut gate = Gate::default();
        let mut blocks = 0;
        gate.set(Ipv4Net::default(), true, |_, _| blocks += 1);
        assert_eq!(blocks, GATE_BLOCKS);
        assert!((0..GATE_BLOCKS).all(|i| gate.block(i) == &[u64::MAX; GATE_WORDS]));
    }
}

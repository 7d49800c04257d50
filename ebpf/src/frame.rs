use core::{arch::asm, ptr::read_volatile};

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use vos_common::packet::{DEEPEST, Frame};

#[unsafe(no_mangle)]
static mut ZERO: u64 = 0;

/// 0, but neither the compiler nor the verifier knows: OR it in, and what they knew of a number is forgotten.
#[inline(always)]
pub fn zero() -> u64 {
    // SAFETY: a plain load of a static that nobody writes.
    unsafe { read_volatile(&raw const ZERO) }
}

/// `x & M`, where LLVM can neither move nor narrow nor drop it: kernel 6.1 wants to see a 64-bit AND right before a
/// variable offset is used.
#[inline(always)]
pub fn and<const M: u64>(mut x: u64) -> usize {
    // SAFETY: arithmetic on a register.
    unsafe { asm!("{0} &= {m}", inout(reg) x, m = const M, options(pure, nomem, nostack, preserves_flags)) };
    x as usize
}

/// A packet from `data` to `data_end`.
#[derive(Clone, Copy)]
pub struct Packet {
    data: usize,
    end: usize,
}

impl Packet {
    #[inline(always)]
    pub fn of_xdp(ctx: *mut xdp_md) -> Self {
        // SAFETY: the context that the kernel gave the program.
        unsafe { Self { data: (*ctx).data as usize, end: (*ctx).data_end as usize } }
    }

    /// The linear part of an skb.
    #[inline(always)]
    pub fn of_skb(ctx: *mut __sk_buff) -> Self {
        // SAFETY: the context that the kernel gave the program.
        unsafe { Self { data: (*ctx).data as usize, end: (*ctx).data_end as usize } }
    }
}

impl Packet {
    /// What stands at `at`.
    #[inline(always)]
    fn at<T: Copy>(&self, at: usize) -> Option<T> {
        let from = self.data + at;
        // The sum must be computed once: LLVM would otherwise compare one register and use another, and turns
        // `from + 1 > end` into `from >= end`, which the verifier does not take for a bounds check.
        let mut to = from;
        // SAFETY: arithmetic on a register.
        unsafe {
            asm!("{0} += {n}", inout(reg) to, n = const size_of::<T>(), options(pure, nomem, nostack, preserves_flags))
        };
        if to > self.end {
            return None;
        }
        // SAFETY: the bytes of T lie in the packet, as just compared; the verifier checks it again.
        Some(unsafe { (from as *const T).read_unaligned() })
    }
}

impl Frame for Packet {
    #[inline(always)]
    fn len(&self) -> usize {
        self.end - self.data
    }

    #[inline(always)]
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.at(at)
    }

    #[inline(always)]
    fn words<const N: usize>(&self, at: usize) -> Option<[u64; N]> {
        self.at(at)
    }

    #[inline(always)]
    fn settle(&self, at: usize) -> usize {
        and::<{ DEEPEST as u64 }>(at as u64 | zero())
    }
}

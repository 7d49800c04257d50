use core::{arch::asm, ffi::c_void};

use aya_ebpf::{
    helpers::generated::{bpf_ringbuf_output, bpf_skb_load_bytes},
    macros::classifier,
    programs::TcContext,
};
use vos_common::{
    packet::{Frame, LATER, UDP, flow, plain_ports},
    state::{BYES, PROVISIONAL, REPLY_HEAD, REPLY_MAX},
};

use crate::{
    frame::Packet,
    maps::{CONFIG, REPLIES, REPLIES_LOST, REPLY},
    tables::sip_port,
};

/// Let the next program decide (TC_ACT_UNSPEC, TCX_NEXT).
const NEXT: i32 = -1;
/// Readers look at the ring themselves: a wake-up for each response would cost more than the response.
const NO_WAKEUP: u64 = 1;

/// On the NIC's egress: copies the softswitch's final responses to user space, and where somebody asks for them the
/// provisional ones and its BYEs; changes nothing.
#[classifier]
pub fn vos_egress(ctx: TcContext) -> i32 {
    let _ = observe(&ctx);
    NEXT
}

#[inline(always)]
fn observe(ctx: &TcContext) -> Option<()> {
    let skb = ctx.skb.skb;
    let f = Packet::of_skb(skb);
    // Most of what leaves is no SIP.
    if plain_ports(&f).is_some_and(|[port, _]| !sip_port(port)) {
        return None;
    }
    let flow = flow(&f)?;
    if flow.proto != UDP || flow.fragment == LATER {
        return None;
    }
    let l4 = f.settle(flow.l4 as usize);
    if !sip_port(f.be16(l4)?) {
        return None;
    }
    let port = f.be16(l4 + 2)?;
    let start = l4 + 8;
    let head = f.load::<8>(start)?;
    let wanted = if head == *b"SIP/2.0 " {
        // Provisional responses decide nothing, unless copies of requests are kept back until there is one.
        if f.u8(start + 8)? < b'2' { PROVISIONAL } else { 0 }
    } else if head.starts_with(b"BYE ") {
        // Of requests only these end a call, and only who counts calls wants them.
        BYES
    } else {
        return None;
    };
    if wanted != 0 && CONFIG.get(0)?.flags & wanted == 0 {
        return None;
    }
    let reply = REPLY.get_ptr_mut(0)?;
    // SAFETY: the context that the kernel gave the program.
    let mut len = u64::from(unsafe { (*skb).len }).wrapping_sub(start as u64);
    if len > REPLY_MAX as u64 {
        len = REPLY_MAX as u64;
    }
    if len == 0 {
        return None;
    }
    // 1..=2048, said where LLVM cannot fold it and the verifier sees it.
    // SAFETY: arithmetic on a register.
    unsafe { asm!("{0} += -1", "{0} &= 2047", "{0} += 1", inout(reg) len) };
    // SAFETY: this CPU's own value; the helpers check lengths, and the verifier checks theirs.
    unsafe {
        (*reply).to = flow.dst;
        (*reply).port = u32::from(port);
        (*reply).len = len as u32;
        let data = (&raw mut (*reply).data).cast::<c_void>();
        if bpf_skb_load_bytes(skb.cast(), start as u32, data, len as u32) != 0 {
            return None;
        }
        let ring = (&raw const REPLIES).cast_mut().cast::<c_void>();
        if bpf_ringbuf_output(ring, reply.cast(), len + REPLY_HEAD as u64, NO_WAKEUP) != 0 {
            *REPLIES_LOST.get_ptr_mut(0)? += 1;
        }
    }
    Some(())
}

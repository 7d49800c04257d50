use core::{arch::asm, ffi::c_void};

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::generated::{bpf_ringbuf_output, bpf_xdp_load_bytes},
    macros::xdp,
    maps::PerCpuArray,
    programs::XdpContext,
};
use vos_common::{
    packet::Frame as _,
    reason::{Reason, WATCHED},
    state::{SAMPLE_HEAD, SAMPLE_MAX},
    verdict::{Action, Judged, judge},
};

use crate::{
    frame::{Packet, and, zero},
    maps::{NAMED, REASONS, SAMPLE, SAMPLED, SAMPLES, WOULD_DROP, XSKS},
    tables::Maps,
};
use vos_common::verdict::Tables as _;

/// Readers look at the ring themselves: a wake-up for each sample would cost more than the sample.
const NO_WAKEUP: u64 = 1;

/// Judges a packet, counts it once, and lets the verdict happen.
#[xdp]
pub fn vos_xdp(ctx: XdpContext) -> u32 {
    let Some(maps) = Maps::of(ctx.ctx) else { return xdp_action::XDP_PASS };
    let packet = Packet::of_xdp(ctx.ctx);
    let Judged { verdict, would, named } = judge(&packet, &maps);
    let would = and::<63>(would | zero()) as u64;
    if would != 0 {
        count(&WOULD_DROP, would);
        if named != 0 {
            count(&NAMED, would + u64::from(WATCHED));
        }
    }
    // One path from here on: reason and action in one number that the verifier does not know.
    let code = verdict.reason as u64 | (verdict.action as u64) << 8 | zero();
    let (mut reason, action) = (and::<63>(code) as u64, code >> 8 & 3);
    let action = if action == Action::Redirect as u64 {
        let action = XSKS.redirect(maps.queue(), u64::from(xdp_action::XDP_PASS)).unwrap_or(xdp_action::XDP_PASS);
        if action != xdp_action::XDP_REDIRECT {
            // The socket is gone, the heartbeat not yet old.
            reason = Reason::Kernel as u64;
        }
        action
    } else if action == Action::Drop as u64 {
        sample(ctx.ctx, &packet, &maps, reason);
        if named != 0 {
            count(&NAMED, reason);
        }
        xdp_action::XDP_DROP
    } else {
        xdp_action::XDP_PASS
    };
    count(&REASONS, reason);
    action
}

/// Shows user space a dropped packet, so many a second for each reason.
#[inline(always)]
fn sample(ctx: *mut xdp_md, packet: &Packet, maps: &Maps, reason: u64) {
    let _ = try_sample(ctx, packet, maps, reason);
}

#[inline(always)]
fn try_sample(ctx: *mut xdp_md, packet: &Packet, maps: &Maps, reason: u64) -> Option<()> {
    let now = maps.now();
    let clock = SAMPLED.get_ptr_mut(reason as u32)?;
    let limit = &maps.config().sample;
    if limit.every == 0 {
        return None;
    }
    // SAFETY: this CPU's own clock.
    unsafe { *clock = limit.claim(*clock, now)? };
    let sample = SAMPLE.get_ptr_mut(0)?;
    let mut captured = packet.len() as u64;
    if captured > SAMPLE_MAX as u64 {
        captured = SAMPLE_MAX as u64;
    }
    // 1..=2048, said where LLVM cannot fold it and the verifier sees it.
    // SAFETY: arithmetic on a register.
    unsafe { asm!("{0} += -1", "{0} &= 2047", "{0} += 1", inout(reg) captured) };
    // SAFETY: this CPU's own value; the helpers check lengths, and the verifier checks theirs.
    unsafe {
        (*sample).at = now;
        (*sample).reason = reason as u32;
        (*sample).queue = maps.queue();
        (*sample).len = packet.len() as u32;
        (*sample).captured = captured as u32;
        if bpf_xdp_load_bytes(ctx, 0, (&raw mut (*sample).data).cast::<c_void>(), captured as u32) == 0 {
            let ring = (&raw const SAMPLES).cast_mut().cast::<c_void>();
            // A full ring loses samples, no packets.
            bpf_ringbuf_output(ring, sample.cast(), captured + SAMPLE_HEAD as u64, NO_WAKEUP);
        }
    }
    Some(())
}

#[inline(always)]
fn count(counters: &PerCpuArray<u64>, reason: u64) {
    if let Some(counter) = counters.get_ptr_mut(reason as u32) {
        // SAFETY: this CPU's own counter.
        unsafe { *counter += 1 };
    }
}

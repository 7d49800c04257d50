use aya_ebpf::{bindings::xdp_action, macros::xdp, maps::PerCpuArray, programs::XdpContext};
use vos_common::{
    reason::Reason,
    verdict::{Action, enforce, judge},
};

use crate::{
    frame::{Packet, and, zero},
    maps::{REASONS, WOULD_DROP, XSKS},
    tables::Maps,
};
use vos_common::verdict::Tables as _;

/// Judges a packet, counts it once, and lets the verdict happen.
#[xdp]
pub fn vos_xdp(ctx: XdpContext) -> u32 {
    let Some(maps) = Maps::of(ctx.ctx) else { return xdp_action::XDP_PASS };
    let verdict = judge(&Packet::of_xdp(ctx.ctx), &maps);
    let (verdict, would) = enforce(verdict, maps.config().flags);
    if let Some(reason) = would {
        count(&WOULD_DROP, reason as u64);
    }
    // One path from here on: reason and action in one number that the verifier does not know.
    let code = verdict.reason as u64 | (verdict.action as u64) << 8 | zero();
    let (mut reason, action) = (and::<31>(code) as u64, code >> 8 & 3);
    let action = if action == Action::Redirect as u64 {
        let action = XSKS.redirect(maps.queue(), u64::from(xdp_action::XDP_PASS)).unwrap_or(xdp_action::XDP_PASS);
        if action != xdp_action::XDP_REDIRECT {
            // The socket is gone, the heartbeat not yet old.
            reason = Reason::Kernel as u64;
        }
        action
    } else if action == Action::Drop as u64 {
        xdp_action::XDP_DROP
    } else {
        xdp_action::XDP_PASS
    };
    count(&REASONS, reason);
    action
}

#[inline(always)]
fn count(counters: &PerCpuArray<u64>, reason: u64) {
    if let Some(counter) = counters.get_ptr_mut(reason as u32) {
        // SAFETY: this CPU's own counter.
        unsafe { *counter += 1 };
    }
}

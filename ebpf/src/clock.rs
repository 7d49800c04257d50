use aya_ebpf::{
    bindings::xdp_action,
    helpers::{bpf_jiffies64, bpf_ktime_get_ns},
    macros::xdp,
    programs::XdpContext,
};

use crate::maps::TICK;

/// Never attached: run by BPF_PROG_TEST_RUN, it tells tick count and time of the same moment.
#[xdp]
pub fn vos_clock(_: XdpContext) -> u32 {
    if let Some(tick) = TICK.get_ptr_mut(0) {
        // SAFETY: a value of the map; nobody else runs this program.
        unsafe {
            (*tick).jiffies = bpf_jiffies64();
            (*tick).monotonic = bpf_ktime_get_ns();
        }
    }
    xdp_action::XDP_PASS
}

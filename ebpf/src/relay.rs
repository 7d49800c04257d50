use aya_ebpf::{bindings::BPF_F_INGRESS, helpers::bpf_redirect, macros::classifier, programs::TcContext};

use crate::maps::CONFIG;

const TC_ACT_SHOT: i32 = 2;

/// On the TAP's ingress: the frame enters the NIC's ingress as if it had just arrived there, past native XDP.
#[classifier]
pub fn vos_relay(_: TcContext) -> i32 {
    let Some(config) = CONFIG.get(0) else { return TC_ACT_SHOT };
    // SAFETY: a helper that only notes where the packet goes.
    unsafe { bpf_redirect(config.ifindex as u32, u64::from(BPF_F_INGRESS)) as i32 }
}

//! The BPF programs: maps, and thin shims that call `vos-common`.
//!
//! `vos_xdp` judges what arrives, `vos_relay` hands what the engine wrote to the TAP back to the NIC, `vos_egress`
//! shows the engine the softswitch's answers, `vos_clock` tells user space how long a tick is.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

/// The length of a tick.
mod clock;
/// Egress: the softswitch's final responses, copied to user space.
mod egress;
/// A packet in the kernel as a `Frame`: the only loads from packet memory.
mod frame;
/// The maps, all in one place.
mod maps;
/// Re-entry: from the TAP into the NIC's ingress.
mod relay;
/// Tables in maps, for `judge`.
mod tables;
/// Ingress: judge, count, redirect.
mod xdp;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: nothing here panics, and the verifier would refuse the loop.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

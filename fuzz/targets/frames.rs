//! Frames through the engine's pipeline and its TX builder, and a queue's frames through their whole life: whatever comes
//! in any order, each of them is free again at the end, and what leaves is right.

#![no_main]

/// The queue without a NIC, as the engine's own tests drive it.
#[path = "../../engine/tests/transmit/model.rs"]
mod model;
#[path = "../../engine/tests/transmit/parsed.rs"]
mod parsed;

use libfuzzer_sys::fuzz_target;

// A model of its own for each input: one that fails does so again.
fuzz_target!(|bytes: &[u8]| model::Model::new().run(bytes));

//! Does this kernel take the programs? They are loaded with small maps, attached to nothing, pinned nowhere, and gone.

use aya::EbpfLoader;
use aya::programs::SchedClassifier;

use super::{LoadError, OBJECT, load, xdp};

/// Maps that are large in an engine, and need not be where no packet is judged: they have a slot or a page here.
const SMALL: [(&str, u32); 9] = [
    ("EXACT", 1),
    ("PREFIX", 1),
    ("BUDGETS", 1),
    ("GATE", 1),
    ("VERIFIED", 1),
    ("SOURCES", 1),
    ("PREFIXES", 1),
    ("SAMPLES", 4_096),
    ("REPLIES", 4_096),
];

/// Loads all programs and takes them away again. Gives how many instructions the verifier walked for the XDP program,
/// where it says so (since Linux 5.16); it gives up at a million.
pub fn try_load() -> Result<Option<u32>, LoadError> {
    let mut loader = EbpfLoader::new();
    for (map, entries) in SMALL {
        loader.map_max_entries(map, entries);
    }
    let mut ebpf = loader.load(OBJECT)?;
    let walked = xdp(&mut ebpf, "vos_xdp")?.info().ok().and_then(|info| info.verified_instruction_count());
    for name in ["vos_egress", "vos_relay"] {
        let refused = |source| LoadError::Program { name, source: Box::new(source) };
        let program = ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
        let program: &mut SchedClassifier = program.try_into().map_err(refused)?;
        load(|| program.load()).map_err(refused)?;
    }
    Ok(walked)
}

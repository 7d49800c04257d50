use std::time::Duration;

use aya::maps::Array;
use aya::{Ebpf, TestRun, TestRunOptions};
use vos_common::state::Clock;

use super::{LoadError, take, xdp};

/// The values of `CONFIG_HZ` that architectures offer (kernel/Kconfig.hz and the few of other architectures).
const HZ: [u64; 11] = [24, 32, 48, 64, 100, 128, 250, 256, 300, 1_000, 1_024];

/// Measures how long a tick is: tick count and time, twice, `span` apart. 80 ms tell 250 Hz from 256 Hz no more, but
/// those two do not occur on one architecture, and 300 Hz is 4 ticks away.
pub(super) fn measure(ebpf: &mut Ebpf, span: Duration) -> Result<Clock, LoadError> {
    let tick: Array<_, Clock> = take(ebpf, "TICK")?;
    let program = xdp(ebpf, "vos_clock")?;
    let now = || {
        let frame = [0; 64];
        program
            .test_run(TestRunOptions { data_in: Some(&frame), ..TestRunOptions::default() })
            .map_err(|source| LoadError::Program { name: "vos_clock", source: Box::new(source) })?;
        tick.get(&0, 0).map_err(|source| LoadError::Map { name: "TICK", source: Box::new(source) })
    };
    let first = now()?;
    std::thread::sleep(span);
    let last = now()?;
    let ticks = last.jiffies.wrapping_sub(first.jiffies).max(1);
    let measured = 1_000_000_000 * ticks / last.monotonic.wrapping_sub(first.monotonic).max(1);
    let hz = HZ.into_iter().min_by_key(|hz| hz.abs_diff(measured)).unwrap_or(250);
    // include/vdso/jiffies.h: TICK_NSEC = (NSEC_PER_SEC + HZ / 2) / HZ
    Ok(Clock { tick: (1_000_000_000 + hz / 2) / hz, ..last })
}

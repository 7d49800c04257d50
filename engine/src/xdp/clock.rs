use std::time::Duration;

use aya::maps::Array;
use aya::{Ebpf, TestRun, TestRunOptions};
use vos_common::state::Clock;

use super::{LoadError, take, xdp};

/// The values of `CONFIG_HZ` that x86-64 offers (kernel/Kconfig.hz). Others would be taken for their neighbours: a
/// measurement is off by up to a tick.
const HZ: [u64; 4] = [100, 250, 300, 1_000];

/// The frequency at which `ticks` pass in `ns`.
fn hz(ticks: u64, ns: u64) -> u64 {
    let measured = 1_000_000_000 * ticks / ns.max(1);
    HZ.into_iter().min_by_key(|hz| hz.abs_diff(measured)).unwrap_or(250)
}

/// Measures how long a tick is: tick count and time, twice, `span` apart. In 80 ms 250 Hz and 300 Hz are four ticks
/// apart, and a measurement is off by one.
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
    let hz = hz(last.jiffies.wrapping_sub(first.jiffies), last.monotonic.wrapping_sub(first.monotonic));
    // include/vdso/jiffies.h: TICK_NSEC = (NSEC_PER_SEC + HZ / 2) / HZ
    Ok(Clock { tick: (1_000_000_000 + hz / 2) / hz, ..last })
}

#[cfg(test)]
mod tests {
    use super::hz;

    /// Whatever the sleep overshoots by, and wherever in a tick it begins.
    #[test]
    fn a_tick_more_or_less_does_not_change_the_frequency() {
        for true_hz in super::HZ {
            for ms in 80..120 {
                let whole = true_hz * ms / 1_000;
                for ticks in [whole, whole + 1] {
                    assert_eq!(hz(ticks, ms * 1_000_000), true_hz, "{ticks} ticks in {ms} ms");
                }
            }
        }
    }
}

//! `vos-bench scale`: what a verdict costs while lists and sources grow, and by which power it grows.

use vos_bench::markdown::aligned;
use vos_bench::verdict::place::Scatter;
use vos_bench::verdict::program::{Loaded, action};
use vos_bench::verdict::rows::{BLOCKED, NEWCOMER, Place, register};
use vos_bench::{Error, Result, Stop};
use vos_common::verdict::Action;

use crate::report::grouped;
use crate::{say, to_json};

/// The measurement's options.
#[derive(clap::Args)]
pub(crate) struct ScaleOptions {
    /// How often each size has its turn
    #[arg(long, value_name = "N", default_value_t = 9)]
    rounds: u32,
    /// Packets of a turn
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    packets: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Sizes as powers of two: 1,024, 16,384, 131,072, 1,048,576.
const SIZES: [u32; 4] = [10, 14, 17, 20];

/// What grows, and what a packet then costs.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Series {
    pub(crate) what: String,
    /// Size and ns.
    pub(crate) points: Vec<(u64, u64)>,
    /// Cost is proportional to size to this power, by least squares over the logarithms.
    pub(crate) exponent: f64,
}

/// One thing that is timed: behind a program that writes the source, always the same and random.
struct Shot {
    size: u64,
    loaded: Loaded,
    fixed: Loaded,
    random: Loaded,
    frame: Vec<u8>,
    /// The least so far: alone, behind the same and behind random ones.
    least: [u64; 3],
}

/// Runs it and prints the table.
pub(crate) fn run(options: &ScaleOptions, stop: &Stop) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let hot = series(
        "blocklist, one blocked source",
        |bits| Shot::new(Place::Listed(bits), bits, Scatter::blocked(0)),
        options,
        stop,
    )?;
    let cold = series(
        "blocklist, each packet from another blocked source",
        |bits| Shot::new(Place::Listed(bits), bits, Scatter::blocked(bits)),
        options,
        stop,
    )?;
    let many = series(
        "REGISTERs of so many unknown sources",
        |bits| Shot::new(Place::Usual, bits, Scatter::unknown(bits)),
        options,
        stop,
    )?;
    let all = [hot, cold, many];
    if options.json {
        say(&to_json(&all));
        return Ok(());
    }
    let mut table = vec![vec!["ns a packet".to_owned()]];
    table[0].extend(SIZES.map(|bits| grouped(1 << bits)));
    table[0].push("exponent".to_owned());
    for series in &all {
        let mut line = vec![series.what.clone()];
        line.extend(series.points.iter().map(|(_, ns)| ns.to_string()));
        line.push(format!("{:.2}", series.exponent));
        table.push(line);
    }
    say(&aligned(&table));
    Ok(())
}

fn series(
    what: &'static str,
    shot: impl Fn(u32) -> Result<Shot>,
    options: &ScaleOptions,
    stop: &Stop,
) -> Result<Series> {
    eprintln!("{what}");
    let mut shots: Vec<Shot> = SIZES.into_iter().map(shot).collect::<Result<_>>()?;
    for _ in 0..options.rounds {
        for shot in &mut shots {
            stop.check()?;
            shot.fire(options.packets)?;
        }
    }
    let points: Vec<(u64, u64)> = shots.iter().map(|shot| (shot.size, shot.ns())).collect();
    Ok(Series { what: what.to_owned(), exponent: exponent(&points), points })
}

impl Shot {
    fn new(place: Place, bits: u32, sources: Scatter) -> Result<Self> {
        let loaded = Loaded::ours(place)?;
        let source = if place == Place::Usual { NEWCOMER } else { BLOCKED };
        let (fixed, random) =
            (loaded.behind_scatter([0; 4], source)?, loaded.behind_scatter(sources.mask, sources.base)?);
        let (frame, right) = (register(source), if place == Place::Usual { Action::Pass } else { Action::Drop });
        for program in [&loaded, &fixed, &random] {
            let done = action(program.run(&frame, 1_000)?.code);
            if done != Some(right) {
                return Err(Error::Other(format!("{place:?}, 2^{bits}: {done:?} instead of {right:?}: not timed")));
            }
        }
        Ok(Self { size: 1 << bits, loaded, fixed, random, frame, least: [u64::MAX; 3] })
    }

    fn fire(&mut self, packets: u32) -> Result<()> {
        for (program, least) in [&self.loaded, &self.fixed, &self.random].into_iter().zip(&mut self.least) {
            *least = (*least).min(program.run(&self.frame, packets)?.ns);
        }
        Ok(())
    }

    /// Without what the program in front costs.
    fn ns(&self) -> u64 {
        let [alone, fixed, random] = self.least;
        (alone + random).saturating_sub(fixed)
    }
}

/// The slope of the logarithms.
fn exponent(points: &[(u64, u64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| ((*x as f64).ln(), (*y as f64).max(1.0).ln())).collect();
    let count = logs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|log| log.0), mean(|log| log.1));
    let above: f64 = logs.iter().map(|log| (log.0 - x) * (log.1 - y)).sum();
    above / logs.iter().map(|log| (log.0 - x).powi(2)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_is_that_of_the_power() {
        let of = |power: f64| {
            exponent(&SIZES.map(|bits| (1u64 << bits, (1000.0 * f64::from(1u32 << bits).powf(power)) as u64)))
        };
        for power in [0.0, 0.1, 0.5, 1.0] {
            assert!((of(power) - power).abs() < 0.01, "{power}: {}", of(power));
        }
    }
}

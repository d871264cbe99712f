//! Steps of several processes in turn, with the machine's speed between them.

use ggpo_tensor::probe::multiply_add_rates;
use ggpo_train::{Error, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};

use super::{Side, WARM_UP};
use crate::statistics::{median, quantile};

/// Bursts of one probe: some hundredths of a second.
const BURSTS: usize = 25;
/// A probe below this share of the fastest shows a machine that is not quiet.
const QUIET: f64 = 0.9;
/// A turn lasts at least so many milliseconds: short steps follow each other, as
/// they do in training, and do not find every cache full of another process.
const TURN_MS: f64 = 100.0;
/// At most so many rounds are taken for every one that is wanted.
const PATIENCE: u32 = 3;

/// The machine's speed at one moment, as multiply-add rates in GFLOP/s.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Of the fastest burst: what the processor can do.
    pub fastest: f64,
    /// The median of the bursts: what it does beside its other work.
    pub usual: f64,
}

impl Probe {
    fn of(rates: &[f64]) -> Self {
        Probe {
            fastest: rates.iter().copied().fold(0.0, f64::max) / 1e9,
            usual: median(rates).expect("at least one burst") / 1e9,
        }
    }
}

/// One turn of every side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// Times of a step in milliseconds, the median of the turn, side by side.
    pub step_ms: Vec<f64>,
    /// The machine's speed before the first turn and after each.
    pub probes: Vec<Probe>,
}

/// Rounds of the same sides, warm-up not counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rounds(pub Vec<Round>);

/// What the quiet samples say.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Their median.
    pub median: f64,
    /// Lower quartile.
    pub low: f64,
    /// Upper quartile.
    pub high: f64,
    /// Samples that were taken on a quiet machine.
    pub samples: usize,
    /// All samples.
    pub of: usize,
}

impl Rounds {
    /// Takes rounds until so many were quiet from end to end, but at most
    /// three times as many, and calls `on_quiet` after every quiet one.
    ///
    /// # Errors
    /// If a process fails, or the threads of the probe cannot be had.
    pub fn take(
        sides: &mut [Side],
        steps: u32,
        threads: usize,
        mut on_quiet: impl FnMut(),
    ) -> Result<Self> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| Error::config("threads", "threads to run on", error))?;
        for _ in 0..WARM_UP {
            round(sides, &pool)?;
        }
        let mut rounds = Rounds::default();
        let mut quiet = 0;
        for _ in 0..PATIENCE * steps {
            rounds.0.push(round(sides, &pool)?);
            let now = rounds.quiet_through(0, sides.len() - 1).count() as u32;
            // A new fastest probe can make earlier rounds slow ones.
            (quiet..now).for_each(|_| on_quiet());
            quiet = quiet.max(now);
            if now >= steps {
                break;
            }
        }
        Ok(rounds)
    }

    /// The fastest that any probe was, in GFLOP/s.
    pub fn peak(&self) -> f64 {
        let probes = self.0.iter().flat_map(|round| &round.probes);
        probes.map(|probe| probe.fastest).fold(0.0, f64::max)
    }

    /// Times of one side's steps on a quiet machine, in milliseconds.
    pub fn times(&self, side: usize) -> Vec<f64> {
        let rounds = self.quiet_through(side, side);
        rounds.map(|round| round.step_ms[side]).collect()
    }

    /// The step of one side over the step of another in the same round; `None`
    /// if the machine was never quiet.
    pub fn ratio(&self, of: usize, to: usize) -> Option<Spread> {
        let rounds = self.quiet_through(of.min(to), of.max(to));
        self.spread(rounds.map(|round| round.step_ms[of] / round.step_ms[to]))
    }

    /// Rate of one side whose step does so many operations, as a share of the
    /// faster of the probes before and after the step.
    pub fn rate_of_peak(&self, side: usize, flops_per_step: f64) -> Option<Spread> {
        let rounds = self.quiet_through(side, side);
        self.spread(rounds.map(|round| {
            let peak = round.probes[side]
                .fastest
                .max(round.probes[side + 1].fastest);
            flops_per_step / (round.step_ms[side] * 1e6) / peak
        }))
    }

    /// The rounds in which all probes from before the step of `first` to after
    /// that of `last` were quiet.
    fn quiet_through(&self, first: usize, last: usize) -> impl Iterator<Item = &Round> {
        let enough = QUIET * self.peak();
        let quiet = move |round: &&Round| {
            let mut probes = round.probes[first..=last + 1].iter();
            probes.all(|probe| probe.usual >= enough)
        };
        self.0.iter().filter(quiet)
    }

    fn spread(&self, samples: impl Iterator<Item = f64>) -> Option<Spread> {
        let samples: Vec<f64> = samples.collect();
        Some(Spread {
            median: median(&samples)?,
            low: quantile(&samples, 0.25)?,
            high: quantile(&samples, 0.75)?,
            samples: samples.len(),
            of: self.0.len(),
        })
    }
}

/// One turn of every side, each between two probes.
fn round(sides: &mut [Side], pool: &ThreadPool) -> Result<Round> {
    let probe = || Probe::of(&pool.install(|| multiply_add_rates(BURSTS)));
    let mut round = Round {
        step_ms: Vec::new(),
        probes: vec![probe()],
    };
    for side in sides {
        round.step_ms.push(side.turn(TURN_MS)?);
        round.probes.push(probe());
    }
    Ok(round)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(step_ms: [f64; 2], usual: [f64; 3]) -> Round {
        let probe = |usual| Probe {
            fastest: 100.0,
            usual,
        };
        Round {
            step_ms: step_ms.to_vec(),
            probes: usual.map(probe).to_vec(),
        }
    }

    /// A slow probe drops the samples beside it and no other.
    #[test]
    fn samples_beside_a_slow_probe_are_dropped() {
        let rounds = Rounds(vec![
            round([2.0, 1.0], [99.0, 98.0, 97.0]),
            round([90.0, 2.0], [50.0, 98.0, 97.0]),
            round([8.0, 2.0], [99.0, 98.0, 91.0]),
            round([4.0, 70.0], [99.0, 98.0, 89.0]),
        ]);
        assert_eq!(rounds.times(0), [2.0, 8.0, 4.0]);
        assert_eq!(rounds.times(1), [1.0, 2.0, 2.0]);
        let ratio = rounds.ratio(0, 1).unwrap();
        assert_eq!((ratio.median, ratio.samples, ratio.of), (3.0, 2, 4));
        assert!(2.0 <= ratio.low && ratio.low < 3.0 && 3.0 < ratio.high && ratio.high <= 4.0);
        assert_eq!(rounds.ratio(1, 0).unwrap().samples, 2);
    }

    #[test]
    fn a_machine_that_is_never_quiet_says_nothing() {
        let rounds = Rounds(vec![round([2.0, 1.0], [50.0, 98.0, 40.0])]);
        assert_eq!(rounds.ratio(0, 1), None);
        assert_eq!(rounds.rate_of_peak(1, 1e9), None);
        assert_eq!(Rounds::default().ratio(0, 1), None);
    }

    /// 0.15 GFLOP in 2 ms are 75 GFLOP/s, of 100.
    #[test]
    fn the_rate_is_a_share_of_the_probe() {
        let rounds = Rounds(vec![round([2.0, 1.0], [99.0, 98.0, 97.0])]);
        let rate = rounds.rate_of_peak(0, 0.15e9).unwrap();
        assert!((rate.median - 0.75).abs() < 1e-12, "{rate:?}");
    }
}

//! Steps of several processes in turn, with the machine's speed between them.

use ggpo_tensor::probe::multiply_add_rates;
use ggpo_tensor::simd::Level;
use ggpo_train::Result;
use rayon::ThreadPool;
use serde::{Deserialize, Serialize};

use super::{Side, SideReport, level_of_peak, pool};
use crate::statistics::{median, quantile};

/// Bursts of one probe: some hundredths of a second.
const BURSTS: usize = 25;
/// A probe below this share of the fastest shows a machine that is not quiet.
const QUIET: f64 = 0.9;
/// The shortest turn in milliseconds: short steps follow each other, as
/// they do in training, and do not find every cache full of another process.
pub(super) const TURN_MS: f64 = 100.0;

/// The machine's speed at one moment, as multiply-add rates in GFLOP/s.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Of the fastest burst: what the processor can do.
    pub fastest: f64,
    /// The median of the bursts: what it does beside its other work.
    pub usual: f64,
}

impl Probe {
    /// The speed now, of the threads of a pool at a level.
    pub(super) fn take(pool: &ThreadPool, level: Level) -> Self {
        Probe::of(&pool.install(|| multiply_add_rates(level_of_peak(level), BURSTS)))
    }

    /// Whether the machine was quiet, beside the fastest that was ever seen.
    pub(super) fn is_quiet(&self, fastest: f64) -> bool {
        self.usual >= QUIET * fastest
    }

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

/// What samples say: those that were taken on a quiet machine, or all of them if
/// it was never quiet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Their median.
    pub median: f64,
    /// Lower quartile.
    pub low: f64,
    /// Upper quartile.
    pub high: f64,
    /// Samples that were taken on a quiet machine.
    pub quiet: usize,
    /// All samples.
    pub of: usize,
}

impl Spread {
    /// Whether the machine was never quiet.
    pub fn is_busy(&self) -> bool {
        self.quiet == 0
    }
}

impl Rounds {
    /// The fastest that any probe was, in GFLOP/s.
    pub fn peak(&self) -> f64 {
        let probes = self.0.iter().flat_map(|round| &round.probes);
        probes.map(|probe| probe.fastest).fold(0.0, f64::max)
    }

    /// The fewest rounds in which the machine was quiet through both steps of a
    /// pair.
    pub fn quiet(&self, pairs: &[[usize; 2]]) -> usize {
        let counts = pairs.iter().map(|&[a, b]| {
            let quiet = self.0.iter().filter(self.is_quiet(a.min(b), a.max(b)));
            quiet.count()
        });
        counts.min().unwrap_or(0)
    }

    /// Times of one side's steps in milliseconds, on a quiet machine if it was
    /// ever quiet.
    pub fn times(&self, side: usize) -> Vec<f64> {
        self.samples(side, side, |round| round.step_ms[side]).0
    }

    /// What the times of one side's steps are, in milliseconds; `None` if there are
    /// none.
    pub fn time(&self, side: usize) -> Option<Spread> {
        self.spread(side, side, |round| round.step_ms[side])
    }

    /// The step of one side over the step of another in the same round; `None` if
    /// there is no round.
    pub fn ratio(&self, of: usize, to: usize) -> Option<Spread> {
        self.spread(of.min(to), of.max(to), |round| {
            round.step_ms[of] / round.step_ms[to]
        })
    }

    /// The steps of one side over those of another, round by round, on a quiet machine if
    /// it was ever quiet.
    pub fn ratios(&self, of: usize, to: usize) -> Vec<f64> {
        let ratio = |round: &Round| round.step_ms[of] / round.step_ms[to];
        self.samples(of.min(to), of.max(to), ratio).0
    }

    /// Rate of one side, `flops_per_step` operations over its time, as a share of the
    /// faster of the probes before and after the step; `None` if there is no round.
    pub fn rate_of_peak(&self, side: usize, flops_per_step: f64) -> Option<Spread> {
        self.spread(side, side, |round| {
            let [before, after] = [round.probes[side], round.probes[side + 1]];
            let peak = before.fastest.max(after.fastest);
            flops_per_step / (round.step_ms[side] * 1e6) / peak
        })
    }

    /// Whether all probes of a round from before the step of `first` to after that
    /// of `last` were quiet.
    fn is_quiet(&self, first: usize, last: usize) -> impl Fn(&&Round) -> bool {
        let peak = self.peak();
        move |round| {
            let mut probes = round.probes[first..=last + 1].iter();
            probes.all(|probe| probe.is_quiet(peak))
        }
    }

    /// A value of every round that was quiet from `first` to `last`, or of all
    /// rounds if none was; and the number of quiet ones.
    fn samples(
        &self,
        first: usize,
        last: usize,
        value: impl Fn(&Round) -> f64,
    ) -> (Vec<f64>, usize) {
        let quiet = self.0.iter().filter(self.is_quiet(first, last));
        let samples: Vec<f64> = quiet.map(&value).collect();
        match samples.len() {
            0 => (self.0.iter().map(&value).collect(), 0),
            quiet => (samples, quiet),
        }
    }

    fn spread(&self, first: usize, last: usize, value: impl Fn(&Round) -> f64) -> Option<Spread> {
        let (samples, quiet) = self.samples(first, last, value);
        Some(Spread {
            median: median(&samples)?,
            low: quantile(&samples, 0.25)?,
            high: quantile(&samples, 0.75)?,
            quiet,
            of: self.0.len(),
        })
    }
}

/// Processes that take turns, and the threads that probe between them.
pub struct Turns {
    sides: Vec<Side>,
    pool: ThreadPool,
    level: Level,
}

impl Turns {
    /// Of these processes at a level, with probes on `threads` threads.
    ///
    /// # Errors
    /// If the threads cannot be had.
    pub fn new(sides: Vec<Side>, threads: usize, level: Level) -> Result<Self> {
        let pool = pool(threads)?;
        Ok(Turns { sides, pool, level })
    }

    /// One turn of every process, each between two probes.
    ///
    /// # Errors
    /// If a process fails.
    pub fn round(&mut self) -> Result<Round> {
        let (pool, level) = (&self.pool, self.level);
        let probe = || Probe::take(pool, level);
        let mut round = Round {
            step_ms: Vec::new(),
            probes: vec![probe()],
        };
        for side in &mut self.sides {
            round.step_ms.push(side.turn(TURN_MS)?);
            round.probes.push(probe());
        }
        Ok(round)
    }

    /// Ends the processes and returns what they say at their end.
    ///
    /// # Errors
    /// If one says something else, or fails.
    pub fn finish(self) -> Result<Vec<SideReport>> {
        self.sides.into_iter().map(Side::finish).collect()
    }
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
        assert_eq!((ratio.median, ratio.quiet, ratio.of), (3.0, 2, 4));
        assert!(2.0 <= ratio.low && ratio.low < 3.0 && 3.0 < ratio.high && ratio.high <= 4.0);
        assert_eq!(rounds.ratio(1, 0).unwrap().quiet, 2);
        assert_eq!(rounds.quiet(&[[0, 0], [1, 0]]), 2);
        assert_eq!(rounds.quiet(&[[1, 1]]), 3);
    }

    #[test]
    fn a_machine_that_is_never_quiet_gives_all_samples() {
        let rounds = Rounds(vec![
            round([2.0, 1.0], [50.0, 98.0, 40.0]),
            round([6.0, 1.0], [50.0, 98.0, 40.0]),
        ]);
        let ratio = rounds.ratio(0, 1).unwrap();
        assert_eq!((ratio.median, ratio.quiet, ratio.of), (4.0, 0, 2));
        assert!(ratio.is_busy() && rounds.rate_of_peak(1, 1e9).unwrap().is_busy());
        assert_eq!(rounds.times(0), [2.0, 6.0]);
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

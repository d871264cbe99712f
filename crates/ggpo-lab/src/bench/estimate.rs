//! How long a run will take, and how much memory, before it starts.
//!
//! All batches of a run are known beforehand, so their sizes are. A few real steps of
//! different sizes are measured, the largest among them, and every other step is taken
//! to lie on the line between its neighbours in size; scored batches likewise. Memory is
//! that of the measurement, which has done the largest of everything.

use std::time::Instant;

use ggpo_model::batch::Batch;
use ggpo_tensor::parallel::in_pool;
use ggpo_train::Result;
use ggpo_train::evaluation::evaluate;
use ggpo_train::ranks::Alone;
use ggpo_train::run::{RunConfig, Stepper};
use serde::{Deserialize, Serialize};

use super::serve::peak_memory_mib;

/// Sizes that are measured, as shares of the way from the smallest to the largest.
const SIZES: [f64; 3] = [0.0, 0.5, 1.0];
/// Measurements of each, of which the median counts.
const REPEATS: usize = 3;

/// What a run is expected to take on this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunEstimate {
    /// Optimiser steps.
    pub steps: u32,
    /// Seconds of all steps.
    pub training_seconds: f64,
    /// Seconds of all scores: validation, test and training rows.
    pub scoring_seconds: f64,
    /// Peak resident memory in MiB, where the operating system tells.
    pub peak_memory_mib: Option<f64>,
    /// Numbers that are trained.
    pub trained: usize,
    /// Mean milliseconds of a step.
    pub step_ms: f64,
    /// Of which in the passes of micro-batches, that ranks share.
    pub shared_ms: f64,
    /// Micro-batches of a step.
    pub micro_batches: usize,
    /// Bytes that a rank gives to every other rank for each of its micro-batches.
    pub bytes_per_micro_batch: usize,
}

/// A network between ranks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Network {
    /// Bytes per second that a rank receives.
    pub bandwidth: f64,
    /// Seconds until the first byte is there.
    pub latency: f64,
}

impl RunEstimate {
    /// Seconds of the whole run.
    pub fn seconds(&self) -> f64 {
        self.training_seconds + self.scoring_seconds
    }

    /// Milliseconds of a step on several ranks, each a machine like this one: the passes
    /// of as many micro-batches as the rank with the most has, what every rank does for
    /// itself, and for each round the gradients of all other ranks.
    pub fn step_ms_on(&self, ranks: usize, network: Network) -> f64 {
        let rounds = self.micro_batches.div_ceil(ranks) as f64;
        let passes = self.shared_ms * rounds / self.micro_batches as f64;
        let others = (ranks - 1) as f64;
        let piece = network.latency + self.bytes_per_micro_batch as f64 / network.bandwidth;
        passes + (self.step_ms - self.shared_ms) + rounds * others * piece * 1e3
    }

    /// Bytes that a rank receives in a step.
    pub fn traffic(&self, ranks: usize) -> usize {
        let own = self.micro_batches.div_ceil(ranks);
        (self.micro_batches - own) * self.bytes_per_micro_batch
    }
}

/// Measures what [`RunEstimate`] says of a run; nothing is written.
///
/// # Errors
/// If an input of the run cannot be used, or its loss is not finite.
pub fn estimate(config: &RunConfig) -> Result<RunEstimate> {
    let mut stepper = Stepper::open(config)?;
    let trained = stepper.trainer().trained_tensors();
    let trained: usize = trained.values().map(|tensor| tensor.len()).sum();
    let sizes: Vec<usize> = stepper.course().map(|step| size(&step)).collect();
    let chosen = choose(&sizes);
    let batches: Vec<Vec<Batch>> = chosen
        .iter()
        .map(|&at| stepper.course().nth(at).expect("a step of the run"))
        .collect();
    // The largest first, so that memory is there for the others.
    for step in batches.iter().rev() {
        stepper.trainer().step(step)?;
    }
    stepper.trainer().start_timing();
    let mut curve = Vec::new();
    for step in &batches {
        let mut times = Vec::new();
        for _ in 0..REPEATS {
            let begun = Instant::now();
            stepper.trainer().step(step)?;
            times.push(begun.elapsed().as_secs_f64());
        }
        curve.push((size(step), median(times)));
    }
    let training_seconds: f64 = sizes.iter().map(|&size| between(&curve, size)).sum();
    let shared = passes_share(&mut stepper);
    let scoring_seconds = scoring(config, &mut stepper);
    let steps = config.training.steps;
    let step_ms = training_seconds * 1e3 / f64::from(steps);
    Ok(RunEstimate {
        steps,
        training_seconds,
        scoring_seconds,
        peak_memory_mib: peak_memory_mib(),
        trained,
        step_ms,
        shared_ms: shared * step_ms,
        micro_batches: config.micro_batches,
        bytes_per_micro_batch: trained * size_of::<f32>(),
    })
}

/// The share of a step's time that its passes took.
fn passes_share(stepper: &mut Stepper<'_>) -> f64 {
    let timing = stepper.trainer().timing().expect("it was started");
    let seconds = |wanted: &dyn Fn(&str) -> bool| {
        let laps = timing.laps().iter().filter(|((phase, _), _)| wanted(phase));
        laps.map(|(_, laps)| laps.time.as_secs_f64()).sum::<f64>()
    };
    let shared = seconds(&|phase| ["forward", "backward"].contains(&phase));
    shared / seconds(&|_| true)
}

/// Seconds of all scores of a run, as [`run`](ggpo_train::run::run) takes them.
fn scoring(config: &RunConfig, stepper: &mut Stepper<'_>) -> f64 {
    let steps = config.training.steps;
    let looks = 1 + steps.div_ceil(config.evaluate_every);
    let audits = match config.method.perturbation {
        Some(_) => looks - 1,
        None => 0,
    };
    let begun = Instant::now();
    if audits > 0 {
        let audit = stepper.task().audit.clone();
        stepper.trainer().audit(&audit);
    }
    let audit = begun.elapsed().as_secs_f64();
    let validation = scored(stepper, |stepper| &stepper.task().validation);
    let train = scored(stepper, |stepper| &stepper.task().train_as_seen);
    // After the last step, and at the best one.
    let test = match stepper.task().test {
        Some(_) => 2.0 * scored(stepper, |it| it.task().test.as_deref().unwrap_or_default()),
        None => 0.0,
    };
    f64::from(looks) * validation + f64::from(audits) * audit + train + test
}

/// Seconds of the scores of batches, from a few of them.
fn scored(stepper: &mut Stepper<'_>, of: impl for<'a> Fn(&'a Stepper<'_>) -> &'a [Batch]) -> f64 {
    let sizes: Vec<usize> = of(stepper).iter().map(area).collect();
    let chosen = choose(&sizes);
    let mut curve = Vec::new();
    for at in chosen.into_iter().rev() {
        let batch = [of(stepper)[at].clone()];
        let trainer = stepper.trainer();
        let mut times = Vec::new();
        for _ in 0..REPEATS {
            let begun = Instant::now();
            in_pool(|| {
                let (parameters, adapters) = (trainer.parameters(), trainer.adapters());
                evaluate(trainer.model(), parameters, adapters, &batch, &Alone)
            });
            times.push(begun.elapsed().as_secs_f64());
        }
        curve.push((sizes[at], median(times)));
    }
    curve.reverse();
    sizes.iter().map(|&size| between(&curve, size)).sum()
}

/// Places of the sizes to measure, from the smallest to the largest.
fn choose(sizes: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&at| (sizes[at], at));
    let last = order.len() as f64 - 1.0;
    let mut chosen: Vec<usize> = SIZES
        .iter()
        .filter_map(|share| order.get((share * last).round() as usize).copied())
        .collect();
    chosen.dedup_by_key(|at| sizes[*at]);
    chosen
}

/// Tokens of a step, padding counted.
fn size(step: &[Batch]) -> usize {
    step.iter().map(area).sum()
}

fn area(batch: &Batch) -> usize {
    let [rows, time] = batch.shape;
    let decoder = batch.decoder.as_ref();
    rows * time + decoder.map_or(0, |decoder| decoder.shape[0] * decoder.shape[1])
}

/// The time of a size on the line between its neighbours on a curve from the smallest to
/// the largest.
fn between(curve: &[(usize, f64)], size: usize) -> f64 {
    let above = curve.partition_point(|&(other, _)| other < size);
    match (
        above.checked_sub(1).map(|below| curve[below]),
        curve.get(above),
    ) {
        (Some((low, from)), Some(&(high, to))) => {
            let share = (size - low) as f64 / (high - low) as f64;
            from + share * (to - from)
        }
        (_, Some(&(_, time))) | (Some((_, time)), None) => time,
        (None, None) => 0.0,
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_lie_on_the_line_between_their_neighbours() {
        let curve = [(10, 1.0), (20, 3.0), (40, 4.0)];
        let found = [5, 10, 15, 20, 30, 40, 50].map(|size| between(&curve, size));
        assert_eq!(found, [1.0, 1.0, 2.0, 3.0, 3.5, 4.0, 4.0]);
        assert_eq!(between(&[], 7), 0.0);
    }

    #[test]
    fn the_smallest_the_middle_and_the_largest_are_measured() {
        assert_eq!(choose(&[7, 3, 9, 5, 1]), [4, 3, 2]);
        assert_eq!(choose(&[4, 4, 4]), [0]);
        assert_eq!(choose(&[]), [0; 0]);
    }

    #[test]
    fn ranks_share_the_passes_and_nothing_else() {
        let run = RunEstimate {
            steps: 10,
            training_seconds: 1.0,
            scoring_seconds: 0.0,
            peak_memory_mib: None,
            trained: 250,
            step_ms: 100.0,
            shared_ms: 80.0,
            micro_batches: 4,
            bytes_per_micro_batch: 1000,
        };
        let network = Network {
            bandwidth: 1e6,
            latency: 0.0,
        };
        assert_eq!(run.step_ms_on(1, network), 100.0);
        // Two rounds of 20 ms each, 20 ms alone, and 1 ms for each round's gradients.
        assert_eq!(run.step_ms_on(2, network), 62.0);
        // Three ranks have two rounds as well, each with two other ranks.
        assert_eq!(run.step_ms_on(3, network), 64.0);
        assert_eq!([1, 2, 4].map(|ranks| run.traffic(ranks)), [0, 2000, 3000]);
    }
}

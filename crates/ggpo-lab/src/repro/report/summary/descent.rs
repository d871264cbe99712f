//! The two phenomena called double descent: error over rank, loss over steps.

use ggpo_train::metrics::Scores;

use super::{Comparison, Sample, diverged};
use crate::repro::config::{LossBump, RankSweep};
use crate::repro::outcome::{FinishedRun, Outcome};
use crate::statistics::{self, Bump};

/// The error of a run in percent of the rows; of a language model the loss in
/// nats.
pub(crate) fn error_of(scores: &Scores) -> f64 {
    match &scores.classes {
        Some(classes) => 100.0 * (1.0 - classes.accuracy),
        None => scores.loss,
    }
}

/// One rank of a sweep.
#[derive(Debug, Clone)]
pub(crate) struct SweepPoint {
    /// The rank.
    pub(crate) rank: usize,
    /// Error on the training rows after the last step, by seed.
    pub(crate) train: Sample,
    /// Error on the test rows after the last step.
    pub(crate) test: Sample,
    /// Loss on the test rows after the last step.
    pub(crate) test_loss: Sample,
    /// Test error by seed.
    pub(crate) test_by_seed: Vec<(u64, f64)>,
    /// Runs that diverged.
    pub(crate) diverged: usize,
}

/// A rank at which the test error is higher than at some lower and some higher
/// rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Peak {
    /// The rank.
    pub(crate) rank: usize,
    /// How far the mean error falls from there to the lowest on either side,
    /// the smaller of the two.
    pub(crate) height: f64,
    /// Whether both differences are above twice their standard error and have
    /// the same sign in every seed.
    pub(crate) clear: bool,
}

/// One method over all ranks.
#[derive(Debug, Clone)]
pub(crate) struct SweepLine {
    /// Id of the method.
    pub(crate) id: String,
    /// Its name in the report.
    pub(crate) title: String,
    /// The ranks, ascending.
    pub(crate) points: Vec<SweepPoint>,
}

/// Threshold of the training error, in percent, at which a model fits its rows.
pub(crate) const FITTED: f64 = 1.0;

impl SweepLine {
    /// The first rank whose mean training error is below [`FITTED`].
    pub(crate) fn fitted_at(&self) -> Option<usize> {
        let mut points = self.points.iter();
        points
            .find(|point| point.train.mean() < FITTED)
            .map(|point| point.rank)
    }

    /// The highest inner peak of the mean test error, a clear one before all
    /// others.
    pub(crate) fn peak(&self) -> Option<Peak> {
        let mut best: Option<Peak> = None;
        for middle in 1..self.points.len().saturating_sub(1) {
            let Some(peak) = self.peak_at(middle) else {
                continue;
            };
            let key = |peak: &Peak| (peak.clear, peak.height);
            if best.is_none_or(|best| key(&peak) > key(&best)) {
                best = Some(peak);
            }
        }
        best
    }

    fn peak_at(&self, middle: usize) -> Option<Peak> {
        let here = &self.points[middle];
        let mut height = f64::INFINITY;
        let mut clear = true;
        for side in [&self.points[..middle], &self.points[middle + 1..]] {
            let lowest = side
                .iter()
                .min_by(|a, b| a.test.mean().total_cmp(&b.test.mean()))?;
            let drops = Comparison::new(&here.test_by_seed, &lowest.test_by_seed).differences;
            let drop = drops.mean();
            let error = drops.sd() / (drops.values.len() as f64).sqrt();
            height = height.min(here.test.mean() - lowest.test.mean());
            clear &= drop > 2.0 * error && drops.min() > 0.0;
        }
        (height > 0.0).then_some(Peak {
            rank: here.rank,
            height,
            clear,
        })
    }
}

/// The sweep over ranks.
#[derive(Debug, Clone)]
pub(crate) struct SweepSummary {
    /// What was to be done.
    pub(crate) entry: RankSweep,
    /// The methods, in order.
    pub(crate) lines: Vec<SweepLine>,
}

impl SweepSummary {
    /// Summarises the sweep, if the study has one.
    pub(crate) fn new(outcome: &Outcome) -> Option<Self> {
        let entry = outcome.config.rank_sweep.clone()?;
        let line = |id: &String| {
            let runs: Vec<&FinishedRun> = outcome
                .sweep
                .iter()
                .filter(|run| run.plan.method == *id)
                .collect();
            let mut ranks: Vec<usize> = runs.iter().map(|run| run.plan.rank).collect();
            ranks.sort_unstable();
            ranks.dedup();
            let points = ranks.into_iter().map(|rank| point(&runs, rank)).collect();
            SweepLine {
                id: id.clone(),
                title: outcome.config.method(id).title.clone(),
                points,
            }
        };
        let lines = entry.methods.iter().map(line).collect();
        Some(SweepSummary { entry, lines })
    }
}

fn point(runs: &[&FinishedRun], rank: usize) -> SweepPoint {
    let runs: Vec<&FinishedRun> = runs
        .iter()
        .copied()
        .filter(|run| run.plan.rank == rank)
        .collect();
    let by_seed = |score: fn(&FinishedRun) -> f64| runs.iter().map(move |run| score(run));
    let test = |run: &FinishedRun| error_of(run.last_test());
    SweepPoint {
        rank,
        train: Sample::new(by_seed(|run| error_of(&run.result.last_train))),
        test: Sample::new(by_seed(test)),
        test_loss: Sample::new(by_seed(|run| run.last_test().loss)),
        test_by_seed: runs.iter().map(|run| (run.plan.seed, test(run))).collect(),
        diverged: diverged(runs.iter().copied()),
    }
}

/// The rise of the training loss of one method at one learning rate.
#[derive(Debug, Clone)]
pub(crate) struct BumpRow {
    /// Id of the method.
    pub(crate) id: String,
    /// Its name in the report.
    pub(crate) title: String,
    /// The learning rate.
    pub(crate) learning_rate: f64,
    /// Height by seed, in nats.
    pub(crate) height: Sample,
    /// Length by seed, in steps.
    pub(crate) length: Sample,
    /// Runs whose loss came below its lowest value before the rise again.
    pub(crate) recovered: usize,
    /// Runs that diverged.
    pub(crate) diverged: usize,
    /// Differences of the height to the reference; absent for the reference
    /// and without it.
    pub(crate) comparison: Option<Comparison>,
}

/// The rise of the training loss, by learning rate and method.
#[derive(Debug, Clone)]
pub(crate) struct BumpSummary {
    /// What was to be done.
    pub(crate) entry: LossBump,
    /// All learning rates, ascending, and within them the methods in order.
    pub(crate) rows: Vec<BumpRow>,
}

impl BumpSummary {
    /// Summarises the experiment, if the study has it.
    pub(crate) fn new(outcome: &Outcome) -> Option<Self> {
        let entry = outcome.config.loss_bump.clone()?;
        let mut rates: Vec<f64> = outcome
            .bump
            .iter()
            .map(|run| run.plan.learning_rate)
            .collect();
        rates.sort_by(f64::total_cmp);
        rates.dedup();
        let mut rows = Vec::new();
        for rate in rates {
            for id in &entry.methods {
                rows.push(bump_row(outcome, id, rate));
            }
        }
        Some(BumpSummary { entry, rows })
    }
}

fn bump_row(outcome: &Outcome, id: &str, learning_rate: f64) -> BumpRow {
    let runs_of = |id: &str| -> Vec<&FinishedRun> {
        let of =
            |run: &&FinishedRun| run.plan.method == id && run.plan.learning_rate == learning_rate;
        // Without a loss there is no course of it.
        outcome
            .bump
            .iter()
            .filter(of)
            .filter(|run| !run.result.losses.is_empty())
            .collect()
    };
    let bumps = |runs: &[&FinishedRun]| -> Vec<(u64, Bump)> {
        let one = |run: &&FinishedRun| (run.plan.seed, bump_of(outcome, &run.result.losses));
        runs.iter().map(one).collect()
    };
    let heights = |bumps: &[(u64, Bump)]| -> Vec<(u64, f64)> {
        bumps
            .iter()
            .map(|(seed, bump)| (*seed, bump.height))
            .collect()
    };
    let reference = &outcome.config.reference;
    let runs = runs_of(id);
    let own = bumps(&runs);
    let others = bumps(&runs_of(reference));
    let is_compared = id != reference && !others.is_empty();
    BumpRow {
        id: id.to_owned(),
        title: outcome.config.method(id).title.clone(),
        learning_rate,
        height: Sample::new(own.iter().map(|(_, bump)| bump.height)),
        length: Sample::new(own.iter().map(|(_, bump)| bump.length as f64)),
        recovered: own.iter().filter(|(_, bump)| bump.recovered).count(),
        diverged: diverged(runs.iter().copied()),
        comparison: is_compared.then(|| Comparison::new(&heights(&own), &heights(&others))),
    }
}

/// The smoothed course of a training loss.
pub(crate) fn smoothed(outcome: &Outcome, losses: &[f64]) -> Vec<f64> {
    statistics::smooth(losses, outcome.config.smoothing())
}

/// The rise of a training loss.
pub(crate) fn bump_of(outcome: &Outcome, losses: &[f64]) -> Bump {
    statistics::bump(losses, outcome.config.smoothing())
}

//! Our scores beside those of another implementation.

use std::collections::BTreeSet;

use ggpo_train::metrics::Scores;

use super::Sample;
use crate::repro::outcome::{MethodOutcome, Outcome, TaskOutcome};
use crate::repro::peers::PeerRun;
use crate::repro::score::Score;
use crate::statistics::{Welch, welch};

/// Standard errors that a difference may be from 0 to lie within the spread.
const STANDARD_ERRORS: f64 = 2.0;

/// One score of one method on one task at one learning rate.
#[derive(Debug, Clone)]
pub(crate) struct PeerRow {
    /// Name of the task in the report.
    pub(crate) task_title: String,
    /// Name of the method in the report.
    pub(crate) method_title: String,
    /// The learning rate.
    pub(crate) learning_rate: f64,
    /// The score.
    pub(crate) score: Score,
    /// Ours, one per seed.
    pub(crate) ours: Sample,
    /// Theirs, one per seed.
    pub(crate) theirs: Sample,
    /// Runs of ours and of theirs that diverged.
    pub(crate) diverged: [usize; 2],
    /// Ours less theirs; absent with fewer than two seeds on a side.
    pub(crate) comparison: Option<Welch>,
}

impl PeerRow {
    /// Whether the difference is at most [`STANDARD_ERRORS`] of its standard
    /// error, if that is known.
    pub(crate) fn is_within(&self) -> Option<bool> {
        let Welch {
            difference, error, ..
        } = self.comparison?;
        Some(difference.abs() <= STANDARD_ERRORS * error)
    }
}

/// The comparison with another implementation.
#[derive(Debug, Clone)]
pub(crate) struct PeerSummary {
    /// By task, method, learning rate and score.
    pub(crate) rows: Vec<PeerRow>,
    /// Their runs at learning rates at which there is none of ours.
    pub(crate) left_out: usize,
    /// Their libraries, as name and version.
    pub(crate) libraries: Vec<String>,
}

impl PeerSummary {
    /// Summarises their runs and ours.
    pub(crate) fn new(outcome: &Outcome, runs: &[PeerRun]) -> Self {
        let mut rows = Vec::new();
        for task in &outcome.tasks {
            for method in &task.methods {
                rows.extend(method_rows(task, method, runs));
            }
        }
        let comparable = runs.iter().filter(|run| run.is_comparable(outcome));
        let libraries = runs.iter().flat_map(|run| &run.versions);
        let libraries: BTreeSet<String> = libraries
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        PeerSummary {
            rows,
            left_out: runs.len() - comparable.count(),
            libraries: libraries.into_iter().collect(),
        }
    }
}

fn method_rows(task: &TaskOutcome, method: &MethodOutcome, runs: &[PeerRun]) -> Vec<PeerRow> {
    let theirs = |rate: f64| -> Vec<&PeerRun> {
        let of = |run: &&PeerRun| {
            run.task == task.task.id && run.method == method.id && run.learning_rate == rate
        };
        runs.iter().filter(of).collect()
    };
    let mut rates = vec![method.learning_rate, task.common_learning_rate];
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    let judge = task.task.judged_by();
    let mut rows = Vec::new();
    for rate in rates {
        let (ours, theirs) = (task.compared(&method.id, rate), theirs(rate));
        let Some(ours) = ours.filter(|_| !theirs.is_empty()) else {
            continue;
        };
        let lost = ours.iter().filter(|run| run.result.diverged_at.is_some());
        let diverged = [
            lost.count(),
            theirs.iter().filter(|run| run.diverged).count(),
        ];
        for &score in [judge].iter().chain(judge.beside()) {
            let value = |scores: &Scores| score.value(scores);
            let ours = Sample::new(ours.iter().map(|run| value(run.test())));
            let theirs = Sample::new(theirs.iter().map(|run| value(&run.test)));
            rows.push(PeerRow {
                task_title: task.task.title.clone(),
                method_title: method.title.clone(),
                learning_rate: rate,
                score,
                comparison: welch(&ours.values, &theirs.values),
                ours,
                theirs,
                diverged,
            });
        }
    }
    rows
}

//! The statistics of the report as plain numbers; text, tables and figures are
//! made of them.

mod audit;
mod compare;
mod cost;
mod descent;

pub(super) use audit::{AuditSummary, LayerAudit};
pub(super) use compare::{ATTAINABLE, Comparison, LEVEL, Sample, Verdict, smallest_p};
pub(super) use cost::{CostSummary, MethodTime};
pub(super) use descent::{
    BumpRow, BumpSummary, FITTED, SweepLine, SweepPoint, SweepSummary, bump_of, smoothed,
};

use ggpo_lora::{GgpoForm, GradientEstimate, NoiseSpread};

use crate::evaluation::Scores;
use crate::repro::config::{Level, MethodEntry, TaskEntry};
use crate::repro::outcome::{Finished, MethodOutcome, Outcome, TaskOutcome};
use crate::run::TaskKind;

/// The part that a method plays in the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// What the others are compared with.
    Reference,
    /// LoRA-GGPO: noise whose variance follows weight and gradient norms.
    Guided,
    /// The same amount of noise, spread evenly: shows whether guidance matters.
    Control,
    /// Any other.
    Other,
}

/// The part that `method` plays.
pub(super) fn role(outcome: &Outcome, method: &MethodEntry) -> Role {
    if method.id == outcome.config.reference {
        return Role::Reference;
    }
    match &method.config.perturbation {
        Some(noise) if noise.spread == NoiseSpread::Isotropic => Role::Control,
        Some(noise)
            if noise.gradient != GradientEstimate::None
                && noise.beta > 0.0
                && noise.form == GgpoForm::Paper =>
        {
            Role::Guided
        }
        _ => Role::Other,
    }
}

/// The methods that play a part, in order.
pub(super) fn with_role(outcome: &Outcome, wanted: Role) -> impl Iterator<Item = &MethodEntry> {
    let methods = outcome.config.methods.iter();
    methods.filter(move |method| role(outcome, method) == wanted)
}

/// The level of effort that was run.
pub(super) fn level(outcome: &Outcome) -> &Level {
    &outcome.config.levels[&outcome.level]
}

/// How a task is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metric {
    /// Accuracy in percent; higher is better.
    Accuracy,
    /// Perplexity; lower is better.
    Perplexity,
}

impl Metric {
    /// The score of a task's kind.
    pub(super) fn of(task: &TaskEntry) -> Self {
        match task.data.kind {
            TaskKind::Classification => Metric::Accuracy,
            _ => Metric::Perplexity,
        }
    }

    /// The score in its unit.
    pub(super) fn score(self, scores: &Scores) -> f64 {
        match (self, &scores.classes) {
            (Metric::Accuracy, Some(classes)) => 100.0 * classes.accuracy,
            (Metric::Accuracy, None) => f64::NAN,
            (Metric::Perplexity, _) => scores.perplexity(),
        }
    }

    /// Its name in a sentence.
    pub(super) fn name(self) -> &'static str {
        match self {
            Metric::Accuracy => "accuracy",
            Metric::Perplexity => "perplexity",
        }
    }

    /// Its name with its unit, for heads and axes.
    pub(super) fn title(self) -> &'static str {
        match self {
            Metric::Accuracy => "accuracy (%)",
            Metric::Perplexity => "perplexity (lower is better)",
        }
    }

    /// The unit of a difference, with a space before it.
    pub(super) fn difference_unit(self) -> &'static str {
        match self {
            Metric::Accuracy => " percentage points",
            Metric::Perplexity => "",
        }
    }

    /// Whether a verdict on the difference is good news.
    pub(super) fn is_better(self, verdict: Verdict) -> bool {
        match self {
            Metric::Accuracy => verdict == Verdict::Higher,
            Metric::Perplexity => verdict == Verdict::Lower,
        }
    }
}

/// One method on one task at one learning rate.
#[derive(Debug, Clone)]
pub(super) struct MethodSummary {
    /// Id of the method.
    pub(super) id: String,
    /// Its name in the report.
    pub(super) title: String,
    /// The learning rate.
    pub(super) learning_rate: f64,
    /// Whether that is the lowest or highest of several that were tried.
    pub(super) at_edge: bool,
    /// Test scores by seed, in the metric's unit.
    pub(super) scores: Vec<(u64, f64)>,
    /// The same without the seeds.
    pub(super) score: Sample,
    /// Test loss, in nats.
    pub(super) test_loss: Sample,
    /// The differences to the reference; absent for the reference itself.
    pub(super) comparison: Option<Comparison>,
    /// Runs whose loss was lost.
    pub(super) diverged: usize,
    /// Numbers that are trained.
    pub(super) trained_parameters: Option<usize>,
}

/// All methods on one task.
#[derive(Debug, Clone)]
pub(super) struct TaskSummary {
    /// Id of the task.
    pub(super) id: String,
    /// Its name in the report.
    pub(super) title: String,
    /// How it is scored.
    pub(super) metric: Metric,
    /// Each method at its own learning rate.
    pub(super) own: Vec<MethodSummary>,
    /// All methods at the reference's learning rate.
    pub(super) common: Vec<MethodSummary>,
}

impl TaskSummary {
    /// Summarises one task.
    pub(super) fn new(outcome: &Outcome, task: &TaskOutcome) -> Self {
        let metric = Metric::of(&task.task);
        let rates = &level(outcome).learning_rates;
        let all = |runs: fn(&MethodOutcome) -> &[Finished]| -> Vec<MethodSummary> {
            let reference = task
                .methods
                .iter()
                .find(|method| method.id == outcome.config.reference);
            let reference = reference.map(|method| scores(metric, runs(method)));
            let one = |method| summarise(method, runs(method), metric, rates, reference.as_deref());
            task.methods.iter().map(one).collect()
        };
        let mut own = all(|method| &method.best);
        let mut common = all(|method| &method.common);
        for method in &mut own {
            if method.id == outcome.config.reference {
                method.comparison = None;
            }
        }
        for method in &mut common {
            method.learning_rate = task.common_learning_rate;
            method.at_edge = at_edge(task.common_learning_rate, rates);
            if method.id == outcome.config.reference {
                method.comparison = None;
            }
        }
        TaskSummary {
            id: task.task.id.clone(),
            title: task.task.title.clone(),
            metric,
            own,
            common,
        }
    }
}

fn scores(metric: Metric, runs: &[Finished]) -> Vec<(u64, f64)> {
    runs.iter()
        .map(|run| (run.plan.seed, metric.score(run.test())))
        .collect()
}

fn summarise(
    method: &MethodOutcome,
    runs: &[Finished],
    metric: Metric,
    rates: &[f64],
    reference: Option<&[(u64, f64)]>,
) -> MethodSummary {
    let scores = scores(metric, runs);
    MethodSummary {
        id: method.id.clone(),
        title: method.title.clone(),
        learning_rate: method.learning_rate,
        at_edge: at_edge(method.learning_rate, rates),
        score: Sample::new(scores.iter().map(|(_, score)| *score)),
        test_loss: Sample::new(runs.iter().map(|run| run.test().loss)),
        comparison: reference.map(|reference| Comparison::new(&scores, reference)),
        diverged: diverged(runs.iter()),
        trained_parameters: runs.first().map(|run| run.result.trained_parameters),
        scores,
    }
}

/// Runs whose loss was lost.
fn diverged<'a>(runs: impl Iterator<Item = &'a Finished>) -> usize {
    runs.filter(|run| run.result.diverged_at.is_some()).count()
}

/// Whether the best learning rate may lie beyond those that were tried.
fn at_edge(rate: f64, rates: &[f64]) -> bool {
    let lower = rates.iter().any(|other| *other < rate);
    let higher = rates.iter().any(|other| *other > rate);
    !(lower && higher)
}

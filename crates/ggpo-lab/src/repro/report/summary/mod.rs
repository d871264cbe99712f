//! The statistics of the report as plain numbers; text, tables and figures are
//! made of them.

mod answers;
mod audit;
mod compare;
mod cost;
mod descent;
mod peers;

pub(super) use answers::{AnswersPair, AnswersRow, answers_pairs, answers_rows};
pub(super) use audit::{AuditSummary, LayerAudit};
pub(super) use compare::{ATTAINABLE, Comparison, LEVEL, Sample, Verdict, smallest_p};
pub(super) use cost::{CostSummary, MethodTime};
pub(super) use descent::{
    BumpRow, BumpSummary, FITTED, SweepLine, SweepPoint, SweepSummary, bump_of, smoothed,
};

pub(super) use peers::{PeerRow, PeerSummary};

use ggpo_lora::method::Guidance;

use crate::repro::config::{Level, MethodEntry};
use crate::repro::outcome::{FinishedRun, MethodOutcome, Outcome, TaskOutcome};
use crate::repro::score::Score;

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
    match method.config.guidance() {
        Guidance::Control => Role::Control,
        Guidance::Guided => Role::Guided,
        Guidance::None => Role::Other,
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
    /// Test scores by seed, in their unit.
    pub(super) scores: Vec<(u64, f64)>,
    /// The same without the seeds.
    pub(super) score: Sample,
    /// Other test scores that the tables show.
    pub(super) beside: Vec<(Score, Sample)>,
    /// Test loss, in nats.
    pub(super) test_loss: Sample,
    /// The differences to the reference; absent for the reference itself.
    pub(super) comparison: Option<Comparison>,
    /// Runs that diverged.
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
    /// What it is judged by.
    pub(super) judged_by: Score,
    /// Each method at its own learning rate.
    pub(super) own: Vec<MethodSummary>,
    /// All methods at the reference's learning rate.
    pub(super) common: Vec<MethodSummary>,
}

impl TaskSummary {
    /// Summarises one task.
    pub(super) fn new(outcome: &Outcome, task: &TaskOutcome) -> Self {
        let judged_by = task.task.judged_by();
        let rates = &level(outcome).learning_rates;
        let all = |runs: fn(&MethodOutcome) -> &[FinishedRun]| -> Vec<MethodSummary> {
            let reference = task
                .methods
                .iter()
                .find(|method| method.id == outcome.config.reference);
            let reference = reference.map(|method| scores(judged_by, runs(method)));
            let one =
                |method| summarise(method, runs(method), judged_by, rates, reference.as_deref());
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
            judged_by,
            own,
            common,
        }
    }
}

fn scores(score: Score, runs: &[FinishedRun]) -> Vec<(u64, f64)> {
    runs.iter()
        .map(|run| (run.plan.seed, score.value(run.test())))
        .collect()
}

/// Test scores without their seeds.
fn sample(score: Score, runs: &[FinishedRun]) -> Sample {
    Sample::new(scores(score, runs).into_iter().map(|(_, value)| value))
}

fn summarise(
    method: &MethodOutcome,
    runs: &[FinishedRun],
    judged_by: Score,
    rates: &[f64],
    reference: Option<&[(u64, f64)]>,
) -> MethodSummary {
    let scores = scores(judged_by, runs);
    let beside = judged_by.beside().iter();
    MethodSummary {
        id: method.id.clone(),
        title: method.title.clone(),
        learning_rate: method.learning_rate,
        at_edge: at_edge(method.learning_rate, rates),
        score: sample(judged_by, runs),
        beside: beside.map(|&score| (score, sample(score, runs))).collect(),
        test_loss: Sample::new(runs.iter().map(|run| run.test().loss)),
        comparison: reference.map(|reference| Comparison::new(&scores, reference)),
        diverged: diverged(runs.iter()),
        trained_parameters: runs.first().map(|run| run.result.trained_parameters),
        scores,
    }
}

/// Runs that diverged.
fn diverged<'a>(runs: impl Iterator<Item = &'a FinishedRun>) -> usize {
    runs.filter(|run| run.result.diverged_at.is_some()).count()
}

/// Whether the best learning rate may lie beyond those that were tried.
fn at_edge(rate: f64, rates: &[f64]) -> bool {
    let lower = rates.iter().any(|other| *other < rate);
    let higher = rates.iter().any(|other| *other > rate);
    !(lower && higher)
}

//! The words and tables of the report, composed from the numbers.

mod answers;
mod audit;
mod closing;
mod comparison;
mod cost;
mod descent;
mod intro;
mod peers;
mod verdict;

pub(super) use answers::document as answers;
pub(super) use closing::SECTIONS as CLOSING_SECTIONS;
pub(super) use cost::ID as COST_ID;
pub(super) use peers::document as peers;

use super::document::{Document, Figure, Text};
use super::format::{ABSENT, fixed, signed};
use super::summary::{
    AuditSummary, BumpSummary, Comparison, Role, Sample, SweepSummary, TaskSummary, with_role,
};
use crate::repro::outcome::Outcome;

/// Everything but time and memory.
pub(super) fn results(outcome: &Outcome) -> Document {
    let tasks: Vec<TaskSummary> = outcome
        .tasks
        .iter()
        .map(|task| TaskSummary::new(outcome, task))
        .collect();
    let sweep = SweepSummary::new(outcome);
    let bump = BumpSummary::new(outcome);
    // Without a method whose noise has a gradient term there is nothing to audit.
    let is_guided = with_role(outcome, Role::Guided).next().is_some();
    let audits = is_guided.then(|| AuditSummary::all(outcome));
    let mut sections = vec![
        intro::summary(
            outcome,
            &tasks,
            sweep.as_ref(),
            bump.as_ref(),
            audits.as_deref(),
        ),
        intro::what_was_run(outcome, &tasks),
        intro::how_to_read(outcome, &tasks),
    ];
    for (task, summary) in outcome.tasks.iter().zip(&tasks) {
        sections.push(comparison::section(outcome, task, summary));
    }
    sections.extend(sweep.map(|sweep| descent::over_rank(outcome, &sweep)));
    sections.extend(bump.map(|bump| descent::over_steps(outcome, &bump)));
    sections.extend(audits.map(|audits| audit::section(outcome, &audits)));
    sections.extend(closing::sections(outcome));
    Document {
        title: outcome.config.title.clone(),
        lead: intro::lead(outcome),
        sections,
    }
}

/// Time and memory, if they were measured.
pub(super) fn cost(outcome: &Outcome) -> Option<Document> {
    let cost = outcome.cost.as_ref()?;
    Some(cost::document(outcome, cost))
}

/// A figure in the report's folder of figures.
fn figure(name: &str, caption: impl Into<String>, svg: String) -> Figure {
    Figure {
        file: format!("figures/{name}.svg"),
        caption: caption.into(),
        svg,
    }
}

/// The name of the reference method.
fn reference(outcome: &Outcome) -> &str {
    &outcome.config.method(&outcome.config.reference).title
}

/// `mean ± sd`, as far as they exist.
fn mean_sd(sample: &Sample, decimals: usize) -> String {
    let mean = fixed(sample.mean(), decimals);
    let mut words = match sample.sd().is_finite() {
        true => format!("{mean} ± {}", fixed(sample.sd(), decimals)),
        false => mean,
    };
    if sample.lost > 0 {
        let all = sample.values.len() + sample.lost;
        words.push_str(&format!(" ({} of {all} seeds)", sample.values.len()));
    }
    words
}

/// `difference [low, high]`, as far as they exist.
fn difference(comparison: Option<&Comparison>, decimals: usize) -> String {
    let Some(comparison) = comparison else {
        return ABSENT.to_owned();
    };
    let mean = signed(comparison.differences.mean(), decimals);
    match comparison.interval {
        None => mean,
        Some(interval) => {
            let (low, high) = (
                signed(interval.low, decimals),
                signed(interval.high, decimals),
            );
            format!("{mean} [{low}, {high}]")
        }
    }
}

/// A link from the report to the page on time and memory.
fn cost_link(words: Text) -> Text {
    words.link("time and memory", "cost.md", Some(COST_ID))
}

//! Time and memory: the part of the report that is measured.

use super::super::document::{Block, Document, Section, Table};
use super::super::figures;
use super::super::format::{counted, fixed};
use super::super::summary::{CostSummary, MethodTime, Sample};
use super::{figure, reference};
use crate::repro::outcome::{Cost, Outcome};

/// Anchor of the section in the page that holds everything.
pub(crate) const ID: &str = "time-and-memory";

/// The page on time and memory.
pub(crate) fn document(outcome: &Outcome, cost: &Cost) -> Document {
    let cost = CostSummary::new(outcome, cost);
    let about = format!(
        "Measured on \"{}\" with {}: {} of every method, one step of each in turn, after a few that \
         do not count. A ratio of times compares a step with the step of {} beside it, so that \
         what else the machine did cancels. The peak of the resident memory is that of a process \
         which runs this method alone. Numbers of another machine will differ; the ratios less so.",
        cost.task_title,
        counted(cost.threads, "thread"),
        counted(cost.steps, "step"),
        reference(outcome),
    );
    let drawn = figure(
        "cost",
        format!(
            "Time per step and peak memory as ratios to {}; the dark lines go from the lower to the \
             upper quartile.",
            reference(outcome),
        ),
        figures::cost(outcome, &cost),
    );
    let blocks = vec![Block::Figure(drawn), Block::Table(table(outcome, &cost))];
    Document {
        title: "Time and memory".to_owned(),
        lead: vec![Block::paragraph(about)],
        sections: vec![Section::new("measured", "What was measured", blocks)],
    }
}

fn table(outcome: &Outcome, cost: &CostSummary) -> Table {
    let time = format!("Time ratio to {} [quartiles]", reference(outcome));
    let memory = format!("Memory ratio to {}", reference(outcome));
    let head = [
        "Method",
        "Time per step (ms) [quartiles]",
        &time,
        "Peak memory (MiB)",
        &memory,
    ];
    let mut table = Table::new("Time per step (median) and peak memory", 1, &head);
    for method in &cost.methods {
        let MethodTime {
            step_ms,
            time_ratio,
            ..
        } = method;
        table.rows.push(vec![
            method.title.clone(),
            quartiles(step_ms, 2),
            quartiles(time_ratio, 3),
            fixed(method.peak_mib, 1),
            fixed(method.memory_ratio, 3),
        ]);
    }
    table
}

/// `median [lower quartile, upper quartile]`.
fn quartiles(sample: &Sample, decimals: usize) -> String {
    let at = |share| fixed(sample.quantile(share), decimals);
    match sample.values.is_empty() {
        true => at(0.5),
        false => format!("{} [{}, {}]", at(0.5), at(0.25), at(0.75)),
    }
}

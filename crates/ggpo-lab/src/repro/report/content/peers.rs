//! The comparison with another implementation: a page of its own.

use super::super::document::{Block, Document, Section, Table, Text};
use super::super::format::{ABSENT, counted, listed, rate, signed};
use super::super::summary::{PeerRow, PeerSummary};
use super::mean_sd;
use crate::repro::outcome::Outcome;
use crate::repro::peers::PeerRun;

/// The page.
pub(crate) fn document(outcome: &Outcome, runs: &[PeerRun]) -> Document {
    let summary = PeerSummary::new(outcome, runs);
    let about = format!(
        "The same descriptions, trained here and with {}. Model, data, steps, batch size, \
         learning rate, schedule, clipping, AdamW, adapters and noise are described alike on both \
         sides; that is checked field by field (of a path, its last two parts). Random numbers are not the same (initial values of \
         adapters and head, order of the rows, noise), so the runs are not paired: two samples \
         are compared. Scores are the test scores of the step with the best validation score.",
        libraries(&summary),
    );
    let rule = "The difference is our mean less theirs. It lies within the spread over the seeds if \
                |difference| ≤ 2 · √(s₁²/n₁ + s₂²/n₂), with s the sample standard deviations and n \
                the numbers of seeds. The interval is the 95 % interval of Welch's t test; with few \
                seeds it is wider than the rule. A difference within the spread is one that these \
                seeds cannot show, not a proof that there is none.";
    let mut points = vec![Text::from(verdict(&summary))];
    let outside = summary
        .rows
        .iter()
        .filter(|row| row.is_within() == Some(false));
    points.extend(outside.map(|row| {
        Text::from(format!(
            "Outside: {} of {} on \"{}\" at learning rate {}.",
            row.score.name(),
            row.method_title,
            row.task_title,
            rate(row.learning_rate),
        ))
    }));
    if summary.left_out > 0 {
        points.push(Text::from(format!(
            "Left out: {} of theirs at learning rates at which there is none of ours.",
            counted(summary.left_out, "run"),
        )));
    }
    let blocks = vec![
        Block::List(points),
        Block::Table(table(&summary)),
        Block::paragraph(rule),
    ];
    Document {
        title: "Comparison with PyTorch".to_owned(),
        lead: vec![Block::paragraph(about)],
        sections: vec![Section::new("compared", "What was compared", blocks)],
    }
}

fn libraries(summary: &PeerSummary) -> String {
    match summary.libraries.as_slice() {
        [] => "PyTorch".to_owned(),
        libraries => format!("PyTorch ({})", listed(libraries)),
    }
}

fn verdict(summary: &PeerSummary) -> String {
    let judged: Vec<bool> = summary.rows.iter().filter_map(PeerRow::is_within).collect();
    let within = judged.iter().filter(|within| **within).count();
    let mut words = format!(
        "Within the spread over the seeds: {within} of {}.",
        counted(judged.len(), "difference"),
    );
    let others = summary.rows.len() - judged.len();
    if others > 0 {
        words.push_str(&format!(
            " Not judged, since a side has fewer than two seeds: {others}."
        ));
    }
    words
}

fn table(summary: &PeerSummary) -> Table {
    let head = [
        "Task",
        "Method",
        "Score",
        "Learning rate",
        "Here",
        "PyTorch",
        "Seeds",
        "Diverged",
        "Difference [95 % interval]",
        "Within the spread",
    ];
    let mut table = Table::new("Test scores, mean ± standard deviation", 3, &head);
    for row in &summary.rows {
        let decimals = row.score.decimals();
        let [ours, theirs] = row.diverged;
        let within = match row.is_within() {
            Some(true) => "yes",
            Some(false) => "no",
            None => ABSENT,
        };
        table.rows.push(vec![
            row.task_title.clone(),
            row.method_title.clone(),
            row.score.title().to_owned(),
            rate(row.learning_rate),
            mean_sd(&row.ours, decimals),
            mean_sd(&row.theirs, decimals),
            format!("{} and {}", row.ours.values.len(), row.theirs.values.len()),
            format!("{ours} and {theirs}"),
            difference(row, decimals),
            within.to_owned(),
        ]);
    }
    table
}

/// `difference [low, high]`; without an interval if a side has one seed only.
fn difference(row: &PeerRow, decimals: usize) -> String {
    let number = |value| signed(value, decimals);
    match row.comparison {
        None => number(row.ours.mean() - row.theirs.mean()),
        Some(found) => format!(
            "{} [{}, {}]",
            number(found.difference),
            number(found.interval.low),
            number(found.interval.high),
        ),
    }
}

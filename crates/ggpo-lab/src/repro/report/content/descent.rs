//! The two phenomena called double descent, kept apart.

use ggpo_train::run::TaskKind;

use super::super::document::{Block, Section, Table, Text};
use super::super::figures;
use super::super::format::{ABSENT, counted, fixed, listed, percent, probability, rate, setting};
use super::super::summary::{
    BumpRow, BumpSummary, FITTED, Sample, SweepLine, SweepSummary, Verdict, level,
};
use super::{difference, figure, mean_sd, reference, verdict};
use crate::repro::outcome::Outcome;

/// Test error over rank.
pub(super) fn over_rank(outcome: &Outcome, sweep: &SweepSummary) -> Section {
    let entry = &sweep.entry;
    let steps = outcome
        .sweep
        .first()
        .map(|run| run.plan.config.training.steps);
    let rows = entry.task.data.train_rows.map_or_else(
        || "all training rows".to_owned(),
        |rows| counted(rows, "training row"),
    );
    let about = format!(
        "Nakkiran and others (2019) found that the test error can peak where a model just fits its \
         training rows. Here the size is the rank: \"{}\", {rows}, {} of the labels wrong, learning \
         rate {} at every rank, alpha {} times the rank, {}, {}. All scores are those after the \
         last step. The training error counts the wrong labels as they were trained on.",
        entry.task.title,
        percent(entry.task.data.label_noise),
        rate(entry.learning_rate),
        setting(entry.alpha_over_rank),
        steps.map_or(ABSENT.to_owned(), |steps| counted(steps as usize, "step")),
        counted(level(outcome).sweep_seeds.len(), "seed"),
    );
    let rule = "An inner peak is a rank whose mean test error is above the lowest mean at some lower \
                and at some higher rank. It is called one only if both differences, paired by seed, \
                are above twice their standard error and above 0 in every seed.";
    let mut blocks = vec![Block::paragraph(about), Block::paragraph(rule)];
    blocks.push(Block::List(
        rank_verdicts(sweep).into_iter().map(Text::from).collect(),
    ));
    blocks.push(Block::Figure(figure(
        "rank-sweep",
        "Test and training error after the last step over the rank. Lines are means over the \
         seeds, dots single seeds, bands go from the lowest to the highest.",
        figures::rank_sweep(outcome, sweep),
    )));
    blocks.push(Block::Table(rank_table(sweep)));
    let title = "The classical double descent (test error over rank)";
    Section::new("double-descent-over-rank", title, blocks)
}

fn is_classification(sweep: &SweepSummary) -> bool {
    sweep.entry.task.data.kind == TaskKind::Classification
}

fn rank_table(sweep: &SweepSummary) -> Table {
    let head = match is_classification(sweep) {
        true => ["Training error (%)", "Test error (%)"],
        false => ["Training loss (nats)", "Test loss (nats)"],
    };
    let head = [
        "Method",
        "Rank",
        head[0],
        head[1],
        "Test cross entropy (nats)",
        "Diverged",
    ];
    let mut table = Table::new(
        "Errors after the last step, mean ± standard deviation",
        1,
        &head,
    );
    for line in &sweep.lines {
        for point in &line.points {
            table.rows.push(vec![
                line.title.clone(),
                point.rank.to_string(),
                mean_sd(&point.train, 2),
                mean_sd(&point.test, 2),
                mean_sd(&point.test_loss, 3),
                format!("{} of {}", point.diverged, point.test_by_seed.len()),
            ]);
        }
    }
    table
}

/// One sentence or two about each method.
pub(super) fn rank_verdicts(sweep: &SweepSummary) -> Vec<String> {
    let fits = is_classification(sweep);
    let one = |line: &SweepLine| match fits {
        true => format!("{} {}", peak(line, "percentage points"), fit(line)),
        false => peak(line, "nats"),
    };
    sweep.lines.iter().map(one).collect()
}

fn peak(line: &SweepLine, unit: &str) -> String {
    let title = &line.title;
    let seeds = line
        .points
        .iter()
        .map(|point| point.test.values.len())
        .min()
        .unwrap_or(0);
    let seeds = counted(seeds, "seed");
    if line.points.len() < 3 {
        return format!("{title} ran at fewer than three ranks, which cannot show an inner peak.");
    }
    match line.peak() {
        None => format!(
            "The test error of {title} has no inner peak: no rank has a higher mean than some \
             lower and some higher rank."
        ),
        Some(peak) if peak.clear => format!(
            "The test error of {title} has an inner peak at rank {}: on either side it falls by {} \
             {unit} or more.",
            peak.rank,
            fixed(peak.height, 2),
        ),
        Some(peak) => format!(
            "The test error of {title} has no inner peak that {seeds} can show: the largest rise, \
             at rank {}, is {} {unit}, within the spread over the seeds.",
            peak.rank,
            fixed(peak.height, 2),
        ),
    }
}

fn fit(line: &SweepLine) -> String {
    let least = Sample::new(line.points.iter().map(|point| point.train.mean())).min();
    match line.fitted_at() {
        Some(rank) => format!(
            "Its mean training error is first below {} % at rank {rank}.",
            setting(FITTED)
        ),
        None => format!(
            "Its mean training error stays at {} % or above, down to {} %, so it never quite fits \
             its rows.",
            setting(FITTED),
            fixed(least, 2),
        ),
    }
}

/// Training loss over steps.
pub(super) fn over_steps(outcome: &Outcome, bump: &BumpSummary) -> Section {
    let entry = &bump.entry;
    let steps = outcome
        .bump
        .first()
        .map(|run| run.plan.config.training.steps);
    let about = format!(
        "The papers on LoRA-GGPO and LoRA-MGPO call it double descent when the training loss falls, \
         rises for a while and falls again in the course of one run, the more so at high rank and \
         learning rate. It says nothing about the test error. Here: \"{}\", rank and alpha {}, \
         {}, {}.",
        entry.task.title,
        entry.rank,
        steps.map_or(ABSENT.to_owned(), |steps| counted(steps as usize, "step")),
        counted(level(outcome).bump_seeds.len(), "seed"),
    );
    let rule = format!(
        "The loss is smoothed by an exponential moving average in which a new loss weighs {}. The \
         height of the bump is the largest rise of the smoothed loss above its lowest value before; \
         its length is the number of steps from that value until the loss is below it again, or to \
         the end. \
         A loss without any rise has height 0; small rises are the ordinary scatter between \
         batches.",
        setting(entry.smoothing),
    );
    let mut blocks = vec![Block::paragraph(about), Block::paragraph(rule)];
    blocks.push(Block::List(
        step_verdicts(outcome, bump)
            .into_iter()
            .map(Text::from)
            .collect(),
    ));
    blocks.push(Block::Figure(figure(
        "loss-bump",
        "Smoothed training loss over the steps by learning rate. Thin lines are single seeds, thick \
         ones their mean as far as all runs go; a cross is the end of a run that diverged.",
        figures::loss_bump(outcome, &entry.methods),
    )));
    blocks.push(Block::Table(bump_table(outcome, bump)));
    let title = "The paper's double descent (training loss over steps)";
    Section::new("double-descent-over-steps", title, blocks)
}

fn bump_table(outcome: &Outcome, bump: &BumpSummary) -> Table {
    let versus = format!(
        "Difference in height to {} [95 % interval]",
        reference(outcome)
    );
    let head = [
        "Method",
        "Learning rate",
        "Height (nats)",
        "Length (steps)",
        "Came down again",
        "Diverged",
        &versus,
        "p",
    ];
    let mut table = Table::new(
        "The bump of the training loss, mean ± standard deviation",
        1,
        &head,
    );
    for row in &bump.rows {
        let runs = row.height.values.len() + row.height.lost;
        let comparison = row.comparison.as_ref();
        table.rows.push(vec![
            row.title.clone(),
            rate(row.learning_rate),
            mean_sd(&row.height, 4),
            mean_sd(&row.length, 1),
            format!("{} of {runs}", row.recovered),
            format!("{} of {runs}", row.diverged),
            difference(comparison, 4),
            comparison.map_or(ABSENT.to_owned(), |found| probability(found.p)),
        ]);
    }
    table
}

/// What the bumps are like, and where methods differ.
pub(super) fn step_verdicts(outcome: &Outcome, bump: &BumpSummary) -> Vec<String> {
    let mut sentences: Vec<String> = Vec::new();
    for id in &bump.entry.methods {
        let rows: Vec<&BumpRow> = bump.rows.iter().filter(|row| row.id == *id).collect();
        let heights = Sample::new(rows.iter().map(|row| row.height.mean()));
        if let (Some(row), false) = (rows.first(), heights.values.is_empty()) {
            sentences.push(range(&row.title, &heights, &rows));
        }
    }
    for (verdict, rows) in by_verdict(bump) {
        if verdict == Verdict::NoDifference && rows.len() > 1 {
            let rates: Vec<String> = rows.iter().map(|row| rate(row.learning_rate)).collect();
            let seeds = rows.iter().filter_map(|row| row.comparison.as_ref());
            let seeds = seeds.map(|found| found.seeds()).min().unwrap_or(0);
            sentences.push(format!(
                "At the learning rates {} there is no difference between the bumps of {} and {} \
                 that {} can show.",
                listed(&rates),
                rows[0].title,
                reference(outcome),
                counted(seeds, "seed"),
            ));
            continue;
        }
        for row in rows {
            let Some(found) = &row.comparison else {
                continue;
            };
            let words = verdict::bump(&row.title, reference(outcome), found);
            sentences.push(format!(
                "At learning rate {}, {words}.",
                rate(row.learning_rate)
            ));
        }
    }
    sentences
}

fn range(title: &str, heights: &Sample, rows: &[&BumpRow]) -> String {
    let (low, high) = (fixed(heights.min(), 3), fixed(heights.max(), 3));
    let diverged: usize = rows.iter().map(|row| row.diverged).sum();
    let runs: usize = rows.iter().map(|row| row.height.values.len()).sum();
    let height = match heights.values.len() {
        1 => format!("{low} nats"),
        _ => format!("from {low} to {high} nats, depending on the learning rate"),
    };
    format!(
        "The mean height of the bump of {title} is {height}; {diverged} of {runs} runs diverged."
    )
}

/// The compared rows by method and verdict, in order.
fn by_verdict(bump: &BumpSummary) -> Vec<(Verdict, Vec<&BumpRow>)> {
    let mut groups: Vec<(Verdict, Vec<&BumpRow>)> = Vec::new();
    for row in &bump.rows {
        let Some(found) = &row.comparison else {
            continue;
        };
        let verdict = found.verdict();
        let group = groups
            .iter_mut()
            .find(|(v, rows)| *v == verdict && rows[0].id == row.id);
        match group {
            Some((_, rows)) => rows.push(row),
            None => groups.push((verdict, vec![row])),
        }
    }
    groups
}

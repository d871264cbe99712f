//! All methods on one task.

use super::super::document::{Block, Section, Table, Text};
use super::super::figures;
use super::super::format::{ABSENT, count, fixed, probability, rate, setting};
use super::super::summary::{Comparison, MethodSummary, Role, TaskSummary, level, with_role};
use super::{difference, figure, mean_sd, reference, verdict};
use crate::repro::outcome::{Outcome, TaskOutcome};
use crate::repro::score::Score;

/// Whether LoRA-GGPO differs from the reference on a task, and from noise
/// without guidance.
pub(super) fn verdicts(outcome: &Outcome, task: &TaskSummary) -> Vec<Text> {
    let mut points = Vec::new();
    for guided in with_role(outcome, Role::Guided) {
        let own = task.own.iter().find(|method| method.id == guided.id);
        let Some(comparison) = own.and_then(|own| own.comparison.as_ref()) else {
            continue;
        };
        let words = verdict::scores(
            task.judged_by,
            &guided.title,
            reference(outcome),
            comparison,
        );
        points.push(on_task(task, &words));
    }
    points
}

fn on_task(task: &TaskSummary, words: &str) -> Text {
    Text::default()
        .strong(format!("{}: ", task.title))
        .plain(format!("{words}."))
}

/// The tables and figures of one task.
pub(super) fn section(outcome: &Outcome, task: &TaskOutcome, summary: &TaskSummary) -> Section {
    let mut blocks = vec![Block::paragraph(task.task.about.as_str())];
    for words in verdicts(outcome, summary) {
        blocks.push(Block::Paragraph(words));
    }
    blocks.push(Block::Figure(figure(
        &format!("scores-{}", summary.id),
        format!(
            "{}: test scores with every method at its own learning rate, and the mean difference \
             to {} with its 95 % interval.",
            summary.title,
            reference(outcome),
        ),
        figures::scores(outcome, summary),
    )));
    let caption = format!("{}, each method at its own learning rate", summary.title);
    blocks.push(Block::Table(table(outcome, summary, caption, &summary.own)));
    blocks.extend(edge_note(outcome, &summary.own));
    let caption = format!(
        "{}, all methods at the learning rate that {} had chosen, {}",
        summary.title,
        reference(outcome),
        rate(task.common_learning_rate),
    );
    blocks.push(Block::Table(table(
        outcome,
        summary,
        caption,
        &summary.common,
    )));
    blocks.extend(guidance(outcome, summary));
    blocks.push(Block::Figure(figure(
        &format!("training-{}", summary.id),
        format!(
            "{}: training loss and validation {} over the steps, every method at its own learning \
             rate. Lines are means over the seeds, bands go from the lowest to the highest seed. \
             The loss is smoothed: a new loss weighs {}.",
            summary.title,
            summary.judged_by.name(),
            setting(outcome.config.smoothing()),
        ),
        figures::training(outcome, task),
    )));
    Section::new(
        &format!("task-{}", summary.id),
        format!("Task: {}", summary.title),
        blocks,
    )
}

fn table(
    outcome: &Outcome,
    task: &TaskSummary,
    caption: String,
    methods: &[MethodSummary],
) -> Table {
    let decimals = task.judged_by.decimals();
    let mut scores = vec![task.judged_by];
    scores.extend(task.judged_by.beside());
    let mut head = vec!["Method".to_owned(), "Learning rate".to_owned()];
    head.extend(scores.iter().map(|score| format!("Test {}", score.title())));
    head.push(format!(
        "Difference to {} [95 % interval]",
        reference(outcome)
    ));
    head.extend(["p", "Cohen's d"].map(str::to_owned));
    let shows_loss = task.judged_by != Score::Loss;
    head.extend(shows_loss.then(|| "Test loss (nats)".to_owned()));
    head.extend(["Diverged", "Trained parameters"].map(str::to_owned));
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let mut table = Table::new(caption, 1, &head);
    for method in methods {
        let comparison = method.comparison.as_ref();
        let edge = if method.at_edge { " (edge)" } else { "" };
        let mut row = vec![
            method.title.clone(),
            format!("{}{edge}", rate(method.learning_rate)),
            mean_sd(&method.score, decimals),
        ];
        let beside = method.beside.iter();
        row.extend(beside.map(|(score, sample)| mean_sd(sample, score.decimals())));
        row.extend([
            difference(comparison, decimals),
            comparison.map_or(ABSENT.to_owned(), |found| probability(found.p)),
            comparison.map_or(ABSENT.to_owned(), |found| fixed(found.effect, 2)),
        ]);
        row.extend(shows_loss.then(|| mean_sd(&method.test_loss, 4)));
        row.extend([
            format!("{} of {}", method.diverged, method.scores.len()),
            method.trained_parameters.map_or(ABSENT.to_owned(), count),
        ]);
        table.rows.push(row);
    }
    table
}

/// Explains the mark of learning rates at the end of those that were tried.
fn edge_note(outcome: &Outcome, methods: &[MethodSummary]) -> Option<Block> {
    let marked = methods.iter().filter(|method| method.at_edge).count();
    let tried = level(outcome).learning_rates.len();
    (marked > 0).then(|| {
        Block::paragraph(format!(
            "(edge): the chosen rate is the lowest or highest of the {tried} that were tried, so a \
             rate beyond them may be better; this holds for {marked} of {} methods here.",
            methods.len(),
        ))
    })
}

/// LoRA-GGPO against the same amount of noise without guidance.
fn guidance(outcome: &Outcome, task: &TaskSummary) -> Vec<Block> {
    let mut points = Vec::new();
    for guided in with_role(outcome, Role::Guided) {
        for control in with_role(outcome, Role::Control) {
            let settings = [
                ("each at its own learning rate", &task.own),
                ("both at the common learning rate", &task.common),
            ];
            for (setting, methods) in settings {
                let of = |id: &str| methods.iter().find(|method| method.id == id);
                let (Some(own), Some(other)) = (of(&guided.id), of(&control.id)) else {
                    continue;
                };
                let found = Comparison::new(&own.scores, &other.scores);
                let words = verdict::scores(task.judged_by, &own.title, &other.title, &found);
                points.push(Text::new(format!("With {setting}, {words}.")));
            }
        }
    }
    if points.is_empty() {
        return Vec::new();
    }
    let words = "Is it the guidance? The control spreads noise of the same expected size evenly over \
                 the rows of each layer; whatever LoRA-GGPO gains from the norms of rows must show \
                 in a difference to it.";
    vec![Block::paragraph(words), Block::List(points)]
}

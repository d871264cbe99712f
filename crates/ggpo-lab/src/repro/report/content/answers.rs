//! The report of a study of written answers: a page of its own.

use super::super::document::{Block, Document, Section, Table, Text};
use super::super::format::{ABSENT, count, counted, fixed, listed, rate, rates, setting, signed};
use super::super::summary::{AnswersPair, AnswersRow, answers_pairs, answers_rows};
use crate::repro::answers::AnswersOutcome;
use crate::repro::config::MethodEntry;
use crate::statistics::Interval;

/// The page.
pub(crate) fn document(outcome: &AnswersOutcome) -> Document {
    let config = &outcome.config;
    Document {
        title: config.title.clone(),
        lead: vec![
            Block::paragraph(config.about.as_str()),
            Block::paragraph(config.base_model.as_str()),
        ],
        sections: vec![
            results(outcome),
            what_was_run(outcome),
            training(outcome),
            limits(outcome),
            repeat(outcome),
        ],
    }
}

/// Digits after the point of losses and percentages.
const LOSS_DIGITS: usize = 4;
const PERCENT_DIGITS: usize = 2;

fn results(outcome: &AnswersOutcome) -> Section {
    let problems = outcome.base.len();
    let targets: usize = outcome.base.iter().map(|it| it.targets).sum();
    let rows = answers_rows(outcome);
    let caption = format!(
        "The first {} of the test split. Loss: mean cross entropy per token of the reference \
         solutions ({} tokens), in nats. Right: exact match of the final number, with Wilson's \
         95 % interval",
        counted(problems, "problem"),
        count(targets),
    );
    let head = [
        "Model",
        "Learning rate",
        "Seed",
        "Loss",
        "Right",
        "Right (%)",
        "95 % interval (%)",
        "Ended by itself",
        "Tokens per answer",
    ];
    let mut table = Table::new(caption, 1, &head);
    table
        .rows
        .extend(rows.iter().map(|row| answer_cells(row, problems)));

    let caption = "Differences on the same problems, with 95 % intervals by the bootstrap over \
                   problems";
    let head = [
        "Compared",
        "Loss (nats per token)",
        "Right (percentage points)",
        "Right only by the first",
        "Right only by the second",
    ];
    let mut differences = Table::new(caption, 1, &head);
    let pairs = answers_pairs(outcome);
    differences.rows.extend(pairs.iter().map(pair_cells));
    let remark = "An interval that holds 0 is a difference that these problems cannot show, not a \
                  proof that there is none. The intervals are about other problems of the same \
                  kind; how much another seed would move the runs is not in them.";
    let blocks = vec![
        Block::Table(table),
        Block::Table(differences),
        Block::paragraph(remark),
    ];
    Section::new("results", "Results", blocks)
}

fn answer_cells(row: &AnswersRow, problems: usize) -> Vec<String> {
    let (learning_rate, seed) = match row.run {
        Some((learning_rate, seed)) => (rate(learning_rate), seed.to_string()),
        None => (ABSENT.to_owned(), ABSENT.to_owned()),
    };
    vec![
        row.title.clone(),
        learning_rate,
        seed,
        fixed(row.loss, LOSS_DIGITS),
        row.right.to_string(),
        fixed(100.0 * row.right as f64 / problems as f64, PERCENT_DIGITS),
        row.interval.map_or(ABSENT.to_owned(), |interval| {
            let end = |share: f64| fixed(100.0 * share, PERCENT_DIGITS);
            format!("{} to {}", end(interval.low), end(interval.high))
        }),
        row.ended.to_string(),
        fixed(row.tokens, 1),
    ]
}

fn pair_cells(pair: &AnswersPair) -> Vec<String> {
    let estimate = |(mean, interval): (f64, Option<Interval>), factor: f64, digits: usize| {
        let words = |value: f64| signed(factor * value, digits);
        match interval {
            Some(Interval { low, high }) => {
                format!("{} [{}, {}]", words(mean), words(low), words(high))
            }
            None => words(mean),
        }
    };
    vec![
        format!("{} less {}", pair.first, pair.second),
        estimate(pair.loss, 1.0, LOSS_DIGITS),
        estimate(pair.accuracy, 100.0, PERCENT_DIGITS),
        pair.only[0].to_string(),
        pair.only[1].to_string(),
    ]
}

fn what_was_run(outcome: &AnswersOutcome) -> Section {
    let config = &outcome.config;
    let (task, tuning) = (&config.task, &config.tuning);
    let titles: Vec<&str> = outcome.methods.iter().map(|it| it.title.as_str()).collect();
    let seeds: Vec<String> = config.seeds.iter().map(u64::to_string).collect();
    let trials: Vec<String> = tuning.seeds.iter().map(u64::to_string).collect();
    let trained = format!(
        "{} were trained with the same settings: {} of {} rows each, sequences of at most {} \
         tokens, seed {}. The step with the best validation loss was kept.",
        listed(&titles),
        counted(task.steps as usize, "step"),
        task.batch_size,
        task.data.max_length,
        listed(&seeds),
    );
    let chosen = format!(
        "Each had the same trials before: the learning rates {}, {} each, seed {}; the one with \
         the lowest validation loss was taken. Validation rows are set aside from the training \
         file; the test problems were used for nothing but the tables above.",
        rates(&tuning.learning_rates),
        counted(tuning.steps as usize, "step"),
        listed(&trials),
    );
    let asked = Text::new(format!(
        "Every model was asked the same, without examples, and wrote the most probable token at \
         every step until it ended, or at most {} tokens. An answer is right if the number after \
         its first ",
        config.max_new_tokens,
    ));
    let asked = asked.code("####").plain(
        " is the reference's; where the reference has none, if the whole text is the reference's.",
    );
    let methods = config.methods.iter().map(method).collect();
    let mut blocks = vec![
        Block::paragraph(task.about.as_str()),
        Block::List(methods),
        Block::paragraph(trained),
        Block::paragraph(chosen),
        Block::paragraph(asked),
    ];
    if let Some(template) = &task.data.template {
        let words = Text::new("The prompt, with the problem's own text in its place: ");
        // With its line breaks as two letters, to stand in one line.
        blocks.push(Block::paragraph(
            words.code(format!("{template:?}")).plain("."),
        ));
    }
    Section::new("what-was-run", "What was run", blocks)
}

/// What a method trains, and its noise.
fn method(method: &MethodEntry) -> Text {
    let lora = &method.config.lora;
    let noise = match method.config.perturbation {
        None => "no noise".to_owned(),
        Some(_) => method.config.perturbation_in_words(),
    };
    Text::from(format!(
        "{}: adapters of rank {} and alpha {}, {noise}.",
        method.title,
        lora.rank,
        setting(lora.alpha),
    ))
}

/// The course of the runs.
fn training(outcome: &AnswersOutcome) -> Section {
    let caption = format!(
        "Validation loss of the trials of {}; a rate at which a run diverged is taken only if \
         there is no other",
        counted(outcome.config.tuning.steps as usize, "step"),
    );
    let head = [
        "Method",
        "Learning rate",
        "Seed",
        "Validation loss",
        "Taken",
    ];
    let mut trials = Table::new(caption, 1, &head);
    let head = [
        "Method",
        "Learning rate",
        "Seed",
        "Trained numbers",
        "Steps",
        "Best after step",
        "Validation loss at first",
        "At best",
    ];
    let mut runs = Table::new("The compared runs", 1, &head);
    for method in &outcome.methods {
        for run in &method.tuning {
            let is_taken = run.plan.learning_rate == method.learning_rate;
            trials.rows.push(vec![
                method.title.clone(),
                rate(run.plan.learning_rate),
                run.plan.seed.to_string(),
                fixed(run.result.validation.loss, LOSS_DIGITS),
                if is_taken { "yes" } else { "no" }.to_owned(),
            ]);
        }
        for (run, _) in &method.runs {
            let result = &run.result;
            let first = result.evaluations.first();
            runs.rows.push(vec![
                method.title.clone(),
                rate(run.plan.learning_rate),
                run.plan.seed.to_string(),
                count(result.trained_parameters),
                result.losses.len().to_string(),
                result.best_step.to_string(),
                first.map_or(ABSENT.to_owned(), |(_, scores)| {
                    fixed(scores.loss, LOSS_DIGITS)
                }),
                fixed(result.validation.loss, LOSS_DIGITS),
            ]);
        }
    }
    let blocks = vec![Block::Table(trials), Block::Table(runs)];
    Section::new("training", "Training", blocks)
}

fn limits(outcome: &AnswersOutcome) -> Section {
    let config = &outcome.config;
    let mut points: Vec<Text> = config.limits.iter().map(|it| it.as_str().into()).collect();
    points.push(Text::from(format!(
        "{}, {} per run and {} are a sample of what could be asked.",
        counted(config.seeds.len(), "seed"),
        counted(config.task.steps as usize, "step"),
        counted(config.problems, "problem"),
    )));
    Section::new(
        "limits",
        "What this does not show",
        vec![Block::List(points)],
    )
}

fn repeat(outcome: &AnswersOutcome) -> Section {
    let config = &outcome.config;
    let mut lines = config.preparation.clone();
    lines.push(format!("cargo xtask answers {}", config.path.display()));
    let words = "The runs, with their descriptions, and every answer are in the folder that the \
                 last command writes. What is there is not done again.";
    let blocks = vec![Block::Code(lines.join("\n")), Block::paragraph(words)];
    Section::new("repeat", "How to get these numbers again", blocks)
}

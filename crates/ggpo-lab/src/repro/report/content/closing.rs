//! What the results do not show, and how to get them again.

use super::super::document::{Block, Section, Table, Text};
use super::super::format::{counted, listed};
use super::super::summary::level;
use super::cost_link;
use crate::repro::config::DEFAULT_STUDY;
use crate::repro::outcome::Outcome;

/// Sections at the end of the report.
pub(crate) const SECTIONS: usize = 2;

/// Means over five GLUE tasks as published, in percent.
const PUBLISHED: [(&str, &str); 3] = [
    ("LoRA", "82.01"),
    ("LoRA-MGPO", "88.81"),
    ("Full fine-tuning", "87.91"),
];

/// The limits, and how to repeat the experiments.
pub(super) fn sections(outcome: &Outcome) -> [Section; SECTIONS] {
    [limits(outcome), repeat(outcome)]
}

fn limits(outcome: &Outcome) -> Section {
    let level = level(outcome);
    let sample = format!(
        "{} and {} are a sample of what could be asked.",
        counted(outcome.tasks.len(), "task"),
        counted(level.seeds.len(), "seed"),
    );
    let mut points = outcome.config.limits.clone();
    match points.last_mut() {
        Some(last) => last.push_str(&format!(" {sample}")),
        None => points.push(sample),
    }
    points.extend(descent(outcome).map(str::to_owned));
    points.push("The split of the data is fixed; another split would move all scores.".to_owned());
    let points = points.into_iter().map(Text::from).collect();
    let mut table = Table::new(
        "For orientation, the papers' numbers: T5-base, mean accuracy over MNLI, SST-2, CoLA, QNLI \
         and MRPC, rank 8, three seeds (Findings of EMNLP 2025, pages 648-659, table 1)",
        1,
        &["Method", "Mean accuracy (%)"],
    );
    for (method, accuracy) in PUBLISHED {
        table
            .rows
            .push(vec![method.to_owned(), accuracy.to_owned()]);
    }
    let remark = "LoRA stands at the majority class on CoLA and MRPC there: it was hardly trained \
                  (one epoch at learning rate 1e-4). Another paper trains plain LoRA on the same \
                  model longer, at 5e-4, and reports a mean of 88.99. This is why every method here \
                  gets the same trials of learning rates.";
    let blocks = vec![
        Block::List(points),
        Block::Table(table),
        Block::paragraph(remark),
    ];
    Section::new("limits", "What this does not show", blocks)
}

/// How little the experiments on double descent look at.
fn descent(outcome: &Outcome) -> Option<&'static str> {
    let config = &outcome.config;
    match (&config.rank_sweep, &config.loss_bump) {
        (Some(_), Some(_)) => Some(
            "The two experiments on double descent look at one task each, and at one learning \
             rate or one rank.",
        ),
        (Some(_), None) => {
            Some("The experiment on double descent looks at one task and one learning rate.")
        }
        (None, Some(_)) => Some("The experiment on double descent looks at one task and one rank."),
        (None, None) => None,
    }
}

fn repeat(outcome: &Outcome) -> Section {
    let levels: Vec<String> = outcome
        .config
        .levels
        .iter()
        .map(|(name, level)| {
            let rates = counted(level.learning_rates.len(), "learning rate");
            format!("{name} ({}, {rates})", counted(level.seeds.len(), "seed"))
        })
        .collect();
    let words = match levels.as_slice() {
        [only] => Text::new(format!("There is one level of effort, {only}:")),
        _ => Text::new(format!(
            "The levels of effort are {}. This report is of the level \"{}\":",
            listed(&levels),
            outcome.level,
        )),
    };
    let study = outcome.config.path.display().to_string();
    let mut command = "cargo xtask repro".to_owned();
    if outcome.level != "default" {
        command.push_str(&format!(" --{}", outcome.level));
    }
    if study != DEFAULT_STUDY {
        command.push_str(&format!(" --config {study}"));
    }
    let same = Text::new(
        "What is finished is not done again, and a run that was stopped continues where it was. ",
    );
    let same = match outcome.cost {
        Some(_) => cost_link(same.plain("Apart from ")).plain(" the report is"),
        None => same.plain("The report is"),
    };
    let same = same
        .plain(
            " the same, bit for bit, for any number of threads and after an interruption. The \
             experiments are described in ",
        )
        .code(study)
        .plain(", and each run in the ")
        .code("config.toml")
        .plain(" of its folder below ")
        .code("runs/")
        .plain(".");
    let blocks = vec![
        Block::Paragraph(words),
        Block::Code(command),
        Block::Paragraph(same),
    ];
    Section::new("repeat", "How to repeat this", blocks)
}

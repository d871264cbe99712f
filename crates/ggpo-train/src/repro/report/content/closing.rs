//! What the results do not show, and how to get them again.

use super::super::document::{Block, Section, Table, Text};
use super::super::format::{counted, listed};
use super::super::summary::level;
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
    let points = [
        "These are small models and small tasks: what holds here need not hold for models a \
         thousand times their size, and what does not show here may show there."
            .to_owned(),
        format!(
            "The papers' models and data were not run, so this neither confirms nor refutes their \
             tables. {} and {} are a sample of what could be asked.",
            counted(outcome.tasks.len(), "task"),
            counted(level.seeds.len(), "seed"),
        ),
        "The two experiments on double descent look at one task each, and at one learning rate or \
         one rank."
            .to_owned(),
        "The split of the data is fixed; another split would move all scores.".to_owned(),
    ];
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
    let words = Text::new(format!(
        "The levels of effort are {}. This report is of the level \"{}\":",
        listed(&levels),
        outcome.level,
    ));
    let command = match outcome.level.as_str() {
        "default" => "cargo xtask repro".to_owned(),
        other => format!("cargo xtask repro --{other}"),
    };
    let same = Text::new(
        "What is finished is not done again, and a run that was stopped goes on where it was. \
         Apart from ",
    )
    .link("time and memory", "cost.md", Some(super::COST_ID))
    .plain(
        " the report is the same, bit for bit, for any number of threads and after an \
         interruption. The experiments are described in ",
    )
    .code("experiments/repro.toml")
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

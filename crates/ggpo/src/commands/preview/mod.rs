//! `ggpo preview`.

mod html;
mod text;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use ggpo_files::write_atomically;
use ggpo_model::base;
use ggpo_model::tokenizer::Tokenizer;
use ggpo_train::Error;
use ggpo_train::data::{Answer, Dataset, Example, TaskConfig, holds_chats};
use ggpo_train::run::{DESCRIPTION, Description, RunConfig};
use serde::Serialize;

use crate::options::FormOptions;
use crate::output::{print_as_it_is, print_json};
use crate::{note, say};

/// Arguments of `ggpo preview`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ggpo preview chat.jsonl --model models/fetched/qwen2.5-coder/Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf
  ggpo preview chat.jsonl --model models/base --chat-template chatml --rows 1
  ggpo preview train.tsv --run runs/first --html preview.html")]
pub(crate) struct Preview {
    /// File with rows as training reads them
    #[arg(value_name = "FILE")]
    data: PathBuf,
    /// Folder of a model, or a GGUF file; no weight is read
    #[arg(long, value_name = "PATH", required_unless_present = "run")]
    model: Option<PathBuf>,
    /// Folder of a run, whose model and settings are taken
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    run: Option<PathBuf>,
    /// Rows that are shown, the first of the file
    #[arg(long, value_name = "N", default_value_t = 3)]
    rows: usize,
    /// Write a page to this file
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// Print one JSON object per row
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    form: FormOptions,
}

/// Longest sequence where nothing says otherwise, in tokens.
const MAX_LENGTH: i64 = 2048;

/// A row as the model reads it.
#[derive(Serialize)]
struct Shown {
    /// Its number, from 1.
    row: usize,
    /// The line that it begins in; none of a block of a plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    tokens: Vec<Token>,
    /// What is predicted besides, if it is not the tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
}

/// A token as a person reads it.
#[derive(Serialize)]
struct Token {
    id: usize,
    text: String,
    special: bool,
    /// Whether it is predicted, and what is wrong with the prediction counts.
    loss: bool,
}

impl Preview {
    pub(crate) fn execute(&self) -> Result<()> {
        let (model, task) = self.task()?;
        let tokenizer = base::tokenizer(&model)?;
        let dataset = Dataset::open(&self.data, &task, &tokenizer, None)?;
        let rows = dataset.examples.iter().take(self.rows).enumerate();
        let shown: Vec<Shown> = rows
            .map(|(index, example)| Shown {
                row: index + 1,
                line: dataset.rows.get(index).map(|row| row.line),
                tokens: tokens(example, &tokenizer),
                answer: answer(example, &dataset.labels),
            })
            .collect();
        if let Some(path) = &self.html {
            let page = html::page(&self.data, &dataset.notes.to_string(), &shown);
            write_atomically(path, page.as_bytes()).map_err(|cause| Error::io(path, cause))?;
        }
        if self.json {
            return shown.iter().try_for_each(print_json);
        }
        note!("{}", dataset.notes);
        if let Some(path) = &self.html {
            say!("written: {}", path.display());
            return Ok(());
        }
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        for row in &shown {
            print_as_it_is(&format!("{}\n", text::row(row, colours)));
        }
        Ok(())
    }

    /// The model, and how its data are read.
    fn task(&self) -> Result<(PathBuf, TaskConfig)> {
        let (model, mut description) = match &self.run {
            Some(folder) => {
                let run = RunConfig::read(&folder.join(DESCRIPTION))?;
                (run.model.clone(), Description::of(&run))
            }
            None => {
                let mut description = Description::default();
                description.set("task.kind", kind(&self.data))?;
                description.set("task.max_length", MAX_LENGTH)?;
                (self.model.clone().unwrap_or_default(), description)
            }
        };
        description.set("task.train", self.data.display().to_string())?;
        self.form.apply(&mut description)?;
        let task = description.task()?;
        task.validate()?;
        Ok((model, task))
    }
}

/// The kind of task that a file is of where nothing says it.
fn kind(data: &Path) -> &'static str {
    match data.extension().and_then(|ending| ending.to_str()) {
        _ if holds_chats(data) => "chat",
        Some("jsonl") => "completion",
        Some("txt") => "language-modelling",
        _ => "classification",
    }
}

fn tokens(example: &Example, tokenizer: &Tokenizer) -> Vec<Token> {
    let target = match &example.answer {
        Answer::Sequence(target) => target.as_slice(),
        _ => &[],
    };
    let read = example.ids.iter().enumerate();
    let own = read.map(|(place, &id)| (id, has_loss(example, place)));
    own.chain(target.iter().map(|&id| (id, true)))
        .map(|(id, loss)| Token {
            id,
            text: text_of(id, tokenizer),
            special: tokenizer.is_special(id),
            loss,
        })
        .collect()
}

/// Whether the token at a place is predicted; the first has nothing before it.
fn has_loss(example: &Example, place: usize) -> bool {
    place > 0
        && match &example.answer {
            Answer::Tokens { from } => place >= *from,
            Answer::Marked(marks) => marks[place],
            _ => false,
        }
}

/// The text of a token, or its name in the vocabulary where it is a part of a letter.
fn text_of(id: usize, tokenizer: &Tokenizer) -> String {
    let name = || tokenizer.token(id).unwrap_or_default();
    match tokenizer.decode(&[id]) {
        Ok(text) if !text.is_empty() && !text.contains(char::REPLACEMENT_CHARACTER) => text,
        _ => name(),
    }
}

fn answer(example: &Example, labels: &[String]) -> Option<String> {
    match &example.answer {
        Answer::Class(class) => labels.get(*class).cloned(),
        Answer::Value(value) => Some(value.to_string()),
        _ => None,
    }
}

//! `ggpo eval`.

use std::fmt::{self, Display};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ggpo_files::write_atomically;
use ggpo_lab::progress;
use ggpo_lab::statistics::{Interval, wilson_interval};
use ggpo_model::batch::Batch;
use ggpo_train::Error;
use ggpo_train::data::bucket::scored_batches;
use ggpo_train::data::{Dataset, TaskConfig};
use ggpo_train::evaluation::evaluate;
use ggpo_train::metrics::exact_match::same_answer;
use ggpo_train::prediction::{Written, write_answers};
use ggpo_train::ranks::Alone;
use serde_json::{Map, json};

use crate::options::FormOptions;
use crate::output::{check_output, print_json};
use crate::source::{Opened, Source};
use crate::{note, say};

/// Arguments of `ggpo eval`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ggpo eval --run runs/ggpo test.tsv
  ggpo eval --model models/fetched/smollm2 --task language-modelling book.txt
  ggpo eval --model merged --layout cola dev.tsv --json
  ggpo eval --run runs/gsm8k test.jsonl --exact-match --answers answers.jsonl")]
pub(crate) struct Eval {
    #[command(flatten)]
    source: Source,
    /// File with texts and their answers
    #[arg(value_name = "FILE")]
    data: PathBuf,
    /// Let the model write its answers too, and count those that are right: the
    /// same number after #### if the file's answer has one, else the same text
    #[arg(long)]
    exact_match: bool,
    /// Most tokens of a written answer
    #[arg(
        long,
        value_name = "N",
        default_value_t = 256,
        requires = "exact_match"
    )]
    max_new_tokens: usize,
    /// Write one JSON object per written answer to this file
    #[arg(long, value_name = "FILE.jsonl", requires = "exact_match")]
    answers: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    form: FormOptions,
}

impl Eval {
    pub(crate) fn execute(&self) -> Result<()> {
        if let Some(path) = &self.answers {
            check_output(path, Some(&self.data))?;
        }
        let opened = self.source.open()?;
        let task = opened.task(&self.form, &self.data)?;
        let dataset = opened.dataset(&task, &self.data)?;
        if !self.json {
            note!("{}", dataset.notes);
        }
        let exact = self
            .exact_match
            .then(|| self.count_right(&opened, &task, &dataset))
            .transpose()?;
        let model = &opened.assembled;
        let batches = scored_batches(
            &dataset.examples,
            &task,
            &model.tokenizer,
            model.labels.len(),
        );
        let batches: Vec<Batch> = batches.into_iter().map(|(_, batch)| batch).collect();
        let (parameters, adapters) = (&model.parameters, &model.adapters);
        let scores = evaluate(&model.model, parameters, adapters, &batches, &Alone);
        if !scores.loss.is_finite() {
            let problem = format!("expected a finite loss, found {}", scores.loss);
            return Err(Error::file(&self.data, problem).into());
        }
        if self.json {
            let mut fields = Map::from_iter([
                ("data".to_owned(), json!(self.data)),
                ("rows".to_owned(), json!(dataset.examples.len())),
                ("bad_rows".to_owned(), json!(dataset.notes.bad.len())),
                ("truncated".to_owned(), json!(dataset.notes.truncated)),
            ]);
            let named = scores.named().into_iter();
            fields.extend(named.map(|(name, value)| (name.to_owned(), json!(value))));
            if let Some(ExactMatch { right, rows }) = exact {
                fields.insert("exact_match".to_owned(), json!(right as f64 / rows as f64));
                fields.insert(
                    "exact_match_interval".to_owned(),
                    json!(wilson_interval(right, rows)),
                );
            }
            return print_json(&fields);
        }
        if let Some(exact) = exact {
            say!("{exact}");
        }
        say!("{scores}");
        Ok(())
    }

    /// Lets the model write the answers of a file and compares them with its own.
    fn count_right(
        &self,
        opened: &Opened,
        task: &TaskConfig,
        dataset: &Dataset,
    ) -> Result<ExactMatch> {
        let prompts = dataset.prompts(task, &opened.assembled.tokenizer)?;
        let total = prompts.len().saturating_mul(self.max_new_tokens) as u64;
        let bar = progress::bar(total, "writing", "tokens at most");
        let written = write_answers(&opened.assembled, &prompts, self.max_new_tokens, || {
            bar.inc(1)
        })?;
        bar.finish_and_clear();
        let (mut right, mut lines) = (0, String::new());
        for (row, Written { text, ended, .. }) in dataset.rows.iter().zip(&written) {
            let expected = row.label.as_deref().unwrap_or_default();
            let is_right = same_answer(expected, text);
            right += usize::from(is_right);
            let line = json!({
                "line": row.line, "expected": expected, "text": text, "ended": ended,
                "right": is_right,
            });
            lines.push_str(&format!("{line}\n"));
        }
        if let Some(path) = &self.answers {
            write_atomically(path, lines.as_bytes()).map_err(|cause| Error::io(path, cause))?;
        }
        Ok(ExactMatch {
            right,
            rows: written.len(),
        })
    }
}

/// How many written answers are right.
struct ExactMatch {
    right: usize,
    rows: usize,
}

impl Display for ExactMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ExactMatch { right, rows } = *self;
        write!(
            f,
            "exact match {:.4} ({right} of {rows}",
            right as f64 / rows as f64
        )?;
        if let Some(Interval { low, high }) = wilson_interval(right, rows) {
            write!(f, "; 95 % interval {low:.4} to {high:.4}")?;
        }
        write!(f, ")")
    }
}

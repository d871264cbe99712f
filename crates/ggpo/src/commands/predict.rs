//! `ggpo predict`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use ggpo_files::write_atomically;
use ggpo_lab::progress;
use ggpo_model::assembled::Assembled;
use ggpo_model::chat::ChatTemplate;
use ggpo_train::Error;
use ggpo_train::data::bucket::scored_batches;
use ggpo_train::data::{Dataset, TaskConfig, TaskKind};
use ggpo_train::prediction::{Prediction, predict, write_answers};
use serde_json::json;

use crate::options::FormOptions;
use crate::output::{check_output, print_json};
use crate::source::{Opened, Source};
use crate::{note, say};

/// Arguments of `ggpo predict`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ggpo predict --run runs/ggpo new.tsv --out predictions.tsv
  ggpo predict --model merged --text sentence new.csv --out predictions.tsv")]
pub(crate) struct Predict {
    #[command(flatten)]
    source: Source,
    /// File with texts; answers in it are not looked at
    #[arg(value_name = "FILE")]
    data: PathBuf,
    /// File to write: a table with one row per text, in their order
    #[arg(long, value_name = "FILE.tsv")]
    out: PathBuf,
    /// Most tokens of a written answer
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_new_tokens: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    form: FormOptions,
}

impl Predict {
    pub(crate) fn execute(&self) -> Result<()> {
        check_output(&self.out, Some(&self.data))?;
        let opened = self.source.open()?;
        let task = opened.task(&self.form, &self.data)?;
        let dataset = Dataset::open_unlabelled(&self.data, &task, &opened.assembled.tokenizer)?;
        opened.check_examples(&dataset)?;
        if !self.json {
            note!("{}", dataset.notes);
        }
        let table = if task.kind.writes() {
            self.written(&opened, &task, &dataset)?
        } else {
            judged(&self.data, &opened, &task, &dataset)?
        };
        write_atomically(&self.out, &table).map_err(|cause| Error::io(&self.out, cause))?;
        if self.json {
            return print_json(&json!({"out": self.out, "rows": dataset.examples.len()}));
        }
        say!(
            "{} rows written: {}",
            dataset.examples.len(),
            self.out.display()
        );
        Ok(())
    }

    /// The texts that the model writes.
    fn written(&self, opened: &Opened, task: &TaskConfig, dataset: &Dataset) -> Result<Vec<u8>> {
        let prompts: Vec<Vec<usize>> = dataset.examples.iter().map(|row| row.ids.clone()).collect();
        let total = prompts.len().saturating_mul(self.max_new_tokens) as u64;
        let bar = progress::bar(total, "writing", "tokens at most");
        let answers = write_answers(&opened.assembled, &prompts, self.max_new_tokens, || {
            bar.inc(1)
        })?;
        bar.finish_and_clear();
        let mut table = Table::new(&["text".to_owned()])?;
        let end = end_of_turn(&opened.assembled, task)?;
        for answer in answers {
            let text = match end.as_deref().and_then(|end| answer.text.split_once(end)) {
                Some((said, _)) => said,
                None => &answer.text,
            };
            // A table has one line per row.
            table.row(&[text.replace(['\n', '\t'], " ").trim().to_owned()])?;
        }
        table.finish()
    }
}

/// The text that ends a turn of a chat, which a model may not have as a token.
fn end_of_turn(model: &Assembled, task: &TaskConfig) -> Result<Option<String>> {
    if task.kind != TaskKind::Chat {
        return Ok(None);
    }
    let template = ChatTemplate::choose(&model.tokenizer, task.chat_template.as_deref())?;
    Ok(template.end_of_turn())
}

/// Classes with their probabilities, or numbers.
fn judged(data: &Path, opened: &Opened, task: &TaskConfig, dataset: &Dataset) -> Result<Vec<u8>> {
    let model = &opened.assembled;
    let bar = progress::bar(dataset.examples.len() as u64, "predicting", "rows");
    let batches = scored_batches(
        &dataset.examples,
        task,
        &model.tokenizer,
        model.labels.len(),
    );
    let (parameters, adapters) = (&model.parameters, &model.adapters);
    let count = |rows: usize| bar.inc(rows as u64);
    let predictions = predict(&model.model, parameters, adapters, &batches, count);
    bar.finish_and_clear();
    let mut header = vec!["label".to_owned()];
    header.extend(
        model
            .labels
            .iter()
            .map(|label| format!("probability {label}")),
    );
    let mut table = Table::new(&header)?;
    for (prediction, row) in predictions.into_iter().zip(&dataset.rows) {
        if !prediction.is_finite() {
            let line = row.line;
            let problem =
                format!("line {line}: expected a finite prediction, found NaN or infinity");
            return Err(Error::file(data, problem).into());
        }
        match prediction {
            Prediction::Value(value) => table.row(&[value.to_string()])?,
            Prediction::Class {
                class,
                probabilities,
            } => {
                let mut row = vec![model.labels[class].clone()];
                row.extend(probabilities.iter().map(|p| format!("{p:.6}")));
                table.row(&row)?;
            }
        }
    }
    table.finish()
}

/// Fields between tabs.
struct Table(csv::Writer<Vec<u8>>);

impl Table {
    fn new(header: &[String]) -> Result<Self> {
        let writer = csv::WriterBuilder::new()
            .delimiter(b'\t')
            .from_writer(Vec::new());
        let mut table = Table(writer);
        table.row(header)?;
        Ok(table)
    }

    fn row(&mut self, fields: &[String]) -> Result<()> {
        self.0.write_record(fields).context("cannot write a row")
    }

    fn finish(self) -> Result<Vec<u8>> {
        self.0.into_inner().context("cannot finish the table")
    }
}

//! `ggpo eval`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ggpo_train::data::Batch;
use ggpo_train::data::bucket::scored_batches;
use ggpo_train::evaluation::evaluate;
use serde_json::{Map, json};

use crate::options::FormOptions;
use crate::output::print_json;
use crate::source::Source;

/// Arguments of `ggpo eval`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ggpo eval --run runs/ggpo test.tsv
  ggpo eval --model models/fetched/smollm2 --task language-modelling book.txt
  ggpo eval --model merged --layout cola dev.tsv --json")]
pub(crate) struct Eval {
    #[command(flatten)]
    source: Source,
    /// File with texts and their answers
    #[arg(value_name = "FILE")]
    data: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    form: FormOptions,
}

impl Eval {
    pub(crate) fn execute(&self) -> Result<()> {
        let opened = self.source.open()?;
        let task = opened.task(&self.form, &self.data)?;
        let dataset = opened.dataset(&task, &self.data)?;
        if !self.json {
            eprintln!("{}", dataset.notes);
        }
        let model = &opened.assembled;
        let batches = scored_batches(&dataset.examples, &task, &model.tokenizer);
        let batches: Vec<Batch> = batches.into_iter().map(|(_, batch)| batch).collect();
        let scores = evaluate(&model.model, &model.parameters, &model.adapters, &batches);
        if self.json {
            let mut fields = Map::from_iter([
                ("data".to_owned(), json!(self.data)),
                ("rows".to_owned(), json!(dataset.examples.len())),
                ("bad_rows".to_owned(), json!(dataset.notes.bad.len())),
                ("truncated".to_owned(), json!(dataset.notes.truncated)),
            ]);
            let named = scores.named().into_iter();
            fields.extend(named.map(|(name, value)| (name.to_owned(), json!(value))));
            return print_json(&fields);
        }
        println!("{scores}");
        Ok(())
    }
}

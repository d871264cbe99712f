//! A model, and the rows that its loss is the mean over.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use ggpo_lab::sharpness::{Space, training_batches};
use ggpo_model::batch::Batch;
use ggpo_train::data::bucket::scored_batches;

use crate::note;
use crate::options::FormOptions;
use crate::source::{Opened, Source};

/// What is measured, and on which rows.
#[derive(Args)]
pub(crate) struct LossOptions {
    #[command(flatten)]
    source: Source,
    /// File with texts and their answers [default: the run's training rows, with the
    /// labels it was trained on]
    #[arg(long, value_name = "FILE", required_unless_present = "run")]
    data: Option<PathBuf>,
    /// Rows that the loss is the mean over: the first of the file
    #[arg(long, value_name = "N", default_value_t = 64)]
    rows: usize,
    /// What everything random comes from
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    form: FormOptions,
}

impl LossOptions {
    /// The model, and batches of the rows.
    pub(crate) fn open(&self) -> Result<(Opened, Vec<Batch>)> {
        let opened = self.source.open()?;
        let Some(data) = &self.data else {
            let folder = self.source.run().context("a run or a file of data")?;
            let batches = training_batches(folder, self.rows)?;
            return Ok((opened, batches));
        };
        let task = opened.task(&self.form, data)?;
        let dataset = opened.dataset(&task, data)?;
        note!("{}", dataset.notes);
        let rows = &dataset.examples[..self.rows.min(dataset.examples.len())];
        let batches = scored_batches(
            rows,
            &task,
            &opened.assembled.tokenizer,
            opened.assembled.labels.len(),
        );
        Ok((
            opened,
            batches.into_iter().map(|(_, batch)| batch).collect(),
        ))
    }
}

/// Reads the name of a space.
pub(crate) fn space() -> impl TypedValueParser<Value = Space> {
    PossibleValuesParser::new(["merged", "factors"]).map(|name| match name.as_str() {
        "merged" => Space::Merged,
        _ => Space::Factors,
    })
}

//! `ggpo features`.

use std::path::PathBuf;

use crate::{note, say};
use anyhow::Result;
use clap::Args;
use ggpo_train::data::{TaskConfig, TaskKind};
use ggpo_train::features::{FeaturesConfig, SplitRows, write_features};

/// Arguments of `ggpo features`.
#[derive(Args)]
#[command(after_help = "\
Example:
  ggpo features --model models/encoder --train data/authorship/train.tsv \\
    --validation data/authorship/validation.tsv --test data/authorship/test.tsv \\
    --max-length 48 --out models/authorship-features
  ggpo train --model models/authorship-features \\
    --train models/authorship-features/train.tsv --max-length 1 \\
    --loss least-squares --head ridge --batch-size 1000 --steps 3000 --out runs/layer")]
pub(crate) struct Features {
    /// Folder of the model whose states are the features
    #[arg(long, value_name = "FOLDER")]
    model: PathBuf,
    /// Table of the training split, with the columns text and label
    #[arg(long, value_name = "FILE")]
    train: PathBuf,
    /// Table of the validation split
    #[arg(long, value_name = "FILE")]
    validation: PathBuf,
    /// Table of the test split
    #[arg(long, value_name = "FILE")]
    test: PathBuf,
    /// Longest text, in tokens
    #[arg(long, value_name = "N", default_value_t = 48)]
    max_length: usize,
    /// Training rows drawn
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    train_rows: usize,
    /// Validation rows drawn
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    validation_rows: usize,
    /// Test rows drawn
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    test_rows: usize,
    /// Seed of the rows that are drawn and of the layer
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Folder to write
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

impl Features {
    pub(crate) fn execute(&self) -> Result<()> {
        let task = TaskConfig {
            validation: Some(self.validation.clone()),
            test: Some(self.test.clone()),
            ..TaskConfig::new(TaskKind::Classification, &self.train, self.max_length)
        };
        let config = FeaturesConfig {
            model: self.model.clone(),
            task,
            rows: SplitRows {
                train: self.train_rows,
                validation: self.validation_rows,
                test: self.test_rows,
            },
            seed: self.seed,
        };
        note!("reading texts with {}", self.model.display());
        let written = write_features(&config, &self.out)?;
        let [train, validation, test] = written.rows;
        say!(
            "{} features of {train} training, {validation} validation and {test} test rows \
             written: {}",
            written.width,
            self.out.display()
        );
        Ok(())
    }
}

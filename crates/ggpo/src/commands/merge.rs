//! `ggpo merge`.

use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use ggpo_files::check_new_folder;
use ggpo_model::Precision;
use ggpo_model::base::write_model_folder;
use ggpo_train::Error;
use serde_json::json;

use crate::output::print_json;
use crate::say;
use crate::source::Source;

/// Arguments of `ggpo merge`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ggpo merge --run runs/ggpo --out merged
  ggpo merge --model models/fetched/minilm --adapter adapter --out merged --precision f16")]
pub(crate) struct Merge {
    #[command(flatten)]
    source: Source,
    /// Folder to write; it must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Precision of the weights
    #[arg(long, value_enum, default_value = "f32")]
    precision: StoredAs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Precision of stored weights.
#[derive(Clone, Copy, ValueEnum)]
enum StoredAs {
    F32,
    F16,
    Bf16,
}

impl Merge {
    pub(crate) fn execute(&self) -> Result<()> {
        check_new_folder(&self.out).map_err(|cause| match cause.kind() {
            ErrorKind::AlreadyExists => {
                Error::file(&self.out, "expected a new folder, found one that exists")
            }
            _ => Error::io(&self.out, cause),
        })?;
        let opened = self.source.open()?;
        let assembled = &opened.assembled;
        if assembled.adapters.is_empty() {
            bail!("expected a model with an adapter to merge, found none; name it with --adapter");
        }
        let precision = match self.precision {
            StoredAs::F32 => Precision::F32,
            StoredAs::F16 => Precision::F16,
            StoredAs::Bf16 => Precision::BF16,
        };
        write_model_folder(
            &self.out,
            &opened.base,
            &assembled.model,
            &assembled.labels,
            &assembled.merged(),
            precision,
        )?;
        if self.json {
            return print_json(&json!({
                "out": self.out,
                "merged_layers": assembled.adapters.len(),
            }));
        }
        let layers = assembled.adapters.len();
        say!("{layers} adapters merged; written: {}", self.out.display());
        Ok(())
    }
}

//! Comparing models and methods with values calculated elsewhere.

use std::path::PathBuf;

use anyhow::{Context, Result};
use ggpo_lab::parity::{Arithmetic, check_folder};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder with one folder per family (model/, adapter/, case.safetensors) and
    /// folders of files of methods, or one of these with ../reference/llama beside it.
    folder: PathBuf,
    /// Calculate in double precision, to 1e-6.
    ///
    /// Transformers has RMS norm in single precision even in a double model, so
    /// that reference values of T5 and Llama can themselves be further off, and
    /// most of all where a training ends.
    #[arg(long)]
    f64: bool,
    /// Print one JSON object per quantity instead of a table.
    #[arg(long)]
    json: bool,
}

/// Compares and prints. Returns whether everything agrees.
pub(crate) fn compare(arguments: &Arguments) -> Result<bool> {
    let precision = match arguments.f64 {
        true => Arithmetic::F64,
        false => Arithmetic::F32,
    };
    let report = check_folder(&arguments.folder, precision)?;
    for error in &report.errors {
        ggpo::note!("error: {error}");
    }
    if arguments.json {
        for row in &report.rows {
            ggpo::say!("{}", serde_json::to_string(row).context("a row as JSON")?);
        }
        for note in &report.notes {
            ggpo::note!("{}: {}", note.family, note.text);
        }
        ggpo::note!("{}", report.summary());
    } else {
        ggpo::say_part!("{report}");
    }
    Ok(report.agrees())
}

//! The model that a run has trained, ready to be used.

use std::path::Path;

use ggpo_files::read::DESCRIPTION as DESCRIPTION_BYTES;
use ggpo_model::assembled::Assembled;

use super::{DESCRIPTION, LABELS, RunConfig};
use crate::{Error, Result};

/// What the run in a folder has trained, with its description.
///
/// # Errors
/// If the folder holds no finished run, or a file cannot be read.
pub fn assemble(folder: &Path) -> Result<(RunConfig, Assembled)> {
    let config = RunConfig::read(&folder.join(DESCRIPTION))?;
    let mut assembled = match folder.join("adapter") {
        adapter if adapter.exists() => Assembled::open(&config.model, Some(&adapter))?,
        _ => Assembled::open(&folder.join("model"), None)?,
    };
    let path = folder.join(LABELS);
    if path.exists() {
        let bytes = ggpo_files::read(&path, DESCRIPTION_BYTES);
        let bytes = bytes.map_err(|cause| Error::io(&path, cause))?;
        assembled.labels = ggpo_files::json::from_slice(&bytes).map_err(|error| {
            Error::file(&path, format!("expected names of classes, found {error}"))
        })?;
        assembled.check(&path)?;
    }
    Ok((config, assembled))
}

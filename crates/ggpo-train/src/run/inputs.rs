//! What a run reads, and whether that has changed since it began.

use std::path::{Path, PathBuf};

use ggpo_model::base;
use serde::{Deserialize, Serialize};

use super::config::RunConfig;
use super::going_on;
use crate::{Error, Result};

/// A file that a run reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Input {
    path: PathBuf,
    /// 64 hexadecimal digits.
    sha256: String,
}

impl Input {
    fn of(path: &Path) -> Result<Self> {
        let sha256 = ggpo_files::sha256(path).map_err(|source| Error::io(path, source))?;
        Ok(Input {
            path: path.to_owned(),
            sha256,
        })
    }
}

/// All files that a run reads, as they are now: the data, the base model, and the adapter
/// that it goes on from.
///
/// They are looked at before they are read. Whatever changes in between is found when
/// the run goes on, as is what changes later.
pub(super) fn inputs(config: &RunConfig) -> Result<Vec<Input>> {
    let task = &config.task;
    let data = [
        Some(&task.train),
        task.validation.as_ref(),
        task.test.as_ref(),
    ];
    let data = data.into_iter().flatten().cloned();
    let model = base::files(&config.model)?;
    let adapter = config.adapter.as_deref().map(going_on::files);
    let adapter = adapter.into_iter().flatten();
    data.chain(model)
        .chain(adapter)
        .map(|path| Input::of(&path))
        .collect()
}

/// Refuses to go on with other inputs than those that a run began with.
pub(super) fn refuse_changes(before: &[Input], now: &[Input]) -> Result<()> {
    let sha256 = |inputs: &[Input], path: &Path| {
        let input = inputs.iter().find(|input| input.path == path);
        input.map_or("none".to_owned(), |input| input.sha256.clone())
    };
    let all = before.iter().chain(now).map(|input| &input.path);
    for path in all {
        let (expected, found) = (sha256(before, path), sha256(now, path));
        if expected != found {
            let problem = format!(
                "expected the file that the run began with, of sha256 {expected}, found {found}; \
                 bring it back, or begin again in another folder"
            );
            return Err(Error::file(path, problem));
        }
    }
    Ok(())
}

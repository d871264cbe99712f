//! What can go wrong in training, as one sentence each.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use ggpo_lora::LoraError;

/// An error that names the file or field, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The training loss or a gradient is no longer a number.
    #[error(
        "step {step}: {what} is not finite; lower the learning rate or the noise and start again"
    )]
    Diverged {
        /// Optimiser step, from 0.
        step: u32,
        /// The loss, or the parameter whose gradient it was.
        what: String,
    },
    /// The run was asked to stop, and can go on.
    #[error("{}: stopped after {steps} steps; its checkpoint is written, and the same run goes on from it", folder.display())]
    Interrupted {
        /// The signal that asked for it.
        signal: u8,
        /// Steps done.
        steps: u32,
        /// The run's folder.
        folder: PathBuf,
    },
    /// About a file, a setting or the model.
    #[error(transparent)]
    Model(#[from] ggpo_model::Error),
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl From<LoraError> for Error {
    fn from(error: LoraError) -> Self {
        Error::Model(error.into())
    }
}

impl Error {
    /// An operating system error about `path`.
    pub fn io(path: impl AsRef<Path>, cause: std::io::Error) -> Self {
        ggpo_model::Error::io(path, cause).into()
    }

    /// The content of `path` is not as expected.
    pub fn file(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        ggpo_model::Error::file(path, problem).into()
    }

    /// A setting cannot be used.
    pub fn config(
        field: impl Into<String>,
        expected: impl Into<String>,
        found: impl Display,
    ) -> Self {
        ggpo_model::Error::config(field, expected, found).into()
    }
}

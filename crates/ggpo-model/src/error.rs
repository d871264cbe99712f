//! What can go wrong with a model and its files, as one sentence each.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// An error that names the file or field, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said; part of the sentence, so not a
        /// source of its own.
        cause: std::io::Error,
    },
    /// The content of a file is not as expected.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What was expected and what was found.
        problem: String,
    },
    /// A setting cannot be used.
    #[error("{field}: expected {expected}, found {found}")]
    Config {
        /// Name of the setting.
        field: String,
        /// What would be accepted.
        expected: String,
        /// What was given.
        found: String,
    },
    /// From the adapter crate.
    #[error(transparent)]
    Lora(#[from] ggpo_lora::LoraError),
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An operating system error about `path`.
    pub fn io(path: impl AsRef<Path>, cause: std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        Error::Io { path, cause }
    }

    /// The content of `path` is not as expected.
    pub fn file(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        Error::File {
            path: path.as_ref().to_path_buf(),
            problem: problem.into(),
        }
    }

    /// A setting cannot be used.
    pub fn config(
        field: impl Into<String>,
        expected: impl Into<String>,
        found: impl Display,
    ) -> Self {
        Error::Config {
            field: field.into(),
            expected: expected.into(),
            found: found.to_string(),
        }
    }
}

//! What can go wrong on the way, as one sentence each.

use std::fmt::Display;
use std::path::Path;

/// An error that says what was to be fetched, or names the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something could not be brought from elsewhere.
    #[error("{what}: {problem}")]
    Fetch {
        /// The package, repository or file.
        what: String,
        /// What happened, and what can be done.
        problem: String,
    },
    /// About a file or a setting.
    #[error(transparent)]
    Model(#[from] ggpo_model::Error),
}

/// A result of fetching.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Something could not be brought from elsewhere.
    pub(super) fn fetch(what: impl Display, problem: impl Into<String>) -> Self {
        Error::Fetch {
            what: what.to_string(),
            problem: problem.into(),
        }
    }

    /// An operating system error about `path`.
    pub(super) fn io(path: impl AsRef<Path>, cause: std::io::Error) -> Self {
        ggpo_model::Error::io(path, cause).into()
    }

    /// The content of `path` is not as expected.
    pub(super) fn file(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        ggpo_model::Error::file(path, problem).into()
    }

    /// A setting cannot be used.
    pub(super) fn config(
        field: impl Into<String>,
        expected: impl Into<String>,
        found: impl Display,
    ) -> Self {
        ggpo_model::Error::config(field, expected, found).into()
    }
}

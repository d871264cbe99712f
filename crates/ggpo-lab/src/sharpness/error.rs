//! What can go wrong, as one sentence each.

use std::fmt::Display;

/// A result of this module.
pub type Result<T> = std::result::Result<T, SharpnessError>;

/// Why nothing can be measured.
#[derive(Debug, thiserror::Error)]
pub enum SharpnessError {
    /// There is no loss without right answers.
    #[error("expected data with at least one answer, found none")]
    NoTargets,
    /// A weight in blocks has no gradient of its own.
    #[error(
        "the merged weights need dense numbers, since every weight moves by itself, but \
         {name} is quantised: ask for the factors alone, or merge the model first, which \
         makes its weights dense"
    )]
    Quantized {
        /// Name of a weight.
        name: String,
    },
    /// A model without an adapter has no factors.
    #[error("expected a model with an adapter, which has factors, found one without")]
    NoFactors,
    /// A result is not a number.
    #[error("{what} is not finite")]
    NotFinite {
        /// What was calculated.
        what: &'static str,
    },
    /// A setting cannot be used.
    #[error("{field}: expected {expected}, found {found}")]
    Setting {
        /// Name of the setting.
        field: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The tridiagonal matrix of Lanczos has no eigenvalues that can be found.
    #[error("the iteration for the eigenvalues of {steps} steps of Lanczos does not end")]
    Eigenvalues {
        /// Size of the matrix.
        steps: usize,
    },
    /// About a run, its files or its data.
    #[error(transparent)]
    Train(#[from] ggpo_train::Error),
}

impl From<ggpo_lora::LoraError> for SharpnessError {
    fn from(error: ggpo_lora::LoraError) -> Self {
        SharpnessError::Train(error.into())
    }
}

/// A setting that cannot be used.
pub(super) fn setting(
    field: &'static str,
    expected: &'static str,
    found: impl Display,
) -> SharpnessError {
    let found = found.to_string();
    SharpnessError::Setting {
        field,
        expected,
        found,
    }
}

/// The number, if it is finite.
pub(super) fn finite(what: &'static str, value: f64) -> Result<f64> {
    match value.is_finite() {
        true => Ok(value),
        false => Err(SharpnessError::NotFinite { what }),
    }
}

//! What can go wrong, as one sentence each.

use crate::sharpness::SharpnessError;

/// A result of this module.
pub type Result<T> = std::result::Result<T, AuditError>;

/// Why nothing can be audited.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// About the run, its files or its data.
    #[error(transparent)]
    Train(#[from] ggpo_train::Error),
    /// About the curvature of the loss.
    #[error(transparent)]
    Sharpness(#[from] SharpnessError),
}

impl From<ggpo_lora::LoraError> for AuditError {
    fn from(error: ggpo_lora::LoraError) -> Self {
        AuditError::Train(error.into())
    }
}

/// A setting that an audit cannot use.
pub(super) fn setting(
    field: impl Into<String>,
    expected: impl Into<String>,
    found: impl std::fmt::Display,
) -> AuditError {
    ggpo_train::Error::config(field, expected, found).into()
}

//! What can go wrong.

use std::path::PathBuf;

/// An error of this crate; its message is one sentence for the user.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoraError {
    /// A value of a configuration is out of range.
    #[error("`{field}` must be {expected}, but it is {found}")]
    Config {
        /// Name of the field.
        field: &'static str,
        /// What is allowed.
        expected: &'static str,
        /// The value given.
        found: String,
    },
    /// Parts of a method that do not go together.
    #[error("{pair} is not defined: {reason}")]
    Undefined {
        /// The parts.
        pair: String,
        /// Why.
        reason: &'static str,
    },
    /// The rank does not fit the layer.
    #[error(
        "rank {rank} does not fit a layer of {rows} x {columns}: it must be from 1 to {}",
        rows.min(columns)
    )]
    Rank {
        /// The rank r.
        rank: usize,
        /// Output dimension m.
        rows: usize,
        /// Input dimension n.
        columns: usize,
    },
    /// A matrix has no singular values or no orthonormal basis.
    #[error("the matrix of {rows} x {columns} cannot be decomposed: {reason}")]
    Decomposition {
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        columns: usize,
        /// What is wrong with it, as a clause.
        reason: &'static str,
    },
    /// A pattern is not a regular expression.
    #[error("`{pattern}` is not a valid regular expression: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No module name matches the targets.
    #[error("no module matches the targets {targets}; {available}")]
    NoTarget {
        /// The targets.
        targets: String,
        /// Some of the names there are, as a clause.
        available: String,
    },
    /// A saved state of a perturbation or of the adapters does not fit.
    #[error("the saved state of the method is not usable: {reason}")]
    State {
        /// What is wrong with it.
        reason: String,
    },
    /// A file or folder could not be read or written.
    #[error("{path}: {cause}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says; part of the sentence, so not a source of its
        /// own.
        cause: std::io::Error,
    },
    /// The folder to be written is already there.
    #[error("{path} already exists and is not overwritten", path = path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// A file is not of the format it should have.
    #[error("{path} is not a valid {format} file: {reason}", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format it should have.
        format: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A field of an adapter configuration that must be there is missing.
    #[error("{path}: the field `{field}` is missing", path = path.display())]
    MissingField {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
    },
    /// A field of an adapter configuration has a value that cannot be honoured.
    #[error("{path}: `{field}` is {value}, but only {expected} is supported", path = path.display())]
    Option {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// Its value, as JSON.
        value: String,
        /// The values that are supported.
        expected: String,
    },
    /// A tensor is missing.
    #[error("{path}: the tensor `{tensor}` is missing", path = path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
    },
    /// A tensor belongs to nothing.
    #[error("{path}: the tensor `{tensor}` is not expected: {reason}", path = path.display())]
    UnexpectedTensor {
        /// The file.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
        /// Why it does not belong there.
        reason: String,
    },
    /// A tensor has the wrong shape.
    #[error(
        "{path}: the tensor `{tensor}` should have the shape {expected}, but has {found:?}",
        path = path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
        /// The shape it should have.
        expected: String,
        /// The shape it has.
        found: Vec<usize>,
    },
    /// A tensor has a type of element that cannot be read.
    #[error(
        "{path}: the tensor `{tensor}` should hold F32, F16 or BF16 numbers, but holds {found}",
        path = path.display()
    )]
    ElementType {
        /// The file.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
        /// The type found.
        found: String,
    },
    /// A tensor holds a number that is not finite.
    #[error("{path}: the tensor `{tensor}` holds NaN or an infinity", path = path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
    },
    /// A list of the configuration lacks something that would be saved with it.
    #[error("`{name}` does not match any entry of `{field}`, which is {entries}")]
    NotListed {
        /// The list.
        field: &'static str,
        /// The module or parameter.
        name: String,
        /// The entries of the list.
        entries: String,
    },
    /// An adapter contradicts the configuration it would be saved with.
    #[error(
        "the adapter of `{module}` has {property} {found}, but its configuration gives {expected}"
    )]
    Contradiction {
        /// Name of the adapted module.
        module: String,
        /// What differs.
        property: &'static str,
        /// According to the configuration.
        expected: String,
        /// According to the adapter.
        found: String,
    },
}

impl LoraError {
    pub(crate) fn config(
        field: &'static str,
        expected: &'static str,
        found: impl std::fmt::Display,
    ) -> Self {
        LoraError::Config {
            field,
            expected,
            found: found.to_string(),
        }
    }
}

//! The weight of a linear layer or a table: a variable, or quantised and frozen.

use ggpo_tensor::{QuantizedMatrix, Scalar, Tensor, WeightView, tensor, view2};

use crate::{Tape, Var};

/// The weight of a [`linear`](super::linear) layer, m x n.
///
/// A quantised weight is frozen: no gradient of it exists. On the tape it stands
/// as a constant.
#[derive(Debug)]
pub enum Weight<'a, T: Scalar> {
    /// A variable, which gets a gradient if it needs one.
    Variable(&'a Var<T>),
    /// A matrix that stays in its blocks.
    Quantized(&'a QuantizedMatrix),
}

impl<T: Scalar> Clone for Weight<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Scalar> Copy for Weight<'_, T> {}

impl<'a, T: Scalar> From<&'a Var<T>> for Weight<'a, T> {
    fn from(variable: &'a Var<T>) -> Self {
        Weight::Variable(variable)
    }
}

impl<'a, T: Scalar> From<&'a QuantizedMatrix> for Weight<'a, T> {
    fn from(matrix: &'a QuantizedMatrix) -> Self {
        Weight::Quantized(matrix)
    }
}

impl<'a, T: Scalar> Weight<'a, T> {
    pub(super) fn view(self) -> WeightView<'a, T> {
        match self {
            Weight::Variable(variable) => view2(variable.value()).into(),
            Weight::Quantized(matrix) => matrix.into(),
        }
    }

    pub(super) fn needs_gradient(self) -> bool {
        matches!(self, Weight::Variable(variable) if variable.needs_gradient())
    }

    /// What an operation saves of it.
    pub(super) fn saved(self) -> SavedWeight<T> {
        match self {
            Weight::Variable(variable) => SavedWeight::Dense(variable.value().clone()),
            Weight::Quantized(matrix) => SavedWeight::Quantized(matrix.clone()),
        }
    }

    /// Its place among the inputs of an operation on `tape`.
    pub(super) fn input(self, tape: &Tape<T>) -> Var<T> {
        match self {
            Weight::Variable(variable) => variable.clone(),
            // A constant's value is never looked at by the tape.
            Weight::Quantized(_) => tape.constant(tensor(&[0], vec![])),
        }
    }
}

/// The value of a [`Weight`], shared with it.
pub(super) enum SavedWeight<T> {
    Dense(Tensor<T>),
    Quantized(QuantizedMatrix),
}

impl<T: Scalar> SavedWeight<T> {
    pub(super) fn view(&self) -> WeightView<'_, T> {
        match self {
            SavedWeight::Dense(weight) => view2(weight).into(),
            SavedWeight::Quantized(matrix) => matrix.into(),
        }
    }
}

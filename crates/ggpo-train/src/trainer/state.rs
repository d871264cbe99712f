//! The state of a training between two steps, as a checkpoint holds it.

use std::collections::BTreeMap;

use ggpo_lora::GgpoState;
use ggpo_tensor::{Scalar, Tensor, flat, tensor};
use serde::{Deserialize, Serialize};

use super::Real;
use crate::optimizer::AdamW;

/// The state of a [`Trainer`](super::Trainer) between two steps.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(bound(serialize = "T: Serialize", deserialize = "T: Real"))]
pub struct TrainerState<T> {
    pub(super) step: u32,
    pub(super) trained: BTreeMap<String, StoredTensor<T>>,
    pub(super) gradients: BTreeMap<String, StoredTensor<T>>,
    pub(super) optimizer: AdamW<T>,
    pub(super) perturbation: Option<GgpoState>,
}

impl<T> TrainerState<T> {
    /// Steps done.
    pub fn steps_done(&self) -> u32 {
        self.step
    }

    /// All that is trained, by name.
    pub fn trained(&self) -> &BTreeMap<String, StoredTensor<T>> {
        &self.trained
    }
}

/// A tensor in a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredTensor<T> {
    pub(super) shape: Vec<usize>,
    elements: Vec<T>,
}

impl<T: Scalar> StoredTensor<T> {
    /// A copy of a tensor.
    pub fn of(tensor: &Tensor<T>) -> Self {
        StoredTensor {
            shape: tensor.shape().to_vec(),
            elements: flat(tensor).to_vec(),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// The tensor.
    pub fn into_tensor(self) -> Tensor<T> {
        tensor(&self.shape, self.elements)
    }
}

pub(super) fn store<'a, T: Scalar>(
    tensors: impl Iterator<Item = (&'a String, &'a Tensor<T>)>,
) -> BTreeMap<String, StoredTensor<T>> {
    tensors
        .map(|(name, tensor)| (name.clone(), StoredTensor::of(tensor)))
        .collect()
}

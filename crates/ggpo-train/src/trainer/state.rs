//! The state of a training between two steps, as a checkpoint holds it.

use std::collections::BTreeMap;

use ggpo_lora::{ActingGradients, Adapter, Adapters, State};
use ggpo_tensor::{Scalar, Tensor, flat, tensor};
use serde::{Deserialize, Serialize};

use super::{LayerGradients, Real};
use crate::optimizer::AdamW;

/// The state of a [`Trainer`](super::Trainer) between two steps.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(bound(serialize = "T: Serialize", deserialize = "T: Real"))]
pub struct TrainerState<T> {
    pub(super) step: u32,
    pub(super) trained: BTreeMap<String, StoredTensor<T>>,
    pub(super) gradients: StoredGradients<T>,
    pub(super) optimizer: AdamW<T>,
    pub(super) perturbation: Option<State>,
    pub(super) regulator: Option<State>,
}

/// Gradients of the last step in a checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StoredGradients<T> {
    acting: BTreeMap<String, [StoredTensor<T>; 2]>,
    merged: BTreeMap<String, StoredTensor<T>>,
    factors: BTreeMap<String, StoredTensor<T>>,
}

impl<T: Scalar> From<&LayerGradients<T>> for StoredGradients<T> {
    fn from(gradients: &LayerGradients<T>) -> Self {
        let acting = gradients.acting.iter();
        let both = |it: &ActingGradients<T>| [&it.a, &it.b].map(StoredTensor::of);
        StoredGradients {
            acting: acting.map(|(name, it)| (name.clone(), both(it))).collect(),
            merged: store(gradients.merged.iter()),
            factors: store(gradients.factors.iter()),
        }
    }
}

impl<T: Scalar> StoredGradients<T> {
    /// Whether they are gradients of these adapters, and of tensors whose shape `shape`
    /// tells by name.
    pub(super) fn fit(
        &self,
        adapters: &Adapters<T>,
        shape: impl Fn(&str) -> Option<Vec<usize>>,
    ) -> bool {
        let of_layer = |(module, [a, b]): (&String, &[StoredTensor<T>; 2])| {
            let Some((m, n)) = adapters.get(module).map(Adapter::dim) else {
                return false;
            };
            let whole = a.is_whole() && b.is_whole();
            whole
                && matches!((&*a.shape, &*b.shape), (&[r, columns], &[rows, s])
                if r == s && (rows, columns) == (m, n))
        };
        let all = self.acting.is_empty() || self.acting.len() == adapters.len();
        let mut named = self.merged.iter().chain(&self.factors);
        let of_name = |(name, tensor): (&String, &StoredTensor<T>)| {
            tensor.is_whole() && shape(name).as_ref() == Some(&tensor.shape)
        };
        all && self.acting.iter().all(of_layer) && named.all(of_name)
    }
}

impl<T: Scalar> From<StoredGradients<T>> for LayerGradients<T> {
    fn from(stored: StoredGradients<T>) -> Self {
        let acting = stored.acting.into_iter();
        LayerGradients {
            acting: acting
                .map(|(name, both)| {
                    let [a, b] = both.map(StoredTensor::into_tensor);
                    let magnitude = None;
                    (name, ActingGradients { a, b, magnitude })
                })
                .collect(),
            merged: restored(stored.merged),
            factors: restored(stored.factors),
        }
    }
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

    /// Whether it has as many elements as its shape says, all of them finite.
    pub(super) fn is_whole(&self) -> bool {
        let count = self
            .shape
            .iter()
            .try_fold(1, |n: usize, &m| n.checked_mul(m));
        count == Some(self.elements.len()) && self.elements.iter().all(|x| x.value().is_finite())
    }

    /// The tensor.
    ///
    /// # Panics
    /// If it has another number of elements than its shape says.
    pub fn into_tensor(self) -> Tensor<T> {
        tensor(&self.shape, self.elements)
    }
}

/// The tensors of copies.
pub(super) fn restored<T: Scalar>(
    stored: BTreeMap<String, StoredTensor<T>>,
) -> BTreeMap<String, Tensor<T>> {
    let stored = stored.into_iter();
    stored.map(|(name, it)| (name, it.into_tensor())).collect()
}

/// Copies of tensors.
pub(super) fn store<'a, T: Scalar>(
    tensors: impl Iterator<Item = (&'a String, &'a Tensor<T>)>,
) -> BTreeMap<String, StoredTensor<T>> {
    tensors
        .map(|(name, tensor)| (name.clone(), StoredTensor::of(tensor)))
        .collect()
}

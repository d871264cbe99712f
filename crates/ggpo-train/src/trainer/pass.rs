//! What one micro-batch gave, and how it travels between ranks.

use std::collections::BTreeMap;

use ggpo_lora::ActingGradients;
use ggpo_model::PassGradients;
use ggpo_tensor::Scalar;
use serde::{Deserialize, Serialize};

use super::state::{StoredTensor, restored, store};

/// The loss of a micro-batch and its gradients times its share of the targets.
pub(super) struct Pass<T> {
    pub(super) loss: f64,
    pub(super) gradients: PassGradients<T>,
}

/// A [`Pass`] on its way to another rank.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredPass<T> {
    loss: f64,
    parameters: BTreeMap<String, StoredTensor<T>>,
    acting: BTreeMap<String, StoredActing<T>>,
}

/// Gradients of A, B and the magnitudes.
type StoredActing<T> = (StoredTensor<T>, StoredTensor<T>, Option<StoredTensor<T>>);

impl<T: Scalar> From<Pass<T>> for StoredPass<T> {
    fn from(pass: Pass<T>) -> Self {
        let acting = pass.gradients.acting.into_iter();
        let stored = |it: ActingGradients<T>| {
            let magnitude = it.magnitude.as_ref().map(StoredTensor::of);
            (StoredTensor::of(&it.a), StoredTensor::of(&it.b), magnitude)
        };
        StoredPass {
            loss: pass.loss,
            parameters: store(pass.gradients.parameters.iter()),
            acting: acting.map(|(name, it)| (name, stored(it))).collect(),
        }
    }
}

impl<T: Scalar> From<StoredPass<T>> for Pass<T> {
    fn from(pass: StoredPass<T>) -> Self {
        let acting = pass.acting.into_iter();
        let restore = |(a, b, magnitude): StoredActing<T>| ActingGradients {
            a: a.into_tensor(),
            b: b.into_tensor(),
            magnitude: magnitude.map(StoredTensor::into_tensor),
        };
        Pass {
            loss: pass.loss,
            gradients: PassGradients {
                parameters: restored(pass.parameters),
                acting: acting.map(|(name, it)| (name, restore(it))).collect(),
            },
        }
    }
}

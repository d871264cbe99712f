//! Named tensors: what a model is made of.

use std::collections::BTreeMap;

use ggpo_tensor::Tensor;

/// The parameters of a model by their name in the model's file.
pub type Parameters<T> = BTreeMap<String, Tensor<T>>;

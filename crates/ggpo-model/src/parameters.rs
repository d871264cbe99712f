//! Named tensors: what a model is made of.

use std::collections::{BTreeMap, btree_map};
use std::ops::{Deref, DerefMut};

use ggpo_tensor::{QuantizedMatrix, Scalar, Tensor, WeightView, view2};

/// The parameters of a model by their name in the model's file: a map of dense
/// tensors, and beside it the frozen weights that stay quantised.
///
/// A name is in one of the two. Only dense parameters can be trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters<T> {
    dense: BTreeMap<String, Tensor<T>>,
    /// Weights of linear layers, and tables, in their blocks.
    pub quantized: BTreeMap<String, QuantizedMatrix>,
}

impl<T> Parameters<T> {
    /// No parameters.
    pub fn new() -> Self {
        Parameters {
            dense: BTreeMap::new(),
            quantized: BTreeMap::new(),
        }
    }

    /// The matrix of that name, dense or quantised: m x n.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn weight(&self, name: &str) -> WeightView<'_, T>
    where
        T: Scalar,
    {
        match self.quantized.get(name) {
            Some(matrix) => matrix.into(),
            None => view2(&self.dense[name]).into(),
        }
    }

    /// Memory that all parameters take, in bytes.
    pub fn bytes(&self) -> usize {
        let dense = self.dense.values().map(|x| x.len() * size_of::<T>());
        let quantized = self.quantized.values().map(QuantizedMatrix::bytes);
        dense.sum::<usize>() + quantized.sum::<usize>()
    }
}

impl<T> Default for Parameters<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The dense parameters.
impl<T> Deref for Parameters<T> {
    type Target = BTreeMap<String, Tensor<T>>;

    fn deref(&self) -> &Self::Target {
        &self.dense
    }
}

impl<T> DerefMut for Parameters<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.dense
    }
}

impl<T> FromIterator<(String, Tensor<T>)> for Parameters<T> {
    fn from_iter<I: IntoIterator<Item = (String, Tensor<T>)>>(parameters: I) -> Self {
        Parameters {
            dense: parameters.into_iter().collect(),
            quantized: BTreeMap::new(),
        }
    }
}

impl<'a, T> IntoIterator for &'a Parameters<T> {
    type Item = (&'a String, &'a Tensor<T>);
    type IntoIter = btree_map::Iter<'a, String, Tensor<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.dense.iter()
    }
}

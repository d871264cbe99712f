//! What is reported of the parts of a method, and what is saved of them.

use std::collections::BTreeMap;

use ggpo_tensor::Scalar;
use serde::{Deserialize, Serialize};

use crate::LoraError;

/// A summary of the noise of one layer at one step; means are over its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseStatistics {
    /// Mean standard deviation of a row at this step, the schedule included.
    pub row_std: f64,
    /// The part of the noise that is due to the gradient, from 0 to 1:
    /// `sum beta ||G_i||^2 / sum ( ||W'_i||^2 + beta ||G_i||^2 )`, 0 if there is
    /// no gradient. It is a share of the variance; in the form `SdScripts`,
    /// which adds the two terms before squaring, it is the share of the
    /// standard deviation:
    /// `sum beta ||G_i||^2 / sum ( sigma sqrt(w^2 + ||(B A)_i||^2) + beta ||G_i||^2 )`.
    pub gradient_share: f64,
    /// Mean `||W'_i||` at the last refresh; in the form `SdScripts` the mean of
    /// its estimate `sqrt(w^2 + ||(B A)_i||^2)`.
    pub weight_norm: f64,
    /// Mean `||G_i||` at the last refresh, by the estimate in use.
    pub grad_norm: f64,
}

/// The state of a part of a method between two steps. Numbers of
/// `f32` are held exactly.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Named lists of vectors.
    pub vectors: BTreeMap<String, Vec<Vec<f64>>>,
    /// Summaries of the last step.
    pub statistics: Vec<NoiseStatistics>,
}

impl State {
    /// Adds vectors under a name.
    pub fn with<'a, T: Scalar>(
        mut self,
        name: &str,
        vectors: impl IntoIterator<Item = &'a [T]>,
    ) -> Self {
        let exact = |x: &[T]| x.iter().map(|x| x.value()).collect();
        let vectors = vectors.into_iter().map(exact).collect();
        self.vectors.insert(name.to_owned(), vectors);
        self
    }

    /// Takes the vectors of a name, all of finite numbers.
    ///
    /// # Errors
    /// [`LoraError::State`] if there are none of that name, or a number is not finite.
    pub fn take<T: Scalar>(&mut self, name: &str) -> Result<Vec<Vec<T>>, LoraError> {
        let error = |reason| LoraError::State { reason };
        let vectors = self
            .vectors
            .remove(name)
            .ok_or_else(|| error(format!("it has no {name}")))?;
        for (index, vector) in vectors.iter().enumerate() {
            if let Some(bad) = vector.iter().find(|x| !x.is_finite()) {
                return Err(error(format!(
                    "number {index} of its {name} has {bad} in it"
                )));
            }
        }
        let numbers = |vector: Vec<f64>| vector.into_iter().map(T::from_f64).collect();
        Ok(vectors.into_iter().map(numbers).collect())
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`LoraError::State`] if something is.
    pub fn finish(self) -> Result<(), LoraError> {
        match self.vectors.keys().next() {
            None => Ok(()),
            Some(name) => Err(LoraError::State {
                reason: format!("its {name} belong to another method"),
            }),
        }
    }
}

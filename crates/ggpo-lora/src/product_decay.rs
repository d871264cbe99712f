//! Decay of the update: a penalty on the product of the factors, which weight decay of
//! the factors is not.

use std::collections::BTreeMap;

use ggpo_tensor::{Scalar, Tensor, matmul, matmul_nt, matmul_tn, view2};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::adapter::lora::{A, B};
use crate::adapter::{Adapters, Regulator, parameter_name};
use crate::{LoraError, State};

/// The options of the decay of the update.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProductDecayConfig {
    /// The c of the penalty `c ||s B A||_F^2`, summed over the layers.
    pub strength: f64,
}

impl Default for ProductDecayConfig {
    fn default() -> Self {
        ProductDecayConfig { strength: 1e-3 }
    }
}

impl ProductDecayConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`LoraError::Config`] if the strength is not a finite number of at least 0.
    pub fn validate(&self) -> Result<(), LoraError> {
        if self.strength.is_finite() && self.strength >= 0.0 {
            return Ok(());
        }
        let expected = "a finite number of at least 0";
        Err(LoraError::config(
            "product_decay.strength",
            expected,
            self.strength,
        ))
    }
}

/// `c ||s B A||_F^2 = c s^2 <B^T B, A A^T>` of every layer. It has no state.
impl<T: Scalar> Regulator<T> for ProductDecayConfig {
    fn penalty(&self, adapters: &Adapters<T>, gradients: &mut BTreeMap<String, Tensor<T>>) -> f64 {
        if self.strength == 0.0 {
            return 0.0;
        }
        let mut penalty = 0.0;
        for (module, adapter) in adapters {
            let (Some(a), Some(b)) = (adapter.factor(A), adapter.factor(B)) else {
                continue;
            };
            let (a, b) = (view2(a), view2(b));
            // Both r x r.
            let (inner_a, inner_b) = (matmul_nt(a, a), matmul_tn(b, b));
            let square = inner_a
                .iter()
                .zip(&inner_b)
                .fold(T::ZERO, |sum, (&x, &y)| sum + x * y);
            let weight = self.strength * adapter.scaling().value().powi(2);
            penalty += weight * square.value();
            let mut add = |factor: &str, mut slope: ndarray::Array2<T>| {
                let scale = T::from_f64(2.0 * weight);
                slope.map_inplace(|x| *x *= scale);
                if let Some(gradient) = gradients.get_mut(&parameter_name(module, factor)) {
                    gradient.zip_mut_with(&slope.into_dyn(), |g, &x| *g += x);
                }
            };
            add(A, matmul(inner_b.view(), a));
            add(B, matmul(b, inner_a.view()));
        }
        penalty
    }

    fn after_step(&mut self, _: u32, _: &mut Adapters<T>, _: &BTreeMap<String, Tensor<T>>) {}

    fn state(&self) -> State {
        State::default()
    }

    fn restore(&mut self, state: State) -> Result<(), LoraError> {
        state.finish()
    }

    fn fits(&self, _: &Adapters<T>) -> bool {
        true
    }
}

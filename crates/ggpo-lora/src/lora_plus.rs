//! LoRA+ (Hayou and others 2024): the learning rate of B is lambda times that of A.
//!
//! As PEFT has it, trained vectors (a bias, DoRA's magnitudes) get the factor too, and
//! other matrices do not.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::LoraError;
use crate::adapter::{adalora, lora};

/// The options of LoRA+.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoraPlusConfig {
    /// Factor on the learning rate of B.
    pub lambda: f64,
}

impl Default for LoraPlusConfig {
    fn default() -> Self {
        LoraPlusConfig { lambda: 16.0 }
    }
}

impl LoraPlusConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`LoraError::Config`] if lambda is not a finite number above 0.
    pub fn validate(&self) -> Result<(), LoraError> {
        if self.lambda.is_finite() && self.lambda > 0.0 {
            return Ok(());
        }
        let expected = "a finite number above 0";
        Err(LoraError::config("lora_plus.lambda", expected, self.lambda))
    }

    /// The factor on the learning rate of a trained parameter.
    pub fn factor(&self, parameter: &str, shape: &[usize]) -> f64 {
        let is = |factor: &str| {
            let module = parameter.strip_suffix(factor);
            module.is_some_and(|module| module.ends_with('.'))
        };
        if is(lora::B) || is(adalora::P) || shape.len() == 1 {
            self.lambda
        } else {
            1.0
        }
    }
}

//! The options of LoRA.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{LoraError, Targets};

/// How the product B A is scaled before it is added to W.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ScalingRule {
    /// `s = alpha / r`.
    #[default]
    Lora,
    /// `s = alpha / sqrt(r)`.
    RsLora,
}

impl ScalingRule {
    /// The scalar s for the given alpha and rank r.
    pub fn factor(self, alpha: f64, rank: usize) -> f64 {
        match self {
            ScalingRule::Lora => alpha / rank as f64,
            ScalingRule::RsLora => alpha / (rank as f64).sqrt(),
        }
    }
}

/// The options of LoRA: which layers get an adapter, and of which size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank r: rows of A and columns of B.
    pub rank: usize,
    /// Numerator of the scaling.
    pub alpha: f64,
    /// Rule that makes the scaling s from alpha and the rank r.
    pub scaling: ScalingRule,
    /// Probability that an element of the adapter's input is dropped in training.
    pub dropout: f32,
    /// Modules that get an adapter.
    #[serde(skip_serializing_if = "Targets::is_all_linear")]
    #[schemars(!skip_serializing_if)]
    pub targets: Targets,
}

impl Default for LoraConfig {
    fn default() -> Self {
        LoraConfig {
            rank: 8,
            alpha: 16.0,
            scaling: ScalingRule::Lora,
            dropout: 0.0,
            targets: Targets::default(),
        }
    }
}

impl LoraConfig {
    /// Checks every field that can be checked without a model.
    ///
    /// # Errors
    /// [`LoraError::Config`] if rank is 0, alpha is not a finite number above
    /// 0 or makes a scaling beyond single precision, dropout is not in [0, 1), or
    /// targets is empty.
    pub fn validate(&self) -> Result<(), LoraError> {
        if self.rank == 0 {
            return Err(LoraError::config("rank", "at least 1", self.rank));
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            let expected = "a finite number above 0";
            return Err(LoraError::config("alpha", expected, self.alpha));
        }
        if !is_scaling(self.factor()) {
            let expected = "a number whose scaling s has a form in single precision";
            return Err(LoraError::config("alpha", expected, self.alpha));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            let expected = "at least 0 and below 1";
            return Err(LoraError::config("dropout", expected, self.dropout));
        }
        if self.targets.is_empty() {
            let expected = "a list of module names or a pattern";
            return Err(LoraError::config("targets", expected, "empty"));
        }
        Ok(())
    }

    /// The scalar s: `alpha / r` (LoRA) or `alpha / sqrt(r)` (rsLoRA).
    pub fn factor(&self) -> f64 {
        self.scaling.factor(self.alpha, self.rank)
    }
}

/// Whether a scaling is one in single precision, neither infinite nor 0 there.
pub(crate) fn is_scaling(s: f64) -> bool {
    (s as f32).is_normal() && s > 0.0
}

//! The options of any perturbation, and the one place that makes one of them.

use ggpo_tensor::Scalar;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ggpo::{Ggpo, GgpoConfig};
use super::{
    EfmLora, EfmLoraConfig, Mgpo, MgpoConfig, Msam, MsamConfig, Perturbation, Sam, SamConfig,
};
use crate::LoraError;

/// The options of a perturbation, under its name in `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PerturbationConfig {
    /// Noise on the rows of the merged weights: LoRA-GGPO.
    Ggpo(GgpoConfig),
    /// A move up the slope, for which a step has a second pass: SAM.
    Sam(SamConfig),
    /// A move along the momentum: LoRA-MGPO.
    Mgpo(MgpoConfig),
    /// A move down the optimiser's momentum: momentum SAM.
    Msam(MsamConfig),
    /// A move of B along the estimated gradient: EFlat-LoRA.
    Efm(EfmLoraConfig),
}

impl PerturbationConfig {
    /// The perturbation of a run of `total_steps` optimiser steps.
    ///
    /// # Errors
    /// [`LoraError::Config`] if an option is out of range.
    pub fn build<T: Scalar>(
        self,
        seed: u64,
        total_steps: u32,
    ) -> Result<Box<dyn Perturbation<T>>, LoraError> {
        Ok(match self {
            PerturbationConfig::Ggpo(config) => Box::new(Ggpo::new(config, seed, total_steps)?),
            PerturbationConfig::Sam(config) => Box::new(Sam::new(config)?),
            PerturbationConfig::Mgpo(config) => Box::new(Mgpo::new(config)?),
            PerturbationConfig::Msam(config) => Box::new(Msam::new(config)?),
            PerturbationConfig::Efm(config) => Box::new(EfmLora::new(config)?),
        })
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`LoraError::Config`] if an option is out of range.
    pub fn validate(&self) -> Result<(), LoraError> {
        // Any run is as good as another here; one of a step has all there is to check.
        self.build::<f32>(0, 1).map(|_| ())
    }
}

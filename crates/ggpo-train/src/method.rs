//! What is trained, and which noise acts: the settings that make a method.

use ggpo_lora::{Adapter, GgpoConfig, LoraConfig, ScalingRule, Targets};
use ggpo_model::{Adapters, Model, Parameters};
use ggpo_tensor::Scalar;
use ggpo_tensor::random::{Purpose, Stream};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adaptation {
    /// Every weight.
    Full,
    /// Low-rank adapters of the linear layers, and the new head.
    Lora,
}

/// A fine-tuning method: what is trained and how its weights are perturbed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodConfig {
    /// What is trained.
    pub adaptation: Adaptation,
    /// Shape of the adapters; unused by full fine-tuning.
    #[serde(default)]
    pub lora: LoraSettings,
    /// Noise on the merged weights of the adapted layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perturbation: Option<GgpoConfig>,
}

/// Shape of the adapters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraSettings {
    /// Rank r.
    pub rank: usize,
    /// Numerator of the scaling.
    pub alpha: f64,
    /// Denominator of the scaling: r, or its root.
    pub scaling: ScalingRule,
    /// Dropout on the input of the low-rank path.
    pub dropout: f32,
    /// Modules to adapt; without it, all linear layers of the blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<Targets>,
}

impl Default for LoraSettings {
    fn default() -> Self {
        LoraSettings {
            rank: 8,
            alpha: 16.0,
            scaling: ScalingRule::Lora,
            dropout: 0.0,
            targets: None,
        }
    }
}

impl MethodConfig {
    /// Checks everything that does not need a model.
    ///
    /// # Errors
    /// If a setting cannot be used.
    pub fn validate(&self) -> Result<()> {
        if let Some(perturbation) = &self.perturbation {
            if self.adaptation == Adaptation::Full {
                return Err(Error::config(
                    "method.perturbation",
                    "adaptation = \"lora\", whose layers it perturbs",
                    "adaptation = \"full\"",
                ));
            }
            perturbation.validate()?;
        }
        Ok(())
    }

    /// New adapters for a model; none for full fine-tuning.
    ///
    /// # Errors
    /// If the targets match nothing or the rank does not fit a layer.
    pub fn new_adapters<T: Scalar>(
        &self,
        model: &Model,
        parameters: &Parameters<T>,
        seed: u64,
    ) -> Result<Adapters<T>> {
        if self.adaptation == Adaptation::Full {
            return Ok(Adapters::new());
        }
        let linears = model.block_linears();
        let targets = match &self.lora.targets {
            Some(targets) => targets.clone(),
            None => Targets::Names(linears.clone()),
        };
        let mut modules = targets.select(linears.iter().map(String::as_str))?;
        modules.sort_unstable();
        let config = LoraConfig {
            rank: self.lora.rank,
            alpha: self.lora.alpha,
            scaling: self.lora.scaling,
            dropout: self.lora.dropout,
            targets,
        };
        let mut adapters = Adapters::new();
        for (layer, module) in modules.into_iter().enumerate() {
            let (m, n) = parameters.weight(&format!("{module}.weight")).dim();
            // Step 1 of the initial stream: step 0 starts parameters.
            let stream = Stream::new(seed, Purpose::Init, 1, layer as u32);
            adapters.insert(module, Adapter::new(&config, m, n, stream)?);
        }
        Ok(adapters)
    }
}

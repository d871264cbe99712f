//! A method: an adapter form, a way to start it, a perturbation, learning rates.
//!
//! [`MethodConfig`] holds the settings of all parts and is the one place that makes
//! the parts from them; [`METHODS`] names the combinations that papers have names for;
//! [`refusal`] says which combinations are not defined, and why.

mod describe;
mod pairs;
mod table;
mod written;

use ggpo_tensor::random::Stream;
use ggpo_tensor::{Scalar, WeightView};
use ndarray::ArrayView2;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use describe::Guidance;
pub use pairs::{acting_weight, refusal};
pub use table::{METHODS, Method, method};

use crate::LoraError;
use crate::adapter::adalora::allocator::RankAllocator;
use crate::adapter::adalora::{AdaLora, AdaLoraConfig};
use crate::adapter::dora::Dora;
use crate::adapter::lora::Lora;
use crate::adapter::{Adapter, Base, LoraConfig, Regulator};
use crate::init::{Factors, LoraGaConfig, lora_ga, olora, pissa};
use crate::lora_plus::LoraPlusConfig;
use crate::perturbation::{Perturbation, PerturbationConfig};
use crate::product_decay::ProductDecayConfig;

/// What is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AdapterKind {
    /// Every weight.
    Full,
    /// LoRA: a product of two thin matrices beside every weight.
    #[default]
    Lora,
    /// DoRA: LoRA for the direction of a row, and its magnitude.
    Dora,
    /// AdaLoRA: triples, of which the least important are given up.
    Adalora,
}

/// How the factors start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum InitConfig {
    /// A random, B zero.
    #[default]
    Kaiming,
    /// The largest singular triples of W.
    Pissa,
    /// Singular vectors of the gradient of W.
    LoraGa(LoraGaConfig),
    /// The first columns of Q and rows of R of W = Q R.
    Olora,
}

/// The settings of a method.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(default, !try_from)]
#[serde(try_from = "written::Written")]
pub struct MethodConfig {
    /// What is trained: every weight, or adapters beside the frozen ones.
    pub adapter: AdapterKind,
    /// Shape of the adapters; unused by full fine-tuning.
    pub lora: LoraConfig,
    /// The budget of AdaLoRA; used by it alone.
    #[serde(skip_serializing_if = "is_default")]
    pub adalora: AdaLoraConfig,
    /// How the factors start.
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(!skip_serializing_if)]
    pub init: InitConfig,
    /// At which point near the weights gradients are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perturbation: Option<PerturbationConfig>,
    /// LoRA+: learning rates of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_plus: Option<LoraPlusConfig>,
    /// A penalty on the update `s B A`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product_decay: Option<ProductDecayConfig>,
}

fn is_default<C: Default + PartialEq>(config: &C) -> bool {
    *config == C::default()
}

impl MethodConfig {
    /// Checks everything that does not need a model or the length of a run.
    ///
    /// # Errors
    /// [`LoraError::Config`] if a setting is out of range, [`LoraError::Undefined`] if
    /// the parts do not go together.
    pub fn validate(&self) -> Result<(), LoraError> {
        if self.adapter != AdapterKind::Full {
            self.lora.validate()?;
        }
        if self.adapter == AdapterKind::Adalora {
            self.adalora.validate(self.lora.rank)?;
        }
        if let InitConfig::LoraGa(config) = &self.init {
            config.validate()?;
        }
        if let Some(perturbation) = &self.perturbation {
            perturbation.validate()?;
        }
        if let Some(lora_plus) = &self.lora_plus {
            lora_plus.validate()?;
        }
        if let Some(decay) = &self.product_decay {
            decay.validate()?;
        }
        refusal(self).map_or(Ok(()), Err)
    }

    /// Whether only adapters, and a new head, are trained.
    pub fn has_adapters(&self) -> bool {
        self.adapter != AdapterKind::Full
    }

    /// Rows of training data on whose gradient the start is made, if it is.
    pub fn gradient_rows(&self) -> Option<usize> {
        match &self.init {
            InitConfig::LoraGa(config) => Some(config.rows),
            _ => None,
        }
    }

    /// A new adapter of a layer with a weight of m x n. `gradient` is that of the
    /// weight (m x n), for the starts that [need one](Self::gradient_rows); `stream`
    /// should be one of its own for every layer.
    ///
    /// # Errors
    /// [`LoraError::Rank`] if the rank does not fit the layer, and as the start says.
    ///
    /// # Panics
    /// If all weights are trained, or the gradient that the start needs is missing.
    pub fn new_adapter<T: Scalar>(
        &self,
        weight: WeightView<'_, T>,
        gradient: Option<ArrayView2<'_, T>>,
        stream: Stream,
    ) -> Result<Adapter<T>, LoraError> {
        let (m, n) = weight.dim();
        let (rank, scaling) = (self.lora.rank, self.lora.factor());
        let started = match &self.init {
            InitConfig::Kaiming => None,
            InitConfig::Pissa => Some(pissa(weight.reborrow(), rank, scaling)?),
            InitConfig::Olora => Some(olora(weight.reborrow(), rank)?),
            InitConfig::LoraGa(config) => {
                let gradient = gradient.expect("LoRA-GA starts from a gradient");
                Some(lora_ga(gradient, rank, config)?)
            }
        };
        let constant = started.as_ref().map(|Factors { a, b }| {
            let up = b.map(|&b| T::from_f64(-scaling) * b);
            [up, a.clone()].map(|part| part.into_dyn().into_shared())
        });
        let lora = || match &started {
            None => Lora::kaiming(&self.lora, m, n, stream),
            Some(Factors { a, b }) => Ok(Lora {
                a: a.clone().into_dyn().into_shared(),
                b: b.clone().into_dyn().into_shared(),
                scaling: T::from_f64(scaling),
            }),
        };
        let base = || Base {
            weight: weight.reborrow(),
            constant: constant.as_ref(),
        };
        let adapter = match self.adapter {
            AdapterKind::Full => panic!("full fine-tuning has no adapters"),
            AdapterKind::Lora => Adapter::new(lora()?),
            AdapterKind::Dora => Adapter::new(Dora::new(lora()?, base())),
            AdapterKind::Adalora => {
                Adapter::new(AdaLora::normal(&self.adalora, &self.lora, m, n, stream)?)
            }
        };
        let adapter = adapter.with_dropout(self.lora.dropout);
        Ok(match constant {
            Some(constant) => adapter.on_base(constant),
            None => adapter,
        })
    }

    /// What goes with the adapters in a run of `total_steps` steps, if anything does.
    ///
    /// # Errors
    /// [`LoraError::Config`] if a setting does not fit the length of the run.
    pub fn regulator<T: Scalar>(
        &self,
        total_steps: u32,
    ) -> Result<Option<Box<dyn Regulator<T>>>, LoraError> {
        Ok(match self.adapter {
            AdapterKind::Adalora => Some(Box::new(RankAllocator::new(
                self.adalora,
                self.lora.rank,
                total_steps,
            )?)),
            _ => {
                let boxed = |decay| Box::new(decay) as Box<dyn Regulator<T>>;
                self.product_decay.map(boxed)
            }
        })
    }

    /// The perturbation of a run of `total_steps` steps, if there is one.
    ///
    /// # Errors
    /// [`LoraError::Config`] if an option is out of range.
    pub fn perturbation<T: Scalar>(
        &self,
        seed: u64,
        total_steps: u32,
    ) -> Result<Option<Box<dyn Perturbation<T>>>, LoraError> {
        let build = |config: PerturbationConfig| config.build(seed, total_steps);
        self.perturbation.map(build).transpose()
    }

    /// The factor on the learning rate of a trained parameter.
    pub fn learning_rate_factor(&self, parameter: &str, shape: &[usize]) -> f64 {
        let factor = |config: LoraPlusConfig| config.factor(parameter, shape);
        self.lora_plus.map_or(1.0, factor)
    }
}

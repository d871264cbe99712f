//! Adapters that were trained on a base other than W, as PEFT saves them.
//!
//! PiSSA and OLoRA take `s B0 A0` out of W, where A0 and B0 come from W alone. PEFT
//! saves A and B, and `init_lora_weights` says where they started. To load them it
//! makes A0 and B0 from W again, which is what [`PeftAdapter::on_bases`] does; the signs
//! of singular vectors are free, but they cancel in the product.

use ggpo_tensor::{Scalar, WeightView};
use serde_json::Value;

use super::PeftAdapter;
use crate::{Factors, LoraError, olora, pissa};

/// The field that says how the factors started.
pub(super) const FIELD: &str = "init_lora_weights";

/// Starts that leave the base weight alone.
const HARMLESS: [&str; 2] = ["gaussian", "orthogonal"];
/// Starts that change the base weight by what W alone does not tell: random numbers, or
/// gradients or activations of some data.
const UNREPEATABLE: [&str; 3] = ["pissa_niter_", "lora_ga", "corda"];

/// A start that changes the base weight, and is made of it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// PiSSA, with all singular values.
    Pissa,
    /// OLoRA.
    Olora,
}

impl Start {
    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            Start::Pissa => "PiSSA",
            Start::Olora => "OLoRA",
        }
    }

    /// The start that a value of `init_lora_weights` means; none if the base weight
    /// stays as it is.
    ///
    /// # Errors
    /// What would be supported, in words.
    pub(super) fn of(value: Option<&Value>) -> Result<Option<Self>, &'static str> {
        let text = match value {
            None | Some(Value::Null | Value::Bool(_)) => return Ok(None),
            Some(Value::String(text)) => text.as_str(),
            Some(_) => return Err(SUPPORTED),
        };
        match text {
            "pissa" => Ok(Some(Start::Pissa)),
            // PEFT takes capital letters here, and only here.
            olora if olora.eq_ignore_ascii_case("olora") => Ok(Some(Start::Olora)),
            harmless if HARMLESS.contains(&harmless) => Ok(None),
            text if UNREPEATABLE.iter().any(|start| text.starts_with(start)) => Err(CONVERT),
            _ => Err(SUPPORTED),
        }
    }

    fn factors<T: Scalar>(
        self,
        weight: WeightView<'_, T>,
        rank: usize,
        scaling: f64,
    ) -> Result<Factors<T>, LoraError> {
        match self {
            Start::Pissa => pissa(weight, rank, scaling),
            Start::Olora => olora(weight, rank),
        }
    }
}

const SUPPORTED: &str = "a start that leaves the base weights as they are or is made of them alone";
const CONVERT: &str = "a start that can be made again from the base weights alone (let PEFT \
     convert this one when it saves it, with path_initial_model_for_weight_conversion)";

impl<T: Scalar> PeftAdapter<T> {
    /// Gives the adapters the base that they were trained on, `W - s B0 A0`, if the
    /// configuration names a [start](super::PeftConfig::start) that changes it. `weight`
    /// gives W by the name of the module; W itself stays as it is.
    ///
    /// Without this such an adapter acts on W, which is not what it was trained for.
    ///
    /// # Errors
    /// [`LoraError::Rank`] or [`LoraError::Decomposition`] if the start cannot be made
    /// of a weight.
    pub fn on_bases<'a>(
        mut self,
        weight: impl Fn(&str) -> WeightView<'a, T>,
    ) -> Result<Self, LoraError>
    where
        T: 'a,
    {
        let Some(start) = self.config.start() else {
            return Ok(self);
        };
        for (module, adapter) in &mut self.adapters {
            let scaling = adapter.scaling();
            let Factors { a, b } =
                start.factors(weight(module), adapter.rank(), scaling.value())?;
            let up = b.map(|&b| T::ZERO - scaling * b);
            let constant = [up, a].map(|part| part.into_dyn().into_shared());
            *adapter = adapter.clone().on_base(constant);
        }
        Ok(self)
    }
}

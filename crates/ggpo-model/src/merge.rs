//! Adapters merged into the weights of their base, each with a weight of its own.
//!
//! What adapter i makes of a weight W is `W_i`; together, with the weights `c_i`, they make
//!
//! ```text
//! W + c_1 (W_1 - W) + c_2 (W_2 - W) + ...
//! ```
//!
//! which for LoRA is `W + c_1 s_1 B_1 A_1 + c_2 s_2 B_2 A_2 + ...`. One adapter with the
//! weight 1 gives what it makes of W.

use std::collections::BTreeSet;

use ggpo_tensor::{BlockFormat, Tensor, view2};

use crate::gguf::{Weight, Weights};
use crate::model::Adapters;
use crate::parameters::Parameters;

/// The parameters of a base with adapters merged into them, each made when it is asked for.
pub struct Merged<'a> {
    parameters: &'a Parameters<f32>,
    adapters: Vec<(f32, &'a Adapters<f32>)>,
}

impl<'a> Merged<'a> {
    /// Adapters of the model whose parameters these are, each with its weight.
    pub fn new(
        parameters: &'a Parameters<f32>,
        adapters: impl IntoIterator<Item = (f32, &'a Adapters<f32>)>,
    ) -> Self {
        Merged {
            parameters,
            adapters: adapters.into_iter().collect(),
        }
    }

    /// The layers that an adapter changes.
    pub fn layers(&self) -> BTreeSet<&'a str> {
        let modules = self
            .adapters
            .iter()
            .flat_map(|(_, adapters)| adapters.keys());
        modules.map(String::as_str).collect()
    }

    /// All parameters, all of them dense.
    ///
    /// # Panics
    /// If an adapter is of a layer that the model does not have.
    pub fn all(&self) -> Parameters<f32> {
        let names = self
            .parameters
            .keys()
            .chain(self.parameters.quantized.keys());
        let dense = |name: &String| (name.clone(), self.dense(name));
        names.map(dense).collect()
    }

    /// A parameter as numbers.
    fn dense(&self, name: &str) -> Tensor<f32> {
        let base = match self.parameters.quantized.get(name) {
            Some(matrix) => matrix.dequantize().into_dyn().into_shared(),
            None => self.parameters[name].clone(),
        };
        let mut acting = self.adapters_of(name);
        let Some((weight, adapter)) = acting.next() else {
            return base;
        };
        let first = adapter.merge(view2(&base));
        if weight == 1.0 && acting.next().is_none() {
            return first.into_dyn().into_shared();
        }
        let mut merged = base.to_owned();
        for (weight, adapter) in self.adapters_of(name) {
            let alone = adapter.merge(view2(&base)).into_dyn();
            merged.zip_mut_with(&(alone - &base), |merged, change| {
                *merged += weight * change
            });
        }
        merged.into_shared()
    }

    /// The adapters of the layer with a weight of that name.
    fn adapters_of(&self, name: &str) -> impl Iterator<Item = (f32, &'a ggpo_lora::Adapter<f32>)> {
        let module = name.strip_suffix(".weight").unwrap_or_default().to_owned();
        let adapters = self.adapters.iter();
        adapters.filter_map(move |(weight, adapters)| Some((*weight, adapters.get(&module)?)))
    }
}

impl Weights for Merged<'_> {
    fn format(&self, name: &str) -> Option<BlockFormat> {
        let matrix = self.parameters.quantized.get(name)?;
        let is_alone = self.adapters_of(name).next().is_none();
        is_alone.then(|| matrix.format())
    }

    fn weight(&self, name: &str) -> Weight {
        match self.parameters.quantized.get(name) {
            Some(matrix) if self.adapters_of(name).next().is_none() => {
                Weight::Blocks(matrix.clone())
            }
            _ => Weight::Dense(self.dense(name)),
        }
    }
}

//! A method put on a model: what is trained of it.

use std::collections::{BTreeMap, BTreeSet};

use ggpo_autograd::Tape;
use ggpo_lora::{Adapters, parameter_name};
use ggpo_model::batch::Batch;
use ggpo_model::{Graph, Model, Parameters, is_in};
use ggpo_tensor::parallel::in_pool;
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{Scalar, Tensor, view2};

pub use ggpo_lora::method::{AdapterKind, MethodConfig};

use crate::trainer::Real;
use crate::{Error, Result};

/// A model, and what is trained of it.
#[derive(Debug, Clone)]
pub struct Trainable<T: Scalar> {
    /// The model.
    pub model: Model,
    /// Its parameters.
    pub parameters: Parameters<T>,
    /// Adapters, all of which are trained; none for full fine-tuning.
    pub adapters: Adapters<T>,
    /// Names of the model's own parameters that are trained.
    pub trained: BTreeSet<String>,
}

impl<T: Real> Trainable<T> {
    /// A model at the start of a method: everything is trained, or new adapters of
    /// the chosen linear layers of the blocks and the head.
    ///
    /// `batch` gives the first rows of training data, for a method that starts from
    /// their gradient; it is not asked otherwise.
    ///
    /// # Errors
    /// If a setting cannot be used, the targets match nothing, the rank does not fit a
    /// layer, or a base in quantised blocks is to be trained whole.
    pub fn new(
        method: &MethodConfig,
        model: Model,
        parameters: Parameters<T>,
        seed: u64,
        batch: impl FnOnce(usize) -> Batch,
    ) -> Result<Self> {
        method.validate()?;
        if !method.has_adapters() {
            if !parameters.quantized.is_empty() {
                let expected = "lora for a base in quantised blocks, which stay frozen";
                return Err(Error::config("method.adapter", expected, "full"));
            }
            return Ok(Trainable {
                trained: parameters.keys().cloned().collect(),
                adapters: Adapters::new(),
                model,
                parameters,
            });
        }
        let linears = model.block_linears();
        let targets = &method.lora.targets;
        let mut modules = targets.select(linears.iter().map(String::as_str))?;
        modules.sort_unstable();
        let gradients = match method.gradient_rows() {
            None => BTreeMap::new(),
            Some(rows) => weight_gradients(&model, &parameters, &modules, &batch(rows)),
        };
        let mut adapters = Adapters::new();
        for (layer, module) in modules.into_iter().enumerate() {
            let name = parameter_name(&module, "weight");
            // Step 1 of the initial stream: step 0 starts parameters.
            let stream = Stream::new(seed, Purpose::Init, 1, layer as u32);
            let gradient = gradients.get(&name).map(view2);
            let adapter = method.new_adapter(parameters.weight(&name), gradient, stream)?;
            adapters.insert(module, adapter);
        }
        let heads = model.head_modules();
        let names = parameters.keys().filter(|name| is_in(name, &heads));
        Ok(Trainable {
            trained: names.cloned().collect(),
            model,
            adapters,
            parameters,
        })
    }
}

/// Gradients of the weights of modules on one batch, by the names of the weights.
///
/// Quantised weights are made into numbers for it, which takes the memory that they
/// save.
fn weight_gradients<T: Real>(
    model: &Model,
    parameters: &Parameters<T>,
    modules: &[String],
    batch: &Batch,
) -> BTreeMap<String, Tensor<T>> {
    let dense = dequantized(parameters);
    let none = Adapters::new();
    let weights = modules
        .iter()
        .map(|module| parameter_name(module, "weight"));
    in_pool(|| {
        let graph = Graph::for_evaluation(Tape::new(), &dense, &none).training(weights);
        let loss = model.loss(&graph, batch);
        graph.gradients(&loss, T::ONE).parameters
    })
}

/// The same parameters, all dense.
fn dequantized<T: Scalar>(parameters: &Parameters<T>) -> Parameters<T> {
    let mut dense = parameters.clone();
    for (name, matrix) in std::mem::take(&mut dense.quantized) {
        dense.insert(name, matrix.dequantize().into_dyn().into_shared());
    }
    dense
}

//! A family's folder: model, adapter, and the batch of its case.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ggpo_autograd::Tape;
use ggpo_lora::peft::PeftAdapter;
use ggpo_lora::{ActingGradients, parameter_name};
use ggpo_model::batch::Batch;
use ggpo_model::weights::load;
use ggpo_model::{
    ActingWeights, Adapters, ConfigJson, Graph, LayerPerturbation, Model, Number, Parameters,
};
use ggpo_tensor::{RowPerturbation, Scalar, Tensor, flat, tensor};
use ggpo_train::trainer::{LayerGradients, Layers};
use ggpo_train::{Error, Result};

use super::batch::take_batch;
use super::reference::{Modules, Reference};

/// A model with its adapter and a batch.
#[derive(Debug)]
pub(super) struct Family<T> {
    /// Name of the folder.
    pub(super) name: String,
    pub(super) model: Model,
    /// The parameters of the base model.
    pub(super) parameters: Parameters<T>,
    pub(super) adapters: Adapters<T>,
    /// The parameters with those that were trained beside the adapter.
    pub(super) adapted: Parameters<T>,
    /// Names of the parameters that were trained beside the adapter.
    pub(super) saved: Vec<String>,
    pub(super) batch: Batch,
}

/// What one forward and backward pass gives.
pub(super) struct Pass<T> {
    /// Logits: batch x outputs, or batch x time x vocabulary.
    pub(super) logits: Tensor<T>,
    /// Mean loss, without axes.
    pub(super) loss: Tensor<T>,
    /// Gradients of all that is trained, by name.
    pub(super) gradients: BTreeMap<String, Tensor<T>>,
    /// Gradients of what acts in the adapted layers, by module.
    pub(super) acting: BTreeMap<String, ActingGradients<T>>,
}

/// A noise for every adapted module, in their order.
pub(super) type Noise<T> = Vec<Option<Arc<dyn RowPerturbation<T>>>>;

impl<T: Number> Family<T> {
    /// Reads a folder, and takes the batch out of its case.
    pub(super) fn read(name: &str, folder: &Path, case: &mut Reference) -> Result<Self> {
        let model_folder = folder.join("model");
        let model = Model::open(&model_folder)?;
        let loaded = load::<T>(&model_folder, &model)?;
        if let Some(missing) = loaded.missing.first() {
            let problem = format!("expected a tensor named {}, found none", missing.name);
            return Err(Error::file(model_folder.join("model.safetensors"), problem));
        }
        let adapter_folder = folder.join("adapter");
        let adapter = PeftAdapter::<T>::read(&adapter_folder)?;
        let misfit =
            |problem| Error::file(adapter_folder.join("adapter_model.safetensors"), problem);
        let mut adapted = loaded.parameters.clone();
        let saved = adapter.saved_modules.keys().cloned().collect();
        for (name, value) in adapter.saved_modules {
            match adapted.get_mut(&name) {
                Some(slot) if slot.shape() == value.shape() => *slot = value,
                _ => {
                    return Err(misfit(format!(
                        "{name}: the model has no such parameter of shape {:?}",
                        value.shape()
                    )));
                }
            }
        }
        for (module, adapter) in &adapter.adapters {
            check_fit(&loaded.parameters, module, adapter.dim()).map_err(misfit)?;
        }
        Ok(Family {
            name: name.to_owned(),
            batch: take_batch(case, &model, &ConfigJson::read(&model_folder)?)?,
            model,
            parameters: loaded.parameters,
            adapters: without_dropout(adapter.adapters),
            adapted,
            saved,
        })
    }

    /// The model without its adapter.
    pub(super) fn base_pass(&self) -> Result<Pass<T>> {
        self.pass(&self.parameters, &Adapters::new(), Vec::new(), Vec::new())
    }

    /// The model with its adapter, under noise; gradients are those of the
    /// adapter, the saved modules, and what is named in `also`.
    pub(super) fn adapted_pass(&self, noise: Noise<T>, also: Vec<String>) -> Result<Pass<T>> {
        let trained = [&self.saved[..], &also].concat();
        self.pass(&self.adapted, &self.adapters, noise, trained)
    }

    /// The model with any parameters and adapters. No noise at all may be
    /// given as an empty list.
    pub(super) fn pass(
        &self,
        parameters: &Parameters<T>,
        adapters: &Adapters<T>,
        mut noise: Noise<T>,
        trained: Vec<String>,
    ) -> Result<Pass<T>> {
        noise.resize(adapters.len(), None);
        let graph = || {
            let perturbed = noise.iter().cloned().map(|noise| LayerPerturbation {
                noise,
                low_rank: None,
            });
            Graph::for_evaluation(Tape::new(), parameters, adapters)
                .training(trained.iter().cloned())
                .perturbed(perturbed.collect())
        };
        let logits = self.model.logits(&graph(), &self.batch);
        let graph = graph();
        let loss = self.model.loss(&graph, &self.batch);
        let mut gradients = BTreeMap::new();
        let mut acting = BTreeMap::new();
        if !(trained.is_empty() && adapters.is_empty()) {
            let found = graph.gradients(&loss, T::ONE);
            gradients = found.by_name(adapters);
            acting = found.acting;
        }
        let factors = adapters.iter().flat_map(|(module, adapter)| {
            let factors = adapter.factors().into_iter();
            factors.map(|(factor, _)| parameter_name(module, factor))
        });
        if let Some(name) = trained
            .iter()
            .cloned()
            .chain(factors)
            .find(|name| !gradients.contains_key(name))
        {
            let problem = format!("{name}: expected a parameter that acts, found none");
            return Err(Error::file(&self.name, problem));
        }
        Ok(Pass {
            logits: self.shaped(logits.value()),
            loss: reshaped(loss.value(), &[]),
            gradients,
            acting,
        })
    }

    /// The layers with their adapter, as a perturbation sees them.
    pub(super) fn layers<'a>(
        &'a self,
        acting: &'a ActingWeights<T>,
        gradients: &'a LayerGradients<T>,
    ) -> Layers<'a, T> {
        Layers {
            parameters: &self.adapted,
            adapters: &self.adapters,
            acting,
            gradients,
            optimizer: None,
        }
    }

    /// Gradients of the weights of modules without an adapter, by their names.
    pub(super) fn weight_gradients(
        &self,
        modules: &Modules,
    ) -> Result<BTreeMap<String, Tensor<T>>> {
        let weights = modules
            .keys()
            .map(|module| parameter_name(module, "weight"));
        let none = Adapters::new();
        let pass = self.pass(&self.parameters, &none, Noise::new(), weights.collect())?;
        Ok(pass.gradients)
    }

    /// Logits in the shape that the reference has.
    pub(super) fn shaped(&self, logits: &Tensor<T>) -> Tensor<T> {
        reshaped(logits, &self.logits_shape())
    }

    /// Batch x outputs, or batch x time x vocabulary.
    pub(super) fn logits_shape(&self) -> Vec<usize> {
        let rows = self.batch.shape[0];
        match self.model.head.outputs() {
            Some(outputs) => vec![rows, outputs],
            None => vec![
                rows,
                self.batch.targets.len() / rows,
                self.model.vocabulary(),
            ],
        }
    }
}

fn reshaped<T: Scalar>(value: &Tensor<T>, shape: &[usize]) -> Tensor<T> {
    tensor(shape, flat(value).to_vec())
}

/// A module's weight must be m x n where an adapter is of m outputs and n inputs.
pub(super) fn check_fit<T>(
    parameters: &Parameters<T>,
    module: &str,
    (m, n): (usize, usize),
) -> std::result::Result<(), String> {
    let expected = [m, n];
    let weight = parameters.get(&parameter_name(module, "weight"));
    match weight.map(|weight| weight.shape()) {
        Some(found) if found == expected => Ok(()),
        Some(found) => Err(format!(
            "{module}: expected an adapter of a weight of {found:?}, found one of {expected:?}"
        )),
        None => Err(format!(
            "{module}: expected a module of the model, found another"
        )),
    }
}

/// A case is calculated without dropout: it could not be repeated.
fn without_dropout<T>(mut adapters: Adapters<T>) -> Adapters<T> {
    for adapter in adapters.values_mut() {
        adapter.dropout = 0.0;
    }
    adapters
}

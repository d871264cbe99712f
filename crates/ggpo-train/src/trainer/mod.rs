//! One optimiser step, from token ids to changed parameters.
//!
//! A step draws the noise from the state of the step before (weights, adapters,
//! and the gradients of A and B), runs every micro-batch forward and backward
//! under that noise, and lets the optimiser act on the averaged gradients.

mod layers;
mod real;
mod state;

use std::collections::{BTreeMap, BTreeSet};

use ggpo_autograd::{Stopwatch, Tape};
use ggpo_lora::{AdaptedLayers, Ggpo, GgpoConfig, GradientEstimate, NoiseStatistics};
use ggpo_model::batch::Batch;
use ggpo_model::{Adapters, Graph, Model, Parameters, lora_a, lora_b};
use ggpo_tensor::parallel::in_pool;
use ggpo_tensor::{Scalar, Tensor, flat, tensor};
use serde::{Deserialize, Serialize};

pub use layers::{GradientAudit, Layers};
pub use real::Real;
pub use state::{StoredTensor, TrainerState};

use crate::optimizer::{AdamW, AdamWConfig, clip_by_global_norm};
use crate::schedule::Schedule;
use crate::{Error, Result};
use state::store;

/// Settings of the optimisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerConfig {
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Optimiser steps of the whole run.
    pub steps: u32,
    /// Course of the learning rate.
    #[serde(default)]
    pub schedule: Schedule,
    /// Largest global norm of the gradients; larger ones are scaled down to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// The optimiser's own settings.
    #[serde(default)]
    pub adamw: AdamWConfig,
}

impl TrainerConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self) -> Result<()> {
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            let expected = "a finite number above 0";
            return Err(Error::config("learning_rate", expected, self.learning_rate));
        }
        if self.steps == 0 {
            return Err(Error::config("steps", "at least 1", self.steps));
        }
        if let Some(clip) = self.clip.filter(|clip| !(clip.is_finite() && *clip > 0.0)) {
            return Err(Error::config("clip", "a finite number above 0", clip));
        }
        self.schedule.validate()?;
        self.adamw.validate()
    }
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Number of the step, from 0.
    pub step: u32,
    /// Mean loss over the targets, where the gradient was taken.
    pub loss: f64,
    /// Global norm of the gradients before clipping.
    pub gradient_norm: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Tokens read, padding not counted.
    pub tokens: usize,
}

/// A model in training.
pub struct Trainer<T> {
    model: Model,
    parameters: Parameters<T>,
    adapters: Adapters<T>,
    /// Parameters of the model itself that are trained.
    trained: BTreeSet<String>,
    perturbation: Option<Ggpo<T>>,
    /// Raw gradients of the last step, for the perturbation.
    gradients: BTreeMap<String, Tensor<T>>,
    optimizer: AdamW<T>,
    config: TrainerConfig,
    seed: u64,
    step: u32,
    /// Where the time of the steps goes, if somebody asked.
    stopwatch: Option<Stopwatch>,
}

impl<T: Real> Trainer<T> {
    /// Makes ready to train `parameters` (those named in `trained`, and all
    /// `adapters`) under a perturbation.
    ///
    /// # Errors
    /// If a setting cannot be used, or needs the gradient of a quantised weight.
    pub fn new(
        model: Model,
        parameters: Parameters<T>,
        adapters: Adapters<T>,
        trained: BTreeSet<String>,
        perturbation: Option<GgpoConfig>,
        config: TrainerConfig,
        seed: u64,
    ) -> Result<Self> {
        config.validate()?;
        let perturbation = perturbation
            .map(|ggpo| Ggpo::new(ggpo, seed, config.steps))
            .transpose()?;
        if let Some(name) = trained.iter().find(|name| !parameters.contains_key(*name)) {
            return Err(Error::config("trained", "dense parameters", name));
        }
        if perturbation.as_ref().is_some_and(needs_exact)
            && let Some(name) = quantized_weights(&parameters, &adapters).next()
        {
            let expected = "\"adapters\" or \"none\" where a weight is quantised";
            let found = format!("\"exact\" and {name}");
            return Err(Error::config("gradient", expected, found));
        }
        Ok(Trainer {
            model,
            parameters,
            adapters,
            trained,
            perturbation,
            gradients: BTreeMap::new(),
            optimizer: AdamW::new(config.adamw.clone()),
            config,
            seed,
            step: 0,
            stopwatch: None,
        })
    }

    /// Notes from here on where the time of the steps goes.
    pub fn start_timing(&mut self) {
        self.stopwatch = Some(Stopwatch::default());
    }

    /// Where the time of the steps has gone since
    /// [`start_timing`](Self::start_timing), by phase and operation.
    pub fn timing(&self) -> Option<&Stopwatch> {
        self.stopwatch.as_ref()
    }

    /// Steps done so far.
    pub fn steps_done(&self) -> u32 {
        self.step
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The model's parameters, without noise.
    pub fn parameters(&self) -> &Parameters<T> {
        &self.parameters
    }

    /// The adapters, without noise.
    pub fn adapters(&self) -> &Adapters<T> {
        &self.adapters
    }

    /// Statistics of the last step's noise, one per adapter in their order;
    /// empty without a perturbation.
    pub fn noise_statistics(&self) -> &[NoiseStatistics] {
        self.perturbation.as_ref().map_or(&[], Ggpo::statistics)
    }

    /// One optimiser step on the targets of all `micro_batches` together.
    ///
    /// # Errors
    /// If the loss or a gradient is not finite; nothing is changed then.
    ///
    /// # Panics
    /// If no micro-batch has a target.
    pub fn step(&mut self, micro_batches: &[Batch]) -> Result<StepReport> {
        in_pool(|| T::step(self, micro_batches))
    }

    fn step_in_pool(&mut self, micro_batches: &[Batch]) -> Result<StepReport> {
        if let Some(stopwatch) = &mut self.stopwatch {
            stopwatch.start();
        }
        self.begin_perturbation();
        self.lap("noise", "refresh");
        let total: usize = micro_batches.iter().map(Batch::target_count).sum();
        assert!(total > 0, "a step needs at least one target");
        let tokens = micro_batches.iter().map(Batch::tokens).sum();
        let mut loss = 0.0;
        let mut gradients: BTreeMap<String, Tensor<T>> = BTreeMap::new();
        for (index, batch) in micro_batches.iter().enumerate() {
            let share = batch.target_count() as f64 / total as f64;
            let (part, found) = self.gradients_of(batch, index as u32, share);
            loss += share * part;
            for (name, gradient) in found {
                match gradients.get_mut(&name) {
                    None => _ = gradients.insert(name, gradient),
                    Some(sum) => sum.zip_mut_with(&gradient, |sum, &g| *sum += g),
                }
            }
        }
        if !loss.is_finite() {
            return Err(self.diverged(&self.where_lost(micro_batches)));
        }
        if let Some(name) = not_finite(&gradients) {
            return Err(self.diverged(&format!("the gradient of {name}")));
        }
        if self.perturbation.is_some() {
            self.remember(&gradients);
        }
        self.lap("gradients", "sum and check");
        let (gradient_norm, learning_rate) = self.apply(gradients);
        self.lap("optimiser", "clip and update");
        let report = StepReport {
            step: self.step,
            loss,
            gradient_norm,
            learning_rate,
            tokens,
        };
        self.step += 1;
        Ok(report)
    }

    fn lap(&mut self, phase: &'static str, name: &'static str) {
        if let Some(stopwatch) = &mut self.stopwatch {
            stopwatch.lap(phase, name);
        }
    }

    fn begin_perturbation(&mut self) {
        if let Some(perturbation) = &mut self.perturbation {
            let layers = Layers {
                parameters: &self.parameters,
                adapters: self.adapters.iter().collect(),
                gradients: &self.gradients,
            };
            perturbation.begin_step(self.step, &layers);
        }
    }

    /// Keeps gradients for the next step's perturbation. Those of the last step
    /// are overwritten in place: kept where they were made, they would lie
    /// scattered over the memory that the next step needs in long pieces.
    fn remember(&mut self, gradients: &BTreeMap<String, Tensor<T>>) {
        for (name, gradient) in gradients {
            match self.gradients.get_mut(name) {
                Some(kept) => kept.assign(gradient),
                None => {
                    let copy = gradient.to_owned().into_shared();
                    self.gradients.insert(name.clone(), copy);
                }
            }
        }
    }

    /// A forward pass of this step: its noise and dropout, nothing recorded.
    fn graph(&self, micro_batch: u32) -> Graph<'_, T> {
        let noise = match &self.perturbation {
            None => vec![None; self.adapters.len()],
            Some(perturbation) => (0..self.adapters.len())
                .map(|layer| perturbation.noise(layer, micro_batch))
                .collect(),
        };
        Graph::for_evaluation(Tape::new(), &self.parameters, &self.adapters)
            .with_noise(noise)
            .with_dropout(self.seed, self.step)
    }

    /// Loss of one micro-batch and its gradients times `share`.
    fn gradients_of(
        &mut self,
        batch: &Batch,
        micro_batch: u32,
        share: f64,
    ) -> (f64, BTreeMap<String, Tensor<T>>) {
        let mut trained = self.trained.clone();
        if self.perturbation.as_ref().is_some_and(needs_exact) {
            trained.extend(
                self.adapters
                    .keys()
                    .map(|module| format!("{module}.weight")),
            );
        }
        let stopwatch = self.stopwatch.take();
        let graph = self.graph(micro_batch).training(trained);
        let tape = graph.tape().clone();
        if let Some(stopwatch) = stopwatch {
            tape.start_timing(stopwatch);
        }
        let loss = self.model.loss(&graph, batch);
        let seed = tensor(&[1], vec![T::from_f64(share)]);
        let mut gradients = tape.backward_from(&loss, seed);
        let found = graph
            .into_trained()
            .into_iter()
            .filter_map(|(name, variable)| Some((name, gradients.take(&variable)?)))
            .collect();
        self.stopwatch = tape.stop_timing();
        (loss.item().value(), found)
    }

    /// Clips the gradients and lets the optimiser act on them; returns their
    /// norm before clipping and the learning rate.
    fn apply(&mut self, mut gradients: BTreeMap<String, Tensor<T>>) -> (f64, f64) {
        // The exact gradient of a frozen weight is only looked at.
        gradients
            .retain(|name, _| self.trained.contains(name) || !self.parameters.contains_key(name));
        let limit = self.config.clip.unwrap_or(f64::INFINITY);
        let mut all: Vec<&mut Tensor<T>> = gradients.values_mut().collect();
        let gradient_norm = clip_by_global_norm(&mut all, limit);
        let factor = self.config.schedule.factor(self.step, self.config.steps);
        let learning_rate = self.config.learning_rate * factor;
        self.optimizer.begin_step();
        for (name, gradient) in &gradients {
            let parameter = match self.parameters.get_mut(name) {
                Some(parameter) => parameter,
                None => adapter_parameter(&mut self.adapters, name),
            };
            let parameter = parameter.as_slice_mut().expect("standard layout");
            self.optimizer
                .update(name, parameter, flat(gradient), learning_rate);
        }
        (gradient_norm, learning_rate)
    }

    /// The first linear layer whose output is not finite in this step's forward
    /// pass, or the loss itself.
    fn where_lost(&self, micro_batches: &[Batch]) -> String {
        let lost = micro_batches.iter().enumerate().find_map(|(index, batch)| {
            let graph = self.graph(index as u32).watching();
            self.model.loss(&graph, batch);
            graph.first_not_finite()
        });
        lost.map_or("the loss".to_owned(), |module| {
            format!("the output of {module}")
        })
    }

    fn diverged(&self, what: &str) -> Error {
        Error::Diverged {
            step: self.step,
            what: what.to_owned(),
        }
    }

    /// Norms of the gradient of the merged weights on one batch, without
    /// noise: by equation 7 and exactly. Quantised weights, which have no exact
    /// gradient, are passed over.
    pub fn audit(&self, batch: &Batch) -> Vec<GradientAudit> {
        in_pool(|| T::audit(self, batch))
    }

    fn audit_in_pool(&self, batch: &Batch) -> Vec<GradientAudit> {
        let weight = |module: &String| format!("{module}.weight");
        let adapters = self.adapters.iter();
        let adapters: Vec<_> = adapters
            .filter(|(module, _)| self.parameters.contains_key(&weight(module)))
            .collect();
        if adapters.is_empty() {
            return Vec::new();
        }
        let weights = adapters.iter().map(|(module, _)| weight(module));
        let graph =
            Graph::for_evaluation(Tape::new(), &self.parameters, &self.adapters).training(weights);
        let loss = self.model.loss(&graph, batch);
        let mut found = graph.tape().backward(&loss);
        let gradients: BTreeMap<_, _> = graph
            .into_trained()
            .into_iter()
            .filter_map(|(name, variable)| Some((name, found.take(&variable)?)))
            .collect();
        let layers = Layers {
            parameters: &self.parameters,
            adapters,
            gradients: &gradients,
        };
        (0..layers.count())
            .map(|index| GradientAudit::of(layers.adapters[index].0, &layers.layer(index)))
            .collect()
    }

    /// Everything a resumed run needs to go on to the same bits.
    pub fn state(&self) -> TrainerState<T> {
        TrainerState {
            step: self.step,
            trained: self.snapshot(),
            gradients: store(self.gradients.iter()),
            optimizer: self.optimizer.clone(),
            perturbation: self.perturbation.as_ref().map(Ggpo::state),
        }
    }

    /// Goes on from a state of the same run.
    ///
    /// # Errors
    /// If the state does not fit the model and its method.
    pub fn restore(&mut self, state: TrainerState<T>) -> Result<()> {
        let gradients = state.gradients.into_iter();
        self.restore_snapshot(state.trained)?;
        self.gradients = gradients
            .map(|(name, stored)| (name, stored.into_tensor()))
            .collect();
        match (&mut self.perturbation, state.perturbation) {
            (Some(perturbation), Some(state)) => perturbation.restore(state)?,
            (None, None) => {}
            _ => return Err(Error::config("perturbation", "that of the run", "another")),
        }
        self.optimizer = state.optimizer;
        self.step = state.step;
        Ok(())
    }

    /// A copy of all that is trained.
    pub fn snapshot(&self) -> BTreeMap<String, StoredTensor<T>> {
        let parameters = self
            .trained
            .iter()
            .map(|name| (name, &self.parameters[name]));
        let mut all = store(parameters);
        for (module, adapter) in &self.adapters {
            all.insert(lora_a(module), StoredTensor::of(&adapter.a));
            all.insert(lora_b(module), StoredTensor::of(&adapter.b));
        }
        all
    }

    /// Puts back a copy of all that is trained.
    ///
    /// # Errors
    /// If names or shapes are not those of this model.
    pub fn restore_snapshot(&mut self, snapshot: BTreeMap<String, StoredTensor<T>>) -> Result<()> {
        let expected = self.trained.len() + 2 * self.adapters.len();
        if snapshot.len() != expected {
            let expected = format!("{expected} trained tensors");
            return Err(Error::config("checkpoint", expected, snapshot.len()));
        }
        for (name, stored) in snapshot {
            let slot = if self.trained.contains(&name) {
                self.parameters.get_mut(&name)
            } else {
                find_adapter_parameter(&mut self.adapters, &name)
            };
            match slot {
                Some(slot) if slot.shape() == stored.shape => *slot = stored.into_tensor(),
                _ => {
                    let expected = "the trained tensors of this model";
                    return Err(Error::config("checkpoint", expected, name));
                }
            }
        }
        Ok(())
    }
}

fn needs_exact<T: Scalar>(perturbation: &Ggpo<T>) -> bool {
    perturbation.config().gradient == GradientEstimate::Exact
}

/// The names of the quantised weights that have an adapter.
fn quantized_weights<'a, T>(
    parameters: &'a Parameters<T>,
    adapters: &'a Adapters<T>,
) -> impl Iterator<Item = &'a String> {
    let names = parameters.quantized.keys();
    names.filter(|name| {
        let module = name.strip_suffix(".weight");
        module.is_some_and(|module| adapters.contains_key(module))
    })
}

fn not_finite<T: Scalar>(gradients: &BTreeMap<String, Tensor<T>>) -> Option<&str> {
    gradients
        .iter()
        .find(|(_, gradient)| gradient.iter().any(|g| !g.value().is_finite()))
        .map(|(name, _)| name.as_str())
}

fn find_adapter_parameter<'a, T>(
    adapters: &'a mut Adapters<T>,
    name: &str,
) -> Option<&'a mut Tensor<T>> {
    if let Some(module) = name.strip_suffix(".lora_A.weight") {
        return adapters.get_mut(module).map(|adapter| &mut adapter.a);
    }
    let module = name.strip_suffix(".lora_B.weight")?;
    adapters.get_mut(module).map(|adapter| &mut adapter.b)
}

fn adapter_parameter<'a, T>(adapters: &'a mut Adapters<T>, name: &str) -> &'a mut Tensor<T> {
    find_adapter_parameter(adapters, name).expect("gradients belong to parameters or adapters")
}

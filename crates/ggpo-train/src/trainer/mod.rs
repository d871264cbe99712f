//! One optimiser step, from token ids to changed parameters.
//!
//! A step lets the perturbation say at which point near the weights gradients are
//! taken, runs every micro-batch forward and backward there, twice if the perturbation
//! wants it, and lets the optimiser act on the averaged gradients. It does not know
//! which method it runs: adapters have named factors, a perturbation says what it reads
//! and moves.

mod apply;
mod audit;
mod layers;
mod pass;
mod real;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;

use ggpo_autograd::{Stopwatch, Tape};
use ggpo_lora::adapter::Regulator;
use ggpo_lora::perturbation::Reads;
use ggpo_lora::{Adapters, MethodConfig, NoiseStatistics, Perturbation, parameter_name};
use ggpo_model::batch::Batch;
use ggpo_model::{
    ActingWeights, Graph, LayerPerturbation, Model, Parameters, PassGradients, acting_weights,
};
use ggpo_tensor::parallel::in_pool;
use ggpo_tensor::{Scalar, Tensor};
use ndarray::Array2;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use pass::{Pass, StoredPass};

pub use layers::{GradientAudit, LayerGradients, Layers};
pub use real::Real;
pub use state::{StoredTensor, TrainerState};

use crate::method::Trainable;
use crate::optimizer::{AdamW, AdamWConfig};
use crate::ranks::{Alone, Ranks, share};
use crate::schedule::Schedule;
use crate::{Error, Result};

/// Settings of the optimisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainerConfig {
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Optimiser steps of the whole run; without it, those of the epochs.
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
pub struct Trainer<T: Scalar> {
    trainable: Trainable<T>,
    method: MethodConfig,
    perturbation: Option<Box<dyn Perturbation<T>>>,
    regulator: Option<Box<dyn Regulator<T>>>,
    /// What the perturbation reads of the last step.
    gradients: LayerGradients<T>,
    optimizer: AdamW<T>,
    config: TrainerConfig,
    seed: u64,
    step: u32,
    /// Where the time of the steps goes, if that was asked for.
    stopwatch: Option<Stopwatch>,
    /// Who shares the micro-batches.
    ranks: Arc<dyn Ranks>,
}

/// What the passes of a step over all micro-batches gave.
struct Passes<T> {
    /// The mean loss over all targets, terms on the factors included.
    loss: f64,
    gradients: PassGradients<T>,
    /// The gradients by the names of what is trained.
    by_name: BTreeMap<String, Tensor<T>>,
}

impl<T: Real> Trainer<T> {
    /// Makes ready to train with a method.
    ///
    /// # Errors
    /// If a setting cannot be used, or needs the gradient of a quantised weight.
    pub fn new(
        trainable: Trainable<T>,
        method: &MethodConfig,
        config: TrainerConfig,
        seed: u64,
    ) -> Result<Self> {
        config.validate()?;
        method.validate()?;
        let perturbation = method.perturbation::<T>(seed, config.steps)?;
        let Trainable {
            parameters,
            adapters,
            trained,
            ..
        } = &trainable;
        if let Some(name) = trained.iter().find(|name| !parameters.contains_key(*name)) {
            return Err(Error::config("trained", "dense parameters", name));
        }
        if perturbation.as_ref().is_some_and(|it| it.reads().exact)
            && let Some(name) = quantized_weights(parameters, adapters).next()
        {
            let expected = "a method that needs no exact gradient where a weight is quantised";
            let found = format!("one that needs it, and {name}");
            return Err(Error::config("method.perturbation", expected, found));
        }
        Ok(Trainer {
            perturbation,
            regulator: method.regulator(config.steps)?,
            trainable,
            method: method.clone(),
            gradients: LayerGradients::default(),
            optimizer: AdamW::new(config.adamw.clone()),
            config,
            seed,
            step: 0,
            stopwatch: None,
            ranks: Arc::new(Alone),
        })
    }

    /// Shares the micro-batches of every step with other ranks, whose trainers are at
    /// the same step with the same settings. The bits are those of a trainer alone.
    pub fn share_with(&mut self, ranks: Arc<dyn Ranks>) {
        self.ranks = ranks;
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
        &self.trainable.model
    }

    /// The model's parameters, without noise.
    pub fn parameters(&self) -> &Parameters<T> {
        &self.trainable.parameters
    }

    /// The adapters, without noise.
    pub fn adapters(&self) -> &Adapters<T> {
        &self.trainable.adapters
    }

    /// Statistics of the last step's noise, one per adapter in their order;
    /// empty without a perturbation.
    pub fn noise_statistics(&self) -> &[NoiseStatistics] {
        match &self.perturbation {
            None => &[],
            Some(perturbation) => perturbation.statistics(),
        }
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
        let total: usize = micro_batches.iter().map(Batch::target_count).sum();
        assert!(total > 0, "a step needs at least one target");
        let tokens = micro_batches.iter().map(Batch::tokens).sum();
        self.begin_perturbation();
        self.lap("noise", "refresh");
        let mut passes = self.passes(micro_batches, total)?;
        let loss = passes.loss;
        if self.ascend(&passes) {
            passes = self.passes(micro_batches, total)?;
        }
        self.remember(&passes);
        self.settle(&mut passes.by_name);
        self.lap("gradients", "sum and check");
        let (gradient_norm, learning_rate) = self.apply(passes.by_name);
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

    /// What the perturbation reads; nothing without one.
    fn reads(&self) -> Reads {
        let reads = self.perturbation.as_ref().map(|it| it.reads());
        reads.unwrap_or_default()
    }

    /// Does `work` with the perturbation, if there is one, and the layers as they are
    /// now, with these gradients.
    fn with_perturbation<R>(
        &mut self,
        gradients: &LayerGradients<T>,
        work: impl FnOnce(&mut dyn Perturbation<T>, &Layers<'_, T>) -> R,
    ) -> Option<R> {
        let perturbation = self.perturbation.as_deref_mut()?;
        let Trainable {
            parameters,
            adapters,
            ..
        } = &self.trainable;
        let acting = acting_weights(parameters, adapters);
        let layers = Layers {
            parameters,
            adapters,
            acting: &acting,
            gradients,
            optimizer: Some(&self.optimizer),
        };
        Some(work(perturbation, &layers))
    }

    fn begin_perturbation(&mut self) {
        let (step, gradients) = (self.step, std::mem::take(&mut self.gradients));
        self.with_perturbation(&gradients, |it, layers| it.begin_step(step, layers));
        self.gradients = gradients;
    }

    /// Whether the perturbation wants the passes once more, elsewhere.
    fn ascend(&mut self, passes: &Passes<T>) -> bool {
        if self.perturbation.is_none() {
            return false;
        }
        let gradients = LayerGradients::of(&passes.gradients, &passes.by_name);
        let again = self.with_perturbation(&gradients, |it, layers| it.ascend(layers));
        again.unwrap_or(false)
    }

    /// Lets the perturbation change what the optimiser gets.
    fn settle(&self, gradients: &mut BTreeMap<String, Tensor<T>>) {
        let Some(perturbation) = &self.perturbation else {
            return;
        };
        for (layer, (module, adapter)) in self.trainable.adapters.iter().enumerate() {
            for (index, (factor, _)) in adapter.factors().into_iter().enumerate() {
                if let Some(gradient) = gradients.get_mut(&parameter_name(module, factor)) {
                    let gradient = gradient.as_slice_mut().expect("standard layout");
                    perturbation.settle(layer, index, gradient);
                }
            }
        }
    }

    /// Keeps what the perturbation reads at the next step. Gradients of the last step
    /// are overwritten in place: kept where they were made, they would lie scattered
    /// over the memory that the next step needs in long pieces.
    fn remember(&mut self, passes: &Passes<T>) {
        let reads = self.reads();
        let found = LayerGradients::of(&passes.gradients, &passes.by_name);
        if reads.layers {
            for (module, gradients) in &found.acting {
                match self.gradients.acting.get_mut(module) {
                    Some(kept) => {
                        kept.a.assign(&gradients.a);
                        kept.b.assign(&gradients.b);
                    }
                    None => {
                        let mut copy = gradients.clone();
                        copy.a = copy.a.to_owned().into_shared();
                        copy.b = copy.b.to_owned().into_shared();
                        copy.magnitude = None;
                        self.gradients.acting.insert(module.clone(), copy);
                    }
                }
            }
            keep(&mut self.gradients.merged, &found.merged);
        }
        if reads.factors {
            keep(&mut self.gradients.factors, &found.factors);
        }
    }

    /// The adapters at the point where gradients are taken, if that is not where they
    /// are.
    fn moved_adapters(&self) -> Option<Adapters<T>> {
        let perturbation = self.perturbation.as_ref()?;
        perturbation.factor_moves(0)?;
        let mut adapters = self.trainable.adapters.clone();
        for (layer, adapter) in adapters.values_mut().enumerate() {
            let moves = perturbation.factor_moves(layer).unwrap_or_default();
            for ((_, factor), by) in adapter.factors_mut().into_iter().zip(moves) {
                for (x, &eps) in factor.iter_mut().zip(by) {
                    *x += eps;
                }
            }
        }
        Some(adapters)
    }

    /// A forward pass of this step, nothing recorded: its perturbation and dropout.
    fn graph<'a>(
        &'a self,
        adapters: &'a Adapters<T>,
        acting: &'a ActingWeights<T>,
        micro_batch: u32,
    ) -> Graph<'a, T> {
        let layers = match &self.perturbation {
            None => vec![LayerPerturbation::default(); adapters.len()],
            Some(perturbation) => (0..adapters.len())
                .map(|layer| LayerPerturbation {
                    noise: perturbation.noise(layer, micro_batch),
                    low_rank: perturbation
                        .merged_move(layer)
                        .map(|by| [&by.up, &by.down].map(row_major)),
                })
                .collect(),
        };
        Graph::for_evaluation(Tape::new(), &self.trainable.parameters, adapters)
            .with_acting(acting)
            .perturbed(layers)
            .with_dropout(self.seed, self.step)
    }

    /// All micro-batches forward and backward, at the point of the perturbation.
    fn passes(&mut self, micro_batches: &[Batch], total: usize) -> Result<Passes<T>> {
        let moved = self.moved_adapters().map(Arc::new);
        let adapters = |trainer: &Self| match &moved {
            Some(moved) => Arc::clone(moved),
            None => Arc::new(trainer.trainable.adapters.clone()),
        };
        let adapters = adapters(self);
        let acting = acting_weights(&self.trainable.parameters, &adapters);
        let mut loss = 0.0;
        let mut gradients: Option<PassGradients<T>> = None;
        let ranks = Arc::clone(&self.ranks);
        let share_of = |batch: &Batch| batch.target_count() as f64 / total as f64;
        // One round has a micro-batch for every rank.
        for (round, batches) in micro_batches.chunks(ranks.count()).enumerate() {
            let first = round * ranks.count();
            let passes = share::<Pass<T>, StoredPass<T>>(&*ranks, batches.len(), |index| {
                let batch = &batches[index];
                let number = (first + index) as u32;
                self.pass(&adapters, &acting, batch, number, share_of(batch))
            });
            for (batch, pass) in batches.iter().zip(passes) {
                loss += share_of(batch) * pass.loss;
                if self.reads().micro_batches {
                    self.observe(&pass.gradients, share_of(batch));
                }
                match &mut gradients {
                    None => gradients = Some(pass.gradients),
                    Some(sum) => sum.add(pass.gradients),
                }
            }
        }
        let gradients = gradients.expect("a step has a batch");
        if !loss.is_finite() {
            let what = self.where_lost(&adapters, &acting, micro_batches);
            return Err(self.diverged(&what));
        }
        let mut by_name = gradients.by_name(&adapters);
        if let Some(regulator) = &self.regulator {
            loss += regulator.penalty(&adapters, &mut by_name);
        }
        if let Some(name) = not_finite(&by_name) {
            return Err(self.diverged(&format!("the gradient of {name}")));
        }
        Ok(Passes {
            loss,
            gradients,
            by_name,
        })
    }

    /// Loss of one micro-batch and its gradients times `share`.
    fn pass(
        &mut self,
        adapters: &Adapters<T>,
        acting: &ActingWeights<T>,
        batch: &Batch,
        micro_batch: u32,
        share: f64,
    ) -> Pass<T> {
        let mut trained = self.trainable.trained.clone();
        if self.reads().exact {
            let modules = adapters.keys();
            trained.extend(modules.map(|module| parameter_name(module, "weight")));
        }
        let stopwatch = self.stopwatch.take();
        let graph = self.graph(adapters, acting, micro_batch).training(trained);
        let tape = graph.tape().clone();
        if let Some(stopwatch) = stopwatch {
            tape.start_timing(stopwatch);
        }
        let loss = self.trainable.model.loss(&graph, batch);
        let gradients = graph.gradients(&loss, T::from_f64(share));
        let loss = loss.item().value();
        self.stopwatch = tape.stop_timing();
        Pass { loss, gradients }
    }

    /// Shows the perturbation the gradients of one micro-batch.
    fn observe(&mut self, found: &PassGradients<T>, share: f64) {
        let mut own = found.clone();
        if share != 1.0 {
            own.scale(T::from_f64(1.0 / share));
        }
        let gradients = LayerGradients {
            acting: own.acting,
            ..LayerGradients::default()
        };
        self.with_perturbation(&gradients, |it, layers| it.observe(layers));
    }

    /// The first linear layer whose output is not finite in this step's forward
    /// pass, or the loss itself.
    fn where_lost(
        &self,
        adapters: &Adapters<T>,
        acting: &ActingWeights<T>,
        micro_batches: &[Batch],
    ) -> String {
        let lost = micro_batches.iter().enumerate().find_map(|(index, batch)| {
            let graph = self.graph(adapters, acting, index as u32).watching();
            self.trainable.model.loss(&graph, batch);
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
}

impl<T: Scalar> LayerGradients<T> {
    fn of(gradients: &PassGradients<T>, by_name: &BTreeMap<String, Tensor<T>>) -> Self {
        let own = |name: &String| gradients.parameters.contains_key(name);
        let factors = by_name.iter().filter(|(name, _)| !own(name));
        LayerGradients {
            acting: gradients.acting.clone(),
            merged: gradients.parameters.clone(),
            factors: factors
                .map(|(name, it)| (name.clone(), it.clone()))
                .collect(),
        }
    }
}

/// A matrix as a tensor, whatever its layout: one joined from columns has them one after
/// the other.
fn row_major<T: Scalar>(matrix: &Array2<T>) -> Tensor<T> {
    let rows = matrix.as_standard_layout().into_owned();
    rows.into_dyn().into_shared()
}

/// Copies into what was kept before.
fn keep<T: Scalar>(kept: &mut BTreeMap<String, Tensor<T>>, found: &BTreeMap<String, Tensor<T>>) {
    for (name, gradient) in found {
        match kept.get_mut(name) {
            Some(kept) => kept.assign(gradient),
            None => {
                let copy = gradient.to_owned().into_shared();
                kept.insert(name.clone(), copy);
            }
        }
    }
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

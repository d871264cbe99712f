//! The bare steps of a run.

use std::collections::BTreeMap;

use ggpo_lora::NoiseStatistics;
use ggpo_model::batch::Batch;
use ggpo_tensor::Tensor;

use super::config::RunConfig;
use super::session::new_trainer;
use super::task::{Corpora, Task};
use crate::Result;
use crate::trainer::{StepReport, Trainer};

/// The bare steps of a run, without evaluation or files.
pub struct Stepper<'a> {
    config: &'a RunConfig,
    task: Task,
    trainer: Trainer<f32>,
    batches: std::vec::IntoIter<Vec<Batch>>,
    epoch: u32,
}

impl<'a> Stepper<'a> {
    /// Opens the inputs of a run.
    ///
    /// # Errors
    /// As [`run`](super::run).
    pub fn open(config: &'a RunConfig) -> Result<Self> {
        config.validate()?;
        let task = Task::open(config, &Corpora::default())?;
        let trainer = new_trainer(config, &task)?;
        Ok(Stepper {
            config,
            task,
            trainer,
            batches: Vec::new().into_iter(),
            epoch: 0,
        })
    }

    /// The micro-batches of every step of the run, made one epoch at a time.
    pub fn course(&self) -> impl Iterator<Item = Vec<Batch>> {
        let epochs = (0..).flat_map(|epoch| self.task.epoch(self.config, epoch));
        epochs.take(self.config.training.steps as usize)
    }

    /// Everything that is trained, as it stands, by name.
    pub fn trained(&self) -> BTreeMap<String, Tensor<f32>> {
        let stored = self.trainer.snapshot().into_iter();
        stored
            .map(|(name, tensor)| (name, tensor.into_tensor()))
            .collect()
    }

    /// The training rows of the first `steps` steps, by their numbers.
    pub fn rows(&self, steps: u32) -> Vec<Vec<usize>> {
        let epoch = |epoch| self.task.epoch_rows(self.config, epoch);
        (0..).flat_map(epoch).take(steps as usize).collect()
    }

    /// Statistics of the last step's noise; see [`Trainer::noise_statistics`].
    pub fn noise_statistics(&self) -> &[NoiseStatistics] {
        self.trainer.noise_statistics()
    }

    /// The trainer, between two steps.
    pub fn trainer(&self) -> &Trainer<f32> {
        &self.trainer
    }

    /// The same to be changed: to be observed, say, or put where another stands.
    pub fn trainer_mut(&mut self) -> &mut Trainer<f32> {
        &mut self.trainer
    }

    /// The task.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// The micro-batches of the next step.
    pub fn next_batch(&mut self) -> Vec<Batch> {
        if self.batches.len() == 0 {
            self.batches = self.task.epoch(self.config, self.epoch).into_iter();
            self.epoch += 1;
        }
        self.batches.next().expect("an epoch has a batch")
    }

    /// One optimiser step.
    ///
    /// # Errors
    /// If the loss or a gradient is not finite.
    pub fn step(&mut self) -> Result<StepReport> {
        let batch = self.next_batch();
        self.trainer.step(&batch)
    }
}

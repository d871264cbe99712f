//! Steps of real training, looked at number by number.
//!
//! [`audit`] runs the trainer's own steps and records what they are made of: the norms
//! behind the noise, the noise, what it does to the loss, to the gradients and to the
//! step of the optimiser. What it finds is written as lines for machines
//! ([`Audit::jsonl`]) and as one page for people ([`Audit::html`]), which follows one
//! element of one weight through a step and calculates all of it again.
//!
//! Nothing is calculated by a second trainer: the steps are seen through
//! [`Trainer::observe`](ggpo_train::trainer::Trainer::observe). What they would have
//! been without noise is the same trainer's step at sigma 0, from the same state.

mod before;
pub mod browser;
mod curvature;
mod document;
mod drawn;
mod error;
mod fit;
mod followed;
mod layers;
mod listing;
mod noise;
mod page;
mod readings;
mod recorder;
mod slices;
mod tiny;
mod trace;

use ggpo_model::batch::Batch;
use ggpo_train::run::{RunConfig, Stepper};
use ggpo_train::trainer::Trainer;

pub use document::{
    Audit, Curvature, Document, Element, LayerFacts, LayerRecord, Logits, NoiseTest, Rows,
    RunFacts, StepRecord, Update,
};
pub use error::{AuditError, Result};
pub use listing::{Listing, listings};
pub use slices::Slices;
pub use tiny::describe as describe_tiny_model;
pub use trace::{Inputs, LayerTrace, Pass, Readings, State};

/// What is audited.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditConfig {
    /// The run, of which every step is recorded.
    pub run: RunConfig,
    /// Where the model comes from, in words.
    pub model: String,
    /// Where the texts come from, in words.
    pub data: String,
    /// Name of the layer whose element is followed; without it, the first.
    pub layer: Option<String>,
    /// Row of the element, from 0; without it, 3 or the last.
    pub row: Option<usize>,
    /// Column of the element, from 0; without it, 5 or the last.
    pub column: Option<usize>,
}

/// Runs the steps and records them. `on_step` hears of every step that is done, and
/// what is known of it.
///
/// # Errors
/// If the run cannot be used, its method is not LoRA under the noise of LoRA-GGPO as in
/// the paper, there is no such element, or a step diverges.
pub fn audit(config: &AuditConfig, on_step: &mut dyn FnMut(&StepRecord)) -> Result<Audit> {
    fit::noise_of(&config.run)?;
    let quiet = fit::without_noise(&config.run);
    let (mut stepper, mut twin) = (Stepper::open(&config.run)?, Stepper::open(&quiet)?);
    let steps = 0..config.run.training.steps;
    let batches: Vec<_> = steps.map(|_| stepper.next_batch()).collect();
    let trainers = [stepper.trainer_mut(), twin.trainer_mut()];
    audit_trainer(config, trainers, &batches, on_step)
}

/// [`audit`] of a trainer that stands anywhere, on these batches, one entry for each
/// step. The second trainer is the same at sigma 0.
///
/// # Errors
/// As [`audit`].
pub fn audit_trainer(
    config: &AuditConfig,
    trainers: [&mut Trainer<f32>; 2],
    batches: &[Vec<Batch>],
    on_step: &mut dyn FnMut(&StepRecord),
) -> Result<Audit> {
    let noise = fit::noise_of(&config.run)?;
    recorder::record(config, &noise, trainers, batches, on_step)
}

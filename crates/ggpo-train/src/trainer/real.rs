//! For which numbers training is compiled.

use ggpo_model::Number;
use ggpo_model::batch::Batch;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{GradientAudit, StepReport, Trainer};
use crate::Result;

/// A number that can be trained and kept in a checkpoint.
///
/// The methods are those of [`Trainer`], under the same names; those of `f32` and
/// `f64` are compiled once, in this crate. [`Number`] says why.
pub trait Real: Number + Serialize + DeserializeOwned {
    /// [`Trainer::step`].
    ///
    /// # Errors
    /// As there.
    fn step(trainer: &mut Trainer<Self>, micro_batches: &[Batch]) -> Result<StepReport> {
        trainer.step_in_pool(micro_batches)
    }

    /// [`Trainer::audit`].
    fn audit(trainer: &Trainer<Self>, batch: &Batch) -> Vec<GradientAudit> {
        trainer.audit_in_pool(batch)
    }
}

macro_rules! compiled_here {
    ($($number:ty),*) => {$(
        impl Real for $number {
            fn step(trainer: &mut Trainer<Self>, micro_batches: &[Batch]) -> Result<StepReport> {
                trainer.step_in_pool(micro_batches)
            }

            fn audit(trainer: &Trainer<Self>, batch: &Batch) -> Vec<GradientAudit> {
                trainer.audit_in_pool(batch)
            }
        }
    )*};
}

compiled_here!(f32, f64);

//! Some steps of training on a family's batch, from its adapter.

use ggpo_tensor::tensor;
use ggpo_train::Result;
use ggpo_train::method::{MethodConfig, Trainable};
use ggpo_train::schedule::{Schedule, ScheduleKind, Warmup};
use ggpo_train::trainer::Real;
use ggpo_train::trainer::{Trainer, TrainerConfig};

use super::family::Family;
use super::reference::Reference;
use super::section::Section;
use super::{Precision, family_of};

/// A course of training that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// AdamW at one learning rate.
    Plain,
    /// AdamW on clipped gradients, with a warm-up and then a cosine.
    ClipCosine,
}

impl Course {
    /// The settings, from the file's metadata.
    fn config(self, file: &Reference) -> Result<TrainerConfig> {
        let (schedule, clip) = match self {
            Course::Plain => (Schedule::default(), None),
            Course::ClipCosine => {
                let warmup = Warmup::Steps(file.count("warmup")?);
                let kind = ScheduleKind::Cosine;
                (Schedule { kind, warmup }, Some(file.setting("clip")?))
            }
        };
        Ok(TrainerConfig {
            learning_rate: file.setting("lr")?,
            steps: file.count("steps")?,
            schedule,
            clip,
            adamw: Default::default(),
        })
    }
}

/// Compares the losses of all steps, and what stands at the end.
pub(super) fn check_trajectory<T: Real>(
    section: &mut Section<'_>,
    families: &[Family<T>],
    file: &mut Reference,
    course: Course,
) -> Result<()> {
    let family = family_of(families, file, "final.logits", |family, module, [a, b]| {
        family
            .adapters
            .get(module)
            .is_some_and(|adapter| (adapter.dim(), adapter.rank()) == ((b[0], a[1]), a[0]))
    })?;
    let config = course.config(file)?;
    let steps = config.steps;
    let trainable = Trainable {
        model: family.model.clone(),
        parameters: family.adapted.clone(),
        adapters: family.adapters.clone(),
        trained: family.saved.iter().cloned().collect(),
    };
    let mut trainer = Trainer::new(trainable, &MethodConfig::default(), config, 0)?;
    let batch = std::slice::from_ref(&family.batch);
    let losses: Result<Vec<T>> = (0..steps)
        .map(|_| Ok(T::from_f64(trainer.step(batch)?.loss)))
        .collect();
    let losses = tensor(&[steps as usize], losses?);
    section.value(file, "losses", &losses, Precision::trajectory_losses)?;
    let trained = trainer.trained_tensors();
    section.parameters(file, "", &trained, Precision::trajectory_ends)?;
    let logits = family
        .model
        .evaluate(trainer.parameters(), trainer.adapters(), &family.batch);
    section.value(
        file,
        "final.logits",
        &family.shaped(&logits),
        Precision::trajectory_ends,
    )
}

//! Some steps of training on a family's batch.

use std::collections::BTreeMap;

use ggpo_lora::MethodConfig;
use ggpo_tensor::{Tensor, tensor};
use ggpo_train::Result;
use ggpo_train::method::Trainable;
use ggpo_train::schedule::{Schedule, ScheduleKind, Warmup};
use ggpo_train::trainer::Real;
use ggpo_train::trainer::{Trainer, TrainerConfig};

use super::family::Family;
use super::names::parameter_key;
use super::reference::Reference;
use super::section::Section;
use super::{Arithmetic, family_of, start};

/// What stands before the names of factors as training starts.
const START: &str = "start.";
/// What stands before the names of factors of which it is known, step by step, which
/// entries are not 0.
const ALIVE: &str = "alive.";
/// How many these are in all, step by step.
const BUDGET: &str = "budget";

/// The settings of the optimisation, from the file's metadata: AdamW at one learning
/// rate, or with a warm-up and then a cosine; on clipped gradients where it says so.
fn settings(file: &mut Reference) -> Result<TrainerConfig> {
    let schedule = match file.says("warmup") {
        false => Schedule::default(),
        true => Schedule {
            kind: ScheduleKind::Cosine,
            warmup: Warmup::Steps(file.count("warmup")?),
        },
    };
    let clip = match file.says("clip") {
        false => None,
        true => Some(file.setting("clip")?),
    };
    Ok(TrainerConfig {
        learning_rate: file.setting("lr")?,
        steps: file.count("steps")?,
        schedule,
        clip,
        adamw: Default::default(),
    })
}

/// Compares the losses of all steps, what stands at the end, and which entries stay
/// where the file says that of some.
pub(super) fn check_trajectory<T: Real>(
    section: &mut Section<'_>,
    families: &[Family<T>],
    file: &mut Reference,
    method: &MethodConfig,
) -> Result<()> {
    let modules = file.adapted_modules()?;
    let family = family_of(families, file, "final.logits", &modules)?;
    let config = settings(file)?;
    let steps = config.steps as usize;
    let of_family = start::is_of_family(file);
    let prefix = (file.has_prefix(START) || !of_family).then_some(START);
    let adapters = start::adapters(section, family, file, method, &modules, prefix)?;
    let trainable = Trainable {
        model: family.model.clone(),
        parameters: family.adapted.clone(),
        adapters,
        trained: family.saved.iter().cloned().collect(),
    };
    let mut trainer = Trainer::new(trainable, method, config, 0)?;
    let batch = std::slice::from_ref(&family.batch);
    let mut losses = Vec::new();
    let mut alive = Alive::default();
    for _ in 0..steps {
        losses.push(T::from_f64(trainer.step(batch)?.loss));
        alive.note(file, &trainer.trained_tensors());
    }
    let losses = tensor(&[steps], losses);
    section.value(file, "losses", &losses, Arithmetic::trajectory_losses)?;
    alive.compare(section, file)?;
    let trained = trainer.trained_tensors();
    section.parameters(file, "", &trained, Arithmetic::trajectory_ends)?;
    let logits = family
        .model
        .evaluate(trainer.parameters(), trainer.adapters(), &family.batch);
    section.value(
        file,
        "final.logits",
        &family.shaped(&logits),
        Arithmetic::trajectory_ends,
    )
}

/// Which entries of some factors are not 0 after each step.
#[derive(Default)]
struct Alive<T> {
    /// 1 or 0 for each entry, step after step, by the name of the factor.
    entries: BTreeMap<String, Vec<T>>,
    /// How many are 1, step after step.
    counts: Vec<T>,
}

impl<T: Real> Alive<T> {
    /// Looks at the factors of which the file says which entries are left.
    fn note(&mut self, file: &Reference, trained: &BTreeMap<String, Tensor<T>>) {
        let known = |name: &String| file.has(&parameter_key(file, ALIVE, name));
        let mut count = 0;
        for (name, value) in trained.iter().filter(|(name, _)| known(name)) {
            let bits: Vec<bool> = value.iter().map(|&x| x != T::ZERO).collect();
            count += bits.iter().filter(|&&bit| bit).count();
            let numbers = bits.into_iter().map(|bit| match bit {
                true => T::ONE,
                false => T::ZERO,
            });
            self.entries
                .entry(name.clone())
                .or_default()
                .extend(numbers);
        }
        self.counts.push(T::from_f64(count as f64));
    }

    fn compare(self, section: &mut Section<'_>, file: &mut Reference) -> Result<()> {
        let steps = self.counts.len();
        let of_steps = |values: Vec<T>| tensor(&[steps, values.len() / steps], values);
        let entries = self.entries.into_iter();
        let entries = entries.map(|(name, values)| (name, of_steps(values)));
        section.parameters(file, ALIVE, &entries.collect(), Arithmetic::counts)?;
        if file.has(BUDGET) {
            let counts = tensor(&[steps], self.counts);
            section.value(file, BUDGET, &counts, Arithmetic::counts)?;
        }
        Ok(())
    }
}

//! Models, adapters, noise and training against values calculated elsewhere.
//!
//! The values stand in a folder of this form; the keys are PEFT's names:
//!
//! ```text
//! FAMILY/model/             config.json, model.safetensors
//! FAMILY/adapter/           adapter_config.json, adapter_model.safetensors
//! FAMILY/case.safetensors   one batch, and everything calculated on it
//! variants/rslora.safetensors             another form of adapter on a family's model
//! trajectories/lora_adamw.safetensors     training on a family's batch
//! trajectories/lora_clip_cosine.safetensors
//! adamw.safetensors         steps of the optimiser alone
//! ```
//!
//! A case holds `input_ids`, `attention_mask`, `token_type_ids` (BERT),
//! `labels`; `base.logits` and `base.loss` without adapter; `lora.logits`,
//! `lora.loss` and `grad.PARAMETER` with it; under `ggpo.MODULE.` the row norms
//! `weight_norm`, `grad_norm_approx` (eq. 7) and `grad_norm_exact`, the gradient
//! `grad_merged_exact` of W', the deviations `noise_std` and
//! `noise_std_beta_1000`, and a noise matrix `eps`; `perturbed.logits`,
//! `perturbed.loss` and `perturbed.grad.PARAMETER` under that noise. Its
//! metadata are `sigma` and `beta`.
//!
//! Sizes, ranks, labels and everything else are taken from the files. A value
//! that is missing is an error, and so is one that nothing is held against.

mod adamw;
mod batch;
mod case;
mod compare;
mod family;
mod names;
mod reference;
mod report;
mod section;
mod trajectory;
mod variant;

use std::path::{Path, PathBuf};

pub use report::{Note, Report, Row};

use ggpo_model::Number;
use ggpo_train::trainer::Real;
use ggpo_train::{Error, Result};

use adamw::check_adamw;
use case::check_case;
use family::Family;
use reference::Reference;
use section::Section;
use trajectory::{Course, check_trajectory};
use variant::check_rs_lora;

/// The numbers to calculate with, and how near to the reference they must come.
///
/// The reference is calculated in `f64` and stored in `f32`, which is a
/// relative error of 6e-8. Every tolerance is on the largest difference within
/// a value, relative to the value's largest magnitude.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// `f32`, whose every rounding is an error of 6e-8.
    F32,
    /// `f64`, which leaves the errors of the reference: one rounding where its
    /// values are stored, and in Llama and T5 those of RMS norm and of the rotary
    /// angles, which Transformers calculates in `f32` whatever it is told. These
    /// can exceed the tolerance: T5's scores amplify them to nearly 1e-5.
    F64,
}

impl Precision {
    /// The tolerance in `f64` is one for all; that in `f32` is given.
    fn or(self, single: f64) -> f64 {
        match self {
            Precision::F32 => single,
            Precision::F64 => 1e-6,
        }
    }

    /// For logits, losses and steps of the optimiser: in `f32` some hundred
    /// roundings, through the layers.
    pub fn outputs(self) -> f64 {
        self.or(2e-5)
    }

    /// For gradients, which go through the layers twice, and in which terms
    /// cancel.
    pub fn gradients(self) -> f64 {
        self.or(1e-4)
    }

    /// For norms and deviations: they are made of gradients, and in the Gram
    /// products that give `||W'_i||` and equation 7 terms cancel as well.
    pub fn norms(self) -> f64 {
        self.gradients()
    }

    /// For the losses of a training: every step starts from the errors of the
    /// one before.
    pub fn trajectory_losses(self) -> f64 {
        self.or(1e-4)
    }

    /// For parameters and logits at the end of a training. AdamW divides a
    /// gradient by its size, so that a small one's error moves its parameter as
    /// far as a large one's; a loss is the mean over many.
    pub fn trajectory_ends(self) -> f64 {
        self.or(1e-3)
    }
}

/// Compares everything in `folder`.
///
/// What cannot be compared is among the report's errors; the rest is compared
/// all the same.
///
/// # Errors
/// If the folder cannot be read, or there is no family in it.
pub fn check_folder(folder: &Path, precision: Precision) -> Result<Report> {
    match precision {
        Precision::F32 => Check::<f32>::new(precision).run(folder),
        Precision::F64 => Check::<f64>::new(precision).run(folder),
    }
}

/// The values of a family.
const CASE: &str = "case.safetensors";
/// Folders of files that belong to a family beside them.
const GROUPS: [&str; 2] = ["variants", "trajectories"];
/// What such folders may hold and this project does not calculate.
const NOT_IMPLEMENTED: [(&str, &str); 5] = [
    ("variants/dora", "DoRA"),
    ("variants/pissa", "PiSSA"),
    ("trajectories/lora_plus_adamw", "LoRA+"),
    ("trajectories/mgpo_adamw", "LoRA-MGPO"),
    ("trajectories/sam_adamw", "LoRA-SAM"),
];

/// A comparison under way.
struct Check<T> {
    precision: Precision,
    families: Vec<Family<T>>,
    report: Report,
}

impl<T: Real> Check<T> {
    fn new(precision: Precision) -> Self {
        Check {
            precision,
            families: Vec::new(),
            report: Report::default(),
        }
    }

    fn run(mut self, folder: &Path) -> Result<Report> {
        let mut families = 0;
        for (name, path) in entries(folder)? {
            if !path.is_dir() || GROUPS.contains(&name.as_str()) {
                continue;
            }
            let has = |file: &str| path.join(file).is_file();
            if has("model/config.json") || has(CASE) {
                families += 1;
                self.family(&name, &path);
            } else {
                self.note(
                    &name,
                    &format!("no family: it has neither model/config.json nor {CASE}"),
                );
            }
        }
        if families == 0 {
            let problem = format!("expected folders with model/config.json and {CASE}, found none");
            return Err(Error::file(folder, problem));
        }
        for group in GROUPS {
            if folder.join(group).is_dir() {
                self.files(&folder.join(group), &format!("{group}/"))?;
            }
        }
        self.files(folder, "")?;
        Ok(self.report)
    }

    /// Compares a family's case, and keeps the family for the other files.
    fn family(&mut self, name: &str, folder: &Path) {
        self.section(name, &folder.join(CASE), |families, section, case| {
            families.push(Family::read(name, folder, case)?);
            check_case(section, families.last().expect("just pushed"), case)
        });
    }

    /// Compares every safetensors file of a folder; `group` stands before its
    /// name.
    fn files(&mut self, folder: &Path, group: &str) -> Result<()> {
        for (name, path) in entries(folder)? {
            if let Some(name) = name.strip_suffix(".safetensors") {
                self.file(&format!("{group}{name}"), &path);
            }
        }
        Ok(())
    }

    fn file(&mut self, name: &str, path: &Path) {
        if let Some((_, method)) = NOT_IMPLEMENTED.iter().find(|(file, _)| *file == name) {
            return self.note(name, &format!("not implemented: {method}"));
        }
        match name {
            "variants/rslora" => self.section(name, path, |families, section, file| {
                check_rs_lora(section, families, file)
            }),
            "trajectories/lora_adamw" => self.trajectory(name, path, Course::Plain),
            "trajectories/lora_clip_cosine" => self.trajectory(name, path, Course::ClipCosine),
            "adamw" => self.section(name, path, |_, section, file| {
                check_adamw::<T>(section, file)
            }),
            "ops" => self.note(name, "not compared here: the tests of ggpo-autograd do"),
            _ => {
                let problem = "expected a file that is described, found another name";
                self.report.errors.push(Error::file(path, problem));
            }
        }
    }

    fn trajectory(&mut self, name: &str, path: &Path, course: Course) {
        self.section(name, path, |families, section, file| {
            check_trajectory(section, families, file, course)
        });
    }

    /// Compares one file; whatever it holds must be asked for.
    fn section(
        &mut self,
        name: &str,
        path: &Path,
        check: impl FnOnce(&mut Vec<Family<T>>, &mut Section<'_>, &mut Reference) -> Result<()>,
    ) {
        let mut section = Section {
            name: name.to_owned(),
            precision: self.precision,
            rows: &mut self.report.rows,
        };
        let outcome = Reference::read(path).and_then(|mut reference| {
            check(&mut self.families, &mut section, &mut reference)?;
            reference.finish()
        });
        self.report.errors.extend(outcome.err());
    }

    fn note(&mut self, family: &str, text: &str) {
        self.report.notes.push(Note {
            family: family.to_owned(),
            text: text.to_owned(),
        });
    }
}

/// Names and paths of what is in a folder, in the order of names.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let wrong = |source| Error::io(folder, source);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        entries.push((name, path));
    }
    entries.sort();
    Ok(entries)
}

/// The family that a file's values belong to: its logits have the shape of those
/// under `logits`, and every adapted module `fits`, told the shapes of A and B.
/// If there are several, it is the one named `llama`.
fn family_of<'f, T: Number>(
    families: &'f [Family<T>],
    file: &Reference,
    logits: &str,
    fits: impl Fn(&Family<T>, &str, [&[usize]; 2]) -> bool,
) -> Result<&'f Family<T>> {
    let modules = file.adapted_modules();
    let belongs = |family: &&Family<T>| {
        file.shape(logits) == Some(&family.logits_shape())
            && !modules.is_empty()
            && modules
                .iter()
                .all(|(module, shapes)| fits(family, module, *shapes))
    };
    let found: Vec<&Family<T>> = families.iter().filter(belongs).collect();
    match *found {
        [family] => Ok(family),
        [] => Err(file.error("expected values of a family of this folder, found those of none")),
        _ => found
            .into_iter()
            .find(|family| family.name == "llama")
            .ok_or_else(|| {
                file.error("expected values of one family of this folder, found several that fit")
            }),
    }
}

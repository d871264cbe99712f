//! Models, adapters, noise and training against values calculated elsewhere.
//!
//! The values stand in a folder of this form; the keys are PEFT's names:
//!
//! ```text
//! FAMILY/model/             config.json, model.safetensors
//! FAMILY/adapter/           adapter_config.json, adapter_model.safetensors
//! FAMILY/case.safetensors   one batch, and everything calculated on it
//! GROUP/FILE.safetensors    a method on a family's model and batch
//! FILE.safetensors          the same, or steps of the optimiser alone
//! ```
//!
//! A folder without families is a group by itself. A group belongs to the family at
//! `../reference/llama` from itself, if there is one, and otherwise to those of the
//! folder that is compared. What is compared of a file follows from its name, whatever
//! the group: `known` is the table. A file of another name is an error.
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
//! A method's file says its options in its metadata, and holds one of these:
//!
//! * a pass: factors, `logits`, `loss`, `grad.PARAMETER`; `base_layer.weight` where a
//!   decomposition takes a part of the base,
//! * some steps of training: `losses`, factors at the end, `final.logits`; under
//!   `start.` those at the start, if they are not the family's; under `alive.` which
//!   entries are not 0 after each step, and `budget`, their number,
//! * a start from gradients: under `MODULE.` the gradient `grad`, its
//!   `singular_values`, `lora_A`, `lora_B` and the rest of the base, `residual`;
//!   `base.logits`,
//! * passes under noise: under `MODULE.` the normal numbers `z` and `grad_norm_approx`;
//!   under `held.` and `reparameterised.` the same as of a pass.
//!
//! Sizes, ranks, labels and everything else are taken from the files. A value
//! that is missing is an error, and so is one, or a setting, that nothing is held
//! against.

mod adamw;
mod batch;
mod case;
mod compare;
mod family;
mod known;
mod names;
mod noise;
mod pass;
mod reference;
mod report;
mod section;
mod start;
mod trajectory;

use std::path::{Path, PathBuf};

pub use report::{ComparedQuantity, Note, Report};

use ggpo_model::Number;
use ggpo_train::trainer::Real;
use ggpo_train::{Error, Result};

use case::check_case;
use family::{Family, check_fit};
use known::{ELSEWHERE, Known};
use reference::{Modules, Reference};
use section::Section;

/// The numbers to calculate with, and how near to the reference they must come.
///
/// The reference is calculated in `f64` and stored in `f32`, which is a
/// relative error of 6e-8. Every tolerance is on the largest difference within
/// a value, relative to the value's largest magnitude.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// `f32`, whose every rounding is an error of 6e-8.
    F32,
    /// `f64`, which leaves the errors of the reference: one rounding where its
    /// values are stored, and in Llama and T5 those of RMS norm and of the rotary
    /// angles, which Transformers calculates in `f32` whatever it is told. These
    /// can exceed the tolerance: T5's scores amplify them to nearly 1e-5.
    F64,
}

impl Arithmetic {
    /// The tolerance in `f64` is one for all; that in `f32` is given.
    fn or(self, single: f64) -> f64 {
        match self {
            Arithmetic::F32 => single,
            Arithmetic::F64 => 1e-6,
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

    /// For PiSSA's start: a singular vector turns by a rounding of the matrix over the
    /// distance to the next singular value, and PEFT decomposes in `f32` even in a
    /// double model.
    pub fn decompositions(self) -> f64 {
        match self {
            Arithmetic::F32 => 1e-4,
            Arithmetic::F64 => 5e-5,
        }
    }

    /// For whole numbers.
    pub fn counts(self) -> f64 {
        0.0
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
/// If the folder cannot be read, or there is nothing in it that could be compared.
pub fn check_folder(folder: &Path, arithmetic: Arithmetic) -> Result<Report> {
    let check = Check {
        arithmetic,
        report: Report::default(),
    };
    match arithmetic {
        Arithmetic::F32 => check.run::<f32>(folder),
        Arithmetic::F64 => check.run::<f64>(folder),
    }
}

/// The values of a family.
const CASE: &str = "case.safetensors";
/// What the names of all files of values end with.
const EXTENSION: &str = ".safetensors";
/// Where a group finds its family, from itself.
const BESIDE: &str = "../reference/llama";

/// A comparison under way.
struct Check {
    arithmetic: Arithmetic,
    report: Report,
}

/// What a folder is.
enum Kind {
    Family,
    Group,
    Other,
}

impl Kind {
    fn of(folder: &Path) -> Result<Self> {
        let has = |file: &str| folder.join(file).is_file();
        if has("model/config.json") || has(CASE) {
            return Ok(Kind::Family);
        }
        let mut files = entries(folder)?.into_iter();
        Ok(match files.any(|(name, _)| name.ends_with(EXTENSION)) {
            true => Kind::Group,
            false => Kind::Other,
        })
    }
}

impl Check {
    fn run<T: Real>(mut self, folder: &Path) -> Result<Report> {
        let mut families: Vec<Family<T>> = Vec::new();
        let mut groups = Vec::new();
        let mut found = false;
        for (name, path) in entries(folder)? {
            if !path.is_dir() {
                continue;
            }
            match Kind::of(&path)? {
                Kind::Family => {
                    found = true;
                    self.family(&name, &path, &mut families);
                }
                Kind::Group => groups.push((format!("{name}/"), path)),
                Kind::Other => self.note(
                    &name,
                    &format!("no family: it has neither model/config.json nor {CASE}"),
                ),
            }
        }
        let is_group = matches!(Kind::of(folder)?, Kind::Group);
        if !found && groups.is_empty() && !is_group {
            let problem = format!(
                "expected folders with model/config.json and {CASE}, or files of values, found none"
            );
            return Err(Error::file(folder, problem));
        }
        for (group, path) in groups {
            self.files::<T>(&path, &group, &families)?;
        }
        self.files(folder, "", &families)?;
        Ok(self.report)
    }

    /// Compares a family's case, and keeps the family for the other files.
    fn family<T: Real>(&mut self, name: &str, folder: &Path, families: &mut Vec<Family<T>>) {
        self.section(name, &folder.join(CASE), |section, case| {
            families.push(Family::read(name, folder, case)?);
            check_case(section, families.last().expect("just pushed"), case)
        });
    }

    /// Compares every safetensors file of a folder; `group` stands before its
    /// name. The families are those of the folder that is compared.
    fn files<T: Real>(&mut self, folder: &Path, group: &str, families: &[Family<T>]) -> Result<()> {
        let beside = folder.join(BESIDE);
        let mut borrowed = Vec::new();
        // A folder with families is no group that could have one elsewhere.
        if (!group.is_empty() || families.is_empty()) && beside.join(CASE).is_file() {
            let case = Reference::read(&beside.join(CASE));
            let read = |mut case| Family::read("llama", &beside, &mut case);
            match case.and_then(read) {
                Ok(family) => borrowed.push(family),
                Err(error) => self.report.errors.push(error),
            }
        }
        let families = match borrowed.is_empty() {
            true => families,
            false => &borrowed,
        };
        for (name, path) in entries(folder)? {
            if let Some(name) = name.strip_suffix(EXTENSION) {
                self.file(&format!("{group}{name}"), name, &path, families);
            }
        }
        Ok(())
    }

    /// Compares a file, called `full` in the report.
    fn file<T: Real>(&mut self, full: &str, name: &str, path: &Path, families: &[Family<T>]) {
        if let Some((_, why)) = ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == name) {
            return self.note(full, why);
        }
        let Some(known) = Known::find(name) else {
            let problem = "expected a file that is described, found another name";
            return self.report.errors.push(Error::file(path, problem));
        };
        self.section(full, path, |section, file| {
            let method = known.method(file)?;
            (known.check)(section, families, file, &method)
        });
    }

    /// Compares one file; whatever it holds must be asked for.
    fn section(
        &mut self,
        name: &str,
        path: &Path,
        check: impl FnOnce(&mut Section<'_>, &mut Reference) -> Result<()>,
    ) {
        let mut section = Section {
            name: name.to_owned(),
            arithmetic: self.arithmetic,
            rows: &mut self.report.rows,
        };
        let outcome = Reference::read(path).and_then(|mut reference| {
            check(&mut section, &mut reference)?;
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
/// under `logits`, and the modules are modules of it. If there are several, it is the
/// one named `llama`.
fn family_of<'f, T: Number>(
    families: &'f [Family<T>],
    file: &Reference,
    logits: &str,
    modules: &Modules,
) -> Result<&'f Family<T>> {
    let belongs = |family: &&Family<T>| {
        file.shape(logits) == Some(&family.logits_shape())
            && !modules.is_empty()
            && modules
                .iter()
                .all(|(module, dim)| check_fit(&family.parameters, module, *dim).is_ok())
    };
    let found: Vec<&Family<T>> = families.iter().filter(belongs).collect();
    match *found {
        [family] => Ok(family),
        [] => Err(file.error(format!(
            "expected values of a family beside it or at {BESIDE}, found those of none"
        ))),
        _ => found
            .into_iter()
            .find(|family| family.name == "llama")
            .ok_or_else(|| {
                file.error("expected values of one family of this folder, found several that fit")
            }),
    }
}

//! `adapter_config.json`.

use std::collections::BTreeMap;
use std::path::Path;

use ggpo_files::read::DESCRIPTION;
use ggpo_files::read_text;
use serde_json::{Map, Value};

use super::budget::Budget;
use super::fields::Fields;
use super::form::PeftForm;
use super::start::{self, Start};
use crate::adapter::is_scaling;
use crate::adapter::{adalora, lora};
use crate::targets::{EndPattern, ends_with};
use crate::{LoraError, ScalingRule, Targets};

/// The configuration of an adapter in the PEFT format, field by field.
#[derive(Clone, Debug, PartialEq)]
pub struct PeftConfig {
    /// The form of the adapters.
    pub form: &'static PeftForm,
    /// The ranks, if the form has a budget of them. `r`, `rank_pattern`,
    /// `alpha_pattern` and `use_rslora` mean nothing then, as in PEFT.
    pub budget: Option<Budget>,
    /// The rank, where `rank_pattern` says nothing else.
    pub r: usize,
    /// The numerator of the scaling, where `alpha_pattern` says nothing else.
    pub lora_alpha: f64,
    /// Dropout on the input of the adapters. When a folder is written, that of
    /// the adapters is used.
    pub lora_dropout: f32,
    /// The scaling is `alpha / sqrt(r)` instead of `alpha / r`.
    pub use_rslora: bool,
    /// The modules that have an adapter.
    pub target_modules: Option<Targets>,
    /// Modules that were trained as a whole and are stored with the adapter.
    pub modules_to_save: Option<Vec<String>>,
    /// The kind of task, for example `SEQ_CLS` or `CAUSAL_LM`.
    pub task_type: Option<String>,
    /// Name or folder of the base model.
    pub base_model_name_or_path: Option<String>,
    /// The base model stores its weights in x out; A and B are not affected.
    pub fan_in_fan_out: bool,
    /// The adapter was saved for use, not for further training.
    pub inference_mode: bool,
    /// Ranks of modules that differ: a pattern that matches the whole name, or
    /// its end from a "." on; the first match in alphabetical order counts.
    pub rank_pattern: BTreeMap<String, usize>,
    /// Numerators of modules that differ, by the same rule.
    pub alpha_pattern: BTreeMap<String, f64>,
    /// All other options, as they were read; those that would change anything
    /// are refused, so these can be ignored.
    pub other: BTreeMap<String, Value>,
}

impl PeftConfig {
    /// A configuration for LoRA adapters of one rank and numerator.
    pub fn new(
        rank: usize,
        alpha: f64,
        scaling: ScalingRule,
        target_modules: Vec<String>,
        modules_to_save: Vec<String>,
        task_type: Option<String>,
        base_model: String,
    ) -> Self {
        let modules_to_save = (!modules_to_save.is_empty()).then_some(modules_to_save);
        let other = [
            ("auto_mapping", Value::Null),
            ("init_lora_weights", Value::Bool(true)),
            ("layers_pattern", Value::Null),
            ("layers_to_transform", Value::Null),
            ("revision", Value::Null),
        ];
        PeftConfig {
            form: &lora::PEFT,
            budget: None,
            r: rank,
            lora_alpha: alpha,
            lora_dropout: 0.0,
            use_rslora: scaling == ScalingRule::RsLora,
            target_modules: Some(Targets::Names(target_modules)),
            modules_to_save,
            task_type,
            base_model_name_or_path: Some(base_model),
            fan_in_fan_out: false,
            inference_mode: true,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            other: other.map(|(key, value)| (key.to_owned(), value)).into(),
        }
    }

    /// Reads `adapter_config.json` in a folder.
    ///
    /// # Errors
    /// [`LoraError`], naming the file and the field: if it cannot be read, or has an option
    /// that cannot be honoured.
    pub fn read(folder: &Path) -> Result<Self, LoraError> {
        let path = folder.join(super::CONFIG_FILE);
        let text = read_text(&path, DESCRIPTION);
        let text = text.map_err(|error| super::io_error(&path, error))?;
        Self::parse(&path, &text)
    }

    /// The rule that makes the scaling from alpha and rank.
    pub fn scaling_rule(&self) -> ScalingRule {
        if self.use_rslora {
            ScalingRule::RsLora
        } else {
            ScalingRule::Lora
        }
    }

    /// The start of the factors, if it changed the base that they act on.
    pub fn start(&self) -> Option<Start> {
        let value = self.other.get(start::FIELD);
        // PEFT starts its triples at E = 0, whatever the field says.
        let started = self.budget.is_none().then(|| Start::of(value).ok());
        started.flatten().flatten()
    }

    /// Rank r and scaling s of a module.
    ///
    /// # Errors
    /// [`LoraError::Pattern`] if a key of `rank_pattern` or `alpha_pattern` is
    /// not a regular expression.
    pub fn rank_and_scaling(&self, module: &str) -> Result<(usize, f64), LoraError> {
        Ok(self.ranks()?.of(module))
    }

    /// Ranks and scalings, the patterns made ready once for many modules.
    pub(super) fn ranks(&self) -> Result<Ranks<'_>, LoraError> {
        Ok(Ranks {
            config: self,
            ranks: ready(&self.rank_pattern)?,
            alphas: ready(&self.alpha_pattern)?,
        })
    }

    /// Refuses a scaling that is infinite or 0 in single precision.
    pub(super) fn check_scaling(&self, folder: &Path, scaling: f64) -> Result<(), LoraError> {
        if is_scaling(scaling) {
            return Ok(());
        }
        Err(LoraError::Option {
            path: folder.join(super::CONFIG_FILE),
            field: "lora_alpha".to_owned(),
            value: self.lora_alpha.to_string(),
            expected: format!("a scaling within single precision (not {scaling})"),
        })
    }

    /// Which triples of a module are in the file, if not all are.
    pub(super) fn kept(&self, module: &str) -> Option<&[bool]> {
        let budget = self.budget.as_ref()?;
        budget.kept.get(module).map(Vec::as_slice)
    }

    /// Whether a parameter (its full name) is in a module that is saved whole.
    pub(super) fn is_saved(&self, parameter: &str) -> bool {
        let entries = self.modules_to_save.as_deref().unwrap_or_default();
        let ends = parameter.match_indices('.').map(|(end, _)| end);
        ends.map(|end| &parameter[..end])
            .any(|module| entries.iter().any(|entry| module.ends_with(entry)))
    }

    /// The targets as text, if they are a list without this module.
    pub(super) fn unmatched_targets(&self, module: &str) -> Option<String> {
        let targets = self.target_modules.as_ref()?;
        let Targets::Names(names) = targets else {
            return None;
        };
        let listed = names.iter().any(|entry| ends_with(module, entry));
        (!listed).then(|| targets.to_string())
    }

    /// Reads the text of the file at `path`.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, LoraError> {
        let mut fields = Fields::parse(path, text)?;
        let form = fields.take_form()?;
        let budget = match form.budget {
            true => Some(Budget::take(&mut fields)?),
            false => None,
        };
        let config = PeftConfig {
            form,
            budget,
            r: fields.take("r", "a whole number of at least 1", 8, |&r| r >= 1)?,
            lora_alpha: fields.take("lora_alpha", "a finite number above 0", 8.0, positive)?,
            lora_dropout: fields.take("lora_dropout", "from 0 up to 1", 0.0, |p: &f32| {
                (0.0..1.0).contains(p)
            })?,
            use_rslora: fields.take("use_rslora", "true or false", false, any)?,
            target_modules: fields.take("target_modules", "names or a pattern", None, any)?,
            modules_to_save: fields.take("modules_to_save", "a list of names", None, any)?,
            task_type: fields.take("task_type", "text", None, any)?,
            base_model_name_or_path: fields.take("base_model_name_or_path", "text", None, any)?,
            fan_in_fan_out: fields.take("fan_in_fan_out", "true or false", false, any)?,
            inference_mode: fields.take("inference_mode", "true or false", false, any)?,
            rank_pattern: fields.take(
                "rank_pattern",
                "whole numbers of at least 1 by at most 100 patterns or any names",
                BTreeMap::new(),
                |ranks: &BTreeMap<String, usize>| few(ranks) && ranks.values().all(|&r| r >= 1),
            )?,
            alpha_pattern: fields.take(
                "alpha_pattern",
                "finite numbers above 0 by at most 100 patterns or any names",
                BTreeMap::new(),
                |alphas: &BTreeMap<String, f64>| few(alphas) && alphas.values().all(positive),
            )?,
            other: fields.rest()?,
        };
        config.check_start(path)?;
        Ok(config)
    }

    /// PEFT's OLoRA decomposes a weight as it is stored, and so has no meaning where
    /// that is in x out.
    fn check_start(&self, path: &Path) -> Result<(), LoraError> {
        if self.start() == Some(Start::Olora) && self.fan_in_fan_out {
            return Err(LoraError::Option {
                path: path.to_owned(),
                field: "fan_in_fan_out".to_owned(),
                value: "true".to_owned(),
                expected: "false with the start \"olora\"".to_owned(),
            });
        }
        Ok(())
    }

    /// The text of the file: sorted by key, as PEFT writes it.
    pub(super) fn to_text(&self) -> String {
        let mut fields = Map::from_iter(self.other.clone());
        let ranks: Map<_, _> = map_values(&self.rank_pattern, |&rank| Value::from(rank));
        let alphas: Map<_, _> = map_values(&self.alpha_pattern, |&alpha| number(alpha));
        let own = [
            ("peft_type", Value::from(self.form.peft_type)),
            ("bias", Value::from("none")),
            ("use_dora", Value::from(self.form.use_dora)),
            ("r", Value::from(self.r)),
            ("lora_alpha", number(self.lora_alpha)),
            ("lora_dropout", decimal(self.lora_dropout)),
            ("use_rslora", Value::from(self.use_rslora)),
            ("target_modules", targets(self.target_modules.as_ref())),
            ("modules_to_save", Value::from(self.modules_to_save.clone())),
            ("task_type", Value::from(self.task_type.clone())),
            (
                "base_model_name_or_path",
                Value::from(self.base_model_name_or_path.clone()),
            ),
            ("fan_in_fan_out", Value::from(self.fan_in_fan_out)),
            ("inference_mode", Value::from(self.inference_mode)),
            ("rank_pattern", Value::from(ranks)),
            ("alpha_pattern", Value::from(alphas)),
        ];
        let budget = self.budget.iter().flat_map(Budget::fields);
        let own = own.into_iter().chain(budget);
        fields.extend(own.map(|(key, value)| (key.to_owned(), value)));
        fields.sort_keys();
        format!("{:#}\n", Value::from(fields))
    }
}

fn any<V>(_: &V) -> bool {
    true
}

fn positive(x: &f64) -> bool {
    x.is_finite() && *x > 0.0
}

/// Ranks and scalings of modules.
pub(super) struct Ranks<'a> {
    config: &'a PeftConfig,
    ranks: Ready<'a, usize>,
    alphas: Ready<'a, f64>,
}

impl Ranks<'_> {
    /// Rank r and scaling s of a module.
    pub(super) fn of(&self, module: &str) -> (usize, f64) {
        let config = self.config;
        if let Some(budget) = &config.budget {
            let rank = budget.settings.init_rank;
            return (rank, adalora::scaling(config.lora_alpha, rank));
        }
        let rank = first_match(&self.ranks, module).unwrap_or(config.r);
        let alpha = first_match(&self.alphas, module).unwrap_or(config.lora_alpha);
        (rank, config.scaling_rule().factor(alpha, rank))
    }
}

/// Patterns, in their order, that are ready to match.
type Ready<'a, V> = Vec<(EndPattern<'a>, V)>;

fn ready<V: Copy>(patterns: &BTreeMap<String, V>) -> Result<Ready<'_, V>, LoraError> {
    let patterns = patterns.iter();
    patterns
        .map(|(pattern, &value)| Ok((EndPattern::new(pattern)?, value)))
        .collect()
}

fn first_match<V: Copy>(patterns: &Ready<'_, V>, module: &str) -> Option<V> {
    let mut patterns = patterns.iter();
    patterns.find_map(|(pattern, value)| pattern.matches(module).then_some(*value))
}

/// Regular expressions of a file that are not mere names. Each takes memory once it is
/// compiled.
const MOST_PATTERNS: usize = 100;

fn few<V>(patterns: &BTreeMap<String, V>) -> bool {
    let compiled = patterns
        .keys()
        .filter(|pattern| !EndPattern::is_plain(pattern));
    compiled.count() <= MOST_PATTERNS
}

fn map_values<V>(values: &BTreeMap<String, V>, f: impl Fn(&V) -> Value) -> Map<String, Value> {
    values.iter().map(|(key, v)| (key.clone(), f(v))).collect()
}

fn targets(targets: Option<&Targets>) -> Value {
    match targets {
        None => Value::Null,
        Some(Targets::Names(names)) => Value::from(names.clone()),
        Some(Targets::Pattern(pattern)) => Value::from(pattern.clone()),
    }
}

/// A whole number without a decimal point where it is one, as PEFT expects.
fn number(x: f64) -> Value {
    const EXACT: f64 = (1_u64 << 53) as f64;
    if x.fract() == 0.0 && x.abs() < EXACT {
        Value::from(x as i64)
    } else {
        Value::from(x)
    }
}

/// The shortest decimal that reads back as this `f32`.
fn decimal(x: f32) -> Value {
    Value::from(x.to_string().parse::<f64>().unwrap_or(f64::from(x)))
}

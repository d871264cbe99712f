//! The fields of `adapter_config.json` that AdaLoRA has to itself.

use std::collections::BTreeMap;

use ggpo_tensor::{Scalar, Tensor, tensor};
use ndarray::{ArrayD, Axis};
use serde_json::{Map, Value};

use super::fields::Fields;
use super::form::Side;
use crate::adapter::adalora::{AdaLoraConfig, E};
use crate::{Adapters, LoraError};

/// How PEFT calls the mask of a module's triples in `rank_pattern`.
const PATTERN_SUFFIX: &str = ".lora_E";

/// The budget of an AdaLoRA adapter, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// The settings that it was trained with.
    pub settings: AdaLoraConfig,
    /// `target_r`: the mean rank at the end.
    pub target_rank: usize,
    /// `total_step`: the steps of the training.
    pub total_step: u32,
    /// `rank_pattern` by module: which triples are in the file, if not all are. The
    /// others are zero. When a folder is written, the adapters say which they are.
    pub kept: BTreeMap<String, Vec<bool>>,
}

impl Budget {
    /// A budget of which nothing was given up.
    pub fn new(settings: AdaLoraConfig, target_rank: usize, total_step: u32) -> Self {
        Budget {
            settings,
            target_rank,
            total_step,
            kept: BTreeMap::new(),
        }
    }

    /// Takes the fields out of a file.
    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Self, LoraError> {
        const WHOLE: &str = "a whole number";
        const POSITIVE: &str = "a whole number of at least 1";
        let default = AdaLoraConfig::default();
        let decay = |beta: &f64| (0.0..1.0).contains(beta);
        let settings = AdaLoraConfig {
            init_rank: fields.take("init_r", POSITIVE, default.init_rank, |&r| r >= 1)?,
            t_init: fields.take("tinit", WHOLE, default.t_init, |_| true)?,
            t_final: fields.take("tfinal", WHOLE, default.t_final, |_| true)?,
            delta_t: fields.take("deltaT", POSITIVE, default.delta_t, |&t| t >= 1)?,
            beta1: fields.take("beta1", "from 0 up to 1", default.beta1, decay)?,
            beta2: fields.take("beta2", "from 0 up to 1", default.beta2, decay)?,
            penalty: fields.take(
                "orth_reg_weight",
                "a finite number of at least 0",
                default.penalty,
                |weight: &f64| weight.is_finite() && *weight >= 0.0,
            )?,
        };
        let rank = settings.init_rank;
        let pattern: BTreeMap<String, Vec<bool>> = fields.take(
            "rank_pattern",
            "a list of init_r truth values for every module",
            BTreeMap::new(),
            |pattern: &BTreeMap<String, Vec<bool>>| pattern.values().all(|k| k.len() == rank),
        )?;
        let module = |key: String| match key.strip_suffix(PATTERN_SUFFIX) {
            Some(module) => module.to_owned(),
            None => key,
        };
        Ok(Budget {
            settings,
            target_rank: fields.take("target_r", POSITIVE, 8, |&r| r >= 1)?,
            total_step: fields.take("total_step", POSITIVE, 1, |&t| t >= 1)?,
            kept: pattern.into_iter().map(|(k, v)| (module(k), v)).collect(),
        })
    }

    /// The fields as they are written.
    pub(super) fn fields(&self) -> Vec<(&'static str, Value)> {
        let settings = &self.settings;
        let kept = self.kept.iter();
        let kept: Map<_, _> = kept
            .map(|(module, kept)| {
                let key = format!("{module}{PATTERN_SUFFIX}");
                (key, Value::from(kept.clone()))
            })
            .collect();
        let pattern = match kept.is_empty() {
            true => Value::Null,
            false => Value::from(kept),
        };
        vec![
            ("init_r", Value::from(settings.init_rank)),
            ("target_r", Value::from(self.target_rank)),
            ("tinit", Value::from(settings.t_init)),
            ("tfinal", Value::from(settings.t_final)),
            ("deltaT", Value::from(settings.delta_t)),
            ("beta1", Value::from(settings.beta1)),
            ("beta2", Value::from(settings.beta2)),
            ("orth_reg_weight", Value::from(settings.penalty)),
            ("total_step", Value::from(self.total_step)),
            ("rank_pattern", pattern),
        ]
    }

    /// Finds out which triples are to be written: as in PEFT all of them before the
    /// first was given up or became other than 0, and then those whose E is not 0.
    pub(super) fn note_kept<T: Scalar>(&mut self, adapters: &Adapters<T>) {
        let kept = |e: &Tensor<T>| e.iter().map(|&e| e != T::ZERO).collect::<Vec<bool>>();
        let all = adapters.iter().filter_map(|(module, adapter)| {
            let e = adapter.factor(E)?;
            Some((module.clone(), kept(e)))
        });
        let all: BTreeMap<_, _> = all.collect();
        let mut triples = all.values().flatten();
        let first = triples.next().copied();
        let mixed = triples.any(|&kept| Some(kept) != first);
        self.kept = if mixed { all } else { BTreeMap::new() };
    }
}

/// The part of a factor that is kept of its rank.
pub(super) fn shrink<T: Scalar>(factor: &Tensor<T>, sides: &[Side], kept: &[bool]) -> Tensor<T> {
    let Some(axis) = sides.iter().position(|&side| side == Side::Rank) else {
        return factor.clone();
    };
    let indices: Vec<usize> = (0..kept.len()).filter(|&k| kept[k]).collect();
    let part = factor.select(Axis(axis), &indices);
    tensor(part.shape(), part.iter().copied().collect())
}

/// A factor with zeros where triples were given up.
pub(super) fn expand<T: Scalar>(factor: &Tensor<T>, sides: &[Side], kept: &[bool]) -> Tensor<T> {
    let Some(axis) = sides.iter().position(|&side| side == Side::Rank) else {
        return factor.clone();
    };
    let mut shape = factor.shape().to_vec();
    shape[axis] = kept.len();
    let mut whole = ArrayD::from_elem(shape, T::ZERO);
    let places = (0..kept.len()).filter(|&k| kept[k]);
    for (place, part) in places.zip(factor.axis_iter(Axis(axis))) {
        whole.index_axis_mut(Axis(axis), place).assign(&part);
    }
    whole.into_shared()
}

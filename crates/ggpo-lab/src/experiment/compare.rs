//! A comparison on a person's own model and data, by the same rule.

use std::collections::BTreeMap;

use ggpo_train::method::MethodConfig;
use ggpo_train::metrics::Metric;
use ggpo_train::run::RunConfig;
use ggpo_train::{Error, Result};

use super::description::{Experiment, Grid, MethodEntry, Point, Precondition, TaskEntry, sha256};
use super::kinds::Kind;
use super::primary::Primary;
use crate::verdict::{ClaimKind, fewest_pairs};

/// A comparison as a person asks for it.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// A run, of which seed, method and learning rate are replaced.
    pub run: RunConfig,
    /// The methods: name, title and settings.
    pub methods: Vec<(String, String, MethodConfig)>,
    /// Name of the method that the others are compared with.
    pub reference: String,
    /// Seeds of the compared runs.
    pub seeds: u64,
    /// Learning rates that every method tries.
    pub learning_rates: Vec<f64>,
    /// Seeds that choose among them; not used for a single rate.
    pub tuning_seeds: u64,
    /// The smallest difference that matters; without it half a point of accuracy, or
    /// 0.005 of loss.
    pub margin: Option<f64>,
}

/// The level of effort of a comparison.
pub const ONLY_LEVEL: &str = "comparison";

impl Comparison {
    /// The experiment.
    ///
    /// # Errors
    /// If the reference is not among the methods, there is none beside it, one stands
    /// twice, so few seeds cannot decide, or a rate or the margin is no such number.
    pub fn experiment(&self) -> Result<Experiment> {
        let named = |name: &str| self.methods.iter().any(|(method, ..)| method == name);
        if !named(&self.reference) {
            let names: Vec<&str> = self
                .methods
                .iter()
                .map(|(name, ..)| name.as_str())
                .collect();
            return Err(Error::config(
                "reference",
                names.join(", "),
                &self.reference,
            ));
        }
        let family = self.methods.len() - 1;
        if family == 0 {
            let expected = "at least two methods, the reference among them";
            return Err(Error::config("methods", expected, "one"));
        }
        let twice = |(index, (name, ..)): &(usize, &(String, String, MethodConfig))| {
            self.methods[..*index]
                .iter()
                .any(|(other, ..)| other == name)
        };
        if let Some((_, (name, ..))) = self.methods.iter().enumerate().find(twice) {
            let found = format!("{name} twice");
            return Err(Error::config("methods", "every method once", found));
        }
        let fewest = fewest_pairs(family);
        if (self.seeds as usize) < fewest {
            let methods = self.methods.len();
            let expected = format!("at least {fewest}, to decide between {methods} methods");
            return Err(Error::config("seeds", expected, self.seeds));
        }
        for (index, rate) in self.learning_rates.iter().enumerate() {
            if !(rate.is_finite() && *rate > 0.0) {
                let expected = "finite numbers above 0";
                return Err(Error::config("learning_rates", expected, rate));
            }
            if self.learning_rates[..index].contains(rate) {
                let found = format!("{rate} twice");
                return Err(Error::config("learning_rates", "every rate once", found));
            }
        }
        if let Some(margin) = self.margin.filter(|it| !(it.is_finite() && *it > 0.0)) {
            let expected = "a finite number above 0";
            return Err(Error::config("margin", expected, margin));
        }
        let config = &self.run;
        let primary = match config.task.chosen_metric() {
            Metric::Accuracy => Primary::Accuracy,
            Metric::Matthews => Primary::Matthews,
            Metric::F1 => Primary::F1,
            Metric::Correlation | Metric::Loss => Primary::Loss,
        };
        let (claim, margin, diverged) = match primary {
            Primary::Loss => (
                "{method} has a lower test loss than {reference}",
                0.005,
                1e3,
            ),
            _ => (
                "{method} has a higher test score than {reference}",
                0.5,
                0.0,
            ),
        };
        let tuned = self.learning_rates.len() > 1;
        let grid = Grid {
            seeds: self.seeds,
            learning_rates: self.learning_rates.clone(),
            tuning_seeds: if tuned { self.tuning_seeds.max(1) } else { 0 },
            ..Grid::default()
        };
        Ok(Experiment {
            id: "comparison".to_owned(),
            sha256: sha256(format!("{self:?}").as_bytes()),
            place: 0,
            title: "Comparison".to_owned(),
            question: format!(
                "Methods on {} with {}, by the rule of this page.",
                config.task.train.display(),
                config.model.display()
            ),
            kind: Kind::Comparison,
            claim: claim.to_owned(),
            claim_kind: ClaimKind::Better,
            references: vec![self.reference.clone()],
            primary,
            margin: self.margin.unwrap_or(margin),
            diverged: Some(diverged),
            precondition: Precondition::None,
            stands_on: Vec::new(),
            not_shown: vec![
                "One model and one data set: what holds here need not hold for others.".to_owned(),
            ],
            tasks: vec![TaskEntry {
                id: "task".to_owned(),
                title: config.task.train.display().to_string(),
                about: format!(
                    "{}, {} steps of {} rows.",
                    config.task.kind.name(),
                    config.training.steps,
                    config.batch_size
                ),
                model: config.model.clone(),
                data: config.task.clone(),
                batch_size: config.batch_size,
                micro_batches: config.micro_batches,
                steps: config.training.steps,
                evaluations: config.training.steps.div_ceil(config.evaluate_every),
                schedule: config.training.schedule,
                clip: config.training.clip,
                adamw: config.training.adamw.clone(),
                head: config.head,
            }],
            methods: self
                .methods
                .iter()
                .map(|(id, title, method)| MethodEntry {
                    id: id.clone(),
                    title: title.clone(),
                    method: method.clone(),
                    references: None,
                    judged: true,
                    warmup: None,
                    clip: None,
                    weight_decay: None,
                    dose: None,
                    curve: None,
                })
                .collect(),
            features: None,
            alpha_over_rank: None,
            at: Point::default(),
            smoothing: 0.1,
            grid: BTreeMap::from([(ONLY_LEVEL.to_owned(), grid)]),
        })
    }
}

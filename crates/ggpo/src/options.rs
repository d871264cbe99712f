//! The fields of a run's description as options of the command line.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use ggpo_lora::method::{METHODS, Method, method};
use ggpo_train::Result;
use ggpo_train::run::Description;
use toml::Value;

/// Fields of the description. Each option stands for the field of the TOML file
/// that its help names, and goes before it.
#[derive(Args)]
pub(crate) struct RunOptions {
    /// Folder of the base model, or a GGUF file (model)
    #[arg(long, value_name = "PATH", help_heading = "Run")]
    model: Option<PathBuf>,
    /// Seed of everything random (seed; 0)
    #[arg(long, value_name = "N", help_heading = "Run")]
    seed: Option<i64>,

    #[command(flatten)]
    method: MethodOptions,
    #[command(flatten)]
    training: TrainingOptions,
    #[command(flatten)]
    data: DataOptions,
}

#[derive(Args)]
#[command(next_help_heading = "Method")]
struct MethodOptions {
    /// What is trained, under which noise (method)
    #[arg(long, value_name = "METHOD", value_parser = method_names())]
    method: Option<&'static Method>,
    /// Rank r of the adapters (method.lora.rank; 8)
    #[arg(long, value_name = "N")]
    rank: Option<i64>,
    /// Numerator of the scaling (method.lora.alpha; 16)
    #[arg(long, value_name = "X")]
    alpha: Option<f64>,
    /// Denominator of the scaling: r, or its root (method.lora.scaling; lora)
    #[arg(long, value_name = "RULE", value_parser = ["lora", "rslora"])]
    scaling: Option<String>,
    /// Dropout on the low-rank path (method.lora.dropout; 0)
    #[arg(long, value_name = "SHARE")]
    lora_dropout: Option<f64>,
    /// Modules to adapt: names separated by commas, or one regular expression
    /// (method.lora.targets; all linear layers of the blocks)
    #[arg(long, value_name = "NAMES")]
    targets: Option<String>,
    /// Strength of the noise (method.perturbation.sigma; 0.03)
    #[arg(long, value_name = "X")]
    sigma: Option<f64>,
    /// Weight of the gradient norm (method.perturbation.beta; 0.01)
    #[arg(long, value_name = "X")]
    beta: Option<f64>,
    /// Where the gradient norm comes from (method.perturbation.gradient;
    /// adapters)
    #[arg(long, value_name = "ESTIMATE", value_parser = ["adapters", "exact", "none"])]
    gradient: Option<String>,
    /// Course of sigma (method.perturbation.schedule; constant)
    #[arg(long, value_name = "COURSE", value_parser = ["constant", "cosine_ramp"])]
    sigma_schedule: Option<String>,
    /// Steps between two refreshes of the norms
    /// (method.perturbation.refresh_every; 1)
    #[arg(long, value_name = "N")]
    refresh_every: Option<i64>,
    /// Truncate the noise at so many standard deviations
    /// (method.perturbation.noise; gaussian)
    #[arg(long, value_name = "C")]
    truncate_noise: Option<f64>,
    /// Formula of the standard deviation (method.perturbation.form; paper)
    #[arg(long, value_name = "FORM", value_parser = ["paper", "sd_scripts"])]
    form: Option<String>,
    /// Spread of the noise over a layer's rows (method.perturbation.spread; rows)
    #[arg(long, value_name = "SPREAD", value_parser = ["rows", "isotropic"])]
    spread: Option<String>,
    /// Fresh noise for every micro-batch (method.perturbation.per_micro_batch)
    #[arg(long)]
    noise_per_micro_batch: bool,
}

/// Accepts the names of the methods.
pub(crate) fn method_names() -> impl TypedValueParser<Value = &'static Method> {
    PossibleValuesParser::new(METHODS.iter().map(|method| {
        let help = format!("{}: {}", method.title, method.about);
        PossibleValue::new(method.name).help(help)
    }))
    .map(|name| method(&name).expect("one of the names"))
}

#[derive(Args)]
#[command(next_help_heading = "Training")]
struct TrainingOptions {
    /// Highest learning rate (training.learning_rate; 2e-4)
    #[arg(long, visible_alias = "lr", value_name = "X")]
    learning_rate: Option<f64>,
    /// Passes over the training rows (epochs; 3)
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    epochs: Option<i64>,
    /// Optimiser steps, instead of epochs (training.steps)
    #[arg(long, value_name = "N")]
    steps: Option<i64>,
    /// Rows per optimiser step (batch_size; 16)
    #[arg(long, value_name = "N")]
    batch_size: Option<i64>,
    /// Parts that a step's rows are split into, to save memory (micro_batches; 1)
    #[arg(long, value_name = "N")]
    micro_batches: Option<i64>,
    /// Course of the learning rate (training.schedule.kind; constant)
    #[arg(long, value_name = "COURSE", value_parser = ["constant", "linear", "cosine"])]
    schedule: Option<String>,
    /// Warm-up: a number of steps, or with a decimal point a share of all
    /// (training.schedule.warmup; 0)
    #[arg(long, value_name = "N")]
    warmup: Option<String>,
    /// Largest global norm of the gradients (training.clip; none)
    #[arg(long, value_name = "X")]
    clip: Option<f64>,
    /// Decoupled weight decay (training.adamw.weight_decay; 0)
    #[arg(long, value_name = "X")]
    weight_decay: Option<f64>,
    /// AdamW's decay of the mean gradient (training.adamw.beta1; 0.9)
    #[arg(long, value_name = "X")]
    adam_beta1: Option<f64>,
    /// AdamW's decay of the mean squared gradient (training.adamw.beta2; 0.999)
    #[arg(long, value_name = "X")]
    adam_beta2: Option<f64>,
    /// AdamW's epsilon (training.adamw.eps; 1e-8)
    #[arg(long, value_name = "X")]
    adam_eps: Option<f64>,
    /// Steps between two evaluations (evaluate_every; once per epoch)
    #[arg(long, value_name = "N")]
    evaluate_every: Option<i64>,
    /// Steps between two checkpoints (checkpoint_every; with the evaluations)
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<i64>,
}

/// A field's path and what the command line says of it.
type Field = (&'static str, Option<Value>);

fn value<T: Into<Value> + Clone>(option: &Option<T>) -> Option<Value> {
    option.clone().map(Into::into)
}

/// Sets the fields that the command line speaks of.
fn put(description: &mut Description, fields: impl IntoIterator<Item = Field>) -> Result<()> {
    for (path, value) in fields {
        if let Some(value) = value {
            description.set(path, value)?;
        }
    }
    Ok(())
}

/// A switch is either on or not spoken of.
fn switch(on: bool) -> Option<Value> {
    on.then_some(Value::Boolean(true))
}

fn path(option: &Option<PathBuf>) -> Option<Value> {
    let path = option.as_ref()?;
    Some(path.display().to_string().into())
}

impl RunOptions {
    /// Puts what was said on the command line into a description.
    ///
    /// # Errors
    /// If the description has a field where a table belongs.
    pub(crate) fn apply(&self, description: &mut Description) -> Result<()> {
        if let Some(method) = self.method.method {
            // A name says all of a method but the shape of its adapters.
            for part in [
                "adapter",
                "adaptation",
                "adalora",
                "init",
                "perturbation",
                "lora_plus",
            ] {
                description.remove(&format!("method.{part}"));
            }
            description.set("method.name", method.name)?;
        }
        // A number of epochs or steps replaces the other in the file.
        if self.training.epochs.is_some() {
            description.remove("training.steps");
        }
        if self.training.steps.is_some() {
            description.remove("epochs");
        }
        let own = [("model", path(&self.model)), ("seed", value(&self.seed))];
        let fields = own
            .into_iter()
            .chain(self.method.fields())
            .chain(self.training.fields())
            .chain(self.data.fields());
        put(description, fields)
    }
}

impl MethodOptions {
    fn fields(&self) -> Vec<Field> {
        let truncated = self.truncate_noise.map(|limit| {
            let truncated = [("truncated".to_owned(), Value::Float(limit))];
            Value::Table(truncated.into_iter().collect())
        });
        vec![
            ("method.lora.rank", value(&self.rank)),
            ("method.lora.alpha", value(&self.alpha)),
            ("method.lora.scaling", value(&self.scaling)),
            ("method.lora.dropout", value(&self.lora_dropout)),
            ("method.lora.targets", self.targets.as_deref().map(targets)),
            ("method.perturbation.sigma", value(&self.sigma)),
            ("method.perturbation.beta", value(&self.beta)),
            ("method.perturbation.gradient", value(&self.gradient)),
            ("method.perturbation.schedule", value(&self.sigma_schedule)),
            (
                "method.perturbation.refresh_every",
                value(&self.refresh_every),
            ),
            ("method.perturbation.noise", truncated),
            ("method.perturbation.form", value(&self.form)),
            ("method.perturbation.spread", value(&self.spread)),
            (
                "method.perturbation.per_micro_batch",
                switch(self.noise_per_micro_batch),
            ),
        ]
    }
}

/// Names separated by commas, or one pattern.
fn targets(text: &str) -> Value {
    let is_name = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_alphanumeric() || "._-".contains(c))
    };
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    if text != "all-linear" && names.iter().all(|name| is_name(name)) {
        return Value::Array(names.into_iter().map(Value::from).collect());
    }
    Value::from(text)
}

impl TrainingOptions {
    fn fields(&self) -> Vec<Field> {
        let warmup = self.warmup.as_deref().map(|text| {
            let whole = text.parse::<i64>().map(Value::from);
            whole
                .or_else(|_| text.parse::<f64>().map(Value::from))
                .unwrap_or_else(|_| Value::from(text))
        });
        vec![
            ("training.learning_rate", value(&self.learning_rate)),
            ("epochs", value(&self.epochs)),
            ("training.steps", value(&self.steps)),
            ("batch_size", value(&self.batch_size)),
            ("micro_batches", value(&self.micro_batches)),
            ("training.schedule.kind", value(&self.schedule)),
            ("training.schedule.warmup", warmup),
            ("training.clip", value(&self.clip)),
            ("training.adamw.weight_decay", value(&self.weight_decay)),
            ("training.adamw.beta1", value(&self.adam_beta1)),
            ("training.adamw.beta2", value(&self.adam_beta2)),
            ("training.adamw.eps", value(&self.adam_eps)),
            ("evaluate_every", value(&self.evaluate_every)),
            ("checkpoint_every", value(&self.checkpoint_every)),
        ]
    }
}

#[derive(Args)]
#[command(next_help_heading = "Data")]
struct DataOptions {
    #[command(flatten)]
    form: FormOptions,
    /// File of the training split (task.train)
    #[arg(long, value_name = "FILE")]
    train: Option<PathBuf>,
    /// File of the split that chooses the best step (task.validation)
    #[arg(long, value_name = "FILE")]
    validation: Option<PathBuf>,
    /// Share of the training rows that is set aside if there is no such file
    /// (task.validation_share; 0.1)
    #[arg(long, value_name = "SHARE")]
    validation_share: Option<f64>,
    /// File of the split that is looked at once, at the end (task.test)
    #[arg(long, value_name = "FILE")]
    test: Option<PathBuf>,
    /// What the best step is chosen by (task.metric; by the kind of task)
    #[arg(long, value_name = "SCORE", value_parser = ["accuracy", "matthews", "f1", "correlation", "loss"])]
    metric: Option<String>,
    /// Train on so many rows, drawn by the seed (task.train_rows; all)
    #[arg(long, value_name = "N")]
    train_rows: Option<i64>,
    /// Share of training rows that get a wrong label (task.label_noise; 0)
    #[arg(long, value_name = "SHARE")]
    label_noise: Option<f64>,
}

/// How data files are written and what they say.
#[derive(Args)]
#[command(next_help_heading = "Data")]
pub(crate) struct FormOptions {
    /// What is learnt (task.kind; classification)
    #[arg(long, value_name = "KIND", value_parser = ["classification", "regression", "language-modelling", "completion", "text-to-text"])]
    task: Option<String>,
    /// Layout of the published files of a GLUE task (task.layout)
    #[arg(long, value_name = "NAME", value_parser = ["sst-2", "cola", "mrpc", "qnli", "mnli", "rte", "qqp", "sts-b"])]
    layout: Option<String>,
    /// How rows are written (task.format; what the file's name ends in)
    #[arg(long, value_name = "FORMAT", value_parser = ["tsv", "csv", "jsonl"])]
    format: Option<String>,
    /// The first line is a row, not names of columns (task.header)
    #[arg(long)]
    no_header: bool,
    /// Column of the text, prompt or source, by name or number from 1
    /// (task.columns.text)
    #[arg(long, value_name = "COLUMN")]
    text: Option<String>,
    /// Column of the second text of a pair (task.columns.pair)
    #[arg(long, value_name = "COLUMN")]
    pair: Option<String>,
    /// Column of the label, number, completion or target (task.columns.label)
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,
    /// The classes in order, separated by commas (task.labels; those that occur)
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    labels: Option<Vec<String>>,
    /// The text that the model reads, with {text} and {pair} in it
    /// (task.template)
    #[arg(long, value_name = "TEXT")]
    template: Option<String>,
    /// Longest sequence, in tokens (task.max_length; 128)
    #[arg(long, value_name = "N")]
    max_length: Option<i64>,
    /// Leave out rows that cannot be used, and count them (task.skip_bad_rows)
    #[arg(long)]
    skip_bad_rows: bool,
}

impl DataOptions {
    fn fields(&self) -> Vec<Field> {
        let mut fields = self.form.fields();
        fields.extend([
            ("task.train", path(&self.train)),
            ("task.validation", path(&self.validation)),
            ("task.validation_share", value(&self.validation_share)),
            ("task.test", path(&self.test)),
            ("task.metric", value(&self.metric)),
            ("task.train_rows", value(&self.train_rows)),
            ("task.label_noise", value(&self.label_noise)),
        ]);
        fields
    }
}

impl FormOptions {
    fn fields(&self) -> Vec<Field> {
        let column = |column: &Option<String>| {
            let column = column.as_deref()?;
            let number = column.parse::<i64>().map(Value::from);
            Some(number.unwrap_or_else(|_| Value::from(column)))
        };
        vec![
            ("task.kind", value(&self.task)),
            ("task.layout", value(&self.layout)),
            ("task.format", value(&self.format)),
            (
                "task.header",
                self.no_header.then_some(Value::Boolean(false)),
            ),
            ("task.columns.text", column(&self.text)),
            ("task.columns.pair", column(&self.pair)),
            ("task.columns.label", column(&self.label)),
            ("task.labels", value(&self.labels)),
            ("task.template", value(&self.template)),
            ("task.max_length", value(&self.max_length)),
            ("task.skip_bad_rows", switch(self.skip_bad_rows)),
        ]
    }

    /// Puts what was said into a description.
    ///
    /// # Errors
    /// If the description has a field where a table belongs.
    pub(crate) fn apply(&self, description: &mut Description) -> Result<()> {
        put(description, self.fields())
    }
}

#[cfg(test)]
mod tests;

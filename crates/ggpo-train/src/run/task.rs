//! A task's splits as batches.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ggpo_model::batch::Batch;
use ggpo_model::tokenizer::Tokenizer;
use ggpo_model::{Head, Model, base, fit};
use ggpo_tensor::random::{Purpose, Stream};

use super::config::{RunConfig, TaskConfig, TaskKind};
use super::inputs::{Input, inputs};
use crate::data::bucket::{epoch_batches, scored_batches};
use crate::data::{Answer, Dataset, Example, FileNotes, Fill, collate};
use crate::{Error, Result};

/// Rows on which the gradient is audited.
const AUDIT_ROWS: usize = 16;

/// The tokenised splits of tasks, each read once however many runs use it.
#[derive(Default)]
pub struct Corpora(Mutex<BTreeMap<String, Arc<Corpus>>>);

/// The tokenised splits of a task.
struct Corpus {
    /// What the corpus is made of, as it was just before it was read.
    inputs: Vec<Input>,
    tokenizer: Tokenizer,
    labels: Vec<String>,
    notes: Vec<(&'static str, FileNotes)>,
    train: Vec<Example>,
    validation: Option<Vec<Example>>,
    test: Option<Vec<Example>>,
}

impl Corpora {
    fn get(&self, config: &RunConfig) -> Result<Arc<Corpus>> {
        let key = Self::key(config);
        let mut known = self.0.lock().expect("no panic while locked");
        if let Some(corpus) = known.get(&key) {
            return Ok(Arc::clone(corpus));
        }
        let corpus = Arc::new(Corpus::read(config)?);
        known.insert(key, Arc::clone(&corpus));
        Ok(corpus)
    }

    /// What a tokenised corpus depends on: the files of model and adapter, and the
    /// task but for what is drawn or chosen afterwards.
    fn key(config: &RunConfig) -> String {
        let task = TaskConfig {
            train_rows: None,
            scored_rows: None,
            label_noise: 0.0,
            validation_share: 0.5,
            metric: None,
            ..config.task.clone()
        };
        format!("{:?} {:?} {task:?}", config.model, config.adapter)
    }
}

impl Corpus {
    fn read(config: &RunConfig) -> Result<Self> {
        let task = &config.task;
        let inputs = inputs(config)?;
        let tokenizer = base::tokenizer(&config.model)?;
        let mut train = Dataset::open(&task.train, task, &tokenizer, None)?;
        let set_aside = match task.test {
            None if task.test_share > 0.0 => Some(set_aside_for_test(task, &mut train)?),
            _ => None,
        };
        let labels = train.labels;
        let mut notes = vec![("train", train.notes)];
        let mut other = |split, path: &Option<PathBuf>| -> Result<Option<Vec<Example>>> {
            let Some(path) = path else { return Ok(None) };
            let dataset = Dataset::open(path, task, &tokenizer, Some(&labels))?;
            notes.push((split, dataset.notes));
            Ok(Some(dataset.examples))
        };
        let validation = other("validation", &task.validation)?;
        let test = other("test", &task.test)?.or(set_aside);
        Ok(Corpus {
            inputs,
            train: train.examples,
            validation,
            test,
            notes,
            labels,
            tokenizer,
        })
    }
}

/// The splits of a task as one run sees them.
pub struct Task {
    corpus: Arc<Corpus>,
    train: Vec<Example>,
    kind: TaskKind,
    fill: Fill,
    /// The scored rows of the validation split in batches.
    pub validation: Vec<Batch>,
    /// A few rows of the validation split, on which the gradient is audited.
    pub audit: Batch,
    /// The scored rows of the test split in batches, if there is one.
    pub test: Option<Vec<Batch>>,
    /// The scored training rows in batches, with their labels as trained on.
    pub train_as_seen: Vec<Batch>,
}

impl Task {
    /// Reads, tokenises and batches the files of a run, or takes them from
    /// `corpora`.
    ///
    /// # Errors
    /// If a file cannot be read or holds nothing to learn from.
    pub fn open(config: &RunConfig, corpora: &Corpora) -> Result<Self> {
        let corpus = corpora.get(config)?;
        let (train, set_aside) = set_aside(config, &corpus)?;
        let validation = corpus.validation.as_ref().unwrap_or(&set_aside);
        let train = choose_rows(config, train, corpus.labels.len());
        let scored = config.task.scored_rows.unwrap_or_default();
        let classes = corpus.labels.len();
        let fill = Fill::of(&config.task, &corpus.tokenizer, classes);
        let batches = |examples: &[Example], rows: usize| -> Vec<Batch> {
            let rows = &examples[..rows.min(examples.len())];
            let batches = scored_batches(rows, &config.task, &corpus.tokenizer, classes);
            batches.into_iter().map(|(_, batch)| batch).collect()
        };
        let audit: Vec<&Example> = validation.iter().take(AUDIT_ROWS).collect();
        Ok(Task {
            audit: collate(&audit, fill),
            validation: batches(validation, scored.validation),
            test: corpus.test.as_ref().map(|test| batches(test, scored.test)),
            train_as_seen: batches(&train, scored.train),
            train,
            kind: config.task.kind,
            fill,
            corpus,
        })
    }

    /// The head that the task asks for.
    pub fn head(&self) -> Head {
        head(self.kind, &self.corpus.labels)
    }

    /// The files that the run reads, as they were before they were read.
    pub(super) fn inputs(&self) -> &[Input] {
        &self.corpus.inputs
    }

    /// Names of the classes of a classification, in order; else empty.
    pub fn labels(&self) -> &[String] {
        &self.corpus.labels
    }

    /// What was found in every file, under the name of its split.
    pub fn notes(&self) -> &[(&'static str, FileNotes)] {
        &self.corpus.notes
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.corpus.tokenizer
    }

    /// Checks that the model can do the task and read its tokens.
    ///
    /// # Errors
    /// As [`check_task`], [`fit::check`] and [`check_segments`].
    pub fn check(&self, config: &RunConfig, model: &Model) -> Result<()> {
        check_kind(self.kind, model)?;
        fit::check(model, self.tokenizer(), self.labels(), &config.model)?;
        check_length(&config.task, model)?;
        check_segments(&self.train, model, &config.model)
    }

    /// Optimiser steps of one pass over the training rows.
    pub fn steps_per_epoch(&self, config: &RunConfig) -> u32 {
        self.train.len().div_ceil(config.batch_size) as u32
    }

    /// The training rows of every step of one pass over them, by their numbers.
    pub fn epoch_rows(&self, config: &RunConfig, epoch: u32) -> Vec<Vec<usize>> {
        let lengths: Vec<usize> = self.train.iter().map(Example::length).collect();
        epoch_batches(&lengths, config.batch_size, config.seed, epoch)
    }

    /// The first `rows` training rows in the order of the first pass over them, or all
    /// if there are fewer, as one batch.
    pub fn first_rows(&self, config: &RunConfig, rows: usize) -> Batch {
        let order = self.epoch_rows(config, 0).into_iter().flatten();
        let rows: Vec<&Example> = order.take(rows).map(|row| &self.train[row]).collect();
        collate(&rows, self.fill)
    }

    /// All training rows, with their labels as trained on, in batches.
    pub fn all_rows(&self, config: &RunConfig) -> Vec<Batch> {
        let classes = self.corpus.labels.len();
        let batches = scored_batches(&self.train, &config.task, self.tokenizer(), classes);
        batches.into_iter().map(|(_, batch)| batch).collect()
    }

    /// The micro-batches of every step of one pass over the training rows.
    pub fn epoch(&self, config: &RunConfig, epoch: u32) -> Vec<Vec<Batch>> {
        let micro_rows = config.batch_size.div_ceil(config.micro_batches);
        let micro_batch = |rows: &[usize]| {
            let rows: Vec<&Example> = rows.iter().map(|row| &self.train[*row]).collect();
            collate(&rows, self.fill)
        };
        self.epoch_rows(config, epoch)
            .into_iter()
            .map(|rows| rows.chunks(micro_rows).map(micro_batch).collect())
            .collect()
    }
}

/// The head that a kind of task asks for.
pub(super) fn head(kind: TaskKind, labels: &[String]) -> Head {
    match kind {
        TaskKind::Classification => Head::Classes(labels.len()),
        TaskKind::Regression => Head::Value,
        _ => Head::Tokens,
    }
}

/// Checks that a model can do a task.
///
/// # Errors
/// If the task is not valid, is of another kind than the model's head, or allows
/// sequences longer than the model's positions.
pub fn check_task(task: &TaskConfig, model: &Model) -> Result<()> {
    task.validate()?;
    check_kind(task.kind, model)?;
    check_length(task, model)
}

/// A kind of task needs its head, and one that predicts tokens also a body in which no
/// position sees those after it.
fn check_kind(kind: TaskKind, model: &Model) -> Result<()> {
    let has_encoder = model.start_token().is_some();
    let fits = match kind {
        TaskKind::Classification => matches!(model.head, Head::Classes(_)),
        TaskKind::Regression => model.head == Head::Value,
        TaskKind::LanguageModelling | TaskKind::Completion | TaskKind::Chat => {
            model.is_decoder() && !has_encoder
        }
        TaskKind::TextToText => model.is_decoder() && has_encoder,
    };
    if fits {
        return Ok(());
    }
    let expected = match (model.head, has_encoder) {
        (Head::Classes(_), _) => "classification, which the model's head is for",
        (Head::Value, _) => "regression, which the model's head is for",
        (Head::Tokens, true) => "text-to-text, as the model has an encoder and a decoder",
        (Head::Tokens, false) if model.is_decoder() => {
            "language-modelling, completion or chat, which the model's head is for"
        }
        _ => "classification or regression, as every position of the model sees all others",
    };
    Err(Error::config("task.kind", expected, kind.name()))
}

fn check_length(task: &TaskConfig, model: &Model) -> Result<()> {
    let length = task.max_length;
    if length <= model.positions() {
        return Ok(());
    }
    let expected = format!("at most {}, the model's positions", model.positions());
    Err(Error::config("task.max_length", expected, length))
}

/// Checks that a model knows the segments of examples.
///
/// # Errors
/// If a token is of a segment that the model does not know; `base` is what it names.
pub fn check_segments(examples: &[Example], model: &Model, base: &Path) -> Result<()> {
    let types = model.segments().unwrap_or(usize::MAX);
    let largest = examples
        .iter()
        .flat_map(|example| &example.token_types)
        .max();
    match largest.filter(|largest| **largest >= types) {
        Some(largest) => {
            let problem = format!("expected segments below {types}, found {largest}");
            Err(Error::file(base.join("tokenizer.json"), problem))
        }
        None => Ok(()),
    }
}

/// The rows that are set aside for the test, the same in all runs on a file.
fn set_aside_for_test(task: &TaskConfig, train: &mut Dataset) -> Result<Vec<Example>> {
    let rows = train.examples.len();
    if rows < 3 {
        let problem = format!("expected 3 rows or more to set some aside for a test, found {rows}");
        return Err(Error::file(&task.train, problem));
    }
    let count = (task.test_share * rows as f64).round() as usize;
    let mut order: Vec<usize> = (0..rows).collect();
    Stream::new(0, Purpose::Data, 3, 0).shuffle(&mut order);
    let mut is_aside = vec![false; rows];
    for row in &order[..count.clamp(1, rows - 2)] {
        is_aside[*row] = true;
    }
    let (mut rest, mut aside) = (Vec::new(), Vec::new());
    for (example, is_aside) in std::mem::take(&mut train.examples)
        .into_iter()
        .zip(is_aside)
    {
        match is_aside {
            true => aside.push(example),
            false => rest.push(example),
        }
    }
    train.examples = rest;
    Ok(aside)
}

/// The training rows, and those that the seed sets aside for validation where
/// there is no file for it.
fn set_aside(config: &RunConfig, corpus: &Corpus) -> Result<(Vec<Example>, Vec<Example>)> {
    if corpus.validation.is_some() {
        return Ok((corpus.train.clone(), Vec::new()));
    }
    let rows = corpus.train.len();
    if rows < 2 {
        let problem = "expected two rows or more to set one aside for validation, found one";
        return Err(Error::file(&config.task.train, problem));
    }
    let count = (config.task.validation_share * rows as f64).round() as usize;
    let count = count.clamp(1, rows - 1);
    let mut order: Vec<usize> = (0..rows).collect();
    Stream::new(config.seed, Purpose::Data, 1, 0).shuffle(&mut order);
    let (aside, rest) = order.split_at_mut(count);
    // Both in the order of the file.
    aside.sort_unstable();
    rest.sort_unstable();
    let of = |rows: &[usize]| rows.iter().map(|&row| corpus.train[row].clone()).collect();
    Ok((of(rest), of(aside)))
}

/// The training rows that the seed draws, with the wrong labels it hands out.
fn choose_rows(config: &RunConfig, mut rows: Vec<Example>, classes: usize) -> Vec<Example> {
    if let Some(count) = config.task.train_rows {
        Stream::new(config.seed, Purpose::Data, 0, 0).shuffle(&mut rows);
        rows.truncate(count);
    }
    let wrong = (config.task.label_noise * rows.len() as f64).round() as usize;
    let mut order: Vec<usize> = (0..rows.len()).collect();
    Stream::new(config.seed, Purpose::LabelNoise, 0, 0).shuffle(&mut order);
    let shift = Stream::new(config.seed, Purpose::LabelNoise, 1, 0);
    for &row in &order[..wrong] {
        if let Answer::Class(class) = &mut rows[row].answer {
            let other = shift.below(row as u64, classes as u64 - 1) as usize;
            *class = (*class + 1 + other) % classes;
        }
    }
    rows
}

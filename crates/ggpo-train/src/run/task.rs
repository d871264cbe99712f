//! A task's splits as batches.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ggpo_tensor::random::{Purpose, Stream};

use super::config::{RunConfig, TaskConfig, TaskKind};
use crate::data::bucket::epoch_batches;
use crate::data::table::{self, LabelledText};
use crate::data::tokenizer::Tokenizer;
use crate::data::{Batch, Example, collate_causal, collate_classification, text};
use crate::model::{Head, Model};
use crate::{Error, Result};

/// Rows per batch of an evaluation.
const EVALUATION_ROWS: usize = 64;
/// Rows on which the gradient is audited.
const AUDIT_ROWS: usize = 16;

/// The tokenised splits of tasks, each read once however many runs use it.
#[derive(Default)]
pub struct Corpora(Mutex<BTreeMap<CorpusKey, Arc<Corpus>>>);

/// What a tokenised corpus depends on: model, the three files, the longest
/// sequence, and whether it is a table.
type CorpusKey = (PathBuf, [PathBuf; 3], usize, bool);

/// The tokenised splits of a task.
struct Corpus {
    /// Number of classes; none for language modelling.
    classes: Option<usize>,
    padding: usize,
    train: Vec<Example>,
    validation: Vec<Example>,
    test: Vec<Example>,
}

impl Corpora {
    fn get(&self, config: &RunConfig) -> Result<Arc<Corpus>> {
        let task = &config.task;
        let files = [&task.train, &task.validation, &task.test].map(Clone::clone);
        let table = task.kind == TaskKind::Classification;
        let key = (config.model.clone(), files, task.max_length, table);
        let mut known = self.0.lock().expect("no panic while locked");
        if let Some(corpus) = known.get(&key) {
            return Ok(Arc::clone(corpus));
        }
        let corpus = Arc::new(Corpus::read(config)?);
        known.insert(key, Arc::clone(&corpus));
        Ok(corpus)
    }
}

impl Corpus {
    fn read(config: &RunConfig) -> Result<Self> {
        let path = config.model.join("tokenizer.json");
        let tokenizer = Tokenizer::load(&path)?;
        let padding = tokenizer
            .id("[PAD]")
            .ok_or_else(|| Error::file(&path, "expected a token [PAD], found none"))?;
        match config.task.kind {
            TaskKind::Classification => Self::table(&config.task, &tokenizer, padding),
            TaskKind::LanguageModelling => Self::text(&config.task, &tokenizer, padding),
        }
    }

    fn table(task: &TaskConfig, tokenizer: &Tokenizer, padding: usize) -> Result<Self> {
        let encode = |split: LabelledText| -> Vec<Example> {
            let rows = split.rows.into_iter();
            rows.map(|(label, text)| Example {
                ids: tokenizer.encode_classification(&text, task.max_length).0,
                label,
            })
            .collect()
        };
        let train = table::read(&task.train)?;
        let validation = table::read_with_labels(&task.validation, &train.labels)?;
        let test = table::read_with_labels(&task.test, &train.labels)?;
        Ok(Corpus {
            classes: Some(train.labels.len()),
            padding,
            train: encode(train),
            validation: encode(validation),
            test: encode(test),
        })
    }

    fn text(task: &TaskConfig, tokenizer: &Tokenizer, padding: usize) -> Result<Self> {
        let read = |path: &Path| -> Result<Vec<Example>> {
            let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
            let blocks = text::blocks(&tokenizer.encode(&text), task.max_length);
            if blocks.is_empty() {
                return Err(Error::file(path, "expected text of two tokens or more"));
            }
            let example = |ids| Example { ids, label: 0 };
            Ok(blocks.into_iter().map(example).collect())
        };
        Ok(Corpus {
            classes: None,
            padding,
            train: read(&task.train)?,
            validation: read(&task.validation)?,
            test: read(&task.test)?,
        })
    }
}

/// The splits of a task as one run sees them.
pub struct Task {
    train: Vec<Example>,
    classes: Option<usize>,
    padding: usize,
    /// The scored rows of the validation split in batches.
    pub validation: Vec<Batch>,
    /// A few rows of the validation split, on which the gradient is audited.
    pub audit: Batch,
    /// The scored rows of the test split in batches.
    pub test: Vec<Batch>,
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
        let train = choose_rows(config, &corpus);
        let scored = config.task.scored_rows.unwrap_or_default();
        let batches = |examples: &[Example], rows: usize| {
            let mut rows: Vec<&Example> = examples.iter().take(rows).collect();
            // Similar lengths together, in an order that depends on the rows alone.
            rows.sort_by_key(|example| example.ids.len());
            rows.chunks(EVALUATION_ROWS)
                .map(|rows| collate(rows, corpus.classes, corpus.padding))
                .collect()
        };
        let audit: Vec<&Example> = corpus.validation.iter().take(AUDIT_ROWS).collect();
        Ok(Task {
            audit: collate(&audit, corpus.classes, corpus.padding),
            validation: batches(&corpus.validation, scored.validation),
            test: batches(&corpus.test, scored.test),
            train_as_seen: batches(&train, scored.train),
            train,
            classes: corpus.classes,
            padding: corpus.padding,
        })
    }

    /// The head that the task asks for.
    pub fn head(&self) -> Head {
        self.classes.map_or(Head::Tokens, Head::Classes)
    }

    /// Checks that the model can read the tokens.
    ///
    /// # Errors
    /// If a sequence is longer than the model's positions, or a token unknown
    /// to its embedding.
    pub fn check(&self, config: &RunConfig, model: &Model) -> Result<()> {
        let length = config.task.max_length;
        if length > model.positions() {
            let expected = format!("at most {}, the model's positions", model.positions());
            return Err(Error::config("task.max_length", expected, length));
        }
        let largest = self.train.iter().flat_map(|example| &example.ids).max();
        if let Some(id) = largest.filter(|id| **id >= model.vocabulary()) {
            let vocabulary = model.vocabulary();
            let problem = format!("expected token ids below {vocabulary}, found {id}");
            return Err(Error::file(config.model.join("tokenizer.json"), problem));
        }
        Ok(())
    }

    /// The training rows of every step of one pass over them, by their numbers.
    pub fn epoch_rows(&self, config: &RunConfig, epoch: u32) -> Vec<Vec<usize>> {
        let lengths: Vec<usize> = self.train.iter().map(|example| example.ids.len()).collect();
        epoch_batches(&lengths, config.batch_size, config.seed, epoch)
    }

    /// The micro-batches of every step of one pass over the training rows.
    pub fn epoch(&self, config: &RunConfig, epoch: u32) -> Vec<Vec<Batch>> {
        let micro_rows = config.batch_size.div_ceil(config.micro_batches);
        let micro_batch = |rows: &[usize]| {
            let rows: Vec<&Example> = rows.iter().map(|row| &self.train[*row]).collect();
            collate(&rows, self.classes, self.padding)
        };
        self.epoch_rows(config, epoch)
            .into_iter()
            .map(|rows| rows.chunks(micro_rows).map(micro_batch).collect())
            .collect()
    }
}

fn collate(rows: &[&Example], classes: Option<usize>, padding: usize) -> Batch {
    match classes {
        Some(_) => collate_classification(rows, padding),
        None => {
            let blocks: Vec<&[usize]> = rows.iter().map(|row| row.ids.as_slice()).collect();
            collate_causal(&blocks, padding)
        }
    }
}

/// The training rows that the seed draws, with the wrong labels it hands out.
fn choose_rows(config: &RunConfig, corpus: &Corpus) -> Vec<Example> {
    let mut rows = corpus.train.clone();
    if let Some(count) = config.task.train_rows {
        Stream::new(config.seed, Purpose::Data, 0, 0).shuffle(&mut rows);
        rows.truncate(count);
    }
    let Some(classes) = corpus.classes else {
        return rows;
    };
    let wrong = (config.task.label_noise * rows.len() as f64).round() as usize;
    let mut order: Vec<usize> = (0..rows.len()).collect();
    Stream::new(config.seed, Purpose::LabelNoise, 0, 0).shuffle(&mut order);
    let shift = Stream::new(config.seed, Purpose::LabelNoise, 1, 0);
    for &row in &order[..wrong] {
        let label = &mut rows[row].label;
        *label = (*label + 1 + shift.below(row as u64, classes as u64 - 1) as usize) % classes;
    }
    rows
}

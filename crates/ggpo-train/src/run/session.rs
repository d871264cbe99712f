//! A run between its start and its end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ggpo_files::{FolderLock, create_folder, remove_left_over, write_atomically};
use ggpo_lora::NoiseStatistics;
use ggpo_lora::peft::{PeftAdapter, Wrapped};
use ggpo_model::base::{Base, write_model_folder};
use ggpo_model::batch::Batch;
use ggpo_model::{INITIALIZER_RANGE, Precision, is_in};
use serde::{Deserialize, Serialize};

use super::card::card;
use super::config::RunConfig;
use super::going_on::{put_adapters, put_modules};
use super::inputs::{Input, refuse_changes};
use super::records::Records;
use super::task::{Corpora, Task};
use super::{Keep, LABELS, RESULT, RunResult, claim_folder, state};
use crate::evaluation::evaluate;
use crate::method::Trainable;
use crate::metrics::Scores;
use crate::ranks::{Ranks, largest};
use crate::trainer::{GradientAudit, StepReport, StoredTensor, Trainer, TrainerState};
use crate::{Error, Result, checkpoint, interrupt};

/// Name of the checkpoint in a run's folder.
pub const CHECKPOINT: &str = "checkpoint.bin";
const CHECKPOINT_KIND: &str = "run";

/// The best state so far.
#[derive(Clone, Serialize, Deserialize)]
struct Best {
    step: u32,
    scores: Scores,
    trained: BTreeMap<String, StoredTensor<f32>>,
}

/// What a checkpoint of a run holds.
#[derive(Serialize, Deserialize)]
struct Checkpoint {
    /// The description, so that another run's checkpoint is refused.
    config: String,
    /// What the run reads, so that changed inputs are refused.
    inputs: Vec<Input>,
    trainer: TrainerState<f32>,
    best: Option<Best>,
    history: History,
    /// Length of `metrics.jsonl` at this point.
    metrics_bytes: u64,
}

/// What has been seen so far.
#[derive(Clone, Default, Serialize, Deserialize)]
struct History {
    losses: Vec<f64>,
    evaluations: Vec<(u32, Scores)>,
    noise: Vec<(u32, Vec<NoiseStatistics>)>,
    audit: Vec<(u32, Vec<GradientAudit>)>,
}

/// A run between its start and its end.
pub(super) struct Session<'a> {
    config: &'a RunConfig,
    folder: &'a Path,
    task: Task,
    trainer: Trainer<f32>,
    best: Option<Best>,
    history: History,
    /// Of the first rank.
    records: Option<Records>,
    keep: Keep,
    ranks: Arc<dyn Ranks>,
    /// Keeps others out of the folder; of the first rank.
    _lock: Option<FolderLock>,
}

impl<'a> Session<'a> {
    /// Opens the inputs, then the folder, which is not made before every input is
    /// found right; continues from the checkpoint if there is one.
    pub(super) fn open(
        config: &'a RunConfig,
        corpora: &Corpora,
        folder: &'a Path,
        keep: Keep,
        ranks: Arc<dyn Ranks>,
    ) -> Result<Self> {
        // Whoever works in the folder already is found before the inputs are read.
        let lock = match ranks.is_first() && folder.is_dir() {
            true => Some(lock(folder)?),
            false => None,
        };
        let task = Task::open(config, corpora)?;
        let mut trainer = new_trainer(config, &task)?;
        trainer.share_with(Arc::clone(&ranks));
        let lock = match lock {
            None if ranks.is_first() => {
                create_folder(folder).map_err(|source| Error::io(folder, source))?;
                Some(self::lock(folder)?)
            }
            lock => lock,
        };
        if ranks.is_first() {
            // Another process may have begun, and even ended, meanwhile.
            state(config, folder)?;
            remove_left_over(folder);
        }
        let saved = read_checkpoint(config, &task, folder)?;
        let (mut best, mut history, mut metrics_bytes) = (None, History::default(), 0);
        if let Some(saved) = saved {
            trainer.restore(saved.trainer)?;
            (best, history) = (saved.best, saved.history);
            metrics_bytes = saved.metrics_bytes;
        }
        // The folder changes when all ranks have read what is in it.
        largest(&*ranks, 0);
        let records = if ranks.is_first() {
            claim_folder(config, folder)?;
            write_labels(folder, &task)?;
            let events = keep == Keep::Weights;
            Some(Records::open(folder, metrics_bytes, events)?)
        } else {
            None
        };
        Ok(Session {
            records,
            ranks,
            config,
            folder,
            task,
            trainer,
            best,
            history,
            keep,
            _lock: lock,
        })
    }

    /// Trains to the end; returns the step at which it diverged and what
    /// happened, if it did.
    pub(super) fn train(
        &mut self,
        on_step: &mut dyn FnMut(&StepReport),
    ) -> Result<Option<(u32, String)>> {
        let total = self.config.training.steps;
        if self.trainer.steps_done() == 0 && self.history.evaluations.is_empty() {
            self.look()?;
        }
        let per_epoch = self.task.epoch(self.config, 0).len() as u32;
        let mut epoch = u32::MAX;
        let mut batches = Vec::new();
        while self.trainer.steps_done() < total && !self.is_out_of_patience() {
            let step = self.trainer.steps_done();
            // Ranks end after the same step, whichever was asked to.
            let signal = largest(&*self.ranks, interrupt::requested().unwrap_or(0));
            if signal != 0 {
                self.save_checkpoint()?;
                // Nobody leaves before the first rank has written it.
                largest(&*self.ranks, 0);
                return Err(Error::Interrupted {
                    signal,
                    steps: step,
                    folder: self.folder.to_owned(),
                });
            }
            if step / per_epoch != epoch {
                epoch = step / per_epoch;
                batches = self.task.epoch(self.config, epoch);
            }
            let report = match self.trainer.step(&batches[(step % per_epoch) as usize]) {
                Ok(report) => report,
                Err(error) => match error {
                    Error::Diverged { step, .. } => return Ok(Some((step, error.to_string()))),
                    other => return Err(other),
                },
            };
            self.history.losses.push(report.loss);
            if let Some(records) = &mut self.records {
                records.write_step(&report)?;
            }
            on_step(&report);
            let done = step + 1;
            if done.is_multiple_of(self.config.evaluate_every) || done == total {
                self.look()?;
            }
            if done.is_multiple_of(self.config.checkpoint_every) && done < total {
                self.save_checkpoint()?;
            }
        }
        Ok(None)
    }

    /// Whether the last evaluations were no better than the best one, as many as end the
    /// training.
    fn is_out_of_patience(&self) -> bool {
        let (Some(patience), Some(best)) = (self.config.patience, &self.best) else {
            return false;
        };
        let evaluations = self.history.evaluations.iter();
        let since = evaluations.filter(|(step, _)| *step > best.step);
        since.count() >= patience as usize
    }

    /// Looks at the validation split, the noise and the gradient estimate.
    fn look(&mut self) -> Result<()> {
        let step = self.trainer.steps_done();
        let scores = self.scores(&self.task.validation);
        if let Some(records) = &mut self.records {
            records.write_evaluation(step, &scores)?;
        }
        if step > 0 {
            self.look_at_noise(step);
        }
        self.history.evaluations.push((step, scores.clone()));
        let metric = self.config.task.chosen_metric();
        let better = |best: &Best| scores.better_than(&best.scores, metric);
        if scores.loss.is_finite() && self.best.as_ref().is_none_or(better) {
            self.best = Some(Best {
                step,
                scores,
                trained: self.trainer.snapshot(),
            });
        }
        Ok(())
    }

    /// Keeps what the noise is made of, as long as it is made of numbers.
    fn look_at_noise(&mut self, step: u32) {
        let noise = self.trainer.noise_statistics();
        if noise.is_empty() {
            return;
        }
        let audit = self.trainer.audit(&self.task.audit);
        let numbers = |layer: &GradientAudit| layer.approximate + layer.exact;
        if audit.iter().all(|layer| numbers(layer).is_finite()) {
            self.history.noise.push((step, noise.to_vec()));
            self.history.audit.push((step, audit));
        }
    }

    fn scores(&self, batches: &[Batch]) -> Scores {
        let trainer = &self.trainer;
        evaluate(
            trainer.model(),
            trainer.parameters(),
            trainer.adapters(),
            batches,
            &*self.ranks,
        )
    }

    fn test_scores(&self) -> Option<Scores> {
        let test = self.task.test.as_ref();
        test.map(|batches| self.scores(batches))
    }

    fn save_checkpoint(&mut self) -> Result<()> {
        let Some(records) = &mut self.records else {
            return Ok(());
        };
        let saved = Checkpoint {
            config: self.config.to_toml(),
            inputs: self.task.inputs().to_vec(),
            trainer: self.trainer.state(),
            best: self.best.clone(),
            history: self.history.clone(),
            metrics_bytes: records.sync()?,
        };
        checkpoint::write(&self.folder.join(CHECKPOINT), CHECKPOINT_KIND, &saved)
    }

    pub(super) fn finish(mut self, diverged: Option<(u32, String)>) -> Result<RunResult> {
        if self.keep == Keep::Weights {
            self.save_checkpoint()?;
        }
        let last_test = self.test_scores();
        let last_train = self.scores(&self.task.train_as_seen);
        let snapshot = self.trainer.snapshot();
        let best = self.best.take().ok_or_else(|| {
            let problem = "expected finite scores of the untrained model, found none";
            Error::file(self.config.model.join("model.safetensors"), problem)
        })?;
        self.trainer.restore_snapshot(best.trained)?;
        let test = if best.step == self.trainer.steps_done() {
            last_test.clone()
        } else {
            self.test_scores()
        };
        let result = RunResult {
            diverged_at: diverged.as_ref().map(|(step, _)| *step),
            diverged: diverged.map(|(_, sentence)| sentence),
            best_step: best.step,
            validation: best.scores,
            test,
            last_test,
            last_train,
            losses: std::mem::take(&mut self.history.losses),
            evaluations: std::mem::take(&mut self.history.evaluations),
            noise: std::mem::take(&mut self.history.noise),
            audit: std::mem::take(&mut self.history.audit),
            trained_parameters: snapshot.values().map(StoredTensor::len).sum(),
            model_bytes: self.trainer.parameters().bytes(),
        };
        let Some(mut records) = self.records.take() else {
            return Ok(result);
        };
        match self.keep {
            Keep::Weights => self.save_weights(&result)?,
            Keep::Records => {
                let path = self.folder.join(CHECKPOINT);
                remove_if_there(&path)?;
                remove_if_there(&checkpoint::previous(&path))?;
            }
        }
        records.sync()?;
        let path = self.folder.join(RESULT);
        let text = serde_json::to_string(&result).expect("a result has a JSON form");
        write_atomically(&path, text.as_bytes()).map_err(|source| Error::io(path, source))?;
        Ok(result)
    }

    /// Writes what was trained: a PEFT folder, or the whole model.
    fn save_weights(&self, result: &RunResult) -> Result<()> {
        let trainer = &self.trainer;
        if !self.config.method.has_adapters() {
            return self.save_model();
        }
        let folder = self.folder.join("adapter");
        remove_folder_if_there(&folder)?;
        let model = trainer.model();
        let heads = model.head_modules();
        let parameters = trainer.parameters().iter();
        let saved = parameters.filter(|(name, _)| is_in(name, &heads));
        let adapter = PeftAdapter::new(
            &self.config.method,
            trainer.adapters(),
            Wrapped {
                saved_modules: saved.map(|(name, it)| (name.clone(), it.clone())).collect(),
                modules_to_save: heads,
                task_type: model.peft_task_type().to_owned(),
                base_model: self.config.model.display().to_string(),
                fan_in_fan_out: model.fan_in_fan_out(),
                steps: self.config.training.steps,
            },
        );
        let (validation, test) = (&result.validation, result.test.as_ref());
        let card = card(self.config, model.peft_task_type(), validation, test);
        Ok(adapter.write_with(&folder, &[("README.md", card.as_bytes())])?)
    }

    /// Writes the whole model as a folder like the one it came from.
    fn save_model(&self) -> Result<()> {
        let folder = self.folder.join("model");
        remove_folder_if_there(&folder)?;
        Ok(write_model_folder(
            &folder,
            &self.config.model,
            self.trainer.model(),
            self.task.labels(),
            self.trainer.parameters(),
            Precision::F32,
        )?)
    }
}

/// Writes the names of the classes, if there are classes.
fn write_labels(folder: &Path, task: &Task) -> Result<()> {
    if task.labels().is_empty() {
        return Ok(());
    }
    let path = folder.join(LABELS);
    let text = serde_json::to_string(task.labels()).expect("names have a JSON form");
    write_atomically(&path, text.as_bytes()).map_err(|source| Error::io(path, source))
}

fn remove_folder_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path, error)),
        _ => Ok(()),
    }
}

/// What a run's checkpoint holds, in short.
#[derive(Debug, Clone)]
pub struct CheckpointSummary {
    /// Optimiser steps done.
    pub steps_done: u32,
    /// Tensors that are trained.
    pub trained_tensors: usize,
    /// Numbers in them.
    pub trained_numbers: usize,
    /// Steps after which the validation scores were best, and the scores.
    pub best: Option<(u32, Scores)>,
    /// Training loss of the last step.
    pub last_loss: Option<f64>,
}

/// Reads what a run's checkpoint holds.
///
/// # Errors
/// If it cannot be read or is none of a run.
pub fn summarize_checkpoint(path: &Path) -> Result<CheckpointSummary> {
    let saved: Checkpoint = checkpoint::read(path, CHECKPOINT_KIND)?;
    let trained = saved.trainer.trained();
    Ok(CheckpointSummary {
        steps_done: saved.trainer.steps_done(),
        trained_tensors: trained.len(),
        trained_numbers: trained.values().map(StoredTensor::len).sum(),
        best: saved.best.map(|best| (best.step, best.scores)),
        last_loss: saved.history.losses.last().copied(),
    })
}

fn lock(folder: &Path) -> Result<FolderLock> {
    FolderLock::take(folder).map_err(|source| Error::io(folder, source))
}

/// The newest checkpoint in a run's folder that can be used, if there is one.
fn read_checkpoint(config: &RunConfig, task: &Task, folder: &Path) -> Result<Option<Checkpoint>> {
    let path = folder.join(CHECKPOINT);
    let newest = checkpoint::read_newest::<Checkpoint>(&path, CHECKPOINT_KIND)?;
    let Some((saved, damaged)) = newest else {
        return Ok(None);
    };
    if let Some(problem) = damaged {
        let steps = saved.trainer.steps_done();
        ggpo_files::sentence::note(&format!(
            "warning: {problem}; the one before it is of step {steps} and is used instead"
        ));
    }
    if RunConfig::parse(&saved.config).as_ref() != Ok(config) {
        let problem = "expected a checkpoint of this run, found another run's";
        return Err(Error::file(path, problem));
    }
    refuse_changes(&saved.inputs, task.inputs())?;
    if !saved.is_consistent() {
        let problem = "expected a course of as many steps as were done, found another";
        return Err(Error::file(path, problem));
    }
    Ok(Some(saved))
}

impl Checkpoint {
    /// Whether its parts are of one moment.
    fn is_consistent(&self) -> bool {
        let steps = self.trainer.steps_done();
        let evaluated = self.history.evaluations.iter().map(|(step, _)| *step);
        self.history.losses.len() == steps as usize
            && self
                .best
                .iter()
                .map(|best| best.step)
                .chain(evaluated)
                .all(|step| step <= steps)
    }
}

fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path, error)),
        _ => Ok(()),
    }
}

/// The model, its adapters and the optimiser at the start of a run.
pub(super) fn new_trainer(config: &RunConfig, task: &Task) -> Result<Trainer<f32>> {
    let Base {
        model,
        mut parameters,
        missing,
    } = Base::open(&config.model, Some(task.head()))?;
    task.check(config, &model)?;
    for spec in &missing {
        let new = model.new_parameter(spec, INITIALIZER_RANGE, config.seed);
        parameters.insert(spec.name.clone(), new);
    }
    let start = config.adapter.as_deref();
    let start = start.map(|folder| Ok::<_, Error>((folder, PeftAdapter::read(folder)?)));
    let start = start.transpose()?;
    if let Some((folder, adapter)) = &start {
        put_modules(&mut parameters, adapter, folder)?;
    }
    let fitted = config
        .head
        .fitted(&model, &parameters, &task.all_rows(config))?;
    let first_rows = |rows| task.first_rows(config, rows);
    let fitted = fitted.map(|(name, weight)| {
        parameters.insert(name.clone(), weight);
        name
    });
    let mut trainable = Trainable::new(&config.method, model, parameters, config.seed, first_rows)?;
    if let Some((folder, adapter)) = start {
        put_adapters(&mut trainable, adapter, folder)?;
    }
    if let Some(name) = fitted {
        trainable.trained.remove(&name);
    }
    let training = config.training.clone();
    Trainer::new(trainable, &config.method, training, config.seed)
}

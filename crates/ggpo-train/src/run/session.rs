//! A run between its start and its end.

use std::path::Path;
use std::sync::Arc;

use ggpo_files::{FolderLock, create_folder, remove_left_over, write_atomically};
use ggpo_lora::peft::{PeftAdapter, Wrapped};
use ggpo_model::base::{Base, write_model_folder};
use ggpo_model::batch::Batch;
use ggpo_model::{INITIALIZER_RANGE, Precision, is_in};

use super::card::card;
use super::config::RunConfig;
use super::going_on::{put_adapters, put_modules};
use super::records::Records;
use super::saved::{Best, CHECKPOINT, CHECKPOINT_KIND, Checkpoint, History, read_checkpoint};
use super::task::{Corpora, Task};
use super::{Keep, LABELS, RESULT, RunResult, claim_folder, state};
use crate::evaluation::{RowScores, evaluate_rows, evaluate_rows_while};
use crate::method::Trainable;
use crate::metrics::Scores;
use crate::ranks::{Ranks, largest};
use crate::trainer::{GradientAudit, StepReport, StoredTensor, Trainer};
use crate::{Error, Result, checkpoint, interrupt};

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
            // So that a best state that does not fit is refused now, not after all steps.
            if let Some(best) = &saved.best {
                trainer.restore_snapshot(best.trained.clone())?;
            }
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
        let per_epoch = self.task.epoch(self.config, 0).len() as u32;
        let begun = self.trainer.steps_done();
        let mut epoch = u32::MAX;
        let mut batches = Vec::new();
        loop {
            let step = self.trainer.steps_done();
            self.look_if_due()?;
            let is_due = step.is_multiple_of(self.config.checkpoint_every);
            if is_due && step > begun && step < total {
                self.save_checkpoint()?;
            }
            if step >= total || self.is_out_of_patience() {
                return Ok(None);
            }
            // Ranks end after the same step, whichever was asked to.
            let signal = largest(&*self.ranks, interrupt::requested().unwrap_or(0));
            if signal != 0 {
                return Err(self.stop(signal));
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
        }
    }

    /// Writes the checkpoint of a run that was asked to stop, and returns how it ends.
    fn stop(&mut self, signal: u8) -> Error {
        let saved = self.save_checkpoint();
        // Nobody leaves before the first rank has written it.
        largest(&*self.ranks, 0);
        match saved {
            Err(error) => error,
            Ok(()) => self.stopped(signal),
        }
    }

    fn stopped(&self, signal: u8) -> Error {
        Error::Interrupted {
            signal,
            steps: self.trainer.steps_done(),
            folder: self.folder.to_owned(),
        }
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

    /// Looks at the validation split, the noise and the gradient estimate after the steps
    /// that ask for it, unless that was done before the run was stopped.
    fn look_if_due(&mut self) -> Result<()> {
        let step = self.trainer.steps_done();
        let last = self.history.evaluations.last();
        let is_due =
            step.is_multiple_of(self.config.evaluate_every) || step == self.config.training.steps;
        if !is_due || last.is_some_and(|(last, _)| *last == step) {
            return Ok(());
        }
        let scores = match self.scores(&self.task.validation) {
            Ok(scores) => scores,
            Err(signal) => return Err(self.stop(signal)),
        };
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

    fn scores(&self, batches: &[Batch]) -> std::result::Result<Scores, u8> {
        self.row_scores(batches).map(|(scores, _)| scores)
    }

    /// Scores, or the signal that asks for an end meanwhile. Ranks agree on that between
    /// steps alone.
    fn row_scores(&self, batches: &[Batch]) -> std::result::Result<(Scores, RowScores), u8> {
        let trainer = &self.trainer;
        let (model, parameters) = (trainer.model(), trainer.parameters());
        let adapters = trainer.adapters();
        if self.ranks.count() > 1 {
            return Ok(evaluate_rows(
                model,
                parameters,
                adapters,
                batches,
                &*self.ranks,
            ));
        }
        let goes_on = || interrupt::requested().is_none();
        let scores = evaluate_rows_while(model, parameters, adapters, batches, goes_on);
        scores.ok_or_else(|| interrupt::requested().unwrap_or(0))
    }

    fn test_scores(&self) -> std::result::Result<Option<Scores>, u8> {
        let test = self.task.test.as_ref();
        test.map(|batches| self.scores(batches)).transpose()
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
        // What is scored from here on can be scored again.
        self.save_checkpoint()?;
        let stopped = |signal| self.stopped(signal);
        let test = self.task.test.as_ref();
        let rows = test.map(|test| self.row_scores(test)).transpose();
        let (last_test, last_test_rows) = rows.map_err(stopped)?.unzip();
        let last_train = self.scores(&self.task.train_as_seen).map_err(stopped)?;
        let snapshot = self.trainer.snapshot();
        let best = self.best.take().ok_or_else(|| {
            let problem = "expected finite scores of the untrained model, found none";
            Error::file(self.config.model.join("model.safetensors"), problem)
        })?;
        self.trainer.restore_snapshot(best.trained)?;
        let test = if best.step == self.trainer.steps_done() {
            last_test.clone()
        } else {
            let test = self.test_scores();
            test.map_err(|signal| self.stopped(signal))?
        };
        let result = RunResult {
            diverged_at: diverged.as_ref().map(|(step, _)| *step),
            diverged: diverged.map(|(_, sentence)| sentence),
            best_step: best.step,
            validation: best.scores,
            test,
            last_test,
            last_test_rows: last_test_rows.filter(|_| self.keep == Keep::Records),
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

fn lock(folder: &Path) -> Result<FolderLock> {
    FolderLock::take(folder).map_err(|source| Error::io(folder, source))
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

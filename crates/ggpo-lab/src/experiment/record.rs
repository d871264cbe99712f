//! What is kept of a run: one line of JSON in `runs.jsonl`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use ggpo_train::metrics::Scores;
use ggpo_train::run::RunResult;
use ggpo_train::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize};

use super::description::Experiment;
use super::plan::PlannedRun;
use super::rows::Rows;
use crate::sharpness::{Sharpness, SpaceSharpness};
use crate::statistics::{Bump, bump, mean};

/// Name of the file with the records of runs.
pub const RUNS: &str = "runs.jsonl";

/// What came out of a run, and where it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The run's key; see [`PlannedRun::key`].
    pub key: String,
    /// Id of the task.
    pub task: String,
    /// Id of the method.
    pub method: String,
    /// Seed.
    pub seed: u64,
    /// Version of the program.
    pub version: String,
    /// Level of instruction set that calculated it.
    pub simd: String,
    /// Seconds that it took.
    pub seconds: f64,
    /// Step at which the loss was no longer a number, if that happened.
    pub diverged_at: Option<u32>,
    /// Test scores after the last step; none of a run that chooses a learning rate.
    pub test: Option<Scores>,
    /// Validation scores after the last step.
    pub validation: Scores,
    /// Training scores after the last step, with the labels as trained on.
    pub train: Scores,
    /// Steps after which the validation scores were best, and the test scores there.
    pub best: (u32, Option<Scores>),
    /// The highest bump of the smoothed training loss.
    pub bump: Bump,
    /// Training loss, averaged over as many pieces of equal length.
    pub losses: Vec<f64>,
    /// Mean share of the gradient term in the noise's variance, over layers and looks;
    /// none without noise.
    pub gradient_share: Option<f64>,
    /// Mean over layers of the deviation of the noise at the last look.
    pub row_std: Option<f64>,
    /// Numbers that are trained.
    pub trained: usize,
    /// Sharpness at the end, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharpness: Option<Flatness>,
    /// What single test rows lost after the last step, where it is of use; older records
    /// do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Rows>,
}

/// Sharpness on the training rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flatness {
    /// In the space of the merged weights.
    pub merged: SpaceFlatness,
    /// In the space of the factors.
    pub factors: SpaceFlatness,
    /// Rise of the mean loss under GGPO's noise.
    #[serde(deserialize_with = "number_or_null")]
    pub noise_rise: f64,
    /// The same to second order.
    #[serde(deserialize_with = "number_or_null")]
    pub noise_predicted: f64,
}

/// Sharpness in one space; not a number where there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpaceFlatness {
    /// SAM sharpness: the rise of the loss in a ball.
    #[serde(deserialize_with = "number_or_null")]
    pub rise: f64,
    /// Largest eigenvalue of the Hessian.
    #[serde(deserialize_with = "number_or_null")]
    pub eigenvalue: f64,
    /// Its trace.
    #[serde(deserialize_with = "number_or_null")]
    pub trace: f64,
}

/// JSON writes what is no number as `null`.
fn number_or_null<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

impl Flatness {
    /// Of a measurement in both spaces; what was not measured is not a number.
    pub(super) fn of(sharpness: &Sharpness) -> Self {
        let space = |space: &Option<SpaceSharpness>| match space {
            Some(it) => SpaceFlatness {
                rise: it.ascent.rise,
                eigenvalue: it.eigenvalues.largest.value,
                trace: it.trace.value,
            },
            None => SpaceFlatness {
                rise: f64::NAN,
                eigenvalue: f64::NAN,
                trace: f64::NAN,
            },
        };
        Flatness {
            merged: space(&sharpness.merged),
            factors: space(&sharpness.factors),
            noise_rise: sharpness.noise.rise.value,
            noise_predicted: sharpness.noise.predicted.map_or(f64::NAN, |it| it.value),
        }
    }
}

/// Pieces that a record's losses are averaged over.
const PIECES: usize = 100;

impl Record {
    /// The record of a finished run.
    pub(super) fn new(
        planned: &PlannedRun,
        result: RunResult,
        experiment: &Experiment,
        seconds: f64,
        sharpness: Option<Flatness>,
    ) -> Self {
        let mean_of = |values: Vec<f64>| mean(&values);
        let looks = result.noise.iter().flat_map(|(_, layers)| layers);
        let share = looks.map(|layer| layer.gradient_share).collect();
        let last = result
            .noise
            .last()
            .into_iter()
            .flat_map(|(_, layers)| layers);
        let row_std = last.map(|layer| layer.row_std).collect();
        let length = result.losses.len().div_ceil(PIECES).max(1);
        let pieces = result.losses.chunks(length);
        let (_, validation) = result.evaluations.last().expect("a look at the start");
        Record {
            key: planned.key.clone(),
            task: planned.task.clone(),
            method: planned.method.clone(),
            seed: planned.cell.seed,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            simd: ggpo_tensor::simd::level().name().to_owned(),
            seconds,
            diverged_at: result.diverged_at,
            validation: validation.clone(),
            train: result.last_train,
            bump: bump(&result.losses, experiment.smoothing),
            losses: pieces.filter_map(mean).collect(),
            gradient_share: mean_of(share),
            row_std: mean_of(row_std),
            trained: result.trained_parameters,
            best: (result.best_step, result.test.filter(|_| !planned.tuning)),
            test: result.last_test.filter(|_| !planned.tuning),
            sharpness,
            rows: result
                .last_test_rows
                .filter(|_| !planned.tuning)
                .and_then(|rows| Rows::of(experiment, rows)),
        }
    }
}

/// The records of a folder, by the keys of their runs.
#[derive(Debug, Default)]
pub struct Records {
    path: PathBuf,
    by_key: BTreeMap<String, Record>,
}

impl Records {
    /// Reads the records in `folder`, if there are any, to add more. A last line that was
    /// cut off is taken away, and the next record takes its place.
    ///
    /// # Errors
    /// If the file cannot be read, or another line is no record.
    pub fn open(folder: &Path) -> Result<Self> {
        let (records, whole, length) = Self::read_whole_lines(folder)?;
        if whole < length {
            let file = OpenOptions::new().write(true).open(&records.path);
            file.and_then(|file| file.set_len(whole as u64))
                .map_err(|source| Error::io(&records.path, source))?;
        }
        Ok(records)
    }

    /// Reads the records in `folder`, if there are any. A last line that was cut off, or
    /// is being written by another process, is left out.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(folder: &Path) -> Result<Self> {
        Ok(Self::read_whole_lines(folder)?.0)
    }

    /// The records, the bytes of their lines, and those of the file.
    fn read_whole_lines(folder: &Path) -> Result<(Self, usize, usize)> {
        let path = folder.join(RUNS);
        let mut records = Records {
            path,
            by_key: BTreeMap::new(),
        };
        let text = match ggpo_files::read_text(&records.path, ggpo_files::read::ANY) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok((records, 0, 0));
            }
            text => text.map_err(|source| Error::io(&records.path, source))?,
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for (number, line) in text[..whole].lines().enumerate() {
            let record: Record =
                ggpo_files::json::from_slice(line.as_bytes()).map_err(|error| {
                    let problem = format!(
                        "line {}: expected a record of a run, found {error}",
                        number + 1
                    );
                    Error::file(&records.path, problem)
                })?;
            records.by_key.insert(record.key.clone(), record);
        }
        Ok((records, whole, text.len()))
    }

    /// Adds the records of another folder; of two of one run, that which holds its rows.
    ///
    /// # Errors
    /// If two of the same run are of different versions of the program.
    pub fn merge(&mut self, other: Records) -> Result<()> {
        for (key, record) in other.by_key {
            if let Some(known) = self.by_key.get(&key)
                && known.version != record.version
            {
                let problem = format!(
                    "run {key}: expected a record of version {}, found one of {}",
                    known.version, record.version
                );
                return Err(Error::file(other.path, problem));
            }
            match self.by_key.entry(key) {
                Entry::Occupied(mut known) if known.get().rows.is_none() => {
                    if record.rows.is_some() {
                        known.insert(record);
                    }
                }
                Entry::Occupied(_) => {}
                Entry::Vacant(place) => _ = place.insert(record),
            }
        }
        Ok(())
    }

    /// The record of a run, if it is there.
    pub fn get(&self, planned: &PlannedRun) -> Option<&Record> {
        self.by_key.get(&planned.key)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.by_key.values()
    }

    /// Adds a record, to the file first.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn add(&mut self, record: Record) -> Result<()> {
        let mut line = serde_json::to_string(&record).expect("a record has a JSON form");
        line.push('\n');
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path);
        file.and_then(|mut file| {
            file.write_all(line.as_bytes())?;
            file.sync_data()
        })
        .map_err(|source| Error::io(&self.path, source))?;
        self.by_key.insert(record.key.clone(), record);
        Ok(())
    }
}

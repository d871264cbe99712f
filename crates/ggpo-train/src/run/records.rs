//! What a run writes down on its way: `metrics.jsonl`, one JSON object per line,
//! and the same as TensorBoard events.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::events::EventFile;
use crate::metrics::Scores;
use crate::trainer::StepReport;
use crate::{Error, Result};

/// The open files of a run.
pub(super) struct Records {
    path: PathBuf,
    metrics: BufWriter<File>,
    events: Option<EventFile>,
}

/// A line of `metrics.jsonl`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Evaluation { step: u32, validation: Scores },
    Step(StepReport),
}

impl Records {
    /// Opens `metrics.jsonl`, making it if it is not there, and continues from its
    /// first `bytes` bytes; what they say is told to TensorBoard anew if `events`
    /// are wanted.
    pub(super) fn open(folder: &Path, bytes: u64, events: bool) -> Result<Self> {
        let path = folder.join("metrics.jsonl");
        let opened = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .and_then(|mut file| {
                file.set_len(bytes)?;
                file.seek(SeekFrom::Start(bytes))?;
                Ok(file)
            });
        let metrics = BufWriter::new(opened.map_err(|source| Error::io(&path, source))?);
        let events = events.then(|| EventFile::create(folder)).transpose()?;
        let mut records = Records {
            path,
            metrics,
            events,
        };
        records.replay()?;
        Ok(records)
    }

    fn replay(&mut self) -> Result<()> {
        if self.events.is_none() {
            return Ok(());
        }
        let text = std::fs::read_to_string(&self.path);
        let text = text.map_err(|source| Error::io(&self.path, source))?;
        for (index, line) in text.lines().enumerate() {
            let line = serde_json::from_str(line).map_err(|error| {
                let line = index + 1;
                let problem = format!("line {line}: expected metrics, found {error}");
                Error::file(&self.path, problem)
            })?;
            self.tell(&line)?;
        }
        Ok(())
    }

    /// Appends what a step did.
    pub(super) fn write_step(&mut self, report: &StepReport) -> Result<()> {
        self.write(Line::Step(report.clone()))
    }

    /// Appends the validation scores after a number of steps.
    pub(super) fn write_evaluation(&mut self, step: u32, validation: &Scores) -> Result<()> {
        let validation = validation.clone();
        self.write(Line::Evaluation { step, validation })?;
        self.events.as_mut().map_or(Ok(()), EventFile::flush)
    }

    fn write(&mut self, line: Line) -> Result<()> {
        let text = serde_json::to_string(&line).expect("metrics have a JSON form") + "\n";
        // Handed to the system at once, so that a person can follow the run.
        let written = self.metrics.write_all(text.as_bytes());
        let written = written.and_then(|()| self.metrics.flush());
        written.map_err(|source| Error::io(&self.path, source))?;
        self.tell(&line)
    }

    /// Tells TensorBoard, whose steps count what is done.
    fn tell(&mut self, line: &Line) -> Result<()> {
        let Some(events) = &mut self.events else {
            return Ok(());
        };
        match line {
            Line::Step(report) => events.write(
                report.step + 1,
                &[
                    ("train/loss", report.loss),
                    ("train/gradient_norm", report.gradient_norm),
                    ("train/learning_rate", report.learning_rate),
                ],
            ),
            Line::Evaluation { step, validation } => {
                let named = validation.named();
                let tags: Vec<(String, f64)> = named
                    .into_iter()
                    .map(|(name, value)| (format!("validation/{name}"), value))
                    .collect();
                let values: Vec<(&str, f64)> = tags.iter().map(|(t, v)| (t.as_str(), *v)).collect();
                events.write(*step, &values)
            }
        }
    }

    /// Brings everything to the disk; returns the length of `metrics.jsonl`.
    pub(super) fn sync(&mut self) -> Result<u64> {
        if let Some(events) = &mut self.events {
            events.flush()?;
        }
        self.metrics
            .flush()
            .and_then(|()| self.metrics.get_ref().sync_all())
            .and_then(|()| self.metrics.stream_position())
            .map_err(|source| Error::io(&self.path, source))
    }
}

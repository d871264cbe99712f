//! What a run writes down on its way: `metrics.jsonl`, one JSON object per line,
//! and the same as TensorBoard events.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ggpo_files::json;
use ggpo_files::read::ANY;
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
    /// are wanted. A file that is shorter continues after its last whole line: what is
    /// lost of it is lost to readers alone.
    pub(super) fn open(folder: &Path, bytes: u64, events: bool) -> Result<Self> {
        let path = folder.join("metrics.jsonl");
        let opened = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .and_then(|mut file| {
                let whole = whole_lines(&mut file, bytes)?;
                file.set_len(whole)?;
                file.seek(SeekFrom::Start(whole))?;
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
        let bytes = ggpo_files::read(&self.path, ANY);
        let bytes = bytes.map_err(|source| Error::io(&self.path, source))?;
        for line in bytes.split(|&byte| byte == b'\n') {
            // A line that somebody has changed says nothing.
            if let Ok(line) = json::from_slice(line) {
                self.tell(&line)?;
            }
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

/// The length of the whole lines in the first `bytes` bytes of a file.
fn whole_lines(file: &mut File, bytes: u64) -> std::io::Result<u64> {
    if file.metadata()?.len() >= bytes {
        return Ok(bytes);
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let end = text.iter().rposition(|&byte| byte == b'\n');
    Ok(end.map_or(0, |end| end as u64 + 1))
}

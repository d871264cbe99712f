//! The end of a stepping process that asks for steps.
//!
//! The process writes `ready` when it can begin. Every line `step` that it reads
//! makes it do one step and write how many milliseconds that took. At the end of
//! its input it writes one JSON object, [`SideReport`], and ends. Between steps it
//! is idle.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use ggpo_train::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::profile::ProfileRow;
use crate::statistics::median;

pub(super) const READY: &str = "ready";
pub(super) const STEP: &str = "step";

/// What a process says at its end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SideReport {
    /// Peak of its resident memory in MiB, where the operating system tells.
    pub peak_rss_mib: Option<f64>,
    /// Memory of the model's own weights in MiB.
    pub weights_mib: Option<f64>,
    /// Where the time of its steps went, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Vec<ProfileRow>>,
    /// Anything else, such as versions.
    #[serde(flatten)]
    pub about: Map<String, Value>,
}

/// A process that does steps when asked.
pub struct Side {
    name: String,
    process: Child,
    /// None once there is nothing more to be asked.
    requests: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Side {
    /// Starts a process and waits until it is ready.
    ///
    /// # Errors
    /// If it cannot be started, or ends before.
    pub fn start(name: &str, mut command: Command) -> Result<Self> {
        let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = process.map_err(|error| Error::io(command.get_program(), error))?;
        let answers = process.stdout.take().expect("just piped");
        let mut side = Side {
            name: name.to_owned(),
            requests: process.stdin.take(),
            process,
            answers: BufReader::new(answers).lines(),
        };
        match side.answer()?.as_str() {
            READY => Ok(side),
            other => Err(side.unexpected(READY, other)),
        }
    }

    /// Has one step done and returns its time in milliseconds.
    ///
    /// # Errors
    /// If the process has ended, or says something else.
    pub fn step(&mut self) -> Result<f64> {
        let requests = self.requests.as_mut().expect("not finished");
        let asked = writeln!(requests, "{STEP}").and_then(|()| requests.flush());
        asked.map_err(|_| self.unexpected("a process that steps", "that it has ended"))?;
        let answer = self.answer()?;
        let time = answer.parse().ok().filter(|ms: &f64| *ms > 0.0);
        time.ok_or_else(|| self.unexpected("the milliseconds of a step", &answer))
    }

    /// Has one step done after the other until they have taken `at_least`
    /// milliseconds together, and returns the median of their times.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn turn(&mut self, at_least: f64) -> Result<f64> {
        let mut times = vec![self.step()?];
        while times.iter().sum::<f64>() < at_least {
            times.push(self.step()?);
        }
        Ok(median(&times).expect("one step or more"))
    }

    /// Lets the process end and returns what it says then.
    ///
    /// # Errors
    /// If it says something else, or fails.
    pub fn finish(mut self) -> Result<SideReport> {
        self.requests = None;
        let answer = self.answer()?;
        let finished = serde_json::from_str(&answer);
        let finished = finished.map_err(|_| self.unexpected("a JSON object", &answer))?;
        match self.process.wait() {
            Ok(status) if status.success() => Ok(finished),
            Ok(status) => Err(self.unexpected("success at the end", &status.to_string())),
            Err(error) => Err(Error::io(&self.name, error)),
        }
    }

    /// The next line of the process; what was wrong is on its error output.
    fn answer(&mut self) -> Result<String> {
        match self.answers.next() {
            Some(Ok(line)) => Ok(line),
            Some(Err(error)) => Err(Error::io(&self.name, error)),
            None => Err(self.unexpected("an answer", "the end of its output")),
        }
    }

    fn unexpected(&self, expected: &str, found: &str) -> Error {
        Error::config(format!("the process of {}", self.name), expected, found)
    }
}

/// No process outlives the measurement.
impl Drop for Side {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to do.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Takes steps of all sides in turn: `warm_up` rounds that do not count, then
/// `steps`, calling `on_round` after each. Returns the times of the latter in
/// milliseconds, side by side.
///
/// # Errors
/// If a process fails.
pub fn alternate(
    sides: &mut [Side],
    warm_up: u32,
    steps: u32,
    mut on_round: impl FnMut(),
) -> Result<Vec<Vec<f64>>> {
    let mut step_ms = vec![Vec::new(); sides.len()];
    for round in 0..warm_up + steps {
        for (side, times) in sides.iter_mut().zip(&mut step_ms) {
            let ms = side.step()?;
            if round >= warm_up {
                times.push(ms);
            }
        }
        on_round();
    }
    Ok(step_ms)
}

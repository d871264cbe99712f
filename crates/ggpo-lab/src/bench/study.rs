//! The goals, measured.

use std::path::PathBuf;
use std::process::Command;

use ggpo_train::{Error, Result};
use serde::{Deserialize, Serialize};

use super::flops;
use super::goals::{Bound, Contender, Engine, GOALS, Goal, LORA, Quantity, THREADS, contenders};
use super::profile::ProfileRow;
use super::rounds::{Rounds, Spread};
use super::{Finished, Job, Machine, Shape, Side, WARM_UP};

/// Steps whose time is noted by operation.
const PROFILED: u32 = 10;

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct StudyConfig {
    /// The shapes, each on its usual batch.
    pub shapes: Vec<Shape>,
    /// Rounds on a quiet machine that are wanted of every shape.
    pub steps: u32,
    /// Whether PyTorch takes part.
    pub torch: bool,
    /// GGUF file of SmolLM2.
    pub quantized: Option<PathBuf>,
}

/// All that was measured; `speed.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Study {
    /// The machine.
    pub machine: Machine,
    /// Version of this workspace.
    pub version: String,
    /// The goals of the shapes that were measured.
    pub rows: Vec<Row>,
    /// The measurements.
    pub shapes: Vec<Measured>,
}

/// A goal and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The ratio in words.
    pub what: String,
    /// What it should be.
    pub goal: Bound,
    /// What it is.
    pub outcome: Outcome,
}

/// What came of a goal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Of times, from many rounds.
    Times(Spread),
    /// Of memory, which is one number per process.
    Memory(f64),
    /// Nothing, for this reason.
    NotMeasured(String),
}

impl Outcome {
    /// The ratio.
    pub fn value(&self) -> Option<f64> {
        match self {
            Outcome::Times(spread) => Some(spread.median),
            Outcome::Memory(ratio) => Some(*ratio),
            Outcome::NotMeasured(_) => None,
        }
    }
}

/// The processes of one shape, and the rounds they took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The shape.
    pub shape: Shape,
    /// Rows of a batch.
    pub batch: usize,
    /// Tokens of a row.
    pub seq: usize,
    /// The processes, in the order of their steps.
    pub processes: Vec<Process>,
    /// Their steps.
    pub rounds: Rounds,
    /// Where the time of our LoRA steps goes, measured on their own.
    pub profile: Vec<ProfileRow>,
}

/// A process that did steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Whose.
    pub contender: Contender,
    /// Useful operations of a step.
    pub flops_per_step: f64,
    /// What it said at its end.
    pub finished: Finished,
}

/// Measures all shapes, in processes that `start` makes of their jobs, and
/// calls `on_round` with the shape after every round on a quiet machine.
///
/// # Errors
/// If there is nothing to measure, or a process cannot be started or fails.
pub fn measure(
    config: &StudyConfig,
    start: impl Fn(&Contender, &Job) -> Command,
    mut on_round: impl FnMut(Shape),
) -> Result<Study> {
    if config.steps == 0 {
        return Err(Error::config("steps", "at least 1", 0));
    }
    let mut study = Study {
        machine: Machine::this(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        rows: Vec::new(),
        shapes: Vec::new(),
    };
    for &shape in &config.shapes {
        let measured = measure_shape(shape, config, &start, || on_round(shape))?;
        study.shapes.push(measured);
    }
    for goal in &GOALS {
        let measured = study.shapes.iter().find(|entry| entry.shape == goal.shape);
        if let Some(measured) = measured {
            study.rows.push(Row {
                what: goal.what.to_owned(),
                goal: goal.bound,
                outcome: measured.outcome(goal),
            });
        }
    }
    Ok(study)
}

fn measure_shape(
    shape: Shape,
    config: &StudyConfig,
    start: impl Fn(&Contender, &Job) -> Command,
    on_round: impl FnMut(),
) -> Result<Measured> {
    let [batch, seq] = shape.batch();
    let takes_part = |contender: &Contender| {
        (config.torch || contender.engine != Engine::Torch)
            && (config.quantized.is_some() || !contender.quantized)
    };
    let job = |contender: &Contender, profile| Job {
        shape,
        model: config.quantized.clone().filter(|_| contender.quantized),
        batch,
        seq,
        steps: WARM_UP + config.steps.max(PROFILED),
        threads: contender.threads,
        method: contender.method.config(),
        profile,
    };
    let mut sides = Vec::new();
    let mut processes = Vec::new();
    for contender in contenders(shape).into_iter().filter(takes_part) {
        let job = job(&contender, false);
        let name = format!("{}, {}", contender.engine.name(), contender.method.name());
        sides.push(Side::start(&name, start(&contender, &job))?);
        processes.push(Process {
            contender,
            flops_per_step: flops::of_step(shape, &job.method, batch, seq),
            finished: Finished::default(),
        });
    }
    let rounds = Rounds::take(&mut sides, config.steps, THREADS, on_round)?;
    for (process, side) in processes.iter_mut().zip(sides) {
        process.finished = side.finish()?;
    }
    let mut profiled = Side::start("the profile", start(&LORA, &job(&LORA, true)))?;
    for _ in 0..WARM_UP + PROFILED {
        profiled.step()?;
    }
    Ok(Measured {
        shape,
        batch,
        seq,
        processes,
        rounds,
        profile: profiled.finish()?.profile.unwrap_or_default(),
    })
}

impl Measured {
    fn outcome(&self, goal: &Goal) -> Outcome {
        let find = |contender: &Contender| {
            let found = self.processes.iter();
            let place = found.clone().position(|p| p.contender == *contender);
            place.ok_or_else(|| Outcome::NotMeasured(format!("without {}", contender.missing())))
        };
        let (of, to) = match (find(&goal.of), find(&goal.to)) {
            (Ok(of), Ok(to)) => (of, to),
            (Err(missing), _) | (_, Err(missing)) => return missing,
        };
        let times = |spread: Option<Spread>| match spread {
            Some(spread) => Outcome::Times(spread),
            None => Outcome::NotMeasured("the machine was never quiet".to_owned()),
        };
        let memory = |of: Option<f64>, to: Option<f64>| match (of, to) {
            (Some(of), Some(to)) => Outcome::Memory(of / to),
            _ => Outcome::NotMeasured("the operating system does not tell".to_owned()),
        };
        let finished = |place: usize| &self.processes[place].finished;
        match goal.quantity {
            Quantity::StepTime => times(self.rounds.ratio(of, to)),
            Quantity::RateOfPeak => {
                let flops = self.processes[of].flops_per_step;
                times(self.rounds.rate_of_peak(of, flops))
            }
            Quantity::PeakMemory => memory(finished(of).peak_rss_mib, finished(to).peak_rss_mib),
            Quantity::Weights => memory(finished(of).weights_mib, finished(to).weights_mib),
        }
    }
}

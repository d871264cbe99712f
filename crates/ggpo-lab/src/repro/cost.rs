//! Time per step of every method, and peak memory in a process of its own.

use std::path::Path;
use std::time::Instant;

use ggpo_files::write_atomically;
use ggpo_train::run::{RunConfig, Stepper};
use ggpo_train::{Error, Result};

use super::config::CostEntry;
use super::outcome::{Cost, MethodCost, TaskOutcome};
use crate::progress;

/// Runs some steps of the described run in a process of its own and returns
/// the peak of its resident memory in MiB, where that can be had.
pub type PeakOfMethod<'a> = &'a dyn Fn(&RunConfig, u32) -> Result<Option<f64>>;

/// Steps before the measured ones.
const WARM_UP: u32 = 3;

/// Measures the steps of all methods in turn, on the batches of one task.
///
/// A measurement found in `out` is not repeated.
pub(super) fn measure(
    entry: &CostEntry,
    steps: u32,
    tasks: &[TaskOutcome],
    out: &Path,
    peak_of_method: PeakOfMethod<'_>,
) -> Result<Cost> {
    let path = out.join("cost.json");
    if let Ok(text) = std::fs::read_to_string(&path) {
        return serde_json::from_str(&text)
            .map_err(|error| Error::file(path, format!("expected a measurement, found {error}")));
    }
    let task = tasks.iter().find(|task| task.task.id == entry.task);
    let task = task.expect("checked when the file was read");
    let plans: Vec<&RunConfig> = task
        .methods
        .iter()
        .map(|method| &method.common[0].plan.config)
        .collect();
    let mut steppers = plans
        .iter()
        .map(|config| Stepper::open(config))
        .collect::<Result<Vec<_>>>()?;
    let mut step_ms = vec![Vec::new(); steppers.len()];
    let bar = progress::bar(steps.into(), "time", "steps of every method");
    for step in 0..WARM_UP + steps {
        for (stepper, times) in steppers.iter_mut().zip(&mut step_ms) {
            let start = Instant::now();
            stepper.step()?;
            if step >= WARM_UP {
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let mut methods = Vec::new();
    for ((method, config), step_ms) in task.methods.iter().zip(plans).zip(step_ms) {
        methods.push(MethodCost {
            method: method.id.clone(),
            step_ms,
            peak_mib: peak_of_method(config, WARM_UP + steps)?,
        });
    }
    let cost = Cost {
        task: entry.task.clone(),
        threads: rayon::current_num_threads(),
        methods,
    };
    let text = serde_json::to_string_pretty(&cost).expect("a measurement has a JSON form");
    write_atomically(&path, text.as_bytes()).map_err(|source| Error::io(path, source))?;
    Ok(cost)
}

/// Runs `steps` steps of a run and writes nothing.
///
/// # Errors
/// As a run's.
pub fn run_steps(config: &RunConfig, steps: u32) -> Result<()> {
    let mut stepper = Stepper::open(config)?;
    for _ in 0..steps {
        stepper.step()?;
    }
    Ok(())
}

/// Peak resident memory of this process in MiB, where the operating system
/// tells: Linux, in `/proc/self/status`.
pub fn peak_memory_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

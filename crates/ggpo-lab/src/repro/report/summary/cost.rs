//! Time and memory of the methods.

use super::Sample;
use crate::repro::outcome::{Cost, Outcome};

/// Time and memory of one method.
#[derive(Debug, Clone)]
pub(crate) struct MethodTime {
    /// Id of the method.
    pub(crate) id: String,
    /// Its name in the report.
    pub(crate) title: String,
    /// Milliseconds per step.
    pub(crate) step_ms: Sample,
    /// Time of a step over that of the reference's step beside it.
    pub(crate) time_ratio: Sample,
    /// Peak resident memory in MiB; NaN if unknown.
    pub(crate) peak_mib: f64,
    /// Peak memory over that of the reference; NaN if unknown.
    pub(crate) memory_ratio: f64,
}

/// Time and memory of all methods.
#[derive(Debug, Clone)]
pub(crate) struct CostSummary {
    /// Name of the measured task in the report.
    pub(crate) task_title: String,
    /// Threads in use.
    pub(crate) threads: usize,
    /// Measured steps of every method.
    pub(crate) steps: usize,
    /// The methods, in order.
    pub(crate) methods: Vec<MethodTime>,
}

impl CostSummary {
    /// Summarises the measurement.
    pub(crate) fn new(outcome: &Outcome, cost: &Cost) -> Self {
        let reference = cost
            .methods
            .iter()
            .find(|method| method.method == outcome.config.reference);
        let methods = cost.methods.iter().map(|method| {
            let pairs = reference.into_iter().flat_map(|reference| {
                let steps = method.step_ms.iter().zip(&reference.step_ms);
                steps.map(|(own, other)| own / other)
            });
            let peak_mib = method.peak_mib.unwrap_or(f64::NAN);
            let reference_peak = reference.and_then(|reference| reference.peak_mib);
            let entries = &outcome.config.methods;
            let entry = entries.iter().find(|entry| entry.id == method.method);
            MethodTime {
                id: method.method.clone(),
                title: entry.map_or_else(|| method.method.clone(), |entry| entry.title.clone()),
                time_ratio: Sample::new(pairs),
                step_ms: Sample::new(method.step_ms.iter().copied()),
                peak_mib,
                memory_ratio: peak_mib / reference_peak.unwrap_or(f64::NAN),
            }
        });
        let task = outcome.tasks.iter().find(|task| task.task.id == cost.task);
        CostSummary {
            task_title: task.map_or_else(|| cost.task.clone(), |task| task.task.title.clone()),
            threads: cost.threads,
            steps: cost
                .methods
                .iter()
                .map(|method| method.step_ms.len())
                .max()
                .unwrap_or(0),
            methods: methods.collect(),
        }
    }
}

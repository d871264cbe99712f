//! The result of a measurement, as JSON and as a table.

use std::path::PathBuf;

use ggpo_tensor::simd::Level;
use serde::{Deserialize, Serialize};

use super::profile::{self, ProfileRow};
use super::{BenchConfig, Shape, SideReport};
use crate::statistics::median;

/// Times of measured steps in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepTimes {
    /// Median.
    pub median: f64,
    /// Shortest.
    pub min: f64,
    /// Longest.
    pub max: f64,
}

impl StepTimes {
    /// Of at least one step.
    ///
    /// # Panics
    /// If there is none.
    pub fn of(step_ms: &[f64]) -> Self {
        StepTimes {
            median: median(step_ms).expect("at least one step"),
            min: step_ms.iter().copied().fold(f64::INFINITY, f64::min),
            max: step_ms.iter().copied().fold(0.0, f64::max),
        }
    }
}

/// What was measured of one method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The model's shape.
    pub shape: Shape,
    /// File of its weights; random ones without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// Name of the method.
    pub method: String,
    /// Rows of a batch.
    pub batch: usize,
    /// Tokens of a row.
    pub seq: usize,
    /// Threads.
    pub threads: usize,
    /// Level of instruction set.
    #[serde(with = "super::level::by_name")]
    pub simd: Level,
    /// Measured steps.
    pub steps: usize,
    /// Their times.
    pub step_ms: StepTimes,
    /// Tokens read per second at the median time.
    pub tokens_per_s: f64,
    /// Peak of the resident memory of the method's process, in MiB.
    pub peak_rss_mib: Option<f64>,
    /// Memory of the model's own weights, in MiB.
    pub weights_mib: Option<f64>,
    /// Useful operations of a step; see [`flops`](super::flops).
    pub flops_per_step: f64,
    /// Rate of the useful operations at the median time, as a share of the
    /// higher of the two peaks.
    pub flop_rate_of_peak: f64,
    /// Multiply-add peak of the threads in GFLOP/s, before and after the steps.
    /// Where the two differ much the machine was not quiet.
    pub peak_gflops: [f64; 2],
    /// Where the time of the steps went, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Vec<ProfileRow>>,
}

impl Record {
    /// Puts together what was measured: times of the steps in milliseconds, useful
    /// operations of a step, peaks before and after in operations per second.
    pub(super) fn new(
        config: &BenchConfig,
        method: &str,
        step_ms: &[f64],
        flops_per_step: f64,
        peaks: [f64; 2],
        finished: SideReport,
    ) -> Self {
        let times = StepTimes::of(step_ms);
        let seconds = times.median / 1e3;
        Record {
            shape: config.shape,
            model: config.model.clone(),
            method: method.to_owned(),
            batch: config.batch,
            seq: config.seq,
            threads: config.threads,
            simd: config.simd,
            steps: step_ms.len(),
            step_ms: times,
            tokens_per_s: (config.batch * config.seq) as f64 / seconds,
            peak_rss_mib: finished.peak_rss_mib,
            weights_mib: finished.weights_mib,
            flops_per_step,
            flop_rate_of_peak: flops_per_step / seconds / peaks[0].max(peaks[1]),
            peak_gflops: peaks.map(|peak| peak / 1e9),
            profile: finished.profile,
        }
    }
}

/// The records as a table for people, with a line about the machine.
pub fn table(records: &[Record]) -> String {
    let mut text = format!(
        "{:12} {:>10} {:>10} {:>10} {:>10} {:>9} {:>8}\n",
        "method", "median ms", "min ms", "max ms", "tokens/s", "peak MiB", "of peak"
    );
    for record in records {
        let StepTimes { median, min, max } = record.step_ms;
        let memory = match record.peak_rss_mib {
            Some(mib) => format!("{mib:.0}"),
            None => "-".to_owned(),
        };
        text += &format!(
            "{:12} {median:10.2} {min:10.2} {max:10.2} {:10.0} {memory:>9} {:>7.1}%\n",
            record.method,
            record.tokens_per_s,
            100.0 * record.flop_rate_of_peak
        );
    }
    if let Some(record) = records.first() {
        let [before, after] = record.peak_gflops;
        let Record {
            shape,
            batch,
            seq,
            threads,
            simd,
            flops_per_step,
            ..
        } = record;
        text += &format!(
            "{}, batch {batch} x {seq}, {threads} threads, {simd}; {:.2} GFLOP per step of {}; peak \
             {before:.0} GFLOP/s before, {after:.0} after\n",
            shape.name(),
            flops_per_step / 1e9,
            record.method
        );
    }
    for record in records {
        if let Some(rows) = &record.profile {
            text += &profile::table(&record.method, rows);
        }
    }
    text
}

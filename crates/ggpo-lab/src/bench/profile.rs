//! Where a step's time goes, by operation.

use ggpo_autograd::Stopwatch;
use serde::{Deserialize, Serialize};

/// One operation in one phase of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProfileRow {
    /// `noise`, `forward`, `backward`, `gradients` or `optimiser`.
    pub phase: String,
    /// The operation's name on the tape, or what else was done.
    pub operation: String,
    /// How often per step.
    pub calls: f64,
    /// Its milliseconds per step, all calls together.
    pub ms: f64,
    /// Its share of the step's time.
    pub share: f64,
}

/// The mean over `steps` steps, the longest first. In the forward phase an operation
/// counts from the tape's entry before; see
/// [`Tape::start_timing`](ggpo_autograd::Tape::start_timing).
pub fn profile(timing: &Stopwatch, steps: u32) -> Vec<ProfileRow> {
    let laps = timing.laps();
    let total: f64 = laps.values().map(|laps| laps.time.as_secs_f64()).sum();
    let row = |(&(phase, operation), laps): (&(&str, &str), &ggpo_autograd::Laps)| ProfileRow {
        phase: phase.to_owned(),
        operation: operation.to_owned(),
        calls: laps.count as f64 / f64::from(steps),
        ms: laps.time.as_secs_f64() * 1e3 / f64::from(steps),
        share: laps.time.as_secs_f64() / total,
    };
    let mut rows: Vec<ProfileRow> = laps.iter().map(row).collect();
    rows.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    rows
}

/// The rows as a table for people, without those below a thousandth of the step.
pub fn table(method: &str, rows: &[ProfileRow]) -> String {
    let mut text = format!(
        "\n{method:12} {:28} {:>10} {:>10} {:>8}\n",
        "operation", "calls", "ms", "of step"
    );
    for row in rows.iter().filter(|row| row.share >= 1e-3) {
        text += &format!(
            "{:12} {:28} {:10.0} {:10.2} {:>7.1}%\n",
            row.phase,
            row.operation,
            row.calls,
            row.ms,
            100.0 * row.share
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_means_and_shares_sum_to_1() {
        let mut timing = Stopwatch::default();
        timing.start();
        for name in ["linear", "gelu", "linear", "linear"] {
            timing.lap("forward", name);
        }
        std::thread::sleep(std::time::Duration::from_millis(3));
        timing.lap("optimiser", "update");
        let rows = profile(&timing, 2);
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0].operation, "update");
        assert!(rows[0].ms >= 1.5 && rows[0].calls == 0.5);
        let linear = rows.iter().find(|row| row.operation == "linear").unwrap();
        assert_eq!(linear.calls, 1.5);
        let shares: f64 = rows.iter().map(|row| row.share).sum();
        assert!((shares - 1.0).abs() < 1e-9);
        let text = table("lora", &rows);
        assert!(text.contains("optimiser    update"), "{text}");
    }
}

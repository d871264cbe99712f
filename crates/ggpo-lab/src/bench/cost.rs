//! What every method costs beside LoRA: time of a step and peak memory.
//!
//! A method takes turns with LoRA, each in a process of its own, so that what slows
//! the machine down slows both.

use std::fmt::Write;
use std::process::Command;

use ggpo_lora::method::{Method, method};
use ggpo_tensor::simd::Level;
use ggpo_train::Result;
use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::rounds::{Rounds, Spread, Turns};
use super::side::Side;
use super::{Job, Shape, WARM_UP};

/// The method that the others are beside.
const REFERENCE: &str = "lora";

/// What a method's step may cost, as a share of LoRA's.
const TIME: [(&str, f64); 8] = [
    ("ggpo", 1.02),
    ("flat-lora", 1.02),
    ("mgpo", 1.03),
    ("mgpo-merged", 1.03),
    ("msam", 1.03),
    ("lora-plus", 1.00),
    ("dora", 1.10),
    ("sam", 2.00),
];
/// What its memory may be, as a share of LoRA's, of all but [`LARGE`].
const MEMORY: f64 = 1.05;
/// Methods that hold gradients of whole weights.
const LARGE: [&str; 2] = ["full", "sam-merged"];
/// The digits in which a ratio is held to its goal.
const DIGITS: usize = 2;

/// What is measured.
#[derive(Debug, Clone)]
pub struct CostConfig {
    /// The model's shape.
    pub shape: Shape,
    /// Rows of a batch.
    pub batch: usize,
    /// Tokens of a row.
    pub seq: usize,
    /// Turns of every pair.
    pub rounds: u32,
    /// Threads.
    pub threads: usize,
    /// Level of instruction set.
    pub simd: Level,
}

/// What one method costs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cost {
    /// Its name.
    pub method: String,
    /// Its step, in milliseconds.
    pub step_ms: Spread,
    /// Its step over LoRA's in the same round.
    pub time: Spread,
    /// The same of every round.
    pub ratios: Vec<f64>,
    /// Peak of its process's memory, in MiB.
    pub peak_mib: Option<f64>,
    /// That over the peak of LoRA's.
    pub memory: Option<f64>,
}

/// Measures methods of the table beside LoRA, each pair in turn, in processes
/// that `start` makes of their jobs.
///
/// # Errors
/// If a process cannot be started or fails.
pub fn measure_costs(
    config: &CostConfig,
    methods: &[Method],
    start: impl Fn(&Job) -> Command,
    mut on_method: impl FnMut(&Cost),
) -> Result<Vec<Cost>> {
    let reference = method(REFERENCE).expect("a method of the table");
    let side = |method: &Method| Side::start(method.name, start(&config.job(method)));
    let mut costs = Vec::new();
    for method in methods {
        let sides = vec![side(reference)?, side(method)?];
        let mut turns = Turns::new(sides, config.threads, config.simd)?;
        for _ in 0..WARM_UP {
            turns.round()?;
        }
        let rounds = (0..config.rounds).map(|_| turns.round());
        let rounds = Rounds(rounds.collect::<Result<_>>()?);
        let finished = turns.finish()?;
        let [own, beside] = [1, 0].map(|side| finished[side].peak_rss_mib);
        let cost = Cost {
            method: method.name.to_owned(),
            step_ms: rounds.time(1).expect("a round or more"),
            time: rounds.ratio(1, 0).expect("a round or more"),
            ratios: rounds.ratios(1, 0),
            peak_mib: own,
            memory: own.zip(beside).map(|(own, beside)| own / beside),
        };
        on_method(&cost);
        costs.push(cost);
    }
    Ok(costs)
}

impl CostConfig {
    fn job(&self, method: &Method) -> Job {
        Job {
            shape: self.shape,
            model: None,
            batch: self.batch,
            seq: self.seq,
            // Some schedules end with the run; no step of a turn is beyond it.
            steps: 1000,
            threads: self.threads,
            simd: self.simd,
            method: method.config(),
            profile: false,
        }
    }
}

/// The page: one row for each method, and what it is held to.
pub fn cost_page(config: &CostConfig, costs: &[Cost], command: &str) -> String {
    let machine = Machine::this();
    let mut page = format!(
        "# What the methods cost\n\n\
         Written by `{command}`.\n\n\
         * {}, {} threads, {}, level {}\n\
         * {} shape, batch {} x {}, rank 8 on all linear layers of the blocks, random weights\n\n\
         Every method takes turns with LoRA, one step each, in processes of their own. A ratio \
         is the median over {} turns, its quartiles beside it; turns in which the processor was \
         not quiet are dropped, unless it never was. Memory is the peak of a whole process. A \
         method of two passes a step does twice the work.\n\n\
         | method | step, ms | step / LoRA's | quartiles | goal | | peak, MiB | memory / LoRA's | goal | |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
        machine.processor,
        machine.threads,
        machine.system,
        config.simd,
        config.shape.name(),
        config.batch,
        config.seq,
        config.rounds,
    );
    for cost in costs {
        let goal = TIME.iter().find(|(name, _)| *name == cost.method);
        let goal = goal.map(|(_, goal)| *goal);
        let memory_goal = (!LARGE.contains(&cost.method.as_str())).then_some(MEMORY);
        let Spread {
            median, low, high, ..
        } = cost.time;
        let number = |x: Option<f64>| x.map_or(String::new(), |x| format!("{x:.2}"));
        let mib = cost
            .peak_mib
            .map_or(String::new(), |mib| format!("{mib:.0}"));
        let (time_verdict, memory_verdict) = (
            verdict(Some(median), goal),
            verdict(cost.memory, memory_goal),
        );
        let busy = if cost.time.is_busy() {
            ", busy machine"
        } else {
            ""
        };
        _ = writeln!(
            page,
            "| {} | {:.1} | {median:.3} | {low:.3} to {high:.3}{busy} | {} | {time_verdict} | \
             {mib} | {} | {} | {memory_verdict} |",
            cost.method,
            cost.step_ms.median,
            number(goal),
            number(cost.memory),
            number(memory_goal),
        );
    }
    page
}

/// Whether a ratio, in the digits of its goal, keeps to it.
fn verdict(ratio: Option<f64>, goal: Option<f64>) -> &'static str {
    let unit = 10_f64.powi(DIGITS as i32);
    match ratio.zip(goal) {
        None => "",
        Some((ratio, goal)) if (ratio * unit).round() <= (goal * unit).round() => "met",
        Some(_) => "**missed**",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_of_methods_there_are_and_hold_in_their_digits() {
        for name in TIME.iter().map(|(name, _)| name).chain(&LARGE) {
            assert!(method(name).is_some(), "{name}");
        }
        assert_eq!(verdict(Some(1.024), Some(1.02)), "met");
        assert_eq!(verdict(Some(1.026), Some(1.02)), "**missed**");
        assert_eq!(verdict(None, Some(1.02)), "");
    }
}

//! The tables of one level.

use std::fmt::Write;

use serde_json::Value;

use crate::bench::goals::Bound;
use crate::bench::record::StepTimes;
use crate::bench::rounds::Spread;
use crate::bench::study::{GoalRow, Measured, Process, Section, Verdict};

/// Least share of a step of a line of the profile.
const SHOWN: f64 = 0.005;

/// Ratios and what they are held to.
pub(super) fn goals(section: &Section) -> String {
    let mut text = "\n### Goals\n\n\
        | what | goal | measured | quartiles | samples | |\n|---|---|---|---|---|---|\n"
        .to_owned();
    for row in &section.rows {
        _ = writeln!(text, "{}", goal_line(row));
    }
    text
}

fn goal_line(row: &GoalRow) -> String {
    let goal = match row.goal {
        Some(Bound::AtMost(limit)) => format!("at most {limit:.2}"),
        Some(Bound::AtLeast(limit)) => format!("at least {limit:.2}"),
        None => String::new(),
    };
    let none = String::new;
    let [measured, quartiles, samples] = match &row.outcome {
        Verdict::Times(spread) => [
            format!("{:.3}", spread.median),
            quartiles(spread),
            samples(spread),
        ],
        Verdict::Memory(ratio) => [format!("{ratio:.3}"), none(), none()],
        Verdict::Product { ratio, of, busy } => {
            let said = if *busy { "busy machine" } else { "" };
            [format!("{ratio:.3} ({of})"), none(), said.to_owned()]
        }
        Verdict::NotMeasured(reason) => [format!("not measured: {reason}"), none(), none()],
    };
    let verdict = match (row.goal, row.outcome.value()) {
        (Some(goal), Some(value)) if goal.holds(value) => "met",
        (Some(_), Some(_)) => "**missed**",
        _ => "",
    };
    let what = &row.what;
    format!("| {what} | {goal} | {measured} | {quartiles} | {samples} | {verdict} |")
}

fn quartiles(spread: &Spread) -> String {
    format!("{:.3} to {:.3}", spread.low, spread.high)
}

fn samples(spread: &Spread) -> String {
    let busy = if spread.is_busy() {
        "busy machine, "
    } else {
        ""
    };
    format!("{busy}{} of {}", spread.quiet, spread.of)
}

/// What the noise costs.
pub(super) fn noise(section: &Section) -> String {
    if section.noise.is_empty() {
        return String::new();
    }
    let mut text = "\n### What the noise costs\n\n\
        MiniLM, the time of a GGPO step over that of a LoRA step. The noise takes two normal \
        numbers per weight and step, whatever the tokens.\n\n\
        | tokens per step | batch | GGPO step / LoRA step | quartiles | samples |\n\
        |---|---|---|---|---|\n"
        .to_owned();
    for point in &section.noise {
        let (batch, seq, ratio) = (point.batch, point.seq, &point.ratio);
        _ = writeln!(
            text,
            "| {} | {batch} x {seq} | {:.3} | {} | {} |",
            batch * seq,
            ratio.median,
            quartiles(ratio),
            samples(ratio)
        );
    }
    text
}

/// The products on their own.
pub(super) fn products(section: &Section) -> String {
    let Some(measured) = &section.products else {
        return String::new();
    };
    let [before, after] = measured.one_thread.map(|probe| probe.fastest);
    let busy = match measured.is_busy() {
        true => " The machine was not quiet.",
        false => "",
    };
    let mut text = format!(
        "\n### Products\n\n\
         `cargo bench -p ggpo-tensor --bench matmul`, medians in GFLOP/s. The multiply-add peak of \
         one thread was {before:.0} GFLOP/s before and {after:.0} after.{busy}\n\n\
         | product | threads | ours | matrixmultiply | ratio | of peak |\n|---|---|---|---|---|---|\n"
    );
    for product in &measured.products {
        let threads = if product.serial { "1" } else { "2" };
        let other = product.matrixmultiply.map(|rate| format!("{rate:.1}"));
        let ratio = product.ratio().map(|ratio| format!("{ratio:.2}"));
        _ = writeln!(
            text,
            "| {} | {threads} | {:.1} | {} | {} | {:.2} |",
            product.name,
            product.ours,
            other.unwrap_or_default(),
            ratio.unwrap_or_default(),
            measured.rate_of_peak(product)
        );
    }
    text
}

/// All processes with their times and memory.
pub(super) fn processes(section: &Section) -> String {
    if section.groups.is_empty() {
        return String::new();
    }
    let mut text = "\n### Processes\n\n\
        | shape | batch | process | step ms, median | shortest, longest | useful GFLOP/s | peak \
        MiB | weights MiB | |\n|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for measured in &section.groups {
        for (side, process) in measured.processes.iter().enumerate() {
            _ = writeln!(text, "{}", process_line(measured, side, process));
        }
    }
    text
}

fn process_line(measured: &Measured, side: usize, process: &Process) -> String {
    let times = measured.rounds.times(side);
    let [median, extremes, rate] = match times.is_empty() {
        true => ["-", "-", "-"].map(str::to_owned),
        false => {
            let times = StepTimes::of(&times);
            [
                format!("{:.1}", times.median),
                format!("{:.1}, {:.1}", times.min, times.max),
                format!("{:.0}", process.flops_per_step / times.median / 1e6),
            ]
        }
    };
    let busy = measured
        .rounds
        .time(side)
        .is_some_and(|time| time.is_busy());
    let busy = if busy { "busy machine" } else { "" };
    let finished = process.finished.as_ref();
    let mib = |mib: Option<f64>| mib.map_or("-".to_owned(), |mib| format!("{mib:.0}"));
    let imported = finished.and_then(|said| said.about.get("imported_rss_mib"));
    let imported = imported
        .and_then(Value::as_f64)
        .map_or(String::new(), |mib| {
            format!(" ({mib:.0} after the imports)")
        });
    let contender = &process.contender;
    format!(
        "| {} | {} x {} | {} | {median} | {extremes} | {rate} | {}{imported} | {} | {busy} |",
        contender.shape.name(),
        contender.batch,
        contender.seq,
        contender.name(),
        mib(finished.and_then(|said| said.peak_rss_mib)),
        mib(finished.and_then(|said| said.weights_mib)),
    )
}

/// Where the time of some processes goes.
pub(super) fn profiles(section: &Section) -> String {
    let profiles: Vec<_> = section
        .groups
        .iter()
        .flat_map(|group| &group.profiles)
        .collect();
    if profiles.is_empty() {
        return String::new();
    }
    let mut text = "\n### Where the time goes\n\n\
        Our steps on two threads, measured on their own with a stopwatch at every operation of \
        the tape. The gradient of the loss of a decoder is calculated with the loss. What was \
        tried is in the sixth of the decisions in docs/decisions.\n"
        .to_owned();
    for profile in profiles {
        let contender = &profile.contender;
        _ = writeln!(
            text,
            "\n| {} {} x {}, {} | | calls | ms | of step |\n|---|---|---|---|---|",
            contender.shape.name(),
            contender.batch,
            contender.seq,
            contender.method.name()
        );
        for row in profile.rows.iter().filter(|row| row.share >= SHOWN) {
            _ = writeln!(
                text,
                "| {} | {} | {:.0} | {:.2} | {:.1} % |",
                row.phase,
                row.operation,
                row.calls,
                row.ms,
                100.0 * row.share
            );
        }
    }
    text
}

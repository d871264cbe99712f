//! `speed.md`: a study as a page for people.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::Value;

use super::goals::{Bound, Contender, Engine};
use super::record::StepTimes;
use super::study::{Measured, Outcome, Process, Row, Study};

/// The page; `command` is how it was made.
pub fn page(study: &Study, command: &str) -> String {
    let mut text = format!("# Speed\n\nWritten by `{command}`; the same numbers and every ");
    text += "turn are in [speed.json](speed.json).\n\n";
    for line in circumstances(study) {
        _ = writeln!(text, "* {line}");
    }
    text += "\n## Goals\n\n\
        Each ratio is the median of neighbouring turns: all processes of a shape take turns of one \
        step, or of as many as fill a tenth of a second, of which the median counts; between two \
        turns the processor's multiply-add rate is probed. Samples beside a probe whose median is \
        below 0.9 of the fastest are dropped. A peer's memory is that of its whole process.\n\n\
        | what | goal | measured | quartiles | samples | |\n|---|---|---|---|---|---|\n";
    for row in &study.rows {
        _ = writeln!(text, "{}", goal_line(row));
    }
    text += "\n## Processes\n\n\
        | shape | batch | process | step ms, median | shortest, longest | useful GFLOP/s | peak \
        MiB | weights MiB |\n|---|---|---|---|---|---|---|---|\n";
    for measured in &study.shapes {
        for (side, process) in measured.processes.iter().enumerate() {
            _ = writeln!(text, "{}", process_line(measured, side, process));
        }
    }
    text += "\n## Where the time goes\n\n\
        Our LoRA steps on two threads, measured on their own with a stopwatch at every operation \
        of the tape. The gradient of the loss of a decoder is calculated with the loss. What was \
        tried is in the sixth of the decisions in docs/decisions.\n";
    for measured in &study.shapes {
        _ = writeln!(
            text,
            "\n| {} | | calls | ms | of step |\n|---|---|---|---|---|",
            measured.shape.name()
        );
        for row in measured.profile.iter().filter(|row| row.share >= SHOWN) {
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

/// Least share of a step of a line of the profile.
const SHOWN: f64 = 0.005;

/// Machine, versions and allocators, a line each.
fn circumstances(study: &Study) -> Vec<String> {
    let machine = &study.machine;
    let peaks = study.shapes.iter().map(|shape| shape.rounds.peak());
    let peak = peaks.fold(0.0, f64::max);
    let mut lines = vec![
        format!(
            "{}, {} threads, {}; multiply-add peak {peak:.0} GFLOP/s",
            machine.processor, machine.threads, machine.system
        ),
        format!("ggpo-train {}", study.version),
    ];
    let processes = study.shapes.iter().flat_map(|shape| &shape.processes);
    let peers = processes.filter(|process| process.contender.engine == Engine::Torch);
    let said: BTreeSet<String> = peers.map(peer_line).collect();
    lines.extend(said);
    lines
}

/// Versions of the peer, and its allocator.
fn peer_line(process: &Process) -> String {
    let about = &process.finished.about;
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut parts = Vec::new();
    if let Some(Value::Object(versions)) = about.get("versions") {
        let version = |(name, version): (&String, &Value)| format!("{name} {}", text(version));
        parts.extend(versions.iter().map(version));
    }
    if let Some(allocator) = about.get("allocator") {
        parts.push(format!("allocator: {}", text(allocator)));
    }
    parts.join(", ")
}

fn goal_line(row: &Row) -> String {
    let goal = match row.goal {
        Bound::AtMost(limit) => format!("at most {limit:.2}"),
        Bound::AtLeast(limit) => format!("at least {limit:.2}"),
    };
    let [measured, quartiles, samples] = match &row.outcome {
        Outcome::Times(spread) => [
            format!("{:.3}", spread.median),
            format!("{:.3} to {:.3}", spread.low, spread.high),
            format!("{} of {}", spread.samples, spread.of),
        ],
        Outcome::Memory(ratio) => [format!("{ratio:.3}"), String::new(), String::new()],
        Outcome::NotMeasured(reason) => [
            format!("not measured: {reason}"),
            String::new(),
            String::new(),
        ],
    };
    let verdict = match row.outcome.value() {
        Some(value) if row.goal.holds(value) => "met",
        Some(_) => "**missed**",
        None => "",
    };
    let what = &row.what;
    format!("| {what} | {goal} | {measured} | {quartiles} | {samples} | {verdict} |")
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
    let mib = |mib: Option<f64>| mib.map_or("-".to_owned(), |mib| format!("{mib:.0}"));
    let imported = process.finished.about.get("imported_rss_mib");
    let imported = imported
        .and_then(Value::as_f64)
        .map_or(String::new(), |mib| {
            format!(" ({mib:.0} after the imports)")
        });
    format!(
        "| {} | {} x {} | {} | {median} | {extremes} | {rate} | {}{imported} | {} |",
        measured.shape.name(),
        measured.batch,
        measured.seq,
        name(&process.contender),
        mib(process.finished.peak_rss_mib),
        mib(process.finished.weights_mib),
    )
}

fn name(contender: &Contender) -> String {
    let Contender {
        engine,
        method,
        threads,
        quantized,
    } = contender;
    let base = if *quantized { ", on Q4_1" } else { "" };
    let threads = match threads {
        1 => "1 thread".to_owned(),
        n => format!("{n} threads"),
    };
    format!("{}, {}, {threads}{base}", engine.name(), method.name())
}

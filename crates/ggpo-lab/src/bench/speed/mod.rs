//! `speed.md`: a study as a page for people, with its figure.

mod tables;

use std::collections::BTreeSet;
use std::fmt::Write;

use ggpo_tensor::simd::Level;
use serde_json::Value;

use super::contender::Engine;
use super::level::title;
use super::study::{Process, Section, Study};
use ggpo_report::{
    Axis, CurvePanel, CurvePlot, CurvePoint, Figure, Place, Plot, ReferenceLine, Series,
};

const METHOD: &str = "\
Each ratio is the median of neighbouring turns: all processes of a group take turns of one step, \
or of as many as fill a tenth of a second, of which the median counts; between two turns the \
processor's multiply-add rate is probed, with the vectors of the level. Samples beside a probe \
whose median is below 0.9 of the fastest are dropped; where that leaves none, all samples are \
taken and the row says \"busy machine\". A peer's memory is that of its whole process. Our kernels \
were held to each level by `GGPO_SIMD`.
";

/// The page of a study whose numbers are in `STEM.json` and whose figure is in
/// `STEM-noise.svg`; `command` is how it was made.
pub fn page(study: &Study, command: &str, stem: &str) -> String {
    let mut text = format!("# Speed\n\nWritten by `{command}`; the same numbers and every ");
    _ = writeln!(text, "turn are in [{stem}.json]({stem}.json).\n");
    let machine = &study.machine;
    _ = writeln!(
        text,
        "* {}, {} threads, {}\n* ggpo {}\n\n{METHOD}",
        machine.processor, machine.threads, machine.system, study.version
    );
    if has_figure(study) {
        _ = writeln!(
            text,
            "![Time of a GGPO step over a LoRA step, by tokens per step]({stem}-noise.svg)\n"
        );
    }
    let begun = study.sections.iter().filter(|it| !it.rows.is_empty());
    let sections: Vec<String> = begun.map(section).collect();
    text + &sections.join("\n")
}

/// What the noise costs over the tokens of a step, a line for each level, as an
/// SVG; `None` if it was not measured.
pub fn figure(study: &Study) -> Option<String> {
    let mut tokens = Vec::new();
    let mut curve = |section: &Section| {
        let points = section.noise.iter().map(|point| {
            let ratio = &point.ratio;
            let x = (point.batch * point.seq) as f64;
            tokens.push(x);
            CurvePoint::in_band(x, ratio.median, ratio.low, ratio.high)
        });
        Series::new(title(section.level), points.collect())
    };
    let series: Vec<Series> = study.sections.iter().map(&mut curve).collect();
    let figure = Figure {
        id: "noise".to_owned(),
        title: "MiniLM: time of a GGPO step over that of a LoRA step".to_owned(),
        description: "Median with quartiles, by tokens of a step.".to_owned(),
        plot: Plot::Curves(CurvePlot {
            panels: vec![CurvePanel {
                title: String::new(),
                x: Axis::log("tokens of a step").with_ticks(tokens),
                y: Axis::linear("GGPO's step over LoRA's"),
                series,
                references: vec![ReferenceLine {
                    at: Place::Y(1.0),
                    label: "no cost".to_owned(),
                }],
            }],
            columns: 1,
            shared_x: false,
            shared_y: false,
        }),
    };
    has_figure(study).then(|| figure.to_svg())
}

fn has_figure(study: &Study) -> bool {
    let mut sections = study.sections.iter();
    sections.any(|section| !section.noise.is_empty())
}

/// What was measured at one level.
fn section(section: &Section) -> String {
    let mut text = format!("## {}\n\n", title(section.level));
    if !section.groups.is_empty() {
        let peak = section.peak();
        _ = writeln!(text, "* Multiply-add peak {peak:.0} GFLOP/s");
    }
    if section.level == Level::Portable {
        text += "* Products in single precision are those of `matrixmultiply`, which finds out by \
            itself what the processor has, as PyTorch does\n";
    }
    for line in peers(section) {
        _ = writeln!(text, "* {line}");
    }
    if let Some(held_by) = section.products.as_ref().and_then(|p| p.held_by.as_ref()) {
        _ = writeln!(
            text,
            "* `matrixmultiply` held to {} by a setting of its tests, {held_by}",
            title(section.level)
        );
    }
    text += &tables::goals(section);
    text += &tables::noise(section);
    text += &tables::products(section);
    text += &tables::processes(section);
    text += &tables::profiles(section);
    text
}

/// Versions of the peer, its allocator and its instruction set, each once.
fn peers(section: &Section) -> BTreeSet<String> {
    let processes = section.groups.iter().flat_map(|group| &group.processes);
    let peers = processes.filter(|process| process.contender.engine == Engine::Torch);
    peers.filter_map(peer_line).collect()
}

fn peer_line(process: &Process) -> Option<String> {
    let about = &process.finished.as_ref()?.about;
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut parts = Vec::new();
    if let Some(Value::Object(versions)) = about.get("versions") {
        let version = |(name, version): (&String, &Value)| format!("{name} {}", text(version));
        parts.extend(versions.iter().map(version));
    }
    for (field, name) in [
        ("allocator", "allocator"),
        ("instructions", "instruction set"),
    ] {
        if let Some(said) = about.get(field) {
            parts.push(format!("{name}: {}", text(said)));
        }
    }
    Some(parts.join(", "))
}

#[cfg(test)]
mod tests;

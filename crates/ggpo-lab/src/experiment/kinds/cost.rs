//! Time and memory of a step.

use ggpo_report::format::{ABSENT, fixed};
use ggpo_report::{
    Axis, Block, Cell, Column, Figure, Interval, IntervalPanel, IntervalPlot, IntervalRow, Plot,
    Table,
};
use serde::{Deserialize, Serialize};

use super::super::outcome::Outcome;
use super::{Finding, Findings};
use crate::bench::Machine;
use crate::bench::cost::Cost;
use crate::verdict::{Claim, judge_table};

/// What was measured, where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// The machine.
    pub machine: Machine,
    /// Level of instruction set.
    pub simd: String,
    /// The shape of the model and the batch, in words.
    pub shape: String,
    /// The methods.
    pub costs: Vec<Cost>,
}

/// D is the share of a step that a method saves; the pairs are rounds in which both took
/// their turn.
pub(super) fn findings(outcome: &Outcome<'_>, measured: Option<&Measured>) -> Findings {
    let Some(measured) = measured else {
        let text = "Not measured in this call.";
        return Findings {
            claims: Vec::new(),
            blocks: vec![Block::paragraph(text)],
        };
    };
    let experiment = outcome.experiment;
    let judged = experiment.judged(outcome.grid);
    let cost_of = |id: &str| measured.costs.iter().find(|cost| cost.method == id);
    let claims: Vec<Claim> = judged
        .iter()
        .map(|method| {
            let ratios = cost_of(&method.id)
                .map(|cost| &cost.ratios[..])
                .unwrap_or_default();
            let savings = ratios.iter().map(|ratio| 1.0 - ratio).collect();
            Claim {
                kind: experiment.claim_kind,
                margin: experiment.margin,
                references: vec![("LoRA".to_owned(), savings)],
                tests_in_table: judged.len(),
                precondition: Ok(()),
            }
        })
        .collect();
    let judgements = judge_table(&claims);
    let mut table = Table::new(
        format!(
            "A step of {} on {}, {} threads, level {}; every method took turns with LoRA.",
            measured.shape, measured.machine.processor, measured.machine.threads, measured.simd
        ),
        vec![
            Column::words("method"),
            Column::numbers("step (ms)"),
            Column::numbers("over LoRA's, median"),
            Column::numbers("quartiles"),
            Column::numbers("peak memory (MiB)"),
            Column::numbers("over LoRA's"),
            Column::words("verdict"),
        ],
    );
    let mut rows = Vec::new();
    for method in experiment.methods_of(outcome.grid) {
        let Some(cost) = cost_of(&method.id) else {
            continue;
        };
        let of = judged.iter().position(|it| it.id == method.id);
        let verdict = of
            .map(|index| judgements[index].verdict.word())
            .unwrap_or_default();
        let number = |value: Option<f64>, decimals| match value {
            Some(value) => Cell::number(value, fixed(value, decimals)),
            None => ABSENT.into(),
        };
        table.row([
            Cell::from(method.title.as_str()),
            number(Some(cost.step_ms.median), 1),
            number(Some(cost.time.median), 3),
            format!("{:.3} to {:.3}", cost.time.low, cost.time.high).into(),
            number(cost.peak_mib, 0),
            number(cost.memory, 2),
            verdict.into(),
        ]);
        rows.push(IntervalRow {
            label: method.title.clone(),
            points: cost.ratios.iter().map(|&it| (it, fixed(it, 3))).collect(),
            estimate: Some(Interval::new(
                cost.time.low,
                cost.time.median,
                cost.time.high,
            )),
            number: fixed(cost.time.median, 3),
            emphasis: false,
        });
    }
    let figure = Figure {
        id: format!("{}-time", experiment.id),
        title: "Time of a step over that of LoRA".to_owned(),
        description: "Every round, with median and quartiles.".to_owned(),
        plot: Plot::Intervals(IntervalPlot {
            panels: vec![IntervalPanel {
                title: String::new(),
                axis: Axis::linear("step over LoRA's"),
                rows,
                reference: Some(1.0),
                margin: Some((1.0 - experiment.margin, 1.0 + experiment.margin)),
            }],
            columns: 1,
            shared_axis: false,
        }),
    };
    let claims = judged.iter().zip(&judgements).enumerate();
    Findings {
        claims: claims
            .map(|(index, (method, judgement))| Finding {
                claim: experiment.claim.replace("{method}", &method.title),
                is_headline: index == 0,
                judgement: judgement.clone(),
                planned: judgement.pairs,
                margin: experiment.margin,
                unit: " of a step",
                decimals: 3,
            })
            .collect(),
        blocks: vec![Block::Figure(figure), Block::Table(table)],
    }
}

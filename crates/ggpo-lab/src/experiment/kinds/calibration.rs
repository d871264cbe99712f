//! Problems whose answers are known.

use ggpo_report::{
    Axis, Block, Column, CurvePanel, CurvePlot, CurvePoint, Figure, Plot, Series, Table,
};

use super::super::outcome::Outcome;
use super::Findings;
use crate::calibration::Calibration;

/// A calibration has no claim about a method; its result is whether it passed.
pub(super) fn findings(outcome: &Outcome<'_>) -> Findings {
    let mut table = Table::new(
        "What each problem asks, what theory says, and what was measured.",
        [
            "problem",
            "question",
            "theory",
            "measured",
            "must hold",
            "passed",
        ]
        .map(Column::words)
        .into(),
    );
    for it in outcome.calibrations {
        let passed = if it.passed { "yes" } else { "NO" };
        table.row(
            [
                &it.name,
                &it.question,
                &it.theory,
                &it.measured,
                &it.gate,
                passed,
            ]
            .map(|text: &str| text.to_owned()),
        );
    }
    let curves = outcome
        .calibrations
        .iter()
        .filter(|it| !it.curves.is_empty());
    let mut blocks = vec![Block::Table(table)];
    blocks.extend(curves.map(|it| Block::Figure(figure(outcome, it))));
    Findings {
        claims: Vec::new(),
        blocks,
    }
}

fn figure(outcome: &Outcome<'_>, calibration: &Calibration) -> Figure {
    let [x, y] = &calibration.axes;
    let series = calibration.curves.iter().map(|curve| {
        let points = curve.points.iter().map(|&[x, y]| CurvePoint::new(x, y));
        Series::new(&curve.name, points.collect())
    });
    let values = || calibration.curves.iter().flat_map(|curve| &curve.points);
    // A peak that theory has at infinity is seen on a scale of magnitudes.
    let (least, most) = values().fold((f64::INFINITY, 0.0_f64), |(least, most), point| {
        (least.min(point[1]), most.max(point[1]))
    });
    let y = match least > 0.0 && most > 20.0 * least {
        true => Axis::log(y),
        false => Axis::linear(y),
    };
    Figure {
        id: format!("{}-{}", outcome.experiment.id, calibration.name),
        title: calibration.question.clone(),
        description: calibration.theory.clone(),
        plot: Plot::Curves(CurvePlot {
            panels: vec![CurvePanel {
                title: String::new(),
                x: Axis::linear(x),
                y,
                series: series.collect(),
                references: Vec::new(),
            }],
            columns: 1,
            shared_x: false,
            shared_y: false,
        }),
    }
}

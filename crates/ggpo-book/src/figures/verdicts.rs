//! The rule, on made-up differences.

use ggpo_lab::verdict::{Claim, ClaimKind, Judgement, judge};
use ggpo_report::{Axis, Figure, Interval, IntervalPanel, IntervalPlot, IntervalRow, Plot};

const MARGIN: f64 = 0.5;
const PAIRS: u32 = 12;

/// Six claims to be better, each with the verdict that the rule gives.
pub(super) fn figure() -> Figure {
    let rows = [
        ("clearly better", 1.0, 0.3),
        ("better by less than matters", 0.3, 0.3),
        ("no difference", 0.0, 0.3),
        ("no gain of 0.5", -1.0, 3.0),
        ("clearly worse", -1.0, 0.3),
        ("too few pairs for the spread", 0.2, 3.0),
    ];
    Figure {
        id: "verdicts".to_owned(),
        title: "Six made-up claims and their verdicts".to_owned(),
        description: "Twelve differences each, their mean with its 95 % interval, positive where \
                      the method is better. The band is the margin of 0.5. The verdicts are those \
                      of the program."
            .to_owned(),
        plot: Plot::Intervals(IntervalPlot {
            panels: vec![IntervalPanel {
                axis: Axis::linear("difference to the reference"),
                rows: rows
                    .map(|(label, mean, reach)| row(label, mean, reach))
                    .into(),
                reference: Some(0.0),
                margin: Some((-MARGIN, MARGIN)),
                ..IntervalPanel::default()
            }],
            ..IntervalPlot::default()
        }),
    }
}

/// Differences around `mean`, evenly spread, at most `reach` from it.
fn row(label: &str, mean: f64, reach: f64) -> IntervalRow {
    let middle = f64::from(PAIRS - 1) / 2.0;
    let differences: Vec<f64> = (0..PAIRS)
        .map(|i| mean + reach * (f64::from(i) - middle) / middle)
        .collect();
    let points = differences.iter().map(|&d| (d, format!("{d:.2}")));
    let points = points.collect();
    let Judgement {
        verdict,
        interval_95,
        ..
    } = judge(&Claim {
        kind: ClaimKind::Better,
        margin: MARGIN,
        references: vec![("reference".to_owned(), differences)],
        tests_in_table: 1,
        precondition: Ok(()),
    });
    IntervalRow {
        label: label.to_owned(),
        points,
        estimate: interval_95.map(|it| Interval::new(it.low, mean, it.high)),
        number: verdict.word().to_owned(),
        emphasis: false,
    }
}

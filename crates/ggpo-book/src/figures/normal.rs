//! The distribution of the noise's normal numbers.

use ggpo_report::{Axis, CurvePanel, CurvePlot, Figure, Plot};
use ggpo_tensor::random::{Purpose, Stream};

use super::{cloud, curve};

const COUNT: usize = 200_000;
/// Bins of a tenth, from -4 to 4.
const BINS: usize = 80;

/// How many of a stream's numbers fall into each bin, over their count and width.
pub(super) fn figure() -> Figure {
    let mut numbers = vec![0.0; COUNT];
    Stream::new(42, Purpose::Perturbation, 0, 0).fill_normal(0, &mut numbers);
    let mut counts = [0_u32; BINS];
    for z in numbers {
        let bin = ((f64::from(z) + 4.0) * 10.0).floor();
        if (0.0..BINS as f64).contains(&bin) {
            counts[bin as usize] += 1;
        }
    }
    let centre = |bin: usize| (bin as f64 + 0.5) / 10.0 - 4.0;
    let found = counts.iter().enumerate();
    let marks = found.map(|(bin, &count)| (centre(bin), f64::from(count) * 10.0 / COUNT as f64));
    let density = |z: f64| (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let line = (0..=BINS).map(|edge| {
        let z = edge as f64 / 10.0 - 4.0;
        (z, density(z))
    });
    let marks = marks.filter(|(_, share)| *share > 0.0);
    let series = vec![
        cloud("numbers of the stream", marks.collect()),
        curve("the normal density", line),
    ];
    Figure {
        id: "normal-numbers".to_owned(),
        title: "Normal numbers of a stream, and the density".to_owned(),
        description: "200,000 numbers in bins of a tenth lie along the density of the standard \
                      normal distribution."
            .to_owned(),
        plot: Plot::Curves(CurvePlot {
            panels: vec![CurvePanel {
                x: Axis::linear("z"),
                y: Axis::log("density"),
                series,
                ..CurvePanel::default()
            }],
            ..CurvePlot::default()
        }),
    }
}

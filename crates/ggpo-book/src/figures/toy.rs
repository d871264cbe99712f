//! Paths of methods over the two factors of one weight.

use ggpo_report::{Axis, CurvePanel, CurvePlot, Figure, Plot, Series};
use ggpo_tensor::random::{Purpose, Stream};

use super::{cloud, curve};

const RATE: f64 = 0.005;
const STEPS: usize = 40_000;
/// Noise, or SAM's radius.
const NOISE: f64 = 0.1;
const START: [f64; 2] = [2.0, 0.6];
/// Steps between two points of a path.
const EVERY: usize = STEPS / 20;

/// From (2, 0.6) under the loss `(a b - 1)^2 / 2`: where each method goes.
pub(super) fn figure() -> Figure {
    let at = |a: f64, b: f64| [(a * b - 1.0) * b, (a * b - 1.0) * a];
    let descent = path("gradient descent", |a, b, _| at(a, b));
    let sam = path("SAM on (a, b)", |a, b, _| {
        let [da, db] = at(a, b);
        let length = da.hypot(db);
        let reach = if length > 0.0 { NOISE / length } else { 0.0 };
        at(a + reach * da, b + reach * db)
    });
    // The noise is on w = a b, whose gradient reaches the factors as (g b, g a).
    let ggpo = path("GGPO, held", |a, b, z| {
        let g = a * b * (1.0 + NOISE * z) - 1.0;
        [g * b, g * a]
    });
    let minima = (0..=130).map(|k| {
        let a = 0.8 + f64::from(k) / 100.0;
        (a, 1.0 / a)
    });
    let minima = cloud("minima, a b = 1", minima.collect());
    Figure {
        id: "toy-paths".to_owned(),
        title: "Where methods go along a line of minima".to_owned(),
        description: "From (2, 0.6), 40,000 steps at the rate 0.005 with noise or radius 0.1. \
                      Descent and GGPO reach the line a b = 1 near (1.98, 0.51) and stay; SAM \
                      walks along it to its flattest point, a = b = 1."
            .to_owned(),
        plot: Plot::Curves(CurvePlot {
            panels: vec![CurvePanel {
                x: Axis::linear("a"),
                y: Axis::linear("b"),
                series: vec![minima, sam, ggpo, descent],
                ..CurvePanel::default()
            }],
            ..CurvePlot::default()
        }),
    }
}

/// The path of descent with the gradients of a and b for a normal number.
fn path(label: &str, gradient: impl Fn(f64, f64, f64) -> [f64; 2]) -> Series {
    let mut noise = vec![0.0; STEPS];
    Stream::new(1, Purpose::Perturbation, 0, 0).fill_normal(0, &mut noise);
    let [mut a, mut b] = START;
    let mut points = vec![(a, b)];
    for (step, &z) in noise.iter().enumerate() {
        let [da, db] = gradient(a, b, f64::from(z));
        (a, b) = (a - RATE * da, b - RATE * db);
        if (step + 1) % EVERY == 0 {
            points.push((a, b));
        }
    }
    curve(label, points)
}

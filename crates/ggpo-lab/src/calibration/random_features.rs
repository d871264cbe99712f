//! Ridgeless regression on random ReLU features: the test error has its peak where
//! the features are as many as the training examples (Belkin, Hsu, Ma and Mandal
//! 2019; Mei and Montanari 2022).

use faer::{Col, Mat};
use ggpo_tensor::random::{Purpose, Stream};

use super::linear::{least_squares, normals};
use super::{Calibration, Curve};
use crate::statistics::median;

/// Repetitions of the stated gate.
pub const REPETITIONS: u32 = 40;
/// Inputs, d.
const INPUTS: usize = 20;
/// Training examples, n.
const EXAMPLES: usize = 100;
/// Fresh inputs on which the error is measured.
const FRESH: usize = 200;
/// Standard deviation of the training targets' noise.
const NOISE: f64 = 0.5;
/// Features that are measured; those of a smaller number are among the larger.
const WIDTHS: [usize; 13] = [10, 25, 50, 75, 85, 90, 95, 100, 105, 110, 115, 150, 250];
/// How far the peak may be from [`EXAMPLES`].
const GATE: f64 = 5.0;

/// Finds the peak of the medians over the repetitions. With fewer than
/// [`REPETITIONS`] it may be one measured width further off.
pub fn calibrate(repetitions: u32) -> Calibration {
    let gate = if repetitions >= REPETITIONS {
        GATE
    } else {
        2.0 * GATE
    };
    let mut errors = vec![Vec::new(); WIDTHS.len()];
    for repetition in 0..repetitions {
        for (found, errors) in errors_of(repetition).into_iter().zip(&mut errors) {
            errors.push(found);
        }
    }
    let points = WIDTHS.iter().zip(&errors);
    let medians = Curve::new(
        "measured median",
        points.map(|(&width, errors)| [width as f64, median(errors).unwrap_or(f64::NAN)]),
    );
    let peak = medians.peak();
    let shown = |width: usize| format!("{:.2} at {width}", medians.at(width as f64));
    Calibration {
        name: "random-features".into(),
        question: "Does the test error of regression on random ReLU features show its peak?".into(),
        theory: format!("The peak is where there are as many features as examples, {EXAMPLES}."),
        measured: format!(
            "Over {repetitions} repetitions the medians are {}, {} and {}; the peak is at \
             {peak} features.",
            shown(50),
            shown(EXAMPLES),
            shown(250)
        ),
        gate: format!("The peak of the medians within {gate} features of {EXAMPLES}."),
        passed: (peak - EXAMPLES as f64).abs() <= gate,
        axes: ["features".into(), "squared error on fresh inputs".into()],
        curves: vec![medians],
    }
}

/// The squared error on fresh inputs, without noise in their targets, at each of the
/// [`WIDTHS`].
fn errors_of(repetition: u32) -> [f64; WIDTHS.len()] {
    let stream = |purpose, layer| Stream::new(1, purpose, repetition, layer);
    let features = WIDTHS.into_iter().max().unwrap_or(0);
    let projection = normals(stream(Purpose::Init, 0), INPUTS, features);
    let inputs = normals(stream(Purpose::Data, 0), EXAMPLES + FRESH, INPUTS);
    let weights = normals(stream(Purpose::Data, 1), INPUTS, 1);
    let noise = normals(stream(Purpose::Data, 2), EXAMPLES, 1);
    // A linear target of variance 1.
    let truth = &inputs * weights.col(0) / weights.norm_l2();
    let targets = Col::from_fn(EXAMPLES, |i| truth[i] + NOISE * noise[(i, 0)]);
    // In rows of examples: of unit variance before the ReLU.
    let linear = &inputs * &projection / (INPUTS as f64).sqrt();
    let hidden = Mat::from_fn(EXAMPLES + FRESH, features, |i, j| linear[(i, j)].max(0.0));
    let (seen, fresh) = hidden.split_at_row(EXAMPLES);
    WIDTHS.map(|width| {
        let fitted = least_squares(seen.subcols(0, width), targets.as_ref());
        let predicted = fresh.subcols(0, width) * fitted;
        let misses = (0..FRESH).map(|i| (predicted[i] - truth[EXAMPLES + i]).powi(2));
        misses.sum::<f64>() / FRESH as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_at_as_many_features_as_examples() {
        let found = calibrate(8);
        assert!(found.passed, "{found:#?}");
        assert!(!calibrate(0).passed);
    }
}

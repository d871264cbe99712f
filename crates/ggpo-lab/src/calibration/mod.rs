//! Can the instrument see the thing at all? Problems whose answer is known,
//! measured as an experiment would, before any verdict is given.
//!
//! A verdict that stands on a calibration which failed is "not testable" (see
//! [`verdict`](crate::verdict)). All of them together take some seconds.
//!
//! * [`frozen_a`]: the peak of the test error over LoRA's rank, where it can be
//!   calculated.
//! * [`random_features`]: the peak over the width of a network of random features.
//! * [`peak_under_noise`]: what noise on the weights does to the first peak.
//! * [`sharpness`](crate::sharpness::calibrate): its measures, on known Hessians.
//! * [`toy`]: which methods seek a flat minimum, on a problem of two numbers.

pub mod frozen_a;
mod linear;
pub mod peak_under_noise;
pub mod random_features;
pub mod toy;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// One calibration and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Its name, of words joined by hyphens.
    pub name: String,
    /// What it asks of the instrument.
    pub question: String,
    /// What theory says.
    pub theory: String,
    /// What was measured.
    pub measured: String,
    /// What must hold for it to pass.
    pub gate: String,
    /// Whether that holds.
    pub passed: bool,
    /// What the figure's axes show: across, and up.
    pub axes: [String; 2],
    /// The figure's curves.
    pub curves: Vec<Curve>,
}

/// A curve of a figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// What it shows.
    pub name: String,
    /// Its points, x and y, x rising; all finite.
    pub points: Vec<[f64; 2]>,
}

impl Curve {
    /// The points that are finite.
    fn new(name: impl Into<String>, points: impl IntoIterator<Item = [f64; 2]>) -> Self {
        let finite = |point: &[f64; 2]| point.iter().all(|x| x.is_finite());
        Curve {
            name: name.into(),
            points: points.into_iter().filter(finite).collect(),
        }
    }

    /// The x of the highest point; NaN without points.
    fn peak(&self) -> f64 {
        let highest = self.points.iter().max_by(|a, b| a[1].total_cmp(&b[1]));
        highest.map_or(f64::NAN, |point| point[0])
    }

    /// The y at `x`; NaN if there is no such point.
    fn at(&self, x: f64) -> f64 {
        let found = self.points.iter().find(|point| point[0] == x);
        found.map_or(f64::NAN, |point| point[1])
    }
}

/// How much is spent on the calibrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// Fewer repetitions, with gates that are as much wider as the sampling error
    /// is larger; each result names its own.
    Quick,
    /// The stated repetitions and gates.
    Default,
}

impl Effort {
    fn of<T>(self, quick: T, default: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Default => default,
        }
    }
}

/// All calibrations, in the order of the report; those of the sharpness measures
/// belong after these.
pub fn all(effort: Effort) -> Vec<Calibration> {
    let all: [fn(Effort) -> Calibration; 5] = [
        |effort| frozen_a::calibrate(effort.of(400, frozen_a::REPETITIONS)),
        |effort| random_features::calibrate(effort.of(16, random_features::REPETITIONS)),
        |effort| peak_under_noise::calibrate(effort.of(200, peak_under_noise::REPETITIONS)),
        |effort| toy::calibrate(effort.of(4, toy::SEEDS)),
        |_| sharpness(),
    ];
    // Side by side, and in this order.
    all.par_iter().map(|calibrate| calibrate(effort)).collect()
}

/// The measures of sharpness, on functions whose Hessian is known.
fn sharpness() -> Calibration {
    let question = "Are the measures of sharpness those of a Hessian formed in full?";
    let (measured, passed) = match crate::sharpness::calibrate(1) {
        Err(error) => (error.to_string(), false),
        Ok(checks) => {
            let each = checks.iter().map(|check| {
                format!(
                    "{}: {:.4} ({:.4})",
                    check.name, check.measured, check.theory
                )
            });
            let each: Vec<String> = each.collect();
            let passed = !checks.is_empty() && checks.iter().all(|check| check.passed);
            (each.join("; "), passed)
        }
    };
    Calibration {
        name: "sharpness".to_owned(),
        question: question.to_owned(),
        theory: "what a quadratic function and a small net have by their full Hessian".to_owned(),
        measured,
        gate: "an eigenvalue within 1 %, a mean over random vectors within four standard errors"
            .to_owned(),
        passed,
        axes: [String::new(), String::new()],
        curves: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_by_hand() {
        let curve = Curve::new("c", [[1.0, 2.0], [2.0, 5.0], [3.0, f64::INFINITY]]);
        assert_eq!(curve.points.len(), 2);
        assert_eq!((curve.peak(), curve.at(1.0)), (2.0, 2.0));
        assert!(curve.at(3.0).is_nan() && Curve::new("c", []).peak().is_nan());
    }

    #[test]
    fn calibrations_are_kept_in_files() {
        let found = toy::calibrate(1);
        let text = serde_json::to_string(&found).expect("plain data");
        let read: Calibration = serde_json::from_str(&text).expect("as written");
        assert_eq!(read, found);
    }
}

//! A mean of samples, and how certain it is.

use serde::{Deserialize, Serialize};

/// A mean over samples with its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// The standard deviation of the samples over the root of their number; none of
    /// a single sample.
    pub standard_error: Option<f64>,
    /// Number of samples.
    pub samples: usize,
}

impl Estimate {
    /// Of samples that do not depend on each other; NaN of none.
    pub fn of(samples: &[f64]) -> Self {
        let count = samples.len() as f64;
        let mean = samples.iter().sum::<f64>() / count;
        let squares: f64 = samples.iter().map(|x| (x - mean).powi(2)).sum();
        Estimate {
            value: mean,
            standard_error: (samples.len() > 1).then(|| (squares / (count - 1.0) / count).sqrt()),
            samples: samples.len(),
        }
    }

    /// The same times a number.
    pub fn times(self, factor: f64) -> Self {
        Estimate {
            value: factor * self.value,
            standard_error: self.standard_error.map(|error| factor.abs() * error),
            ..self
        }
    }
}

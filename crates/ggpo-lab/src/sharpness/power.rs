//! The largest eigenvalue of a Hessian, by power iteration.

use ggpo_tensor::Scalar;
use serde::{Deserialize, Serialize};

use super::error::{Result, finite};
use super::objective::Objective;
use super::vector::{Probe, add, dot, norm, normal, scaled, sum};

/// When a power iteration ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PowerConfig {
    /// Most Hessian-vector products.
    pub iterations: usize,
    /// Relative change of the eigenvalue from one to the next at which it ends.
    pub tolerance: f64,
}

impl Default for PowerConfig {
    fn default() -> Self {
        PowerConfig {
            iterations: 100,
            tolerance: 1e-3,
        }
    }
}

/// An eigenvalue, and how well it is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Eigenvalue {
    /// Rayleigh's quotient `v . H v` of the last direction v, of length 1.
    pub value: f64,
    /// `||H v - value v||`: the distance from the value to some eigenvalue is at most this.
    pub residual: f64,
    /// Hessian-vector products that it took.
    pub iterations: usize,
    /// Whether the change fell below the tolerance.
    pub converged: bool,
}

/// The ends of a spectrum.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Extremes {
    /// The eigenvalue of largest magnitude.
    pub dominant: Eigenvalue,
    /// The largest eigenvalue: the dominant one if that is at least 0, else from a
    /// second iteration with `H - dominant I`, whose eigenvalues are at least 0.
    pub largest: Eigenvalue,
}

/// The eigenvalue of largest magnitude and the largest, from a random start.
///
/// Two eigenvalues of nearly the same size slow the iteration down; what it gives
/// then lies between them. With two of nearly the same magnitude and different signs
/// it need not end: `converged` and `residual` say so.
///
/// # Errors
/// If a product is not finite.
pub fn extremes<T: Scalar>(
    objective: &impl Objective<T>,
    config: &PowerConfig,
    seed: u64,
) -> Result<Extremes> {
    let dominant = iterate(objective, config, seed, 0.0)?;
    if dominant.value >= 0.0 {
        let largest = dominant;
        return Ok(Extremes { dominant, largest });
    }
    let shifted = iterate(objective, config, seed, -dominant.value)?;
    let largest = Eigenvalue {
        value: shifted.value + dominant.value,
        ..shifted
    };
    Ok(Extremes { dominant, largest })
}

/// The eigenvalue of largest magnitude of `H + shift I`.
fn iterate<T: Scalar>(
    objective: &impl Objective<T>,
    config: &PowerConfig,
    seed: u64,
    shift: f64,
) -> Result<Eigenvalue> {
    let d = objective.point().len();
    let mut v: Vec<T> = normal(seed, Probe::Power, 0, d);
    let mut found = Eigenvalue {
        value: 0.0,
        residual: 0.0,
        iterations: 0,
        converged: d == 0,
    };
    while found.iterations < config.iterations && !found.converged {
        v = scaled(&v, 1.0 / norm(&v));
        let mut image = objective.hessian_product(&v);
        add(&mut image, shift, &v);
        let value = finite("a product with the Hessian", dot(&v, &image))?;
        let change = (value - found.value).abs();
        found = Eigenvalue {
            value,
            residual: norm(&sum(&image, -value, &v)),
            iterations: found.iterations + 1,
            converged: change <= config.tolerance * value.abs() && found.iterations > 0,
        };
        if norm(&image) == 0.0 {
            // The direction is flat; so is, almost surely, every other.
            found.converged = true;
            break;
        }
        v = image;
    }
    Ok(found)
}

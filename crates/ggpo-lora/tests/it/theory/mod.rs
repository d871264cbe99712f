//! What the method does to training, as laws that can be checked.
//!
//! A layer is `y = x W'^T` with `W' = W + s B A`; the noise `eps` has the
//! variance v_i in row i; `C = X^T X / N` for inputs X, `D_v = diag(v)`. *Held*
//! noise counts v_i as a constant in the gradient; *reparameterised* noise is
//! `eps_i = sqrt(v_i(W')) z_i`, differentiated through `||W'_i||`.
//!
//! Hardly anything here is sampled. A mean over gaussian noise is taken exactly:
//! over antithetic pairs where the law holds for each pair, by the points of
//! [`mean_over_noise`] for polynomials, and by the quadrature of
//! [`mean_over_normal`] otherwise. What is left is rounding, for which
//! [`ROUNDING`] times the largest term of a sum is allowed. Only `toy` follows
//! whole runs, and says what their sampling errors are.

mod factors;
mod layers;
mod logistic;
mod one_layer;
mod ridge;
mod rig;
mod toy;

use ndarray::{Array1, Array2};
use proptest::prelude::*;

use crate::common::normal;

/// Some thousand times the machine epsilon, for sums of up to some hundred terms.
const ROUNDING: f64 = 1e-12;

/// Whether the numbers agree to [`ROUNDING`] times `scale`, which bounds the
/// terms that went into them.
fn agree(found: &Array2<f64>, expected: &Array2<f64>, scale: f64) -> Result<(), TestCaseError> {
    let largest = size(&(found - expected));
    let allowed = ROUNDING * scale;
    prop_assert!(
        largest <= allowed,
        "off by {largest:e}, allowed {allowed:e}: {found} instead of {expected}"
    );
    Ok(())
}

/// The largest absolute element.
fn size(matrix: &Array2<f64>) -> f64 {
    matrix.iter().fold(0.0, |most, x| x.abs().max(most))
}

/// The root of the sum of all squares.
fn norm(matrix: &Array2<f64>) -> f64 {
    matrix.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn trace(matrix: &Array2<f64>) -> f64 {
    matrix.diag().sum()
}

fn squares(deviations: &[f64]) -> Vec<f64> {
    deviations.iter().map(|std| std * std).collect()
}

/// `diag(d)`.
fn diagonal(d: &[f64]) -> Array2<f64> {
    Array2::from_diag(&Array1::from(d.to_vec()))
}

/// Inputs X (N x n) and targets Y (N x m) of a squared loss.
#[derive(Clone, Debug)]
struct Regression {
    x: Array2<f64>,
    y: Array2<f64>,
}

impl Regression {
    fn random(seed: u64, count: usize, inputs: usize, outputs: usize) -> Self {
        Regression {
            x: normal(seed, 10, count, inputs),
            y: normal(seed, 11, count, outputs),
        }
    }

    fn count(&self) -> f64 {
        self.x.nrows() as f64
    }

    /// `C = X^T X / N`.
    fn covariance(&self) -> Array2<f64> {
        self.x.t().dot(&self.x) / self.count()
    }

    /// `L(W') = ||X W'^T - Y||^2 / 2N`.
    fn loss(&self, merged: &Array2<f64>) -> f64 {
        norm(&(self.x.dot(&merged.t()) - &self.y)).powi(2) / (2.0 * self.count())
    }

    /// `G(W') = (X W'^T - Y)^T X / N`.
    fn gradient(&self, merged: &Array2<f64>) -> Array2<f64> {
        let residual = self.x.dot(&merged.t()) - &self.y;
        residual.t().dot(&self.x) / self.count()
    }

    /// What bounds the terms of [`gradient`](Self::gradient) at weights of this norm.
    fn gradient_scale(&self, weight_norm: f64) -> f64 {
        let x = norm(&self.x);
        x * (x * weight_norm + norm(&self.y)) / self.count()
    }
}

/// A mean, and the largest element of what it was taken over.
struct Mean {
    value: Array2<f64>,
    largest: f64,
}

/// `E f(eps)` over independent `eps_ij ~ N(0, v_i)`, given the roots of v_i.
///
/// It is the mean over the 2 m n points that have `+-sqrt(m n v_i)` at one
/// position and 0 elsewhere. They have the mean, the covariance and (being
/// symmetric) the third moments of the noise, so the result is exact for f of
/// degree up to 3.
fn mean_over_noise(
    deviations: &[f64],
    columns: usize,
    f: impl Fn(&Array2<f64>) -> Array2<f64>,
) -> Mean {
    let (m, n) = (deviations.len(), columns);
    let points = (m * n) as f64;
    let mut sum: Option<Array2<f64>> = None;
    let mut largest = 0.0_f64;
    for (i, std) in deviations.iter().enumerate() {
        for (j, sign) in (0..n).flat_map(|j| [(j, 1.0), (j, -1.0)]) {
            let mut eps = Array2::zeros((m, n));
            eps[[i, j]] = sign * points.sqrt() * std;
            let value = f(&eps);
            largest = largest.max(size(&value));
            sum = Some(match sum {
                Some(sum) => sum + value,
                None => value,
            });
        }
    }
    Mean {
        value: sum.expect("a layer has elements") / (2.0 * points),
        largest,
    }
}

/// `E f(z)` over `z ~ N(0, 1)` by the trapezoidal rule of step 0.1 from -12 to 12.
///
/// The rule converges faster than any power of its step for functions that are
/// analytic near the axis. For polynomials its error is about
/// `exp(-2 pi^2 / 0.1^2)`, for the logistic function of `m + d z`, whose poles
/// are `pi / d` away, about `exp(-20 pi^2 / d)`: below rounding for d up to 5.
/// Beyond 12 a normal number falls with probability 4e-33.
fn mean_over_normal(f: impl Fn(f64) -> f64) -> f64 {
    let density = |z: f64| (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let nodes = (-120..=120).map(|k| f64::from(k) / 10.0);
    nodes.map(|z| 0.1 * density(z) * f(z)).sum()
}

/// The means over noise that the laws rest on are those of a gaussian.
#[test]
fn means_over_noise_are_exact_up_to_degree_three() {
    let deviations = [0.5, 2.0];
    let mean = |f: &dyn Fn(&Array2<f64>) -> f64| {
        mean_over_noise(&deviations, 3, |eps| Array2::from_elem((1, 1), f(eps))).value[[0, 0]]
    };
    let near = |x: f64, y: f64| (x - y).abs() <= 1e-14;
    assert!(near(mean(&|_| 1.0), 1.0));
    assert!(near(mean(&|eps| eps[[1, 2]]), 0.0));
    assert!(near(mean(&|eps| eps[[0, 1]].powi(2)), 0.25));
    assert!(near(mean(&|eps| eps[[1, 1]].powi(2)), 4.0));
    assert!(near(mean(&|eps| eps[[0, 1]] * eps[[1, 1]]), 0.0));
    assert!(near(mean(&|eps| eps[[0, 1]].powi(3)), 0.0));
    // 1, 3, 15: the even moments of a normal number.
    for (power, moment) in [(0, 1.0), (1, 0.0), (2, 1.0), (4, 3.0), (6, 15.0)] {
        assert!((mean_over_normal(|z| z.powi(power)) - moment).abs() <= 1e-13);
    }
    // E e^z = e^(1/2).
    assert!((mean_over_normal(f64::exp) - 0.5_f64.exp()).abs() <= 1e-14);
}

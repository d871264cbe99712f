//! The density of a Hessian's eigenvalues, by stochastic Lanczos quadrature.

use faer::{Mat, Side};
use ggpo_tensor::Scalar;
use serde::{Deserialize, Serialize};

use super::error::{Result, SharpnessError, finite};
use super::objective::Objective;
use super::vector::{Probe, add, dot, norm, scaled, signs};

/// How a density is estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DensityConfig {
    /// Hessian-vector products of a run. As many vectors of length d are held.
    pub steps: usize,
    /// Runs, each from random signs of its own.
    pub runs: usize,
}

impl Default for DensityConfig {
    fn default() -> Self {
        DensityConfig { steps: 24, runs: 2 }
    }
}

/// An eigenvalue density as points with weights, which add up to 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Density {
    /// Ritz values in rising order, with the share of the spectrum that each stands
    /// for.
    pub points: Vec<DensityPoint>,
}

/// A point of a density.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DensityPoint {
    /// A Ritz value.
    pub eigenvalue: f64,
    /// Its share of the spectrum.
    pub weight: f64,
}

impl Density {
    /// The mean of the k-th powers of the eigenvalues, `tr H^k / d`.
    pub fn moment(&self, k: i32) -> f64 {
        let terms = self.points.iter();
        terms.map(|it| it.weight * it.eigenvalue.powi(k)).sum()
    }

    /// The smallest and the largest Ritz value: inside the spectrum, near its ends.
    /// NaN of no points.
    pub fn ends(&self) -> (f64, f64) {
        let end = |point: Option<&DensityPoint>| point.map_or(f64::NAN, |it| it.eigenvalue);
        (end(self.points.first()), end(self.points.last()))
    }

    /// The share of the spectrum below 0.
    pub fn negative(&self) -> f64 {
        let below = self.points.iter().filter(|it| it.eigenvalue < 0.0);
        below.map(|it| it.weight).sum()
    }
}

/// The density of the eigenvalues: every run of Lanczos starts at a random vector z of
/// signs and gives the Gaussian quadrature of the density that z sees, exact for
/// polynomials of a degree below twice the steps; the mean over the runs stands for
/// all vectors (Ubaru, Chen and Saad 2017; Ghorbani, Krishnan and Xiao 2019).
///
/// Every new vector is made orthogonal to all before it, twice, so that no eigenvalue
/// is found more than once.
///
/// # Errors
/// If a product is not finite.
pub fn density<T: Scalar>(
    objective: &impl Objective<T>,
    config: &DensityConfig,
    seed: u64,
) -> Result<Density> {
    let mut points = Vec::new();
    for run in 0..config.runs {
        let start = signs(seed, Probe::Density, run, objective.point().len());
        let (diagonal, beside) = tridiagonal(objective, start, config.steps)?;
        let share = 1.0 / config.runs as f64;
        let of_run = quadrature(&diagonal, &beside)?.into_iter();
        points.extend(of_run.map(|(eigenvalue, weight)| DensityPoint {
            eigenvalue,
            weight: share * weight,
        }));
    }
    points.sort_by(|x, y| x.eigenvalue.total_cmp(&y.eigenvalue));
    Ok(Density { points })
}

/// The diagonal of the tridiagonal matrix, and what stands beside it.
fn tridiagonal<T: Scalar>(
    objective: &impl Objective<T>,
    start: Vec<T>,
    steps: usize,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut diagonal, mut beside) = (Vec::new(), Vec::new());
    let mut basis: Vec<Vec<T>> = Vec::new();
    let mut next = start;
    let mut length = norm(&next);
    let mut largest = 0.0_f64;
    for step in 0..steps.min(objective.point().len()) {
        // What is left is rounding: the vectors span all that the start can reach.
        if length <= INVARIANT * largest || length == 0.0 {
            break;
        }
        if step > 0 {
            beside.push(length);
        }
        let v = scaled(&next, 1.0 / length);
        let mut image = objective.hessian_product(&v);
        diagonal.push(finite("a product with the Hessian", dot(&v, &image))?);
        largest = largest.max(norm(&image));
        basis.push(v);
        for _ in 0..2 {
            for v in &basis {
                let share = dot(v, &image);
                add(&mut image, -share, v);
            }
        }
        length = norm(&image);
        next = image;
    }
    Ok((diagonal, beside))
}

/// Below this share of the largest image a new direction is rounding.
const INVARIANT: f64 = 1e-10;

/// Eigenvalues of a symmetric tridiagonal matrix with the squares of the first
/// components of their vectors (Golub and Welsch 1969).
fn quadrature(diagonal: &[f64], beside: &[f64]) -> Result<Vec<(f64, f64)>> {
    let steps = diagonal.len();
    if steps == 0 {
        return Ok(Vec::new());
    }
    let matrix = Mat::from_fn(steps, steps, |i, j| match i.abs_diff(j) {
        0 => diagonal[i],
        1 => beside[i.min(j)],
        _ => 0.0,
    });
    let error = |_| SharpnessError::Eigenvalues { steps };
    let eigen = matrix.self_adjoint_eigen(Side::Lower).map_err(error)?;
    let (values, vectors) = (eigen.S(), eigen.U());
    let nodes = (0..steps).map(|k| (values[k], vectors[(0, k)].powi(2)));
    Ok(nodes.collect())
}

//! The measures against functions whose Hessian is known.

use faer::{Mat, Side};
use ggpo_autograd::{Tape, Var, ops};
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{Scalar, tensor};
use serde::{Deserialize, Serialize};

use super::error::{Result, SharpnessError};
use super::objective::{Objective, hessian_by_differences};
use super::on_tape::{OnTape, TapeFunction};
use super::settings::SharpnessConfig;
use super::vector::dot;
use super::{measure_space, row_weighted_trace};

/// A measured number beside the one that theory gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibrationCheck {
    /// What is measured, and of what.
    pub name: String,
    /// What it is.
    pub theory: f64,
    /// What was measured.
    pub measured: f64,
    /// How far they may be apart.
    pub tolerance: f64,
    /// Whether they are not further apart.
    pub passed: bool,
}

impl CalibrationCheck {
    fn new(name: String, theory: f64, measured: f64, tolerance: f64) -> Self {
        CalibrationCheck {
            passed: (theory - measured).abs() <= tolerance,
            name,
            theory,
            measured,
            tolerance,
        }
    }
}

/// Holds every measure against a quadratic function with a known spectrum and a small
/// net whose Hessian is formed in full. It takes well under a second.
///
/// Tolerances: of an eigenvalue 1 %, ten times that of the iteration; of what is
/// averaged over random vectors four standard errors, those that theory gives; of a
/// rise in a ball of radius rho, 1e-9 of the quadratic, and of the net `10 rho^3`, the
/// size of what is beyond second order.
///
/// # Errors
/// If a result is not finite.
pub fn calibrate(seed: u64) -> Result<Vec<CalibrationCheck>> {
    let quadratic = quadratic();
    // The differences of a quadratic function are exact; those of the net have errors
    // of some 1e-9.
    let hessian = hessian_by_differences(&quadratic, 1.0);
    let mut checks = checks("quadratic", &quadratic, &hessian, 1e-9, seed)?;
    let values = &EIGENVALUES[..];
    let found = eigenvalues(&hessian)?;
    for (place, end) in [(0, "smallest"), (values.len() - 1, "largest")] {
        let name = format!("quadratic: {end} eigenvalue of the Hessian formed in full");
        checks.push(CalibrationCheck::new(
            name,
            values[place],
            found[place],
            1e-9,
        ));
    }
    let net = net();
    let hessian = hessian_by_differences(&net, 1e-4);
    let rho = SharpnessConfig::default().rho;
    let beyond = 10.0 * rho.powi(3);
    checks.extend(self::checks("net", &net, &hessian, beyond, seed)?);
    Ok(checks)
}

/// All measures of a function against its Hessian.
fn checks(
    of: &str,
    objective: &impl Objective<f64>,
    hessian: &[Vec<f64>],
    beyond: f64,
    seed: u64,
) -> Result<Vec<CalibrationCheck>> {
    let config = SharpnessConfig {
        seed,
        ..SharpnessConfig::default()
    };
    let d = hessian.len() as f64;
    let found = measure_space(objective, &config)?;
    let values = eigenvalues(hessian)?;
    let magnitude = |value: &f64| value.abs();
    let dominant = values
        .iter()
        .copied()
        .max_by(|x, y| magnitude(x).total_cmp(&magnitude(y)));
    let dominant = dominant.unwrap_or_default();
    let largest = values.last().copied().unwrap_or_default();

    let gradient = objective.gradient(objective.point());
    let squared = dot(&gradient, &gradient);
    let image: Vec<f64> = hessian.iter().map(|row| dot(row, &gradient)).collect();
    let curvature = dot(&gradient, &image) / squared;
    let rho = config.rho;
    let rise = rho * squared.sqrt() + 0.5 * rho * rho * curvature;

    let trace: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|value| value * value).sum();
    let error = |samples: usize, weights: &dyn Fn(usize) -> f64| {
        4.0 * (2.0 * beside_the_diagonal(hessian, weights) / samples as f64).sqrt() + ROUNDING
    };
    let runs = config.density.runs;

    // Rows whose deviations rise: 0.1, 0.2, and so on.
    let widths = objective.blocks().iter();
    let widths: Vec<usize> = widths.flat_map(|it| vec![it.columns; it.rows]).collect();
    let deviations: Vec<f64> = (1..=widths.len()).map(|row| 0.1 * row as f64).collect();
    let rows = widths.iter().zip(&deviations);
    let variances: Vec<f64> = rows.flat_map(|(&n, std)| vec![std * std; n]).collect();
    let diagonal = hessian.iter().enumerate().map(|(i, row)| row[i]);
    let weighted: f64 = diagonal.zip(&variances).map(|(h, v)| h * v).sum();
    let samples = config.trace_samples;
    let measured = row_weighted_trace(objective, &deviations, samples, seed)?;

    let share = config.power.tolerance * 10.0;
    let rows = [
        (
            "eigenvalue of largest magnitude",
            dominant,
            found.eigenvalues.dominant.value,
            share * dominant.abs(),
        ),
        (
            "largest eigenvalue",
            largest,
            found.eigenvalues.largest.value,
            share * dominant.abs(),
        ),
        ("trace", trace, found.trace.value, error(samples, &|_| 1.0)),
        (
            "trace with rows weighted",
            weighted,
            measured.value,
            error(samples, &|i| variances[i]),
        ),
        (
            "first moment of the density",
            trace / d,
            found.density.moment(1),
            error(runs, &|_| 1.0) / d,
        ),
        (
            "second moment of the density",
            squares / d,
            found.density.moment(2),
            squared_error(hessian, runs) / d,
        ),
        (
            "upper end of the density",
            largest,
            found.density.ends().1,
            share * dominant.abs(),
        ),
        ("rise in a ball", rise, found.ascent.rise, beyond),
    ];
    let named = rows.into_iter().map(|(what, theory, measured, tolerance)| {
        CalibrationCheck::new(format!("{of}: {what}"), theory, measured, tolerance)
    });
    Ok(named.collect())
}

/// What rounding, and the differences that the Hessian is made of, may change.
const ROUNDING: f64 = 1e-7;

/// `sum over i != j of v_i v_j H_ij^2`, half the variance of a sample of the trace.
fn beside_the_diagonal(hessian: &[Vec<f64>], variance: &dyn Fn(usize) -> f64) -> f64 {
    let mut sum = 0.0;
    for (i, row) in hessian.iter().enumerate() {
        for (j, h) in row.iter().enumerate().filter(|(j, _)| *j != i) {
            sum += variance(i) * variance(j) * h * h;
        }
    }
    sum
}

/// Four standard errors of the trace of `H^2` from as many vectors of signs.
fn squared_error(hessian: &[Vec<f64>], samples: usize) -> f64 {
    // H is symmetric: its columns are its rows.
    let row = |one: &Vec<f64>| hessian.iter().map(|other| dot(one, other)).collect();
    let square: Vec<Vec<f64>> = hessian.iter().map(row).collect();
    4.0 * (2.0 * beside_the_diagonal(&square, &|_| 1.0) / samples as f64).sqrt() + ROUNDING
}

/// All eigenvalues of a symmetric matrix, rising.
fn eigenvalues(matrix: &[Vec<f64>]) -> Result<Vec<f64>> {
    let steps = matrix.len();
    let matrix = Mat::from_fn(steps, steps, |i, j| (matrix[i][j] + matrix[j][i]) / 2.0);
    let values = matrix.self_adjoint_eigenvalues(Side::Lower);
    values.map_err(|_| SharpnessError::Eigenvalues { steps })
}

/// The spectrum of the quadratic function, rising: many small values, few large.
const EIGENVALUES: [f64; 12] = [
    -1.5, -0.2, 0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0, 8.0,
];

/// `(1/2) x Q diag(values) Q^T x^T` for x of 3 x 4, as one row.
struct Quadratic {
    /// Q^T, whose rows are the eigenvectors, by a reflection: `I - 2 u u^T`.
    directions: Vec<f64>,
}

fn quadratic() -> OnTape<Quadratic, f64> {
    let d = EIGENVALUES.len();
    let u: Vec<f64> = (1..=d).map(|i| (i as f64).sin()).collect();
    let squared = dot(&u, &u);
    let element = |index: usize| {
        let (i, j) = (index / d, index % d);
        f64::from(u8::from(i == j)) - 2.0 * u[i] * u[j] / squared
    };
    let directions = (0..d * d).map(element).collect();
    let point = (0..d).map(|i| (0.7 * i as f64).cos()).collect();
    OnTape::new(Quadratic { directions }, &[&[3, 4]], point)
}

fn constant<T: Scalar>(tape: &Tape<T>, shape: &[usize], elements: &[f64]) -> Var<T> {
    let elements = elements.iter().map(|&x| T::from_f64(x)).collect();
    tape.constant(tensor(shape, elements))
}

impl TapeFunction for Quadratic {
    fn loss<T: Scalar>(&self, variables: &[Var<T>]) -> Var<T> {
        let (tape, d) = (variables[0].tape(), EIGENVALUES.len());
        let x = ops::reshape(&variables[0], &[1, d]);
        let directions = constant(tape, &[d, d], &self.directions);
        let y = ops::linear(&x, &directions, None);
        let values = constant(tape, &[1, d], &EIGENVALUES);
        let sum = ops::sum(&ops::mul(&values, &ops::mul(&y, &y)));
        ops::scale(&sum, T::from_f64(0.5))
    }
}

/// Inputs of the net, units of its hidden layer, classes and rows of data.
const SIZES: [usize; 4] = [3, 5, 3, 24];

/// A classifier with one hidden layer of tanh.
struct Net {
    inputs: Vec<f64>,
    targets: Vec<Option<usize>>,
}

fn net() -> OnTape<Net, f64> {
    let [inputs, hidden, classes, rows] = SIZES;
    let numbers = |layer: u32, count: usize| -> Vec<f64> {
        let stream = Stream::new(1, Purpose::Data, 0, layer);
        (0..count as u64).map(|i| stream.normal(i).into()).collect()
    };
    let net = Net {
        inputs: numbers(0, rows * inputs),
        targets: (0..rows).map(|row| Some(row * row % classes)).collect(),
    };
    let shapes: [&[usize]; 4] = [&[hidden, inputs], &[hidden], &[classes, hidden], &[classes]];
    let count = shapes.iter().map(|shape| shape.iter().product::<usize>());
    let point = numbers(1, count.sum());
    OnTape::new(net, &shapes, point)
}

impl TapeFunction for Net {
    fn loss<T: Scalar>(&self, variables: &[Var<T>]) -> Var<T> {
        let [first, first_bias, second, second_bias] = variables else {
            unreachable!("as many variables as shapes");
        };
        let [inputs, .., rows] = SIZES;
        let x = constant(first.tape(), &[rows, inputs], &self.inputs);
        let h = ops::tanh(&ops::linear(&x, first, Some(first_bias)));
        ops::cross_entropy(&ops::linear(&h, second, Some(second_bias)), &self.targets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharpness::hessian_product_by_differences;

    #[test]
    fn every_check_passes() {
        for seed in 0..3 {
            for check in calibrate(seed).unwrap() {
                assert!(check.passed, "seed {seed}: {check:?}");
            }
        }
    }

    #[test]
    fn products_are_those_of_a_hessian_formed_in_full() {
        let net = net();
        let hessian = hessian_by_differences(&net, 1e-4);
        let v: Vec<f64> = (0..hessian.len()).map(|i| (i as f64).cos()).collect();
        let exact = net.hessian_product(&v);
        let by_differences = hessian_product_by_differences(&net, &v, 1e-4);
        for (i, row) in hessian.iter().enumerate() {
            // Differences of step 1e-4 have errors of its square.
            assert!((exact[i] - dot(row, &v)).abs() < 1e-7, "row {i}");
            assert!((exact[i] - by_differences[i]).abs() < 1e-7, "row {i}");
        }
    }
}

//! The linear problem of two calibrations: LoRA with a frozen A and one output.

use faer::linalg::solvers::{Solve, SolveLstsq};
use faer::{Col, ColRef, Mat, MatRef, Side};
use ggpo_tensor::random::{Purpose, Stream};

/// Inputs of the layer, n.
pub(super) const INPUTS: usize = 128;
/// Training examples, N.
pub(super) const EXAMPLES: usize = 32;
/// Standard deviation of the targets' noise, sigma.
pub(super) const NOISE: f64 = 0.5;

/// The ranks that are measured: near N every one or two, and far out.
pub(super) const RANKS: [usize; 18] = [
    4, 8, 12, 16, 20, 24, 28, 30, 31, 32, 33, 34, 36, 40, 48, 64, 96, 128,
];

/// `y = w . x + sigma noise` with `||w|| = 1` and x ~ N(0, I), and the layer
/// `B A x` with W = 0 and r orthonormal rows of A.
///
/// All is written in an orthonormal basis that begins with the rows of A. In it
/// the inputs are normal numbers again and w is a random direction, so that A takes
/// the first r coordinates.
pub(super) struct Problem {
    /// Training inputs: N x n.
    pub(super) inputs: Mat<f64>,
    /// The true weights w: length n.
    weights: Col<f64>,
    /// Training targets: length N.
    pub(super) targets: Col<f64>,
}

impl Problem {
    /// One draw of training data and true weights.
    pub(super) fn draw(repetition: u32) -> Self {
        let stream = |layer| Stream::new(0, Purpose::Data, repetition, layer);
        let inputs = normals(stream(0), EXAMPLES, INPUTS);
        let direction = normals(stream(1), INPUTS, 1);
        let noise = normals(stream(2), EXAMPLES, 1);
        let length = direction.norm_l2();
        let weights = Col::from_fn(INPUTS, |i| direction[(i, 0)] / length);
        let signal = &inputs * &weights;
        let targets = Col::from_fn(EXAMPLES, |i| signal[i] + NOISE * noise[(i, 0)]);
        Problem {
            inputs,
            weights,
            targets,
        }
    }

    /// The training inputs that A lets through: N x r.
    pub(super) fn design(&self, rank: usize) -> MatRef<'_, f64> {
        self.inputs.as_ref().subcols(0, rank)
    }

    /// The expected squared error of B on fresh data, noise included:
    /// `||w - A^T B^T||^2 + sigma^2`; infinite if B is not finite.
    pub(super) fn error(&self, b: ColRef<'_, f64>) -> f64 {
        let of_b = |i| if i < b.nrows() { b[i] } else { 0.0 };
        let misses = (0..INPUTS).map(|i| (self.weights[i] - of_b(i)).powi(2));
        let error = misses.sum::<f64>() + NOISE * NOISE;
        if error.is_finite() {
            error
        } else {
            f64::INFINITY
        }
    }
}

/// A matrix of normal numbers, row by row from a stream.
pub(super) fn normals(stream: Stream, rows: usize, columns: usize) -> Mat<f64> {
    let mut numbers = vec![0.0; rows * columns];
    stream.fill_normal(0, &mut numbers);
    Mat::from_fn(rows, columns, |i, j| f64::from(numbers[i * columns + j]))
}

/// Of the b (length p) for which `||Z b - y||` is smallest, the one with the
/// smallest norm, for Z (N x p) of full rank and y (length N).
pub(super) fn least_squares(design: MatRef<'_, f64>, targets: ColRef<'_, f64>) -> Col<f64> {
    let (rows, columns) = design.shape();
    if columns <= rows {
        return design.qr().solve_lstsq(targets.as_mat()).col(0).to_owned();
    }
    // Z^T = Q R, so that Z b = y is R^T (Q^T b) = y, and b lies in the span of Q.
    let factors = design.transpose().qr();
    let mut inner = targets.to_owned();
    factors
        .thin_R()
        .transpose()
        .solve_lower_triangular_in_place(inner.as_mut().as_mat_mut());
    factors.compute_thin_Q() * inner
}

/// The b (length p) with the smallest `||Z b - y||^2 / 2N + penalty ||b||^2 / 2`;
/// `None` if the penalty does not make the problem definite.
pub(super) fn ridge(
    design: MatRef<'_, f64>,
    targets: ColRef<'_, f64>,
    penalty: f64,
) -> Option<Col<f64>> {
    let (rows, columns) = design.shape();
    let shift = penalty * rows as f64;
    let definite = |mut gram: Mat<f64>, right: Col<f64>| {
        for i in 0..gram.nrows() {
            gram[(i, i)] += shift;
        }
        Some(gram.llt(Side::Lower).ok()?.solve(right))
    };
    if columns <= rows {
        return definite(design.transpose() * design, design.transpose() * targets);
    }
    let dual = definite(design * design.transpose(), targets.to_owned())?;
    Some(design.transpose() * dual)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(layer: u32) -> Stream {
        Stream::new(4, Purpose::Data, 0, layer)
    }

    /// The residual is orthogonal to the design, and b to what the design ignores:
    /// `b = Z^T c`, for which b is its own projection.
    #[test]
    fn normal_equations_hold() {
        for (rows, columns) in [(9, 5), (5, 9), (6, 6)] {
            let (z, y) = (
                normals(stream(0), rows, columns),
                normals(stream(1), rows, 1),
            );
            let b = least_squares(z.as_ref(), y.col(0));
            let residual = &z * &b - y.col(0);
            assert!((z.transpose() * &residual).norm_l2() < 1e-12);
            if columns > rows {
                assert!(residual.norm_l2() < 1e-12);
                let other = least_squares(z.transpose(), b.as_ref());
                assert!((z.transpose() * other - &b).norm_l2() < 1e-12);
            }
            // The gradient of the penalised loss.
            let b = ridge(z.as_ref(), y.col(0), 0.1).expect("definite");
            let slope = z.transpose() * (&z * &b - y.col(0)) / rows as f64;
            assert!((slope + 0.1 * &b).norm_l2() < 1e-12);
        }
    }

    #[test]
    fn a_vanishing_penalty_is_none() {
        let problem = Problem::draw(3);
        for rank in [12, 80] {
            let design = problem.design(rank);
            let exact = least_squares(design, problem.targets.as_ref());
            let near = ridge(design, problem.targets.as_ref(), 1e-12).expect("definite");
            assert!((&exact - near).norm_l2() < 1e-8);
            assert!(problem.error(exact.as_ref()) > NOISE * NOISE);
        }
        let nothing = Col::<f64>::zeros(0);
        assert!((problem.error(nothing.as_ref()) - 1.25).abs() < 1e-12);
        let broken = Col::from_fn(1, |_| f64::NAN);
        assert_eq!(problem.error(broken.as_ref()), f64::INFINITY);
    }
}

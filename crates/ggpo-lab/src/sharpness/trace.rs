//! The trace of a Hessian, by Hutchinson's estimator.

use ggpo_tensor::Scalar;

use super::error::{Result, finite};
use super::estimate::Estimate;
use super::objective::Objective;
use super::vector::{Probe, dot, signs};

/// `tr H` as the mean of `z . H z` over vectors z of random signs (Hutchinson 1990).
///
/// With signs the variance is `2 sum over i != j of H_ij^2`: the diagonal adds none.
///
/// # Errors
/// If a product is not finite.
pub fn trace<T: Scalar>(
    objective: &impl Objective<T>,
    samples: usize,
    seed: u64,
) -> Result<Estimate> {
    let d = objective.point().len();
    let sample = |index: usize| {
        let z: Vec<T> = signs(seed, Probe::Trace, index, d);
        let product = dot(&z, &objective.hessian_product(&z));
        finite("a product with the Hessian", product)
    };
    let found: Vec<f64> = (0..samples).map(sample).collect::<Result<_>>()?;
    Ok(Estimate::of(&found))
}

/// `sum over i of v_i tr H_ii` with H_ii the block of row i: the mean of
/// `(sqrt(v) z) . H (sqrt(v) z)` over random signs z. `deviations` holds `sqrt(v_i)`
/// for all rows of all blocks, in their order.
///
/// # Errors
/// If a product is not finite.
///
/// # Panics
/// If there is not one deviation for each row.
pub fn row_weighted_trace<T: Scalar>(
    objective: &impl Objective<T>,
    deviations: &[T],
    samples: usize,
    seed: u64,
) -> Result<Estimate> {
    let widths = objective.blocks().iter();
    let widths = widths.flat_map(|block| std::iter::repeat_n(block.columns, block.rows));
    let scales: Vec<(usize, T)> = widths.zip(deviations.iter().copied()).collect();
    let rows: usize = objective.blocks().iter().map(|block| block.rows).sum();
    assert_eq!(rows, deviations.len(), "one deviation for each row");
    let d = objective.point().len();
    let sample = |index: usize| {
        let mut z: Vec<T> = signs(seed, Probe::WeightedTrace, index, d);
        let mut rest = z.as_mut_slice();
        for &(width, scale) in &scales {
            let (row, after) = rest.split_at_mut(width);
            row.iter_mut().for_each(|z| *z *= scale);
            rest = after;
        }
        let product = dot(&z, &objective.hessian_product(&z));
        finite("a product with the Hessian", product)
    };
    let found: Vec<f64> = (0..samples).map(sample).collect::<Result<_>>()?;
    Ok(Estimate::of(&found))
}

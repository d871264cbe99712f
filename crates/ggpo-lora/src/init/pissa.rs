//! PiSSA: the principal singular values and vectors of the weight.

use ggpo_tensor::{Scalar, WeightView};
use ndarray::{Array2, Axis, aview1};

use super::decompositions::thin_svd;
use super::{Factors, check_rank};
use crate::LoraError;

/// PiSSA (arXiv 2404.02948) for a weight of m x n and the given rank r and
/// scaling s: with `W = U S V^T`,
///
/// `A0 = sqrt(S_r / s) V_r^T` and `B0 = U_r sqrt(S_r / s)`,
///
/// where S_r, U_r and V_r belong to the r largest singular values. Hence
/// `s B0 A0` is the best approximation of W of rank r.
///
/// # Errors
/// [`LoraError::Rank`] if r is not from 1 to min(m, n), [`LoraError::Config`]
/// if s is not a finite number above 0, and [`LoraError::Decomposition`] if an
/// element of W is not finite or the iteration for the singular values does
/// not end.
pub fn pissa<T: Scalar>(
    weight: WeightView<'_, T>,
    rank: usize,
    scaling: f64,
) -> Result<Factors<T>, LoraError> {
    check_rank(rank, weight.dim())?;
    if !(scaling.is_finite() && scaling > 0.0) {
        let expected = "a finite number above 0";
        return Err(LoraError::config("scaling", expected, scaling));
    }
    let svd = thin_svd(weight)?;
    let principal = &svd.singular_values[..rank];
    let roots: Vec<f64> = principal.iter().map(|x| (x / scaling).sqrt()).collect();
    let column: Array2<f64> = aview1(&roots).insert_axis(Axis(1)).to_owned();
    let a = &svd.v_transposed.slice_axis(Axis(0), (..rank).into()) * &column;
    let b = &svd.u.slice_axis(Axis(1), (..rank).into()) * &aview1(&roots);
    Ok(Factors::rounded(&a, &b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::testing::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_product_is_the_best_approximation(
            (m, n, rank) in shape_and_rank(1), seed: u64, scaling in 0.1..10.0_f64,
        ) {
            let (weight, singular_values) = with_singular_values(seed, m, n);
            let factors = pissa(weight.view().into(), rank, scaling).unwrap();
            prop_assert_eq!(factors.a.dim(), (rank, n));
            prop_assert_eq!(factors.b.dim(), (m, rank));
            let residual = &weight - &(factors.b.dot(&factors.a) * scaling);
            let tail: f64 = singular_values[rank..].iter().map(|x| x * x).sum();
            prop_assert!((norm(&residual) - tail.sqrt()).abs() <= 1e-12 * norm(&weight));
            // Both factors have the same share: A A^T = B^T B = S_r / s.
            let expected = Array2::from_diag(&aview1(&singular_values[..rank])) / scaling;
            assert_close(&factors.a.dot(&factors.a.t()), &expected);
            assert_close(&factors.b.t().dot(&factors.b), &expected);
        }
    }

    /// PEFT decomposes in `f32` (the rows of its A are orthogonal to 3e-7 only),
    /// so its factors may differ by as much as if the weight had been rounded a
    /// few times.
    #[test]
    fn factors_agree_with_peft() {
        let reference = Reference::read("pissa");
        for layer in LAYERS {
            let weight = reference.matrix(&format!("{layer}.weight"));
            let factors = pissa(weight.view().into(), 4, 2.0).unwrap();
            reference.check_factors(layer, &factors, 4.0 * turn_by_rounding(&weight, 4));
            let residual = &weight - &(factors.b.dot(&factors.a) * 2.0);
            let expected = reference.matrix(&format!("{layer}.residual"));
            assert!(
                norm(&(&residual - &expected))
                    <= 4.0 * turn_by_rounding(&weight, 4) * norm(&weight)
            );
        }
    }

    #[test]
    fn quantised_weights_are_those_they_stand_for() {
        let quantized = quantized(5, 300, 96);
        let dense: Array2<f32> = quantized.dequantize();
        let from_blocks: Factors<f32> = pissa((&quantized).into(), 3, 2.0).unwrap();
        assert_eq!(from_blocks, pissa(dense.view().into(), 3, 2.0).unwrap());
    }

    #[test]
    fn a_zero_weight_gives_zero_factors() {
        let factors = pissa(Array2::<f32>::zeros((4, 3)).view().into(), 2, 1.0).unwrap();
        assert_eq!(factors.a, Array2::<f32>::zeros((2, 3)));
        assert_eq!(factors.b, Array2::<f32>::zeros((4, 2)));
    }

    #[test]
    fn wrong_ranks_and_scalings_are_refused() {
        let weight = Array2::<f64>::ones((2, 3));
        for rank in [0, 3] {
            let error = pissa(weight.view().into(), rank, 1.0).unwrap_err();
            assert!(matches!(error, LoraError::Rank { .. }));
        }
        for scaling in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = pissa(weight.view().into(), 1, scaling).unwrap_err();
            assert!(
                error
                    .to_string()
                    .starts_with("`scaling` must be a finite number above 0")
            );
        }
    }
}

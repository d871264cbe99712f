//! OLoRA: an orthonormal basis of the columns of the weight.

use ggpo_tensor::{Scalar, WeightView};
use ndarray::Axis;

use super::decompositions::thin_qr;
use super::{Factors, check_rank};
use crate::LoraError;

/// OLoRA (arXiv 2406.01775) for a weight of m x n and the given rank r: with
/// `W = Q R`,
///
/// `A0 = R[:r]` and `B0 = Q[:, :r]`,
///
/// so the columns of B0 are orthonormal. As in PEFT the factors do not depend
/// on the scaling s, which stands only in the acting weight
/// `W + s (B A - B0 A0)`: with s = 1, `W - s B0 A0` is zero in its first r
/// columns. The signs of the columns of Q are free.
///
/// # Errors
/// [`LoraError::Rank`] if r is not from 1 to min(m, n), and
/// [`LoraError::Decomposition`] if an element of W is not finite.
pub fn olora<T: Scalar>(weight: WeightView<'_, T>, rank: usize) -> Result<Factors<T>, LoraError> {
    check_rank(rank, weight.dim())?;
    let qr = thin_qr(weight)?;
    let a = qr.r.slice_axis(Axis(0), (..rank).into()).to_owned();
    let b = qr.q.slice_axis(Axis(1), (..rank).into()).to_owned();
    Ok(Factors::rounded(&a, &b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::testing::*;
    use ndarray::Array2;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn b_is_orthonormal_and_the_first_columns_are_taken(
            (m, n, rank) in shape_and_rank(1), seed: u64,
        ) {
            let weight = normal(seed, 0, m, n);
            let factors = olora(weight.view().into(), rank).unwrap();
            prop_assert_eq!(factors.a.dim(), (rank, n));
            prop_assert_eq!(factors.b.dim(), (m, rank));
            assert_orthonormal_rows(factors.b.t());
            let residual = &weight - &factors.b.dot(&factors.a);
            let first = residual.slice_axis(Axis(1), (..rank).into()).to_owned();
            prop_assert!(norm(&first) <= 1e-12 * norm(&weight));
            // What is left is orthogonal to B.
            prop_assert!(norm(&factors.b.t().dot(&residual)) <= 1e-12 * norm(&weight));
        }
    }

    #[test]
    fn quantised_weights_are_those_they_stand_for() {
        let quantized = quantized(6, 40, 64);
        let dense: Array2<f32> = quantized.dequantize();
        let from_blocks: Factors<f32> = olora((&quantized).into(), 3).unwrap();
        assert_eq!(from_blocks, olora(dense.view().into(), 3).unwrap());
    }

    #[test]
    fn wrong_ranks_are_refused() {
        for rank in [0, 3] {
            let error = olora(Array2::<f64>::ones((2, 3)).view().into(), rank).unwrap_err();
            assert!(matches!(error, LoraError::Rank { .. }));
        }
    }
}

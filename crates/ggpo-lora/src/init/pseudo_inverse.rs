//! The inverse of a matrix that has none.

use ggpo_tensor::Scalar;
use ndarray::{Array2, ArrayView2, Axis, aview1};

use super::decompositions::thin_svd;
use crate::LoraError;

/// The Moore-Penrose inverse X^+ of a matrix X of m x n: n x m.
///
/// With `X = U S V^T` it is `V S^+ U^T`, where S^+ has 1 / S_k, or 0 if S_k is
/// at most `max(m, n) e` times the largest singular value; e, the machine
/// epsilon, is that of `T`, since elements of that type are rounded by as much.
/// This is the cut-off of `torch.linalg.pinv`, but never below 1e-12 of the largest: so
/// far the decomposition may take a singular value of 0 for another. The inverse of 0 is
/// 0.
///
/// # Errors
/// [`LoraError::Decomposition`] if an element is not finite or the iteration for
/// the singular values does not end.
pub fn pseudo_inverse<T: Scalar>(matrix: ArrayView2<'_, T>) -> Result<Array2<T>, LoraError> {
    let (m, n) = matrix.dim();
    let svd = thin_svd(matrix.into())?;
    let largest = svd.singular_values.first().copied().unwrap_or(0.0);
    let cut_off = (m.max(n) as f64 * epsilon::<T>()).max(DECOMPOSITION) * largest;
    let inverted = |&x: &f64| if x > cut_off { 1.0 / x } else { 0.0 };
    let inverses: Vec<f64> = svd.singular_values.iter().map(inverted).collect();
    let column = aview1(&inverses).insert_axis(Axis(1));
    let scaled = &svd.v_transposed * &column;
    Ok(scaled.t().dot(&svd.u.t()).mapv(T::from_f64))
}

/// The error of a singular value of a matrix without full rank, over the largest.
const DECOMPOSITION: f64 = 1e-12;

/// Distance from 1 to the next number of type `T`.
fn epsilon<T: Scalar>() -> f64 {
    let next = T::from_f64(1.0 + f64::from(f32::EPSILON) / 4.0);
    if next.value() == 1.0 {
        f64::from(f32::EPSILON)
    } else {
        f64::EPSILON
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::testing::*;
    use proptest::prelude::*;

    /// `rank` singular values of `x` are not 0, and the largest is at most some
    /// hundreds of times the smallest of them.
    fn check_penrose(x: &Array2<f64>, rank: usize) {
        let inverse = pseudo_inverse(x.view()).unwrap();
        assert_eq!(inverse.dim(), (x.ncols(), x.nrows()));
        let (left, right) = (x.dot(&inverse), inverse.dot(x));
        // X X^+ is a projection on as many directions as the rank, so none of
        // those that only rounding makes was inverted.
        assert!((left.diag().sum() - rank as f64).abs() <= 1e-9);
        // The condition of X multiplies the errors of its decomposition, up to
        // 1e-13 of its norm without full rank.
        let tolerance = 1e-12 * (1.0 + norm(x) * norm(&inverse));
        let close = |found: &Array2<f64>, expected: &Array2<f64>| {
            norm(&(found - expected)) <= tolerance * norm(expected)
        };
        assert!(close(&left.dot(x), x));
        assert!(close(&right.dot(&inverse), &inverse));
        assert!(close(&left.t().to_owned(), &left));
        assert!(close(&right.t().to_owned(), &right));
    }

    proptest! {
        #[test]
        fn penrose_conditions_hold(
            seed: u64, m in 1_usize..12, n in 1_usize..40, rank in 1_usize..6,
        ) {
            check_penrose(&with_singular_values(seed, m, n).0, m.min(n));
            check_penrose(&with_singular_values(seed, m, n).0.t().to_owned(), m.min(n));
            // Without full rank.
            let (up, _) = with_singular_values(seed, m, rank);
            let (down, _) = with_singular_values(seed.wrapping_add(1), rank, n);
            check_penrose(&up.dot(&down), m.min(n).min(rank));
        }
    }

    /// A matrix of which the decomposition takes singular values of 0 for 1e-14.
    #[test]
    fn what_only_rounding_makes_is_not_inverted() {
        let seed = 7_053_002_576_216_637_894;
        let (up, _) = with_singular_values(seed, 10, 4);
        let (down, _) = with_singular_values(seed + 1, 4, 21);
        check_penrose(&up.dot(&down), 4);
    }

    #[test]
    fn the_inverse_of_zero_is_zero() {
        for (m, n) in [(0, 3), (3, 0), (2, 5)] {
            let inverse = pseudo_inverse(Array2::<f32>::zeros((m, n)).view()).unwrap();
            assert_eq!(inverse, Array2::<f32>::zeros((n, m)));
        }
    }

    /// Rows that differ by the rounding of `f32` are one row in `f32`, and two
    /// in `f64`.
    #[test]
    fn the_cut_off_follows_the_type() {
        let x = ndarray::array![[1.0_f32, 1.0, 1.0], [1.0, 1.0, 1.0 + f32::EPSILON]];
        let single = pseudo_inverse(x.view()).unwrap();
        assert!(single.iter().all(|x| (x - 1.0 / 6.0).abs() < 1e-6));
        let double = pseudo_inverse(x.mapv(f64::from).view()).unwrap();
        assert!(double.iter().any(|x| x.abs() > 1e6));
    }
}

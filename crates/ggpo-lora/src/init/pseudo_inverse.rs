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
/// This is the cut-off of `torch.linalg.pinv`. The inverse of 0 is 0.
///
/// # Errors
/// [`LoraError::Decomposition`] if an element is not finite or the iteration for
/// the singular values does not end.
pub fn pseudo_inverse<T: Scalar>(matrix: ArrayView2<'_, T>) -> Result<Array2<T>, LoraError> {
    let (m, n) = matrix.dim();
    let svd = thin_svd(matrix.into())?;
    let largest = svd.singular_values.first().copied().unwrap_or(0.0);
    let cut_off = m.max(n) as f64 * epsilon::<T>() * largest;
    let inverted = |&x: &f64| if x > cut_off { 1.0 / x } else { 0.0 };
    let inverses: Vec<f64> = svd.singular_values.iter().map(inverted).collect();
    let column = aview1(&inverses).insert_axis(Axis(1));
    let scaled = &svd.v_transposed * &column;
    Ok(scaled.t().dot(&svd.u.t()).mapv(T::from_f64))
}

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

    fn check_penrose(x: &Array2<f64>) {
        let inverse = pseudo_inverse(x.view()).unwrap();
        assert_eq!(inverse.dim(), (x.ncols(), x.nrows()));
        let (left, right) = (x.dot(&inverse), inverse.dot(x));
        // The condition of X multiplies the roundings of 1e-16.
        let tolerance = 1e-14 * (1.0 + norm(x) * norm(&inverse));
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
            check_penrose(&with_singular_values(seed, m, n).0);
            check_penrose(&with_singular_values(seed, m, n).0.t().to_owned());
            // Without full rank.
            let (up, _) = with_singular_values(seed, m, rank);
            let (down, _) = with_singular_values(seed.wrapping_add(1), rank, n);
            check_penrose(&up.dot(&down));
        }
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
#[cfg(test)]
mod probe {
    use super::*;
    use crate::init::testing::*;
    #[test]
    fn probe() {
        let mut worst = [[0.0f64; 4]; 3];
        let mut where_ = (0u64, 0, 0, 0);
        for trial in 0..20000u64 {
            let seed = trial * 7919 + 13;
            let m = 1 + (trial % 11) as usize;
            let n = 1 + (trial / 11 % 39) as usize;
            let rank = 1 + (trial / 429 % 5) as usize;
            let (up, _) = with_singular_values(seed, m, rank);
            let (down, _) = with_singular_values(seed.wrapping_add(1), rank, n);
            let x0 = with_singular_values(seed, m, n).0;
            for (kind, x) in [x0.clone(), x0.t().to_owned(), up.dot(&down)]
                .into_iter()
                .enumerate()
            {
                let svd = thin_svd(x.view().into()).unwrap();
                let back = (&svd.u * &aview1(&svd.singular_values)).dot(&svd.v_transposed) - &x;
                let e = norm(&back) / norm(&x);
                if e > worst[kind][0] && kind == 2 {
                    where_ = (seed, m, n, rank);
                }
                worst[kind][0] = worst[kind][0].max(e);
                let k = svd.u.ncols();
                worst[kind][1] =
                    worst[kind][1].max(norm(&(svd.u.t().dot(&svd.u) - Array2::<f64>::eye(k))));
                worst[kind][2] = worst[kind][2].max(norm(
                    &(svd.v_transposed.dot(&svd.v_transposed.t()) - Array2::<f64>::eye(k)),
                ));
                let inverse = pseudo_inverse(x.view()).unwrap();
                let right = inverse.dot(&x);
                let asym =
                    norm(&(&right.t() - &right)) / norm(&right) / (norm(&x) * norm(&inverse));
                worst[kind][3] = worst[kind][3].max(asym);
            }
        }
        println!("{worst:?} {where_:?}");
        for (m, n) in [(384, 384), (200, 300), (576, 700)] {
            let x = normal(1, 0, m, n);
            let low = normal(2, 0, m, 10).dot(&normal(3, 0, 10, n));
            for x in [x, low] {
                let svd = thin_svd(x.view().into()).unwrap();
                let back = (&svd.u * &aview1(&svd.singular_values)).dot(&svd.v_transposed) - &x;
                println!("{m} {n} {:e}", norm(&back) / norm(&x));
            }
        }
    }
}

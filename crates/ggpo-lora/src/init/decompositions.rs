//! Singular values and orthonormal bases, by the library `faer`, in `f64`.
//!
//! Always on one thread: how a sum is split must not depend on the machine's
//! number of threads. On other processors the last digits may differ, since
//! `faer` has kernels for several levels of instruction set.
//!
//! The factors compose to the matrix with errors of some 1e-15 of its norm, and
//! up to 1e-13 if it has not full rank (measured on random matrices).

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::{householder, qr::no_pivoting::factor, svd};
use faer::{Conj, Mat, MatRef, Par};
use ggpo_tensor::{Scalar, WeightView};
use ndarray::{Array2, ArrayView2};

use crate::LoraError;

/// `X = U diag(S) V^T` of an m x n matrix, with k = min(m, n).
pub(super) struct ThinSvd {
    /// U, orthonormal columns: m x k.
    pub(super) u: Array2<f64>,
    /// S, at least 0 and falling: length k.
    pub(super) singular_values: Vec<f64>,
    /// V^T, orthonormal rows: k x n.
    pub(super) v_transposed: Array2<f64>,
}

/// `X = Q R` of an m x n matrix, with k = min(m, n).
pub(super) struct ThinQr {
    /// Q, orthonormal columns: m x k.
    pub(super) q: Array2<f64>,
    /// R, zero below the diagonal, whose signs are free: k x n.
    pub(super) r: Array2<f64>,
}

/// The thin singular value decomposition of any matrix, also of one without
/// full rank.
///
/// # Errors
/// [`LoraError::Decomposition`] if an element is not finite, or the iteration
/// for the singular values does not end.
pub(super) fn thin_svd<T: Scalar>(matrix: WeightView<'_, T>) -> Result<ThinSvd, LoraError> {
    let (matrix, scale) = scaled(matrix)?;
    let (m, n) = matrix.shape();
    let k = m.min(n);
    let (mut u, mut v, mut s) = (Mat::zeros(m, k), Mat::zeros(n, k), Diag::zeros(k));
    let thin = svd::ComputeSvdVectors::Thin;
    let size = svd::svd_scratch::<f64>(m, n, thin, thin, Par::Seq, Default::default());
    svd::svd(
        matrix.as_ref(),
        s.as_mut(),
        Some(u.as_mut()),
        Some(v.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(size)),
        Default::default(),
    )
    .map_err(|_| LoraError::Decomposition {
        rows: m,
        columns: n,
        reason: "the iteration for its singular values does not end",
    })?;
    Ok(ThinSvd {
        u: array(u.as_ref()),
        singular_values: (0..k).map(|i| s[i] * scale).collect(),
        v_transposed: array(v.transpose()),
    })
}

/// The thin QR decomposition of any matrix, by Householder's reflections: Q is
/// orthonormal even if the matrix has not full rank.
///
/// # Errors
/// [`LoraError::Decomposition`] if an element is not finite.
pub(super) fn thin_qr<T: Scalar>(matrix: WeightView<'_, T>) -> Result<ThinQr, LoraError> {
    let (mut matrix, scale) = scaled(matrix)?;
    let (m, n) = matrix.shape();
    let k = m.min(n);
    let block = factor::recommended_block_size::<f64>(m, n);
    let mut reflections = Mat::zeros(block, k);
    let size = factor::qr_in_place_scratch::<f64>(m, n, block, Par::Seq, Default::default());
    factor::qr_in_place(
        matrix.as_mut(),
        reflections.as_mut(),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(size)),
        Default::default(),
    );
    // R is on and above the diagonal, the reflections are below.
    let r = Array2::from_shape_fn(
        (k, n),
        |(i, j)| {
            if i <= j { matrix[(i, j)] * scale } else { 0.0 }
        },
    );
    let mut q = Mat::identity(m, k);
    let size = householder::apply_block_householder_sequence_on_the_left_in_place_scratch::<f64>(
        m, block, k,
    );
    householder::apply_block_householder_sequence_on_the_left_in_place_with_conj(
        matrix.get(.., ..k),
        reflections.as_ref(),
        Conj::No,
        q.as_mut(),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(size)),
    );
    Ok(ThinQr {
        q: array(q.as_ref()),
        r,
    })
}

/// The matrix divided by a power of two, and that power, which is near the
/// largest magnitude: squares of what is left neither overflow nor vanish.
fn scaled<T: Scalar>(matrix: WeightView<'_, T>) -> Result<(Mat<f64>, f64), LoraError> {
    let (m, n) = matrix.dim();
    let mut copy = Mat::zeros(m, n);
    let mut largest = 0.0_f64;
    let mut finite = true;
    matrix.for_panels(|first, panel: ArrayView2<'_, T>| {
        for ((i, j), x) in panel.indexed_iter() {
            let x = x.value();
            finite &= x.is_finite();
            largest = largest.max(x.abs());
            copy[(first + i, j)] = x;
        }
    });
    if !finite {
        return Err(LoraError::Decomposition {
            rows: m,
            columns: n,
            reason: "it holds NaN or an infinity",
        });
    }
    if largest == 0.0 {
        return Ok((copy, 1.0));
    }
    // Both the power and its inverse are numbers without loss of digits.
    let scale = 2.0_f64.powi(largest.log2().floor().clamp(-1000.0, 1000.0) as i32);
    for column in copy.col_iter_mut() {
        column.iter_mut().for_each(|x| *x /= scale);
    }
    Ok((copy, scale))
}

fn array(matrix: MatRef<'_, f64>) -> Array2<f64> {
    Array2::from_shape_fn(matrix.shape(), |(i, j)| matrix[(i, j)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::testing::*;
    use ndarray::Axis;
    use proptest::prelude::*;

    fn composed(svd: &ThinSvd) -> Array2<f64> {
        let scaled = &svd.u * &ndarray::aview1(&svd.singular_values);
        scaled.dot(&svd.v_transposed)
    }

    fn check(x: &Array2<f64>) {
        let k = x.nrows().min(x.ncols());
        let svd = thin_svd(x.view().into()).unwrap();
        let qr = thin_qr(x.view().into()).unwrap();
        assert_eq!(svd.u.dim(), (x.nrows(), k));
        assert_eq!(svd.v_transposed.dim(), (k, x.ncols()));
        assert!(svd.singular_values.is_sorted_by(|a, b| a >= b && *b >= 0.0));
        for product in [composed(&svd), qr.q.dot(&qr.r)] {
            assert!(norm(&(&product - x)) <= 1e-12 * norm(x));
        }
        assert!(qr.r.indexed_iter().all(|((i, j), &x)| i <= j || x == 0.0));
        for orthonormal in [svd.u.t(), svd.v_transposed.view(), qr.q.t()] {
            assert_orthonormal_rows(orthonormal);
        }
    }

    proptest! {
        #[test]
        fn factors_compose_to_the_matrix(
            seed: u64, m in 1_usize..40, n in 1_usize..40, rank in 0_usize..8,
            exponent in -290..290_i32,
        ) {
            let size = 10.0_f64.powi(exponent);
            check(&normal(seed, 0, m, n).mapv(|x| x * size));
            // Without full rank.
            check(&normal(seed, 1, m, rank).dot(&normal(seed, 2, rank, n)));
        }
    }

    /// Matrices of many equal and many vanishing singular values.
    #[test]
    fn degenerate_matrices_are_decomposed() {
        for m in 0..24 {
            for n in 0..24 {
                check(&Array2::zeros((m, n)));
                check(&Array2::ones((m, n)));
                check(&Array2::from_shape_fn((m, n), |(i, j)| f64::from(i == j)));
            }
        }
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut x = Array2::<f64>::ones((3, 4));
            x[(1, 2)] = bad;
            let expected = "the matrix of 3 x 4 cannot be decomposed: it holds NaN or an infinity";
            let error = thin_svd(x.view().into()).err().unwrap();
            assert_eq!(error.to_string(), expected);
            let error = thin_qr(x.view().into()).err().unwrap();
            assert_eq!(error.to_string(), expected);
        }
    }

    /// Wherever the numbers lie in memory and in whatever order.
    #[test]
    fn the_same_matrix_gives_the_same_bits() {
        let x = normal(3, 0, 150, 70);
        let first = thin_svd(x.view().into()).unwrap();
        let first_qr = thin_qr(x.view().into()).unwrap();
        for shift in 0..8 {
            let _hole = vec![0_u8; 1 << (3 + shift)];
            let mut wide = Array2::zeros((70, 151 + shift));
            wide.slice_axis_mut(Axis(1), (1 + shift..).into())
                .assign(&x.t());
            let moved = wide.slice_axis(Axis(1), (1 + shift..).into());
            let again = thin_svd(moved.t().into()).unwrap();
            assert_eq!(again.u, first.u);
            assert_eq!(again.singular_values, first.singular_values);
            assert_eq!(again.v_transposed, first.v_transposed);
            let again = thin_qr(moved.t().into()).unwrap();
            assert_eq!(again.q, first_qr.q);
            assert_eq!(again.r, first_qr.r);
        }
    }
}

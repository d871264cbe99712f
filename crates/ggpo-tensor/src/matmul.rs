//! Matrix products, split over threads in pieces fixed by the shapes.

use ndarray::parallel::prelude::*;
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, ArrayViewMut2, Axis};

use crate::packed::Packed;
use crate::{Addend, Scalar};

/// Multiply-adds up to which a product stays on the calling thread: some twenty
/// microseconds, several times what handing over a piece costs.
const SERIAL_LIMIT: usize = 1 << 21;
/// Multiply-adds per piece of a product that is cut along its columns.
const PIECE_WORK: usize = 1 << 22;
/// Columns of such a piece are a multiple of this, so that only the last one
/// meets the edge case of the inner kernel.
const PIECE_MULTIPLE: usize = 96;

/// `c <- alpha a b + beta c`, for any strides; `a` is m x k, `b` k x n, `c` m x n.
///
/// With `beta` zero the old contents of `c` are not read.
///
/// # Panics
/// If the shapes do not fit.
pub fn gemm<T: Scalar>(
    alpha: T,
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
    beta: T,
    mut c: ArrayViewMut2<'_, T>,
) {
    let ((m, k), (_, n)) = (a.dim(), b.dim());
    let work = m.saturating_mul(n).saturating_mul(k);
    if work <= SERIAL_LIMIT {
        return T::gemm_serial(alpha, a, b, beta, c);
    }
    assert_eq!(
        c.dim(),
        (m, n),
        "gemm: a b is {m} x {n}, c is {:?}",
        c.dim()
    );
    if m >= n {
        if c.strides()[1] != 1 {
            let mut product = Array2::from_elem((m, n), T::ZERO);
            Packed::new(b).product(alpha, a, Addend::Scaled(T::ZERO), product.view_mut());
            c.zip_mut_with(&product, |c, &product| {
                *c = if beta == T::ZERO {
                    product
                } else {
                    beta * *c + product
                };
            });
            return;
        }
        return Packed::new(b).product(alpha, a, Addend::Scaled(beta), c);
    }
    let columns = (PIECE_WORK / (m * k).max(1)).next_multiple_of(PIECE_MULTIPLE);
    c.axis_chunks_iter_mut(Axis(1), columns)
        .into_par_iter()
        .zip(b.axis_chunks_iter(Axis(1), columns).into_par_iter())
        .for_each(|(c, b)| T::gemm_serial(alpha, a, b, beta, c));
}

/// A B: `a` is m x k, `b` is k x n, the result m x n.
///
/// # Panics
/// If the inner dimensions differ.
pub fn matmul<T: Scalar>(a: ArrayView2<'_, T>, b: ArrayView2<'_, T>) -> Array2<T> {
    let mut c = Array2::from_elem((a.nrows(), b.ncols()), T::ZERO);
    gemm(T::ONE, a, b, T::ZERO, c.view_mut());
    c
}

/// A Bᵀ: `a` is m x k, `b` is n x k, the result m x n.
///
/// # Panics
/// If the inner dimensions differ.
pub fn matmul_nt<T: Scalar>(a: ArrayView2<'_, T>, b: ArrayView2<'_, T>) -> Array2<T> {
    matmul(a, b.reversed_axes())
}

/// Aᵀ B: `a` is k x m, `b` is k x n, the result m x n.
///
/// # Panics
/// If the inner dimensions differ.
pub fn matmul_tn<T: Scalar>(a: ArrayView2<'_, T>, b: ArrayView2<'_, T>) -> Array2<T> {
    matmul(a.reversed_axes(), b)
}

/// A B for every entry of a batch: `a` is batch x m x k, `b` batch x k x n, the
/// result batch x m x n.
///
/// # Panics
/// If the batches or the inner dimensions differ.
pub fn matmul_batched<T: Scalar>(a: ArrayView3<'_, T>, b: ArrayView3<'_, T>) -> Array3<T> {
    let ((batch, m, _), (batch_b, _, n)) = (a.dim(), b.dim());
    assert_eq!(
        batch,
        batch_b,
        "batched product: {:?} and {:?}",
        a.dim(),
        b.dim()
    );
    let mut c = Array3::from_elem((batch, m, n), T::ZERO);
    c.axis_iter_mut(Axis(0))
        .into_par_iter()
        .zip(a.axis_iter(Axis(0)).into_par_iter())
        .zip(b.axis_iter(Axis(0)).into_par_iter())
        .for_each(|((c, a), b)| gemm(T::ONE, a, b, T::ZERO, c));
    c
}

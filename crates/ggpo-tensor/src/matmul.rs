//! Matrix products, split over threads in pieces fixed by the shapes.

use ndarray::parallel::prelude::*;
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, ArrayViewMut2, Axis};

use crate::Scalar;

/// Multiply-adds below which a product stays on the calling thread: some forty
/// microseconds, ten times what handing over a piece costs.
const SERIAL_LIMIT: usize = 1 << 22;
/// Multiply-adds per piece of a larger product. Every piece packs the operand
/// that all share, so small pieces are dear.
const PIECE_WORK: usize = 1 << 24;
/// Most pieces of one product, for the same reason.
const MOST_PIECES: usize = 8;
/// Pieces are a multiple of this many rows or columns, so that only the last
/// one meets the edge case of the inner kernel.
const PIECE_MULTIPLE: usize = 16;

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
    let pieces = (work / PIECE_WORK).clamp(2, MOST_PIECES);
    let longer = m.max(n);
    let piece = longer.div_ceil(pieces).next_multiple_of(PIECE_MULTIPLE);
    if m >= n {
        c.axis_chunks_iter_mut(Axis(0), piece)
            .into_par_iter()
            .zip(a.axis_chunks_iter(Axis(0), piece).into_par_iter())
            .for_each(|(c, a)| T::gemm_serial(alpha, a, b, beta, c));
    } else {
        c.axis_chunks_iter_mut(Axis(1), piece)
            .into_par_iter()
            .zip(b.axis_chunks_iter(Axis(1), piece).into_par_iter())
            .for_each(|(c, b)| T::gemm_serial(alpha, a, b, beta, c));
    }
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

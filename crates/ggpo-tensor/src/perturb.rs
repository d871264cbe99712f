//! Products with a weight that may be quantised and whose rows may carry noise.
//!
//! The weight is walked in panels of rows (see [`WeightView::for_panels`]). Each
//! panel is copied or dequantised to a scratch buffer that fits in cache, the
//! noise is added there, and the product reads the buffer. The weight itself is
//! only ever read, and neither noise nor numbers of a quantised weight are kept.

use std::fmt::Debug;

use ndarray::{ArrayView2, ArrayViewMut2, s};

use crate::{Scalar, WeightView, gemm};

/// Noise `eps` (m x n) on a weight matrix, made row by row on demand.
///
/// Asked twice for the same rows, an implementation must give the same values:
/// the forward pass, the backward pass and every thread ask on their own.
pub trait RowPerturbation<T>: Debug + Send + Sync {
    /// Adds rows `first_row..first_row + panel.nrows()` of `eps` to `panel`.
    fn add_rows(&self, first_row: usize, panel: ArrayViewMut2<'_, T>);

    /// Whether the gradient that flows on to the layer's input sees the noise.
    ///
    /// It does in every method of this project; the exception is a form in
    /// circulation that is offered for comparison.
    fn in_backward(&self) -> bool {
        true
    }
}

/// `out <- x (W + eps)ᵀ + beta out`: `x` is t x n, `weight` m x n, `out` t x m.
///
/// With `beta` zero the old contents of `out` are not read.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul_nt_perturbed<T: Scalar>(
    x: ArrayView2<'_, T>,
    weight: WeightView<'_, T>,
    noise: Option<&dyn RowPerturbation<T>>,
    beta: T,
    mut out: ArrayViewMut2<'_, T>,
) {
    weight.for_panels(noise, |first, panel| {
        let out = out.slice_mut(s![.., first..first + panel.nrows()]);
        gemm(T::ONE, x, panel.reversed_axes(), beta, out);
    });
}

/// `out <- out + y (W + eps)`: `y` is t x m, `weight` m x n, `out` t x n.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul_perturbed<T: Scalar>(
    y: ArrayView2<'_, T>,
    weight: WeightView<'_, T>,
    noise: Option<&dyn RowPerturbation<T>>,
    mut out: ArrayViewMut2<'_, T>,
) {
    weight.for_panels(noise, |first, panel| {
        let y = y.slice(s![.., first..first + panel.nrows()]);
        gemm(T::ONE, y, panel, T::ONE, out.view_mut());
    });
}

//! Products with a weight whose rows carry noise that is never stored.
//!
//! The weight is walked in panels of rows. Each panel is copied to a scratch
//! buffer that fits in cache, the noise is added there, and the product reads
//! the buffer. The weight itself is only ever read.

use std::fmt::Debug;

use ndarray::parallel::prelude::*;
use ndarray::{ArrayView2, ArrayViewMut2, Axis, s};

use crate::{Scalar, gemm};

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

/// Elements of the scratch panel: 256 KiB in `f32`, a share of a core's cache.
const PANEL_ELEMENTS: usize = 1 << 16;
/// Elements per piece when a panel is filled by several threads.
const FILL_ELEMENTS: usize = 1 << 13;

fn for_panels<T: Scalar>(
    weight: ArrayView2<'_, T>,
    noise: &dyn RowPerturbation<T>,
    mut work: impl FnMut(usize, ArrayView2<'_, T>),
) {
    let (m, n) = weight.dim();
    if m == 0 || n == 0 {
        return;
    }
    let panel_rows = (PANEL_ELEMENTS / n).clamp(1, m);
    let fill_rows = (FILL_ELEMENTS / n).max(1);
    let mut scratch = vec![T::ZERO; panel_rows * n];
    for first in (0..m).step_by(panel_rows) {
        let rows = panel_rows.min(m - first);
        let mut panel = ArrayViewMut2::from_shape((rows, n), &mut scratch[..rows * n])
            .expect("the scratch buffer holds one panel");
        let source = weight.slice(s![first..first + rows, ..]);
        panel
            .axis_chunks_iter_mut(Axis(0), fill_rows)
            .into_par_iter()
            .zip(source.axis_chunks_iter(Axis(0), fill_rows).into_par_iter())
            .enumerate()
            .for_each(|(piece, (mut panel, source))| {
                panel.assign(&source);
                noise.add_rows(first + piece * fill_rows, panel);
            });
        work(first, panel.view());
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
    weight: ArrayView2<'_, T>,
    noise: &dyn RowPerturbation<T>,
    beta: T,
    mut out: ArrayViewMut2<'_, T>,
) {
    for_panels(weight, noise, |first, panel| {
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
    weight: ArrayView2<'_, T>,
    noise: &dyn RowPerturbation<T>,
    mut out: ArrayViewMut2<'_, T>,
) {
    for_panels(weight, noise, |first, panel| {
        let y = y.slice(s![.., first..first + panel.nrows()]);
        gemm(T::ONE, y, panel, T::ONE, out.view_mut());
    });
}

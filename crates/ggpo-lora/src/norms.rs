//! Row norms of merged weights and of gradients, without forming either.

use ggpo_tensor::{Scalar, WeightView, matmul, matmul_nt, reduce};
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView1, ArrayView2, Axis, concatenate};

use crate::LayerView;

/// `||row i||^2` of an m x n matrix, dense or quantised: length m.
pub fn row_norms_squared<'a, T: Scalar>(matrix: impl Into<WeightView<'a, T>>) -> Vec<T> {
    let mut norms = Vec::new();
    matrix.into().for_panels(|_, panel| {
        let rows = panel.axis_iter(Axis(0)).into_par_iter();
        norms.extend(rows.map(|row| dot(row, row)).collect::<Vec<T>>());
    });
    norms
}

/// `||W'_i||^2` for every row i, of length m:
///
/// `||W'_i||^2 = ||W_i||^2 + 2 s <B_i, (W A^T)_i> + s^2 B_i (A A^T) B_i^T`
///
/// from `||W_i||^2`, which does not change in a run. Costs one product W Aᵀ and
/// O((m + n) r^2); nothing larger than m x r is formed, but for a panel of the
/// rows of a quantised W at a time. Results that rounding makes negative are 0.
///
/// With a constant term, `s B A + U V` stands in place of `s B A`: it is the product
/// of `[s B, U]` and `[A; V]`.
///
/// # Panics
/// If the shapes do not fit.
pub fn merged_row_norms_squared<T: Scalar>(
    weight_norms_squared: &[T],
    layer: &LayerView<'_, T>,
) -> Vec<T> {
    let m = layer.weight.nrows();
    assert_eq!(weight_norms_squared.len(), m, "one norm for each row of W");
    if let Some([u, v]) = layer.constant {
        let scaled = layer.b.map(|&b| layer.scaling * b);
        let up = concatenate(Axis(1), &[scaled.view(), u]).expect("U has the rows of B");
        let down = concatenate(Axis(0), &[layer.a, v]).expect("V has the columns of A");
        let all = LayerView::new(layer.weight.reborrow(), down.view(), up.view(), T::ONE);
        return merged_row_norms_squared(weight_norms_squared, &all);
    }
    let cross = weight_times_a_transposed(layer);
    let products = product_row_norms_squared(layer.b, layer.a);
    let s = layer.scaling;
    (0..m)
        .map(|i| {
            let cross = dot(layer.b.row(i), cross.row(i));
            let merged = weight_norms_squared[i] + (s + s) * cross + s * s * products[i];
            merged.max(T::ZERO)
        })
        .collect()
}

/// Rows of W whose products with A one thread takes at a time.
const PIECE_ROWS: usize = 192;

/// W Aᵀ, m x r.
fn weight_times_a_transposed<T: Scalar>(layer: &LayerView<'_, T>) -> Array2<T> {
    let (m, r) = (layer.weight.nrows(), layer.a.nrows());
    let mut product = Array2::from_elem((m, r), T::ZERO);
    layer.weight.for_panels(|first, panel| {
        let rows = first..first + panel.nrows();
        let mut out = product.slice_axis_mut(Axis(0), rows.into());
        out.axis_chunks_iter_mut(Axis(0), PIECE_ROWS)
            .into_par_iter()
            .zip(panel.axis_chunks_iter(Axis(0), PIECE_ROWS))
            .for_each(|(out, panel)| {
                T::gemm_serial(T::ONE, panel, layer.a.reversed_axes(), T::ZERO, out);
            });
    });
    product
}

/// `||G_i||^2` for every row i, of length m, with G estimated from the
/// gradients of the adapter:
///
/// `G ~= s ( B dA + dB A )` (eq. 7), hence `||G_i||^2 = s^2 u_i M u_i^T` with
/// `u_i = [B_i, dB_i]` and `M = [dA; A] [dA; A]^T`, 2r x 2r.
///
/// Costs O((m + n) r^2). Zeros if the layer has no gradients yet. Results that
/// rounding makes negative are 0.
///
/// # Panics
/// If the shapes do not fit.
pub fn adapter_gradient_row_norms_squared<T: Scalar>(layer: &LayerView<'_, T>) -> Vec<T> {
    let (Some(grad_a), Some(grad_b)) = (layer.grad_a, layer.grad_b) else {
        return vec![T::ZERO; layer.b.nrows()];
    };
    let up = concatenate(Axis(1), &[layer.b, grad_b]).expect("dB has the shape of B");
    let down = concatenate(Axis(0), &[grad_a, layer.a]).expect("dA has the shape of A");
    let s = layer.scaling;
    product_row_norms_squared(up.view(), down.view())
        .into_iter()
        .map(|square| s * s * square)
        .collect()
}

/// `||(U V)_i||^2 = U_i (V V^T) U_i^T` for U of m x k and V of k x n: length m.
pub(crate) fn product_row_norms_squared<T: Scalar>(
    u: ArrayView2<'_, T>,
    v: ArrayView2<'_, T>,
) -> Vec<T> {
    let gram: Array2<T> = matmul_nt(v, v);
    let image = matmul(u, gram.view());
    (0..u.nrows())
        .map(|i| dot(u.row(i), image.row(i)).max(T::ZERO))
        .collect()
}

/// Numbers from which vector code pays; rows of factors, r long, have fewer.
const LONG_ROW: usize = 64;

/// Inner product of two rows, in an order that their length decides.
fn dot<T: Scalar>(x: ArrayView1<'_, T>, y: ArrayView1<'_, T>) -> T {
    match (x.to_slice(), y.to_slice()) {
        (Some(x), Some(y)) if x.len() >= LONG_ROW => reduce::dot(x, y),
        _ => x
            .iter()
            .zip(y.iter())
            .fold(T::ZERO, |total, (&x, &y)| total + x * y),
    }
}

//! Scaled dot-product attention on `(batch, time, head, channel)` arrays.
//!
//! Heads are read in place through strides: nothing is transposed or copied.
//! With fewer key-value heads than query heads, query head h uses key-value
//! head `h / (heads / kv_heads)` (grouped-query attention).

use ndarray::{Array2, ArrayView2, ArrayView3, ArrayView4, ArrayViewMut3, Axis, s};
use rayon::prelude::*;

use crate::softmax::softmax_masked_row;
use crate::{Scalar, Tensor, flat, tensor};

/// Which keys a query may look at.
#[derive(Debug, Clone, Default)]
pub struct AttentionMask {
    /// Query i sees keys up to `i + keys - queries` only: the queries are the
    /// last positions of the keys.
    pub causal: bool,
    /// Batch x keys: false where a key is padding. `None` keeps all.
    pub keys: Option<Array2<bool>>,
}

impl AttentionMask {
    /// Whether query `i` of `queries` sees key `j` of `keys` in batch row `b`.
    fn row(&self, batch: usize, query: usize, queries: usize, allowed: &mut [bool]) {
        let keys = allowed.len();
        match &self.keys {
            Some(mask) => {
                for (allowed, &kept) in allowed.iter_mut().zip(mask.row(batch)) {
                    *allowed = kept;
                }
            }
            None => allowed.fill(true),
        }
        if self.causal {
            let seen = (query + 1 + keys).saturating_sub(queries);
            allowed[seen.min(keys)..].fill(false);
        }
    }
}

/// Softmax of `scale q kᵀ + bias` over the keys a query may see: queries x keys.
///
/// `q` is queries x channels, `k` keys x channels, `bias` queries x keys. A
/// query that may see no key has probabilities 0.
pub fn probabilities<T: Scalar>(
    q: ArrayView2<'_, T>,
    k: ArrayView2<'_, T>,
    scale: T,
    bias: Option<ArrayView2<'_, T>>,
    mask: &AttentionMask,
    batch: usize,
) -> Array2<T> {
    let mut scores = Array2::from_elem((q.nrows(), k.nrows()), T::ZERO);
    T::gemm_serial(scale, q, k.reversed_axes(), T::ZERO, scores.view_mut());
    if let Some(bias) = bias {
        scores.zip_mut_with(&bias, |score, &bias| *score += bias);
    }
    let queries = scores.nrows();
    let mut allowed = vec![true; scores.ncols()];
    for (query, mut row) in scores.axis_iter_mut(Axis(0)).enumerate() {
        mask.row(batch, query, queries, &mut allowed);
        softmax_masked_row(row.as_slice_mut().expect("standard layout"), &allowed);
    }
    scores
}

/// Keys and values of one batch row, each keys x kv_heads x channels.
pub type KeysAndValues<'a, T> = [ArrayView3<'a, T>; 2];

/// One batch row of attention: `out[t, h, c] = sum over keys of p v`.
fn attend_one<T: Scalar>(
    q: ArrayView3<'_, T>,
    [k, v]: KeysAndValues<'_, T>,
    scale: T,
    bias: Option<ArrayView3<'_, T>>,
    mask: &AttentionMask,
    batch: usize,
    mut out: ArrayViewMut3<'_, T>,
) {
    let (heads, kv_heads) = (q.dim().1, k.dim().1);
    for head in 0..heads {
        let kv_head = head * kv_heads / heads;
        let bias = bias.map(|bias| bias.index_axis_move(Axis(0), head));
        let p = probabilities(
            q.slice(s![.., head, ..]),
            k.slice(s![.., kv_head, ..]),
            scale,
            bias,
            mask,
            batch,
        );
        let v = v.slice(s![.., kv_head, ..]);
        let out = out.slice_mut(s![.., head, ..]);
        T::gemm_serial(T::ONE, p.view(), v, T::ZERO, out);
    }
}

/// Attention of `q` (batch x queries x heads x channels) over `k` and `v`
/// (batch x keys x kv_heads x channels), with an additive `bias`
/// (heads x queries x keys, the same for every batch row).
///
/// Returns batch x queries x heads x channels.
///
/// # Panics
/// If the shapes do not fit, or `heads` is no multiple of `kv_heads`.
pub fn attention<T: Scalar>(
    q: &Tensor<T>,
    k: &Tensor<T>,
    v: &Tensor<T>,
    scale: T,
    bias: Option<&Tensor<T>>,
    mask: &AttentionMask,
) -> Tensor<T> {
    assert_eq!(k.shape(), v.shape(), "attention: keys and values differ");
    assert_eq!(
        q.shape()[0],
        k.shape()[0],
        "attention: queries are {:?}, keys {:?}",
        q.shape(),
        k.shape()
    );
    let (k, v) = (view4(k), view4(v));
    let rows: Vec<KeysAndValues<'_, T>> = k
        .outer_iter()
        .zip(v.outer_iter())
        .map(|(k, v)| [k, v])
        .collect();
    attention_over(q, &rows, scale, bias, mask)
}

/// [`attention`] where every batch row has keys and values of its own, and its
/// own number of them.
///
/// `bias` is heads x queries x the largest number of keys. Keys are aligned at
/// their end, as in a causal mask: a row with fewer keys takes the last columns
/// of the bias.
///
/// # Panics
/// If the shapes do not fit, or `heads` is no multiple of `kv_heads`.
pub fn attention_over<T: Scalar>(
    q: &Tensor<T>,
    rows: &[KeysAndValues<'_, T>],
    scale: T,
    bias: Option<&Tensor<T>>,
    mask: &AttentionMask,
) -> Tensor<T> {
    let q4 = view4(q);
    let (batch, queries, heads, channels) = q4.dim();
    assert_eq!(batch, rows.len(), "attention: rows of keys");
    for [k, v] in rows {
        let (keys, kv_heads, key_channels) = k.dim();
        assert_eq!(k.dim(), v.dim(), "attention: keys and values differ");
        assert_eq!(
            channels,
            key_channels,
            "attention: queries are {:?}, keys of a row {:?}",
            q.shape(),
            k.dim()
        );
        assert!(
            kv_heads > 0 && heads.is_multiple_of(kv_heads),
            "attention: {heads} heads cannot share {kv_heads} key-value heads"
        );
        if let Some(mask) = &mask.keys {
            assert_eq!(mask.dim(), (batch, keys), "attention: shape of the mask");
        }
    }
    let longest = rows.iter().map(|[k, _]| k.dim().0).max().unwrap_or(0);
    let bias = bias.map(|bias| {
        ArrayView3::from_shape((heads, queries, longest), flat(bias))
            .unwrap_or_else(|_| panic!("attention: bias of shape {:?}", bias.shape()))
    });
    let row = queries * heads * channels;
    let mut out = vec![T::ZERO; batch * row];
    if row > 0 {
        out.par_chunks_mut(row).enumerate().for_each(|(b, out)| {
            let out = ArrayViewMut3::from_shape((queries, heads, channels), out)
                .expect("one batch row of the output");
            let missing = longest - rows[b][0].dim().0;
            let bias = bias.map(|bias| bias.slice_move(s![.., .., missing..]));
            attend_one(
                q4.index_axis(Axis(0), b),
                rows[b],
                scale,
                bias,
                mask,
                b,
                out,
            );
        });
    }
    tensor(q.shape(), out)
}

/// A tensor as an array of four axes.
///
/// # Panics
/// If it has another number of axes.
pub fn view4<T>(x: &Tensor<T>) -> ArrayView4<'_, T> {
    x.view()
        .into_dimensionality()
        .unwrap_or_else(|_| panic!("expected four axes, found shape {:?}", x.shape()))
}

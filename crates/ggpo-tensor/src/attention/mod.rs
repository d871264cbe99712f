//! Scaled dot-product attention on `(batch, time, head, channel)` arrays.
//!
//! With fewer key-value heads than query heads, query head h uses key-value
//! head `h / (heads / kv_heads)` (grouped-query attention).
//!
//! The work is cut by batch row and key-value head, and there into blocks of
//! queries and keys, whose scores stay in a core's caches; keys that no query of a
//! block sees (later ones, padding at the end) are not touched. Forward takes the
//! keys of a block of queries in turn and keeps, for each query, the largest score
//! so far and the sum of the exponentials below it. Nothing of the size queries x
//! keys is kept; backward calculates the probabilities again from the logarithm of
//! each query's sum.

mod backward;
mod forward;
mod mask;
mod operand;

use ndarray::{ArrayView2, ArrayView3, ArrayView4, ArrayViewMut2, ArrayViewMut3, ArrayViewMut4};
use ndarray::{Axis, s};

pub use backward::Gradients;
pub use mask::AttentionMask;

use crate::{Scalar, Tensor, flat};
use operand::Operand;

/// Queries of a block.
const BLOCK: usize = 64;
/// Keys of a block: scores of a block of queries and keys are 48 KiB in `f32`, so
/// that they and their gradients stay in a core's second cache, and most of them in
/// its first. A whole number of panels at every level.
const KEYS: usize = 192;
/// Multiply-adds of the scores up to which heads stay on one thread.
const TASK_WORK: usize = 1 << 17;

/// Keys and values of one batch row, each keys x kv_heads x channels.
pub type KeysAndValues<'a, T> = [ArrayView3<'a, T>; 2];

/// `out = softmax(scale q kᵀ + bias) v` over the keys a query may see. A query
/// that may see no key gives 0.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a, T> {
    /// Factor of the products of queries and keys.
    pub scale: T,
    /// Added to the scores of every batch row: heads x queries x keys.
    pub bias: Option<&'a Tensor<T>>,
    /// Which keys a query may see.
    pub mask: &'a AttentionMask,
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
    Attention { scale, bias, mask }.forward(q, k, v).0
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
    Attention { scale, bias, mask }.forward_over(q, rows).0
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

/// `out <- scale q kᵀ + bias` for a block of queries and the keys from number
/// `first` on, with the packed kᵀ.
fn scores<T: Scalar>(
    scale: T,
    q: ArrayView2<'_, T>,
    keys: &Operand<'_, T>,
    first: usize,
    bias: Option<ArrayView2<'_, T>>,
    mut out: ArrayViewMut2<'_, T>,
) {
    let beta = match bias {
        None => T::ZERO,
        Some(bias) => {
            out.assign(&bias);
            T::ONE
        }
    };
    keys.product_columns(scale, q, first, beta, out);
}

/// The bias as heads x queries x keys.
///
/// # Panics
/// If it has another shape.
fn bias_view<T: Scalar>(bias: &Tensor<T>, shape: (usize, usize, usize)) -> ArrayView3<'_, T> {
    ArrayView3::from_shape(shape, flat(bias))
        .unwrap_or_else(|_| panic!("attention: bias of shape {:?}", bias.shape()))
}

/// The part of heads x queries x keys that belongs to a key-value head: `group`
/// heads from its first one on.
fn bias_of_group<T>(bias: ArrayView3<'_, T>, kv_head: usize, group: usize) -> ArrayView3<'_, T> {
    let first = kv_head * group;
    bias.slice_move(s![first..first + group, .., ..])
}

/// Cuts batch x time x heads x channels into the parts that belong to one batch
/// row and one of `kv_heads` key-value heads: time x heads of the group x
/// channels, row after row.
fn parts<T>(
    elements: &mut [T],
    (batch, time, heads, channels): (usize, usize, usize, usize),
    kv_heads: usize,
) -> Vec<ArrayViewMut3<'_, T>> {
    let mut parts = Vec::with_capacity(batch * kv_heads);
    for row in elements.chunks_exact_mut((time * heads * channels).max(1)) {
        let shape = (time, kv_heads, heads / kv_heads, channels);
        let mut rest = ArrayViewMut4::from_shape(shape, row).expect("one batch row");
        for _ in 0..kv_heads {
            let (part, others) = rest.split_at(Axis(1), 1);
            parts.push(part.index_axis_move(Axis(1), 0));
            rest = others;
        }
    }
    parts
}

/// Keys of a block: for few queries all that they see.
fn keys_of_block(queries: usize, seen: usize) -> usize {
    match queries <= operand::FEW_QUERIES {
        true => seen.max(1),
        false => KEYS,
    }
}

/// Heads that one thread takes at least, fixed by the shapes.
fn heads_at_once(queries: usize, keys: usize, channels: usize) -> usize {
    let work = (queries * keys * channels).max(1);
    TASK_WORK.div_ceil(work)
}

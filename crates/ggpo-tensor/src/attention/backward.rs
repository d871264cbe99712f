//! The backward pass.
//!
//! Per head, with `P = exp(scale q kᵀ + bias - log_sum)`, `dP = dy vᵀ` and
//! `dS = P * (dP - rowsum(dy * y))`, where `rowsum(dy * y) = rowsum(P * dP)`:
//!
//! ```text
//! dv = Pᵀ dy      dq = scale dS k      dk = scale dSᵀ q      dbias = dS
//! ```
//!
//! Key-value heads shared by several query heads add up what comes from each;
//! the bias, shared by the batch, adds up the batch in its order. The outer loop is
//! the one over blocks of keys: what belongs to one stays in a core's cache while
//! the queries pass by.

use ndarray::{ArrayView1, ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3, Axis, s};
use rayon::prelude::*;

use super::mask::Visible;
use super::operand::Operand;
use super::{Attention, BLOCK, bias_of_group, bias_view, heads_at_once};
use super::{keys_of_block, parts, scores, view4};
use crate::packed::take;
use crate::parallel::zeros;
use crate::raw::dispatch::{self, Kernel};
use crate::reduce::{accumulate_rows, sum_lanes};
use crate::{Scalar, Tensor, tensor};

/// The gradients of the inputs of an attention.
#[derive(Debug)]
pub struct Gradients<T> {
    /// Of the queries.
    pub q: Tensor<T>,
    /// Of the keys.
    pub k: Tensor<T>,
    /// Of the values.
    pub v: Tensor<T>,
    /// Of the bias, if it was asked for.
    pub bias: Option<Tensor<T>>,
}

impl<T: Scalar> Attention<'_, T> {
    /// The gradients of queries, keys, values and, with `bias`, of the bias,
    /// from that of the result, `dy`, and the result `y` and the logarithms of
    /// [`forward`](Self::forward).
    ///
    /// # Panics
    /// If the shapes are not those of the forward pass.
    pub fn backward(
        &self,
        [q, k, v]: [&Tensor<T>; 3],
        (y, log_sums): (&Tensor<T>, &[T]),
        dy: &Tensor<T>,
        bias: bool,
    ) -> Gradients<T> {
        let (q4, k4, v4, y4, dy4) = (view4(q), view4(k), view4(v), view4(y), view4(dy));
        let (batch, queries, heads, channels) = q4.dim();
        let (_, keys, kv_heads, _) = k4.dim();
        assert_eq!(q.shape(), dy.shape(), "attention: shape of the gradient");
        assert_eq!(q.shape(), y.shape(), "attention: shape of the result");
        let group = heads / kv_heads;
        let bias_view = self
            .bias
            .map(|bias| bias_view(bias, (heads, queries, keys)));

        let [mut dq, mut dk, mut dv] = [q, k, v].map(|x| zeros(x.len()));
        let of_row = heads * queries * keys;
        let mut ds = vec![T::ZERO; if bias { batch * of_row } else { 0 }];
        let mut score_parts: Vec<Option<ArrayViewMut3<'_, T>>> = ds
            .chunks_exact_mut((group * queries * keys).max(1))
            .map(|part| ArrayViewMut3::from_shape((group, queries, keys), part).ok())
            .collect();
        score_parts.resize_with(batch * kv_heads, || None);
        parts(&mut dq, q4.dim(), kv_heads)
            .into_par_iter()
            .zip(parts(&mut dk, k4.dim(), kv_heads))
            .zip(parts(&mut dv, k4.dim(), kv_heads))
            .zip(score_parts)
            .with_min_len(heads_at_once(group * queries, keys, channels))
            .enumerate()
            .for_each_init(
                Scratch::default,
                |scratch, (task, (((q, k), v), scores))| {
                    let (row, kv_head) = (task / kv_heads, task % kv_heads);
                    let first = kv_head * group;
                    let of_queries = s![row, .., first..first + group, ..];
                    let of_keys = s![row, .., kv_head, ..];
                    OneHead {
                        scale: self.scale,
                        q: q4.slice(of_queries),
                        k: k4.slice(of_keys),
                        v: v4.slice(of_keys),
                        bias: bias_view.map(|bias| bias_of_group(bias, kv_head, group)),
                        visible: &self.mask.visible(row, queries, keys),
                        log_sums: &log_sums[(row * heads + first) * queries..][..group * queries],
                        y: y4.slice(of_queries),
                        dy: dy4.slice(of_queries),
                    }
                    .backward(
                        HeadGradients {
                            q,
                            k: k.index_axis_move(Axis(1), 0),
                            v: v.index_axis_move(Axis(1), 0),
                            scores,
                        },
                        scratch,
                    );
                },
            );
        let bias = self.bias.filter(|_| bias).map(|bias| {
            let total = accumulate_rows(batch, of_row, |row, total| {
                for (total, &part) in total.iter_mut().zip(&ds[row * of_row..]) {
                    *total += part;
                }
            });
            tensor(bias.shape(), total)
        });
        Gradients {
            q: tensor(q.shape(), dq),
            k: tensor(k.shape(), dk),
            v: tensor(v.shape(), dv),
            bias,
        }
    }
}

/// Memory of one thread, reused from head to head.
struct Scratch<T> {
    keys_transposed: Vec<T>,
    keys: Vec<T>,
    values_transposed: Vec<T>,
    p: Vec<T>,
    ds: Vec<T>,
    inner: Vec<T>,
}

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        let [keys_transposed, keys, values_transposed, p, ds, inner] = [(); 6].map(|()| Vec::new());
        Scratch {
            keys_transposed,
            keys,
            values_transposed,
            p,
            ds,
            inner,
        }
    }
}

/// The query heads of one key-value head in one batch row: `q`, `y` and `dy` are
/// queries x heads x channels, `k` and `v` keys x channels, `bias` heads x
/// queries x keys, `log_sums` heads x queries.
struct OneHead<'a, T> {
    scale: T,
    q: ArrayView3<'a, T>,
    k: ArrayView2<'a, T>,
    v: ArrayView2<'a, T>,
    bias: Option<ArrayView3<'a, T>>,
    visible: &'a Visible,
    log_sums: &'a [T],
    y: ArrayView3<'a, T>,
    dy: ArrayView3<'a, T>,
}

/// Where the gradients go, shaped as the inputs and all 0; `scores` as the bias.
struct HeadGradients<'a, T> {
    q: ArrayViewMut3<'a, T>,
    k: ArrayViewMut2<'a, T>,
    v: ArrayViewMut2<'a, T>,
    scores: Option<ArrayViewMut3<'a, T>>,
}

impl<T: Scalar> OneHead<'_, T> {
    fn backward(&self, mut d: HeadGradients<'_, T>, scratch: &mut Scratch<T>) {
        let (queries, heads, _) = self.q.dim();
        scratch.inner.clear();
        for head in 0..heads {
            let [dy, y] = [self.dy, self.y].map(|x| x.index_axis_move(Axis(1), head));
            let rows = dy.outer_iter().zip(y.outer_iter());
            dispatch::run(Inner(rows, &mut scratch.inner));
        }
        let seen = self.visible.keys_of(queries - 1);
        let keys_of_block = keys_of_block(queries, seen);
        for first_key in (0..seen).step_by(keys_of_block) {
            let columns = first_key..seen.min(first_key + keys_of_block);
            let [k, v] = [self.k, self.v].map(|x| x.slice_move(s![columns.clone(), ..]));
            let keys_transposed = Operand::transposed(k, queries, &mut scratch.keys_transposed);
            let values_transposed = Operand::transposed(v, queries, &mut scratch.values_transposed);
            let keys = Operand::new(k, queries, &mut scratch.keys);
            for head in 0..heads {
                let of_head = head * queries..(head + 1) * queries;
                let log_sums = self.log_sums[of_head.clone()].chunks(BLOCK);
                let inner = scratch.inner[of_head].chunks(BLOCK);
                let blocks = (0..queries).step_by(BLOCK).zip(log_sums).zip(inner);
                for ((first, log_sums), inner) in blocks {
                    let block = first..first + log_sums.len();
                    let seen = self.visible.keys_of(block.end - 1).min(columns.end);
                    if seen <= first_key || columns.end <= self.visible.first_of(first) {
                        continue;
                    }
                    let columns = first_key..seen;
                    let width = columns.len();
                    let [mut p, mut ds] = [&mut scratch.p, &mut scratch.ds].map(|scratch| {
                        let elements = take(scratch, block.len() * width);
                        ArrayViewMut2::from_shape((block.len(), width), elements)
                            .expect("queries x keys")
                    });
                    let [q, dy] =
                        [self.q, self.dy].map(|x| x.slice_move(s![block.clone(), head, ..]));
                    let bias = self
                        .bias
                        .map(|bias| bias.slice_move(s![head, block.clone(), columns.clone()]));
                    scores(self.scale, q, &keys_transposed, 0, bias, p.view_mut());
                    values_transposed.product_columns(T::ONE, dy, 0, T::ZERO, ds.view_mut());
                    dispatch::run(Differentiate {
                        p: p.as_slice_mut().expect("contiguous"),
                        ds: ds.as_slice_mut().expect("contiguous"),
                        width,
                        first,
                        first_key,
                        visible: self.visible,
                        log_sums,
                        inner,
                    });
                    let dq = d.q.slice_mut(s![block.clone(), head, ..]);
                    let beta = if first_key == 0 { T::ZERO } else { T::ONE };
                    keys.product_rows(self.scale, ds.view(), 0, beta, dq);
                    let dv = d.v.slice_mut(s![columns.clone(), ..]);
                    T::gemm_serial(T::ONE, p.t(), dy, T::ONE, dv);
                    let dk = d.k.slice_mut(s![columns.clone(), ..]);
                    T::gemm_serial(self.scale, ds.t(), q, T::ONE, dk);
                    if let Some(scores) = &mut d.scores {
                        scores.slice_mut(s![head, block, columns]).assign(&ds);
                    }
                }
            }
        }
    }
}

/// Adds the inner product of every pair of rows to the list.
struct Inner<'a, I, T>(I, &'a mut Vec<T>);

impl<'x, T: Scalar, I> Kernel for Inner<'_, I, T>
where
    I: Iterator<Item = (ArrayView1<'x, T>, ArrayView1<'x, T>)>,
{
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (x, y) in self.0 {
            let [x, y] = [x, y].map(|row| row.to_slice().expect("contiguous channels"));
            self.1.push(sum_lanes(x, y, |x, y| x * y));
        }
    }
}

/// Replaces scores by probabilities P, and dP by dS, for a block of queries and
/// keys.
struct Differentiate<'a, T> {
    p: &'a mut [T],
    ds: &'a mut [T],
    /// Keys of a row.
    width: usize,
    /// Number of the first query.
    first: usize,
    /// Number of the first key.
    first_key: usize,
    visible: &'a Visible,
    log_sums: &'a [T],
    /// `rowsum(dy * y)` of every query.
    inner: &'a [T],
}

impl<T: Scalar> Kernel for Differentiate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let rows = self.p.chunks_exact_mut(self.width);
        let rows = rows.zip(self.ds.chunks_exact_mut(self.width));
        let of_query = self.log_sums.iter().zip(self.inner);
        for ((query, (p, ds)), (&log_sum, &inner)) in (self.first..).zip(rows).zip(of_query) {
            let seen = self.visible.keys_from(query, self.first_key, self.width);
            let (p, later) = p.split_at_mut(seen);
            later.fill(T::ZERO);
            let (ds, later) = ds.split_at_mut(seen);
            later.fill(T::ZERO);
            self.visible.hide(query, self.first_key, p);
            for (p, ds) in p.iter_mut().zip(ds) {
                *p = (*p - log_sum).exp();
                *ds = *p * (*ds - inner);
            }
        }
    }
}

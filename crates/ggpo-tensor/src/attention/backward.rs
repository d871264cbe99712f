//! The backward pass.
//!
//! Per head, with `P = exp(scale q kᵀ + bias - log_sum)`, `dP = dy vᵀ` and
//! `dS = P * (dP - rowsum(P * dP))`:
//!
//! ```text
//! dv = Pᵀ dy      dq = scale dS k      dk = scale dSᵀ q      dbias = dS
//! ```
//!
//! Key-value heads shared by several query heads add up what comes from each;
//! the bias, shared by the batch, adds up the batch in its order.

use ndarray::{ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3, Axis, s};
use rayon::prelude::*;

use super::mask::Visible;
use super::operand::{Operand, take};
use super::{Attention, BLOCK, bias_of_group, bias_view, heads_at_once, parts, scores, view4};
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
    /// from that of the result, `dy`, and the logarithms of
    /// [`forward`](Self::forward).
    ///
    /// # Panics
    /// If the shapes are not those of the forward pass.
    pub fn backward(
        &self,
        [q, k, v]: [&Tensor<T>; 3],
        log_sums: &[T],
        dy: &Tensor<T>,
        bias: bool,
    ) -> Gradients<T> {
        let (q4, k4, v4, dy4) = (view4(q), view4(k), view4(v), view4(dy));
        let (batch, queries, heads, channels) = q4.dim();
        let (_, keys, kv_heads, _) = k4.dim();
        assert_eq!(q.shape(), dy.shape(), "attention: shape of the gradient");
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
                    Head {
                        scale: self.scale,
                        q: q4.slice(of_queries),
                        k: k4.slice(of_keys),
                        v: v4.slice(of_keys),
                        bias: bias_view.map(|bias| bias_of_group(bias, kv_head, group)),
                        visible: &self.mask.visible(row, queries, keys),
                        log_sums: &log_sums[(row * heads + first) * queries..][..group * queries],
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
}

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        let [keys_transposed, keys, values_transposed, p, ds] = [(); 5].map(|()| Vec::new());
        Scratch {
            keys_transposed,
            keys,
            values_transposed,
            p,
            ds,
        }
    }
}

/// The query heads of one key-value head in one batch row: `q` and `dy` are
/// queries x heads x channels, `k` and `v` keys x channels, `bias` heads x
/// queries x keys, `log_sums` heads x queries.
struct Head<'a, T> {
    scale: T,
    q: ArrayView3<'a, T>,
    k: ArrayView2<'a, T>,
    v: ArrayView2<'a, T>,
    bias: Option<ArrayView3<'a, T>>,
    visible: &'a Visible,
    log_sums: &'a [T],
    dy: ArrayView3<'a, T>,
}

/// Where the gradients go, shaped as the inputs and all 0; `scores` as the bias.
struct HeadGradients<'a, T> {
    q: ArrayViewMut3<'a, T>,
    k: ArrayViewMut2<'a, T>,
    v: ArrayViewMut2<'a, T>,
    scores: Option<ArrayViewMut3<'a, T>>,
}

impl<T: Scalar> Head<'_, T> {
    fn backward(&self, mut d: HeadGradients<'_, T>, scratch: &mut Scratch<T>) {
        let (queries, heads, _) = self.q.dim();
        let seen = self.visible.keys_of(queries - 1);
        let [k, v] = [self.k, self.v].map(|x| x.slice_move(s![..seen, ..]));
        let keys_transposed = Operand::transposed(k, queries, &mut scratch.keys_transposed);
        let values_transposed = Operand::transposed(v, queries, &mut scratch.values_transposed);
        let keys = Operand::new(k, queries, &mut scratch.keys);
        for head in 0..heads {
            let log_sums = self.log_sums[head * queries..][..queries].chunks(BLOCK);
            for (first, log_sums) in (0..queries).step_by(BLOCK).zip(log_sums) {
                let block = first..first + log_sums.len();
                let width = self.visible.keys_of(block.end - 1);
                if width == 0 {
                    continue;
                }
                let [mut p, mut ds] = [&mut scratch.p, &mut scratch.ds].map(|scratch| {
                    let elements = take(scratch, block.len() * width);
                    ArrayViewMut2::from_shape((block.len(), width), elements)
                        .expect("queries x keys")
                });
                let [q, dy] = [self.q, self.dy].map(|x| x.slice_move(s![block.clone(), head, ..]));
                let bias = self
                    .bias
                    .map(|bias| bias.slice_move(s![head, block.clone(), ..width]));
                scores(self.scale, q, &keys_transposed, bias, p.view_mut());
                values_transposed.product(T::ONE, dy, T::ZERO, ds.view_mut());
                dispatch::run(Differentiate {
                    p: p.as_slice_mut().expect("contiguous"),
                    ds: ds.as_slice_mut().expect("contiguous"),
                    width,
                    first,
                    visible: self.visible,
                    log_sums,
                });
                let dq = d.q.slice_mut(s![block.clone(), head, ..]);
                keys.product(self.scale, ds.view(), T::ZERO, dq);
                let dv = d.v.slice_mut(s![..width, ..]);
                T::gemm_serial(T::ONE, p.t(), dy, T::ONE, dv);
                let dk = d.k.slice_mut(s![..width, ..]);
                T::gemm_serial(self.scale, ds.t(), q, T::ONE, dk);
                if let Some(scores) = &mut d.scores {
                    scores.slice_mut(s![head, block, ..width]).assign(&ds);
                }
            }
        }
    }
}

/// Replaces scores by probabilities P, and dP by dS, for a block of queries.
struct Differentiate<'a, T> {
    p: &'a mut [T],
    ds: &'a mut [T],
    /// Keys of a row.
    width: usize,
    /// Number of the first query.
    first: usize,
    visible: &'a Visible,
    log_sums: &'a [T],
}

impl<T: Scalar> Kernel for Differentiate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let rows = self.p.chunks_exact_mut(self.width);
        let rows = rows.zip(self.ds.chunks_exact_mut(self.width));
        for ((query, (p, ds)), &log_sum) in (self.first..).zip(rows).zip(self.log_sums) {
            let seen = self.visible.keys_of(query);
            let (p, later) = p.split_at_mut(seen);
            later.fill(T::ZERO);
            let (ds, later) = ds.split_at_mut(seen);
            later.fill(T::ZERO);
            self.visible.hide(p);
            for p in p.iter_mut() {
                *p = (*p - log_sum).exp();
            }
            let inner = sum_lanes(p, ds, |p, ds| p * ds);
            for (ds, &p) in ds.iter_mut().zip(p.iter()) {
                *ds = p * (*ds - inner);
            }
        }
    }
}

//! The forward pass.

use ndarray::{ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3, Axis, s};
use rayon::prelude::*;

use super::mask::Visible;
use super::operand::Operand;
use super::{Attention, BLOCK, KeysAndValues, bias_of_group, bias_view, heads_at_once};
use super::{keys_of_block, parts, scores, view4};
use crate::packed::take;
use crate::parallel::zeros;
use crate::raw::dispatch::{self, Kernel};
use crate::reduce::replace_lanes;
use crate::softmax::largest;
use crate::{Scalar, Tensor, tensor};

impl<T: Scalar> Attention<'_, T> {
    /// Attention of `q` (batch x queries x heads x channels) over `k` and `v`
    /// (batch x keys x kv_heads x channels): the result, shaped as `q`, and for
    /// [`backward`](Self::backward) the logarithm of the sum of the exponentials
    /// of the scores, batch x heads x queries.
    ///
    /// # Panics
    /// If the shapes do not fit, or `heads` is no multiple of `kv_heads`.
    pub fn forward(&self, q: &Tensor<T>, k: &Tensor<T>, v: &Tensor<T>) -> (Tensor<T>, Vec<T>) {
        assert_eq!(k.shape(), v.shape(), "attention: keys and values differ");
        let (k, v) = (view4(k), view4(v));
        let rows: Vec<KeysAndValues<'_, T>> = (0..k.dim().0)
            .map(|row| [k, v].map(|x| x.index_axis_move(Axis(0), row)))
            .collect();
        self.forward_over(q, &rows)
    }

    /// [`forward`](Self::forward) where every batch row has keys and values of
    /// its own, as [`attention_over`](super::attention_over).
    pub(super) fn forward_over(
        &self,
        q: &Tensor<T>,
        rows: &[KeysAndValues<'_, T>],
    ) -> (Tensor<T>, Vec<T>) {
        let q4 = view4(q);
        let (batch, queries, heads, channels) = q4.dim();
        assert_eq!(batch, rows.len(), "attention: rows of keys");
        let kv_heads = rows.first().map_or(heads, |[k, _]| k.dim().1);
        for [k, v] in rows {
            let keys = k.dim().0;
            assert_eq!(k.dim(), v.dim(), "attention: keys and values differ");
            assert_eq!(
                k.dim(),
                (keys, kv_heads, channels),
                "attention: queries are {:?}, keys of a row {:?}",
                q.shape(),
                k.dim()
            );
            if let Some(mask) = &self.mask.keys {
                assert_eq!(mask.dim(), (batch, keys), "attention: shape of the mask");
            }
        }
        assert!(
            kv_heads > 0 && heads.is_multiple_of(kv_heads),
            "attention: {heads} heads cannot share {kv_heads} key-value heads"
        );
        let group = heads / kv_heads;
        let longest = rows.iter().map(|[k, _]| k.dim().0).max().unwrap_or(0);
        let bias = self
            .bias
            .map(|bias| bias_view(bias, (heads, queries, longest)));

        let mut out = zeros(q.len());
        let mut log_sums = vec![T::ZERO; batch * heads * queries];
        parts(&mut out, q4.dim(), kv_heads)
            .into_par_iter()
            .zip(log_sums.par_chunks_mut((group * queries).max(1)))
            .with_min_len(heads_at_once(group * queries, longest, channels))
            .enumerate()
            .for_each_init(Scratch::default, |scratch, (task, (out, log_sums))| {
                let (row, kv_head) = (task / kv_heads, task % kv_heads);
                let [k, v] = rows[row].map(|x| x.index_axis_move(Axis(1), kv_head));
                let first = kv_head * group;
                let q = q4.index_axis(Axis(0), row);
                let bias = bias.map(|bias| {
                    let missing = longest - k.nrows();
                    bias_of_group(bias, kv_head, group).slice_move(s![.., .., missing..])
                });
                attend(
                    self.scale,
                    q.slice(s![.., first..first + group, ..]),
                    [k, v],
                    bias,
                    &self.mask.visible(row, queries, k.nrows()),
                    (out, log_sums),
                    scratch,
                );
            });
        (tensor(q.shape(), out), log_sums)
    }
}

/// Memory of one thread, reused from head to head.
struct Scratch<T> {
    keys: Vec<T>,
    values: Vec<T>,
    scores: Vec<T>,
    running: Running<T>,
}

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        let [keys, values, scores] = [(); 3].map(|()| Vec::new());
        Scratch {
            keys,
            values,
            scores,
            running: Running {
                max: Vec::new(),
                sum: Vec::new(),
                factor: Vec::new(),
            },
        }
    }
}

/// The queries of a block on their way over the keys, one number each.
struct Running<T> {
    /// The largest score so far.
    max: Vec<T>,
    /// Sum of `exp(score - max)` so far.
    sum: Vec<T>,
    /// What the result so far is to be multiplied by.
    factor: Vec<T>,
}

impl<T: Scalar> Running<T> {
    /// Before the first key.
    fn begin(&mut self, queries: usize) {
        let lowest = T::from_f64(f64::NEG_INFINITY);
        let start = [lowest, T::ZERO, T::ZERO];
        let lists = [&mut self.max, &mut self.sum, &mut self.factor];
        for (list, start) in lists.into_iter().zip(start) {
            list.clear();
            list.resize(queries, start);
        }
    }
}

/// The query heads of one key-value head in one batch row: `q` and the result
/// are queries x heads x channels, `bias` heads x queries x keys.
fn attend<T: Scalar>(
    scale: T,
    q: ArrayView3<'_, T>,
    [k, v]: [ArrayView2<'_, T>; 2],
    bias: Option<ArrayView3<'_, T>>,
    visible: &Visible,
    (mut out, log_sums): (ArrayViewMut3<'_, T>, &mut [T]),
    scratch: &mut Scratch<T>,
) {
    let (queries, heads, _) = q.dim();
    let seen = visible.keys_of(queries - 1);
    let [k, v] = [k, v].map(|x| x.slice_move(s![..seen, ..]));
    let keys = Operand::transposed(k, queries, &mut scratch.keys);
    let values = Operand::new(v, queries, &mut scratch.values);
    let keys_of_block = keys_of_block(queries, seen);
    for head in 0..heads {
        let log_sums = log_sums[head * queries..][..queries].chunks_mut(BLOCK);
        for (first, log_sums) in (0..queries).step_by(BLOCK).zip(log_sums) {
            let block = first..first + log_sums.len();
            let running = &mut scratch.running;
            running.begin(block.len());
            let mut out = out.slice_mut(s![block.clone(), head, ..]);
            let q = q.slice(s![block.clone(), head, ..]);
            let width = visible.keys_of(block.end - 1);
            let start = visible.first_of(first) / keys_of_block * keys_of_block;
            for first_key in (start..width).step_by(keys_of_block) {
                let columns = first_key..width.min(first_key + keys_of_block);
                let elements = take(&mut scratch.scores, block.len() * columns.len());
                let mut p = ArrayViewMut2::from_shape((block.len(), columns.len()), elements)
                    .expect("queries x keys");
                let bias =
                    bias.map(|bias| bias.slice_move(s![head, block.clone(), columns.clone()]));
                scores(scale, q, &keys, first_key, bias, p.view_mut());
                dispatch::run(Absorb {
                    scores: p.as_slice_mut().expect("contiguous"),
                    width: columns.len(),
                    first,
                    first_key,
                    visible,
                    running,
                });
                let beta = match first_key == start {
                    true => T::ZERO,
                    false => {
                        dispatch::run(ScaleRows(out.view_mut(), &running.factor));
                        T::ONE
                    }
                };
                values.product_rows(T::ONE, p.view(), first_key, beta, out.view_mut());
            }
            dispatch::run(Finish(running, log_sums));
            dispatch::run(ScaleRows(out, &running.factor));
        }
    }
}

/// Replaces the scores of a block by `exp(score - max)`, with the largest score of
/// each query so far.
struct Absorb<'a, T> {
    scores: &'a mut [T],
    /// Keys of a row of scores.
    width: usize,
    /// Number of the first query.
    first: usize,
    /// Number of the first key.
    first_key: usize,
    visible: &'a Visible,
    running: &'a mut Running<T>,
}

impl<T: Scalar> Kernel for Absorb<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let lowest = T::from_f64(f64::NEG_INFINITY);
        let Running { max, sum, factor } = self.running;
        // Each list of numbers has a loop of its own, which is vector code.
        let rows = self.scores.chunks_exact_mut(self.width);
        for ((query, row), (max, before)) in (self.first..)
            .zip(rows)
            .zip(max.iter_mut().zip(factor.iter_mut()))
        {
            let seen = self.visible.keys_from(query, self.first_key, self.width);
            let (seen, later) = row.split_at_mut(seen);
            later.fill(lowest);
            self.visible.hide(query, self.first_key, seen);
            *before = *max;
            *max = max.max(largest(seen).unwrap_or(lowest));
        }
        for ((factor, sum), &max) in factor.iter_mut().zip(sum.iter_mut()).zip(max.iter()) {
            // Nothing has been seen where the largest score is minus infinity.
            let max = if max == lowest { T::ZERO } else { max };
            *factor = (*factor - max).exp();
            *sum *= *factor;
        }
        let rows = self.scores.chunks_exact_mut(self.width);
        for (row, (&max, sum)) in rows.zip(max.iter().zip(sum)) {
            let max = if max == lowest { T::ZERO } else { max };
            *sum += replace_lanes(row, |x| (x - max).exp());
        }
    }
}

/// Ends the way over the keys: logarithms of the sums, and the factors that divide
/// by them.
struct Finish<'a, T>(&'a mut Running<T>, &'a mut [T]);

impl<T: Scalar> Kernel for Finish<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Finish(Running { max, sum, factor }, log_sums) = self;
        for (factor, &sum) in factor.iter_mut().zip(sum.iter()) {
            *factor = if sum > T::ZERO { T::ONE / sum } else { T::ZERO };
        }
        for ((log_sum, &sum), &max) in log_sums.iter_mut().zip(sum.iter()).zip(max.iter()) {
            *log_sum = match sum > T::ZERO {
                true => max + sum.ln(),
                false => T::from_f64(f64::INFINITY),
            };
        }
    }
}

/// Multiplies every row, of contiguous numbers, by its factor.
struct ScaleRows<'a, T>(ArrayViewMut2<'a, T>, &'a [T]);

impl<T: Scalar> Kernel for ScaleRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let ScaleRows(mut rows, factors) = self;
        for (mut row, &factor) in rows.rows_mut().into_iter().zip(factors) {
            for x in row.as_slice_mut().expect("contiguous channels") {
                *x *= factor;
            }
        }
    }
}

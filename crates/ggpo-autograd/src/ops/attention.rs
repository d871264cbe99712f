//! `y = softmax(scale q kᵀ + bias) v`, with causal and padding masks.
//!
//! The probabilities P are not saved but calculated again. Backward, per head,
//! with `dP = dy vᵀ` and `dS = P * (dP - rowsum(P * dP))`:
//!
//! ```text
//! dv = Pᵀ dy      dq = scale dS k      dk = scale dSᵀ q      dbias = dS
//! ```
//!
//! Key-value heads shared by several query heads add up what comes from each;
//! the bias, shared by the batch, adds up the batch in its order.

use ggpo_tensor::attention::{self as kernel, AttentionMask, probabilities, view4};
use ggpo_tensor::{Scalar, Tensor, flat, tensor};
use ndarray::{Array2, Array3, ArrayView3, Axis, s};
use rayon::prelude::*;

use crate::{Operation, Var};

struct Attention<T> {
    q: Tensor<T>,
    k: Tensor<T>,
    v: Tensor<T>,
    scale: T,
    bias: Option<Tensor<T>>,
    mask: AttentionMask,
}

/// The gradients of one batch row: of q, k, v (time x head x channel) and of
/// the scores (head x queries x keys) where the bias needs them.
struct RowGradients<T> {
    q: Array3<T>,
    k: Array3<T>,
    v: Array3<T>,
    scores: Option<Array3<T>>,
}

impl<T: Scalar> Attention<T> {
    fn backward_row(&self, dy: ArrayView3<'_, T>, row: usize, bias: bool) -> RowGradients<T> {
        let [q, k, v] = [&self.q, &self.k, &self.v].map(|x| view4(x).index_axis_move(Axis(0), row));
        let (queries, heads, _) = q.dim();
        let (keys, kv_heads, _) = k.dim();
        let zeros = |shape| Array3::from_elem(shape, T::ZERO);
        let mut d = RowGradients {
            q: zeros(q.dim()),
            k: zeros(k.dim()),
            v: zeros(v.dim()),
            scores: bias.then(|| zeros((heads, queries, keys))),
        };
        let bias = self.bias.as_ref().map(|bias| {
            ArrayView3::from_shape((heads, queries, keys), flat(bias)).expect("checked forward")
        });
        let mut ds = Array2::from_elem((queries, keys), T::ZERO);
        for head in 0..heads {
            let kv = head * kv_heads / heads;
            let (q, dy) = (q.slice(s![.., head, ..]), dy.slice(s![.., head, ..]));
            let (k, v) = (k.slice(s![.., kv, ..]), v.slice(s![.., kv, ..]));
            let bias = bias.map(|bias| bias.index_axis_move(Axis(0), head));
            let p = probabilities(q, k, self.scale, bias, &self.mask, row);

            let dv = d.v.slice_mut(s![.., kv, ..]);
            T::gemm_serial(T::ONE, p.t(), dy, T::ONE, dv);
            T::gemm_serial(T::ONE, dy, v.reversed_axes(), T::ZERO, ds.view_mut());
            for (mut ds, p) in ds.rows_mut().into_iter().zip(p.rows()) {
                let mut inner = T::ZERO;
                for (&ds, &p) in ds.iter().zip(p) {
                    inner += ds * p;
                }
                ds.zip_mut_with(&p, |ds, &p| *ds = p * (*ds - inner));
            }
            let dq = d.q.slice_mut(s![.., head, ..]);
            T::gemm_serial(self.scale, ds.view(), k, T::ZERO, dq);
            let dk = d.k.slice_mut(s![.., kv, ..]);
            T::gemm_serial(self.scale, ds.t(), q, T::ONE, dk);
            if let Some(scores) = &mut d.scores {
                scores.index_axis_mut(Axis(0), head).assign(&ds);
            }
        }
        d
    }
}

impl<T: Scalar> Operation<T> for Attention<T> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, needed: &[bool]) -> Vec<Option<Tensor<T>>> {
        let dy = view4(&gradient);
        let bias = needed.get(3).copied().unwrap_or(false);
        let rows: Vec<RowGradients<T>> = (0..dy.dim().0)
            .into_par_iter()
            .map(|row| self.backward_row(dy.index_axis(Axis(0), row), row, bias))
            .collect();
        let stack = |part: fn(&RowGradients<T>) -> &Array3<T>, shape: &[usize]| {
            let mut elements = Vec::with_capacity(shape.iter().product());
            for row in &rows {
                elements.extend_from_slice(part(row).as_slice().expect("standard layout"));
            }
            tensor(shape, elements)
        };
        let mut gradients = vec![
            needed[0].then(|| stack(|row| &row.q, self.q.shape())),
            needed[1].then(|| stack(|row| &row.k, self.k.shape())),
            needed[2].then(|| stack(|row| &row.v, self.v.shape())),
        ];
        if let Some(saved) = &self.bias {
            gradients.push(bias.then(|| {
                let mut total = vec![T::ZERO; saved.len()];
                for row in &rows {
                    let scores = row.scores.as_ref().expect("asked for");
                    for (total, &part) in total.iter_mut().zip(scores) {
                        *total += part;
                    }
                }
                tensor(saved.shape(), total)
            }));
        }
        gradients
    }
}

/// Attention of `q` (batch x queries x heads x channels) over `k` and `v`
/// (batch x keys x kv_heads x channels), with an additive `bias`
/// (heads x queries x keys) shared by the batch.
///
/// Returns batch x queries x heads x channels. A query that may see no key
/// gives 0.
///
/// # Panics
/// If the shapes do not fit, or `heads` is no multiple of `kv_heads`.
pub fn attention<T: Scalar>(
    q: &Var<T>,
    k: &Var<T>,
    v: &Var<T>,
    scale: T,
    bias: Option<&Var<T>>,
    mask: &AttentionMask,
) -> Var<T> {
    let bias_value = bias.map(Var::value);
    let value = kernel::attention(q.value(), k.value(), v.value(), scale, bias_value, mask);
    let mut inputs = vec![q, k, v];
    inputs.extend(bias);
    q.tape().record(&inputs, value, || Attention {
        q: q.value().clone(),
        k: k.value().clone(),
        v: v.value().clone(),
        scale,
        bias: bias_value.cloned(),
        mask: mask.clone(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gradcheck;
    use crate::ops::testing::normal;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn attention_agrees_with_differences(
            batch in 1..3usize, queries in 1..4usize, extra in 0..3usize, groups in 1..3usize,
            kv_heads in 1..3usize, channels in 1..4usize,
            causal: bool, padded: bool, biased: bool, seed: u64,
        ) {
            let (heads, keys) = (groups * kv_heads, queries + extra);
            let inputs = [
                normal(seed, &[batch, queries, heads, channels]),
                normal(seed ^ 1, &[batch, keys, kv_heads, channels]),
                normal(seed ^ 2, &[batch, keys, kv_heads, channels]),
                normal(seed ^ 3, &[heads, queries, keys]),
            ];
            // Row b keeps b keys fewer; the first row of three may keep none.
            let mask = AttentionMask {
                causal,
                keys: padded.then(|| {
                    Array2::from_shape_fn((batch, keys), |(b, key)| key + b + 1 < keys + batch)
                }),
            };
            let scale = 1.0 / (channels as f64).sqrt();
            gradcheck(&inputs[..if biased { 4 } else { 3 }], |_, v| {
                attention(&v[0], &v[1], &v[2], scale, v.get(3), &mask)
            })
            .unwrap();
        }
    }
}

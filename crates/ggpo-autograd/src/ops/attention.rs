//! `y = softmax(scale q kᵀ + bias) v`, with causal and padding masks.
//!
//! The probabilities are not saved but calculated again from the logarithm of
//! each query's sum; formulas and kernels are in [`ggpo_tensor::attention`].

use ggpo_tensor::attention::{Attention, AttentionMask};
use ggpo_tensor::{Scalar, Tensor};

use crate::{Operation, Var};

struct SavedAttention<T> {
    q: Tensor<T>,
    k: Tensor<T>,
    v: Tensor<T>,
    scale: T,
    bias: Option<Tensor<T>>,
    mask: AttentionMask,
    /// The result, which the layer after it saves anyway.
    y: Tensor<T>,
    /// Batch x heads x queries.
    log_sums: Vec<T>,
}

impl<T: Scalar> Operation<T> for SavedAttention<T> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, needed: &[bool]) -> Vec<Option<Tensor<T>>> {
        let attention = Attention {
            scale: self.scale,
            bias: self.bias.as_ref(),
            mask: &self.mask,
        };
        let bias = needed.get(3).copied();
        let inputs = [&self.q, &self.k, &self.v];
        let result = (&self.y, self.log_sums.as_slice());
        let d = attention.backward(inputs, result, &gradient, bias == Some(true));
        let gradients = [d.q, d.k, d.v].into_iter().zip(needed);
        let mut gradients: Vec<_> = gradients.map(|(d, needed)| needed.then_some(d)).collect();
        if bias.is_some() {
            gradients.push(d.bias);
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
    let attention = Attention {
        scale,
        bias: bias_value,
        mask,
    };
    let (value, log_sums) = attention.forward(q.value(), k.value(), v.value());
    let mut inputs = vec![q, k, v];
    inputs.extend(bias);
    let y = value.clone();
    q.tape().record(&inputs, value, || SavedAttention {
        q: q.value().clone(),
        k: k.value().clone(),
        v: v.value().clone(),
        scale,
        bias: bias_value.cloned(),
        mask: mask.clone(),
        y,
        log_sums,
    })
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
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
            causal: bool, window in prop::option::of(1..4usize), padded: bool, biased: bool,
            seed: u64,
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
                window,
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

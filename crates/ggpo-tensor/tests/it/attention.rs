//! Laws of attention: queries that are the last positions of their keys, and
//! rows with different numbers of keys.

use ggpo_tensor::attention::{Attention, AttentionMask, attention, attention_over, view4};
use ggpo_tensor::layout::slice_axis;
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{Scalar, Tensor, flat, tensor};
use ndarray::{Array2, Array3, Array4, Axis};
use proptest::prelude::*;

const CAUSAL: AttentionMask = AttentionMask {
    causal: true,
    window: None,
    keys: None,
};

fn normal(seed: u64, layer: u32, shape: &[usize]) -> Tensor<f64> {
    let stream = Stream::new(seed, Purpose::Data, 0, layer);
    let count = shape.iter().product::<usize>() as u64;
    tensor(shape, (0..count).map(|i| stream.normal(i).into()).collect())
}

/// Sums of at most a dozen terms of size one, in another order.
fn close(found: &Tensor<f64>, expected: &Tensor<f64>) -> bool {
    assert_eq!(found.shape(), expected.shape());
    let mut pairs = flat(found).iter().zip(flat(expected));
    pairs.all(|(a, b)| (a - b).abs() <= 1e-13)
}

proptest! {
    /// The definition: query i of a suffix of the keys sees the keys up to its
    /// own position, and no other.
    #[test]
    fn a_causal_query_sees_the_keys_up_to_its_own(
        seen in 0..5usize, time in 1..5usize, channels in 1..4usize, seed: u64,
    ) {
        let keys = seen + time;
        let q = normal(seed, 0, &[1, time, 1, channels]);
        let [k, v] = [1, 2].map(|layer| normal(seed, layer, &[1, keys, 1, channels]));
        let found = attention(&q, &k, &v, 1.0, None, &CAUSAL);
        for t in 0..time {
            let before = |x: &Tensor<f64>| slice_axis(x, 1, 0..seen + t + 1);
            let q = slice_axis(&q, 1, t..t + 1);
            let all = AttentionMask::default();
            let expected = attention(&q, &before(&k), &before(&v), 1.0, None, &all);
            prop_assert!(close(&slice_axis(&found, 1, t..t + 1), &expected));
        }
    }

    /// With a window, a query sees the last keys up to its own.
    #[test]
    fn a_window_holds_the_last_keys_up_to_the_querys_own(
        seen in 0..5usize, time in 1..5usize, window in 1..6usize, seed: u64,
    ) {
        let keys = seen + time;
        let q = normal(seed, 0, &[1, time, 1, 2]);
        let [k, v] = [1, 2].map(|layer| normal(seed, layer, &[1, keys, 1, 2]));
        let mask = AttentionMask { window: Some(window), ..CAUSAL };
        let found = attention(&q, &k, &v, 1.0, None, &mask);
        for t in 0..time {
            let end = seen + t + 1;
            let held = |x: &Tensor<f64>| slice_axis(x, 1, end.saturating_sub(window)..end);
            let q = slice_axis(&q, 1, t..t + 1);
            let all = AttentionMask::default();
            let expected = attention(&q, &held(&k), &held(&v), 1.0, None, &all);
            prop_assert!(close(&slice_axis(&found, 1, t..t + 1), &expected));
        }
    }

    /// The last queries alone attend as they do in the whole sequence.
    #[test]
    fn the_last_queries_are_a_part_of_the_whole(
        batch in 1..3usize, time in 1..7usize, cut: usize, groups in 1..4usize,
        kv_heads in 1..3usize, channels in 1..4usize, padded: bool, biased: bool,
        window in prop::option::of(1..7usize), seed: u64,
    ) {
        let (heads, cut) = (groups * kv_heads, cut % time);
        let q = normal(seed, 0, &[batch, time, heads, channels]);
        let [k, v] = [1, 2].map(|layer| normal(seed, layer, &[batch, time, kv_heads, channels]));
        let bias = biased.then(|| normal(seed, 3, &[heads, time, time]));
        let keys = padded.then(|| {
            Array2::from_shape_fn((batch, time), |(b, key)| (b + key) % 3 != 0)
        });
        let mask = AttentionMask { causal: true, window, keys };
        let whole = attention(&q, &k, &v, 0.5, bias.as_ref(), &mask);
        let last = slice_axis(&q, 1, cut..time);
        let bias = bias.map(|bias| slice_axis(&bias, 1, cut..time));
        let part = attention(&last, &k, &v, 0.5, bias.as_ref(), &mask);
        prop_assert!(close(&part, &slice_axis(&whole, 1, cut..time)));
    }

    /// Rows with different numbers of keys attend as each does alone, with the
    /// bias of its last keys.
    #[test]
    fn rows_of_different_lengths_attend_as_alone(
        extra in prop::collection::vec(0..5usize, 1..4), time in 1..3usize,
        groups in 1..3usize, kv_heads in 1..3usize, channels in 1..4usize,
        causal: bool, window in prop::option::of(1..6usize), seed: u64,
    ) {
        let (batch, heads) = (extra.len(), groups * kv_heads);
        let q = normal(seed, 0, &[batch, time, heads, channels]);
        let rows: Vec<[Tensor<f64>; 2]> = (1..)
            .zip(&extra)
            .map(|(row, extra)| {
                let shape = [1, time + extra, kv_heads, channels];
                [2 * row, 2 * row + 1].map(|layer| normal(seed, layer, &shape))
            })
            .collect();
        let longest = time + extra.iter().max().unwrap();
        let bias = normal(seed, 1, &[heads, time, longest]);
        let mask = AttentionMask { causal, window, keys: None };
        let views: Vec<_> = rows
            .iter()
            .map(|row| row.each_ref().map(|x| view4(x).index_axis_move(Axis(0), 0)))
            .collect();
        let found = attention_over(&q, &views, 0.5, Some(&bias), &mask);
        for (b, [k, v]) in rows.iter().enumerate() {
            let q = slice_axis(&q, 0, b..b + 1);
            let bias = slice_axis(&bias, 2, longest - k.shape()[1]..longest);
            let alone = attention(&q, k, v, 0.5, Some(&bias), &mask);
            prop_assert_eq!(slice_axis(&found, 0, b..b + 1), alone);
        }
    }
}

/// The definition, one query at a time, in `f64`: the result for `[q, k, v]`,
/// and the gradients of q, k, v and the bias for that of the result, `dy`.
fn by_definition(
    [q, k, v, dy]: [&Tensor<f64>; 4],
    scale: f64,
    bias: &Tensor<f64>,
    mask: &AttentionMask,
) -> [Tensor<f64>; 5] {
    let [q, k, v, dy] = [q, k, v, dy].map(view4);
    let (batch, queries, heads, channels) = q.dim();
    let (_, keys, kv_heads, _) = k.dim();
    let bias = bias.view().into_dimensionality::<ndarray::Ix3>().unwrap();
    let [mut y, mut dq] = [(); 2].map(|()| Array4::<f64>::zeros(q.dim()));
    let [mut dk, mut dv] = [(); 2].map(|()| Array4::<f64>::zeros(k.dim()));
    let mut dbias = Array3::<f64>::zeros(bias.dim());
    for b in 0..batch {
        for h in 0..heads {
            let g = h / (heads / kv_heads);
            for i in 0..queries {
                let seen = |j: usize| {
                    let kept = mask.keys.as_ref().is_none_or(|kept| kept[(b, j)]);
                    let own = i + keys - queries;
                    let past = j <= own && mask.window.is_none_or(|window| j + window > own);
                    kept && (past || !mask.causal)
                };
                let weights: Vec<f64> = (0..keys)
                    .map(|j| {
                        let inner: f64 = (0..channels)
                            .map(|c| q[(b, i, h, c)] * k[(b, j, g, c)])
                            .sum();
                        if seen(j) {
                            (scale * inner + bias[(h, i, j)]).exp()
                        } else {
                            0.0
                        }
                    })
                    .collect();
                let sum: f64 = weights.iter().sum();
                let p: Vec<f64> = weights
                    .iter()
                    .map(|w| if sum > 0.0 { w / sum } else { 0.0 })
                    .collect();
                let dp: Vec<f64> = (0..keys)
                    .map(|j| {
                        (0..channels)
                            .map(|c| dy[(b, i, h, c)] * v[(b, j, g, c)])
                            .sum()
                    })
                    .collect();
                let inner: f64 = p.iter().zip(&dp).map(|(p, dp)| p * dp).sum();
                for j in 0..keys {
                    let ds = p[j] * (dp[j] - inner);
                    dbias[(h, i, j)] += ds;
                    for c in 0..channels {
                        y[(b, i, h, c)] += p[j] * v[(b, j, g, c)];
                        dq[(b, i, h, c)] += scale * ds * k[(b, j, g, c)];
                        dk[(b, j, g, c)] += scale * ds * q[(b, i, h, c)];
                        dv[(b, j, g, c)] += p[j] * dy[(b, i, h, c)];
                    }
                }
            }
        }
    }
    let [y, dq, dk, dv] = [y, dq, dk, dv].map(|x| x.into_dyn().into_shared());
    [y, dq, dk, dv, dbias.into_dyn().into_shared()]
}

fn assert_is_the_definition<T: Scalar>(
    inputs: &[Tensor<f64>; 4],
    bias: Option<&Tensor<f64>>,
    mask: &AttentionMask,
    tolerance: f64,
) {
    let scale = 0.3;
    let (queries, heads) = (inputs[0].shape()[1], inputs[0].shape()[2]);
    let none = tensor(
        &[heads, queries, inputs[1].shape()[1]],
        vec![0.0; heads * queries * inputs[1].shape()[1]],
    );
    let expected = by_definition(inputs.each_ref(), scale, bias.unwrap_or(&none), mask);
    let cast = |x: &Tensor<f64>| x.mapv(T::from_f64).into_shared();
    let [q, k, v, dy] = inputs.each_ref().map(cast);
    let cast_bias = bias.map(cast);
    let attention = Attention {
        scale: T::from_f64(scale),
        bias: cast_bias.as_ref(),
        mask,
    };
    let (y, log_sums) = attention.forward(&q, &k, &v);
    let d = attention.backward([&q, &k, &v], (&y, &log_sums), &dy, bias.is_some());
    assert_eq!(d.bias.is_some(), bias.is_some());
    let found = [Some(y), Some(d.q), Some(d.k), Some(d.v), d.bias];
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        for (found, expected) in found.iter().flatten().zip(expected) {
            let difference = (found.value() - expected).abs();
            assert!(difference < tolerance, "{index}: {found} or {expected}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Several blocks of queries and keys, panels of channels, keys that are
    /// padding at the end, in between, or all, and rows that see nothing.
    #[test]
    fn blocks_of_queries_attend_by_definition(
        queries in prop::sample::select(vec![1, 8, 9, 64, 65, 130, 250]),
        extra in prop::sample::select(vec![0, 1, 40]),
        channels in prop::sample::select(vec![1, 5, 48, 70]),
        groups in 1..3usize, kv_heads in 1..3usize,
        causal: bool, window in prop::sample::select(vec![None, Some(1), Some(7), Some(64), Some(150)]),
        biased: bool, padding in 0..4usize, seed: u64,
    ) {
        let (batch, heads, keys) = (2, groups * kv_heads, queries + extra);
        let of_keys = [batch, keys, kv_heads, channels];
        let of_queries = [batch, queries, heads, channels];
        let inputs = [
            normal(seed, 0, &of_queries), normal(seed, 1, &of_keys), normal(seed, 2, &of_keys),
            normal(seed, 3, &of_queries),
        ];
        let bias = biased.then(|| normal(seed, 4, &[heads, queries, keys]));
        let kept = |b: usize, key: usize| match padding {
            1 => key < keys - keys / (b + 2),
            2 => !(key + b).is_multiple_of(3) && key + 5 * b < keys,
            _ => b == 0,
        };
        let mask = AttentionMask {
            causal,
            window,
            keys: (padding > 0).then(|| Array2::from_shape_fn((batch, keys), |(b, j)| kept(b, j))),
        };
        // Sums of up to 580 terms of size one, in double and single precision.
        assert_is_the_definition::<f64>(&inputs, bias.as_ref(), &mask, 1e-11);
        assert_is_the_definition::<f32>(&inputs, bias.as_ref(), &mask, 2e-4);
    }
}

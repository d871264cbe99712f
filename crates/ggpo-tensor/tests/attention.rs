//! Laws of attention: queries that are the last positions of their keys, and
//! rows with different numbers of keys.

use ggpo_tensor::attention::{AttentionMask, attention, attention_over, view4};
use ggpo_tensor::layout::slice_axis;
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{Tensor, flat, tensor};
use ndarray::Axis;
use proptest::prelude::*;

const CAUSAL: AttentionMask = AttentionMask {
    causal: true,
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

    /// The last queries alone attend as they do in the whole sequence.
    #[test]
    fn the_last_queries_are_a_part_of_the_whole(
        batch in 1..3usize, time in 1..7usize, cut: usize, groups in 1..4usize,
        kv_heads in 1..3usize, channels in 1..4usize, padded: bool, biased: bool, seed: u64,
    ) {
        let (heads, cut) = (groups * kv_heads, cut % time);
        let q = normal(seed, 0, &[batch, time, heads, channels]);
        let [k, v] = [1, 2].map(|layer| normal(seed, layer, &[batch, time, kv_heads, channels]));
        let bias = biased.then(|| normal(seed, 3, &[heads, time, time]));
        let keys = padded.then(|| {
            ndarray::Array2::from_shape_fn((batch, time), |(b, key)| (b + key) % 3 != 0)
        });
        let mask = AttentionMask { causal: true, keys };
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
        causal: bool, seed: u64,
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
        let mask = AttentionMask { causal, keys: None };
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

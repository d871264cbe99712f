//! All kernels but the products with a weight.

use ggpo_tensor::attention::{Attention, AttentionMask, attention, attention_over, view4};
use ggpo_tensor::dropout::Dropout;
use ggpo_tensor::embedding::{gather, scatter_add};
use ggpo_tensor::layout::{concat, place_in_axis, slice_axis, swap_axes};
use ggpo_tensor::norm::{layer_statistics, normalise, rms_statistics};
use ggpo_tensor::parallel::{for_row_pieces, map, new_rows, update_rows, zip_map, zip_map3};
use ggpo_tensor::parallel::{zeros, zip_update};
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::reduce::{accumulate_rows, dot, squared_norm, sum, sum_rows};
use ggpo_tensor::rotary::RotaryTable;
use ggpo_tensor::softmax::{log_sum_exp, softmax};
use ggpo_tensor::{Scalar, Tensor, activation, flat, tensor, view2};
use ndarray::{Array2, Axis};

use super::{joined, on_dual_numbers};

/// More elements than one piece of a loop or a sum.
const PIECES: usize = (1 << 14) + 100;

on_dual_numbers! {
    functions_of_one_number: [&[40]], |[x]| {
        let positive = map(x, |x| x * x + T::ONE);
        let slopes: [fn(T) -> T; 9] = [
            activation::gelu_erf, activation::gelu_erf_slope, activation::gelu_tanh,
            activation::gelu_tanh_slope, activation::relu, activation::sigmoid,
            activation::silu, activation::silu_slope, |x| x.max(T::from_f64(0.25)),
        ];
        let mut all = joined(&[
            &map(x, T::exp), &map(x, T::tanh), &map(x, T::erf), &map(&positive, T::ln),
            &map(&positive, T::sqrt),
        ]);
        for f in slopes {
            all.extend(flat(&map(x, f)));
        }
        all
    };

    loops_over_pieces: [&[PIECES], &[PIECES], &[PIECES]], |[x, y, z]| {
        let (x, y) = (x.clone(), y.clone());
        let with_rows = update_rows(x.clone(), 4, |_, rows| {
            for row in rows.chunks_exact_mut(4) {
                row[3] *= row[0];
            }
        });
        let mut in_place = flat(&y).to_vec();
        for_row_pieces(&mut in_place, 4, |_, rows| rows.swap(1, 2));
        let mut made = new_rows(y.len(), 4, |first, rows: &mut [T]| {
            rows.copy_from_slice(&flat(&y)[4 * first..][..rows.len()]);
        });
        made.extend(zeros::<T>(3));
        made.extend(in_place);
        made.extend(joined(&[
            &with_rows,
            &zip_map(&x, &y, |x, y| x * y),
            &zip_map3(&x, &y, z, |x, y, z| x * y - z / (y * y + T::ONE)),
            &zip_update(x, &y, |x, y| x - T::from_f64(3.0) * y),
        ]));
        made
    };

    sums: [&[PIECES], &[PIECES], &[700, 30]], |[x, y, rows]| {
        let (x, y) = (flat(x), flat(y));
        // A sum of this many squares is far from 1, which the tolerance goes by.
        let scale = T::from_f64(1.0 / PIECES as f64);
        let mut all = vec![sum(x) * scale, dot(x, y) * scale, squared_norm(x) * scale];
        all.extend(sum_rows(view2(rows)).into_iter().map(|x| x * T::from_f64(1.0 / 700.0)));
        all.extend(accumulate_rows(3, 30, |row, total: &mut [T]| {
            for (total, &x) in total.iter_mut().zip(&flat(rows)[30 * row..]) {
                *total += x * x;
            }
        }));
        all
    };

    moved_elements: [&[3, 4, 5], &[3, 2, 5]], |[x, y]| {
        joined(&[
            &slice_axis(x, 1, 1..3), &place_in_axis(y, 1, 1, 4), &concat(&[x, y], 1),
            &swap_axes(x, 0, 2),
        ])
    };

    softmax_and_log_sum_exp: [&[5, 37]], |[x]| {
        let mut all = joined(&[&softmax(x)]);
        all.extend(flat(x).chunks_exact(37).map(log_sum_exp));
        all
    };

    norms: [&[4, 33], &[33], &[33]], |[x, weight, bias]| {
        let (layer, rms) = (layer_statistics(x, 1e-5), rms_statistics(x, 1e-6));
        let mut all = [layer.as_flattened(), rms.as_flattened()].concat();
        all.extend(joined(&[
            &normalise(x, &layer, flat(weight), Some(flat(bias))),
            &normalise(x, &rms, flat(weight), None),
        ]));
        all
    };

    embeddings: [&[5, 3], &[4, 3]], |[table, rows]| {
        let ids = [4, 0, 4, 2];
        let mut scattered = flat(table).to_vec();
        scatter_add(flat(rows), &ids, &mut scattered, 3);
        scattered.extend(flat(&gather(table, &ids)));
        scattered
    };

    rotary_embedding: [&[2, 3, 2, 6]], |[x]| {
        let table = RotaryTable::new(8, 6, 100.0);
        joined(&[&table.turn(x.clone(), &[0, 5], false), &table.turn(x.clone(), &[1, 2], true)])
    };

    dropout: [&[600]], |[x]| {
        let dropout = Dropout::new(Stream::new(3, Purpose::Dropout, 0, 0), 0.4);
        joined(&[&dropout.apply(x.clone())])
    };

    noise_on_rows: [&[4], &[4, 75]], |[scales, rows]| {
        let mut out = flat(rows).to_vec();
        Stream::new(3, Purpose::Perturbation, 0, 0).add_normal_rows(9, 75, flat(scales), &mut out);
        out
    };
}

/// Two batch rows with padding in one, and two heads that share one of the keys.
fn mask(keys: usize) -> AttentionMask {
    AttentionMask {
        causal: true,
        window: Some(4),
        keys: Some(Array2::from_shape_fn((2, keys), |(row, key)| {
            row == 0 || (key % 5 != 1 && key + 9 < keys)
        })),
    }
}

fn both_ways<T: Scalar>([q, k, v, bias, dy]: [&Tensor<T>; 5], mask: &AttentionMask) -> Vec<T> {
    let attention = Attention {
        scale: T::from_f64(0.4),
        bias: Some(bias),
        mask,
    };
    let (y, log_sums) = attention.forward(q, k, v);
    let d = attention.backward([q, k, v], (&y, &log_sums), dy, true);
    let mut all = joined(&[&y, &d.q, &d.k, &d.v, &d.bias.expect("asked for")]);
    // Where a query sees nothing, the logarithm is infinite and has no derivative.
    all.extend(log_sums.into_iter().filter(|x| x.value().is_finite()));
    all
}

on_dual_numbers! {
    attention_in_blocks:
        [&[2, 70, 2, 5], &[2, 200, 1, 5], &[2, 200, 1, 5], &[2, 70, 200], &[2, 70, 2, 5]],
        |[q, k, v, bias, dy]| both_ways([q, k, v, bias, dy], &mask(200));

    attention_of_few_queries:
        [&[2, 3, 2, 4], &[2, 14, 1, 4], &[2, 14, 1, 4], &[2, 3, 14], &[2, 3, 2, 4]],
        |[q, k, v, bias, dy]| both_ways([q, k, v, bias, dy], &mask(14));

    attention_that_begins_without_keys:
        [&[1, 12, 1, 3], &[1, 12, 1, 3], &[1, 12, 1, 3], &[1, 12, 12], &[1, 12, 1, 3]],
        |[q, k, v, bias, dy]| {
            let keys = Some(Array2::from_shape_fn((1, 12), |(_, key)| key > 2));
            both_ways([q, k, v, bias, dy], &AttentionMask { causal: true, window: None, keys })
        };

    attention_over_rows_of_their_own: [&[2, 2, 2, 3], &[2, 6, 1, 3], &[2, 6, 1, 3]],
        |[q, k, v]| {
            let all = AttentionMask::default();
            let scale = T::from_f64(0.5);
            let rows = [0, 1].map(|row| [k, v].map(|x| view4(x).index_axis_move(Axis(0), row)));
            joined(&[
                &attention(q, k, v, scale, None, &all),
                &attention_over(q, &rows, scale, None, &all),
            ])
        };

    tensors_from_elements: [&[2, 3]], |[x]| joined(&[&tensor(&[3, 2], flat(x).to_vec())]);
}

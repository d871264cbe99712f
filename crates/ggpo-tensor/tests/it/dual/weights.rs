//! Products, with and without a weight that acts, and the cross entropy of a head.

use ggpo_tensor::cross_entropy::LogitLayer;
use ggpo_tensor::{
    ActingWeight, Addend, BlockFormat, LowRank, QuantizedMatrix, RowPerturbation, Scalar, Tensor,
    WeightView, flat, gemm, matmul, matmul_batched, matmul_nt, matmul_tn, view2,
};
use ndarray::{Array2, ArrayView3, ArrayViewMut2, ShapeBuilder};

use super::on_dual_numbers;

fn view3<T>(x: &Tensor<T>) -> ArrayView3<'_, T> {
    x.view().into_dimensionality().expect("three axes")
}

/// `gemm` with a result that may be stored by columns.
fn gemm_to<T: Scalar>([a, b, c]: [&Tensor<T>; 3], beta: f64, by_columns: bool) -> Vec<T> {
    let mut out = Array2::from_elem(view2(c).dim().set_f(by_columns), T::ZERO);
    out.assign(&view2(c));
    let alpha = T::from_f64(0.5);
    gemm(alpha, view2(a), view2(b), T::from_f64(beta), out.view_mut());
    out.iter().copied().collect()
}

on_dual_numbers! {
    products: [&[6, 7], &[7, 5], &[6, 5]], |[a, b, c]| {
        let mut all = Vec::new();
        all.extend(matmul(view2(a), view2(b)));
        all.extend(matmul_nt(view2(a), view2(b).t().to_owned().view()));
        all.extend(matmul_tn(view2(a).t().to_owned().view(), view2(b)));
        all.extend(gemm_to([a, b, c], 0.0, false));
        all.extend(gemm_to([a, b, c], -1.5, true));
        all
    };

    products_of_a_batch: [&[3, 4, 5], &[3, 5, 2]], |[a, b]| {
        matmul_batched(view3(a), view3(b)).into_iter().collect()
    };

    // Beyond 2^21 multiply-adds a product is cut: along its rows, with B in panels,
    // or along its columns.
    products_cut_along_rows: [&[300, 100], &[100, 90], &[300, 90]], |[a, b, c]| {
        let mut all = gemm_to([a, b, c], 0.0, false);
        all.extend(gemm_to([a, b, c], 0.7, true));
        all
    };

    products_cut_along_columns: [&[90, 100], &[100, 300], &[90, 300]], |[a, b, c]| {
        gemm_to([a, b, c], 1.0, false)
    };
}

/// Noise on the rows of a weight, whose deviations are numbers with a tangent.
#[derive(Debug)]
struct Noise<'a, T>(&'a [T]);

impl<T: Scalar> RowPerturbation<T> for Noise<'_, T> {
    fn add_rows(&self, first_row: usize, mut panel: ArrayViewMut2<'_, T>) {
        for ((row, column), element) in panel.indexed_iter_mut() {
            let phase = (first_row + row) as f64 * 0.7 + column as f64 * 1.3;
            *element += self.0[first_row + row] * T::from_f64(phase.sin());
        }
    }
}

/// Both products with a weight of m x n, for rows x and y of the other operand.
fn both_ways<T: Scalar>(acting: ActingWeight<'_, T>, [x, y, bias]: [&Tensor<T>; 3]) -> Vec<T> {
    let (m, n) = acting.weight.dim();
    let mut out = Array2::from_elem((x.shape()[0], m), T::ZERO);
    acting.times_transposed(view2(x), Addend::Row(flat(bias)), out.view_mut());
    let mut back = Array2::from_elem((y.shape()[0], n), T::ONE);
    acting.times(view2(y), T::from_f64(0.5), back.view_mut());
    out.into_iter().chain(back).collect()
}

/// `W + s B A + eps`, with tangents in all of its parts.
fn merged<T: Scalar>([w, b, a, deviations, x, y, bias]: [&Tensor<T>; 7]) -> Vec<T> {
    let low_rank = LowRank {
        scaling: flat(bias)[0],
        b: view2(b),
        a: view2(a),
    };
    let noise = Noise(flat(deviations));
    let acting = ActingWeight {
        weight: WeightView::from(view2(w)),
        low_rank: [Some(low_rank), None],
        noise: Some(&noise),
    };
    let mut all = both_ways(acting, [x, y, bias]);
    let without_noise = ActingWeight {
        noise: None,
        ..acting
    };
    all.extend(both_ways(without_noise, [x, y, bias]));
    all
}

/// 2 x 64 elements in [-1, 1) in blocks of the format Q4_0, with the scale 2^-3.
fn quantized() -> QuantizedMatrix {
    let mut bytes = Vec::new();
    for block in 0..4_u8 {
        bytes.extend(0x3000_u16.to_le_bytes());
        bytes.extend((0..16_u8).map(|i| i.wrapping_mul(37).wrapping_add(block.wrapping_mul(91))));
    }
    QuantizedMatrix::new(BlockFormat::Q4_0, 2, 64, bytes).expect("whole blocks")
}

on_dual_numbers! {
    // 5 rows go by panels of the weight, 60 by a packed operand.
    few_rows_with_the_weight_that_acts:
        [&[20, 30], &[20, 2], &[2, 30], &[20], &[5, 30], &[5, 20], &[20]],
        |[w, b, a, deviations, x, y, bias]| merged([w, b, a, deviations, x, y, bias]);

    many_rows_with_the_weight_that_acts:
        [&[20, 30], &[20, 2], &[2, 30], &[20], &[60, 30], &[60, 20], &[20]],
        |[w, b, a, deviations, x, y, bias]| merged([w, b, a, deviations, x, y, bias]);

    a_quantized_weight: [&[5, 64], &[60, 2], &[2]], |[x, y, bias]| {
        let matrix = quantized();
        let weight = WeightView::from(&matrix);
        let mut all = both_ways(ActingWeight::from(weight), [x, y, bias]);
        all.extend(weight.rows(&[1, 0]).iter().map(|&w| w * flat(x)[0]));
        weight.for_panels(|_, panel| all.extend(panel.iter().map(|&w| w * flat(x)[1])));
        all
    };
}

/// The loss, what its gradient is made of, and the gradients of W and b.
fn loss_both_ways<T: Scalar>([x, w, bias]: [&Tensor<T>; 3]) -> Vec<T> {
    let rows = x.shape()[0];
    let words = w.shape()[0];
    let targets: Vec<usize> = (0..rows).map(|row| (row * 131 + 7) % words).collect();
    let head = LogitLayer {
        weight: WeightView::from(view2(w)),
        bias: Some(flat(bias)),
    };
    let found = head.statistics(view2(x), &targets, true);
    let factor = T::from_f64(0.3);
    let (d_weight, d_bias) = head.gradients(view2(x), &targets, &found.log_sums, factor, [true; 2]);
    let mut all = [found.log_sums, found.chosen].concat();
    all.extend(found.mean_rows.expect("asked for"));
    all.extend(d_weight.expect("asked for"));
    all.extend(d_bias.expect("asked for"));
    all
}

on_dual_numbers! {
    // The vocabulary passes by in blocks of 768 rows; 60 rows of x are packed for.
    cross_entropy_of_many_rows: [&[60, 3], &[800, 3], &[800]],
        |[x, w, bias]| loss_both_ways([x, w, bias]);

    cross_entropy_of_few_rows: [&[4, 3], &[800, 3], &[800]],
        |[x, w, bias]| loss_both_ways([x, w, bias]);
}

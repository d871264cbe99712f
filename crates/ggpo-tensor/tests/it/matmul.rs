//! Matrix products and sums: right for every shape and stride, and the same
//! bits for any number of threads.

use ggpo_tensor::reduce::{dot, squared_norm, sum, sum_rows};
use ggpo_tensor::{
    ActingWeight, Addend, BlockFormat, LowRank, QuantizedMatrix, RowPerturbation, Scalar,
    WeightView, gemm, matmul, matmul_batched, matmul_nt, matmul_tn,
};
use ndarray::{Array2, Array3, ArrayView2, ArrayViewMut2, Axis, s};
use proptest::prelude::*;

/// Numbers in [-1, 1) without a pattern: multiples of the golden ratio, modulo 1.
fn numbers<T: Scalar>(count: usize, shift: f64) -> Vec<T> {
    (0..count)
        .map(|i| ((i as f64 + shift) * 0.618_033_988_749_894_8).fract())
        .map(|x| T::from_f64(2.0 * x - 1.0))
        .collect()
}

fn matrix<T: Scalar>(rows: usize, columns: usize, shift: f64) -> Array2<T> {
    Array2::from_shape_vec((rows, columns), numbers(rows * columns, shift)).unwrap()
}

/// A matrix of the given shape seen through other strides.
#[derive(Debug, Clone, Copy)]
enum Layout {
    Standard,
    Transposed,
    /// Every third row and second column of a larger matrix.
    Sliced,
    /// Rows in reverse order.
    Reversed,
}

fn layout() -> impl Strategy<Value = Layout> {
    prop::sample::select(vec![
        Layout::Standard,
        Layout::Transposed,
        Layout::Sliced,
        Layout::Reversed,
    ])
}

impl Layout {
    fn storage(self, rows: usize, columns: usize, shift: f64) -> Array2<f64> {
        match self {
            Layout::Standard | Layout::Reversed => matrix(rows, columns, shift),
            Layout::Transposed => matrix(columns, rows, shift),
            Layout::Sliced => matrix(3 * rows + 1, 2 * columns + 1, shift),
        }
    }

    fn view(self, storage: &mut Array2<f64>) -> ArrayViewMut2<'_, f64> {
        let mut view = storage.view_mut();
        match self {
            Layout::Standard => {}
            Layout::Transposed => view.swap_axes(0, 1),
            Layout::Sliced => view.slice_collapse(s![1..;3, 1..;2]),
            Layout::Reversed => view.invert_axis(Axis(0)),
        }
        view
    }
}

/// Checks `found = alpha a b + beta before` against three plain loops.
fn check(
    [alpha, beta]: [f64; 2],
    a: ArrayView2<'_, f64>,
    b: ArrayView2<'_, f64>,
    before: ArrayView2<'_, f64>,
    found: ArrayView2<'_, f64>,
) -> Result<(), TestCaseError> {
    let ((m, k), (_, n)) = (a.dim(), b.dim());
    prop_assert_eq!(found.dim(), (m, n));
    for row in 0..m {
        for column in 0..n {
            let initial = if beta == 0.0 {
                0.0
            } else {
                beta * before[[row, column]]
            };
            let (mut expected, mut magnitude) = (initial, initial.abs());
            for inner in 0..k {
                let term = alpha * a[[row, inner]] * b[[inner, column]];
                expected += term;
                magnitude += term.abs();
            }
            // Both orders of summation are within (k + 3) roundings of the
            // sum of magnitudes.
            let bound = 2.0 * (k as f64 + 3.0) * f64::EPSILON * magnitude;
            let error = (found[[row, column]] - expected).abs();
            prop_assert!(error <= bound, "[{}, {}]: error {:e}", row, column, error);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn gemm_agrees_with_plain_loops(
        (m, k, n) in (0..20usize, 0..20usize, 0..20usize),
        (a_layout, b_layout, c_layout) in (layout(), layout(), layout()),
        alpha in -2.0..2.0, beta in prop::sample::select(vec![0.0, 1.0, -0.7]),
    ) {
        let (mut a, mut b) = (a_layout.storage(m, k, 0.1), b_layout.storage(k, n, 0.2));
        let mut c = c_layout.storage(m, n, 0.3);
        if beta == 0.0 {
            // The old contents are not read, so they may be anything.
            c.fill(f64::NAN);
        }
        let before = c_layout.view(&mut c).to_owned();
        let (a, b) = (a_layout.view(&mut a), b_layout.view(&mut b));
        gemm(alpha, a.view(), b.view(), beta, c_layout.view(&mut c));
        let found = c_layout.view(&mut c);
        check([alpha, beta], a.view(), b.view(), before.view(), found.view())?;
    }

    #[test]
    fn products_agree_with_plain_loops(
        (m, k, n) in (0..20usize, 0..20usize, 0..20usize),
        (a_layout, b_layout) in (layout(), layout()),
    ) {
        let none = Array2::zeros((m, n));
        let mut a = a_layout.storage(m, k, 0.1);
        let mut b = b_layout.storage(k, n, 0.2);
        let (a, b) = (a_layout.view(&mut a), b_layout.view(&mut b));
        for found in [
            matmul(a.view(), b.view()),
            matmul_nt(a.view(), b.t()),
            matmul_tn(a.t(), b.view()),
        ] {
            check([1.0, 0.0], a.view(), b.view(), none.view(), found.view())?;
        }
    }

    #[test]
    fn a_batch_is_a_row_of_products(
        batch in 0..4usize, m in 0..6usize, k in 0..6usize, n in 0..6usize,
    ) {
        let a = Array3::from_shape_vec((batch, k, m), numbers(batch * k * m, 0.1)).unwrap();
        let b = Array3::from_shape_vec((batch, k, n), numbers(batch * k * n, 0.2)).unwrap();
        let a = a.view().permuted_axes([0, 2, 1]);
        let c: Array3<f64> = matmul_batched(a, b.view());
        prop_assert_eq!(c.dim(), (batch, m, n));
        for ((c, a), b) in c.outer_iter().zip(a.outer_iter()).zip(b.outer_iter()) {
            prop_assert_eq!(c, matmul(a, b));
        }
    }
}

proptest! {
    // Plain loops over a million products take a while.
    #![proptest_config(ProptestConfig::with_cases(8))]
    /// Products long enough to be split, along rows and along columns.
    #[test]
    fn split_products_agree_with_plain_loops(
        m in 1..400usize, n in 1..400usize, extra in 1..50usize,
        (a_layout, b_layout, c_layout) in (layout(), layout(), layout()),
    ) {
        let k = (1 << 20) / (m * n) % 2000 + extra;
        let mut a = a_layout.storage(m, k, 0.1);
        let mut b = b_layout.storage(k, n, 0.2);
        let mut c = c_layout.storage(m, n, 0.3);
        let before = c_layout.view(&mut c).to_owned();
        let (a, b) = (a_layout.view(&mut a), b_layout.view(&mut b));
        gemm(0.9, a.view(), b.view(), 1.1, c_layout.view(&mut c));
        let found = c_layout.view(&mut c);
        check([0.9, 1.1], a.view(), b.view(), before.view(), found.view())?;
    }
}

#[test]
#[should_panic(expected = "gemm: a is 2 x 3, b is 4 x 5")]
fn inner_dimensions_must_agree() {
    matmul::<f32>(matrix(2, 3, 0.1).view(), matrix(4, 5, 0.2).view());
}

/// Noise that is a function of row and column.
#[derive(Debug)]
struct Waves;

impl<T: Scalar> RowPerturbation<T> for Waves {
    fn add_rows(&self, first_row: usize, mut panel: ArrayViewMut2<'_, T>) {
        for ((row, column), element) in panel.indexed_iter_mut() {
            let phase = (first_row + row) as f64 * 0.7 + column as f64 * 1.3;
            *element += T::from_f64(phase.sin());
        }
    }
}

/// Blocks of the format Q4_0 with the scale 2^-3, that is elements in [-1, 1).
fn quantized(rows: usize, columns: usize) -> QuantizedMatrix {
    let blocks = rows * columns / 32;
    let mut bytes = Vec::new();
    for (i, x) in numbers::<f64>(16 * blocks, 0.7).into_iter().enumerate() {
        if i % 16 == 0 {
            bytes.extend(0x3000_u16.to_le_bytes());
        }
        bytes.push((128.0 * (x + 1.0)) as u8);
    }
    QuantizedMatrix::new(BlockFormat::Q4_0, rows, columns, bytes).unwrap()
}

#[test]
fn products_see_the_weight_that_acts() {
    // 300 x 512 elements are several panels of 2^16, and the last is shorter.
    // 7 tokens go by panels of the weight, 60 by a packed operand.
    let (m, n) = (300, 512);
    let (dense, blocks) = (matrix::<f64>(m, n, 0.1), quantized(m, n));
    let (b, a) = (matrix(m, 3, 0.6), matrix(3, n, 0.7));
    let low_rank = LowRank {
        scaling: 1.5,
        b: b.view(),
        a: a.view(),
    };
    let bias = numbers::<f64>(m, 0.8);
    for tokens in [7, 60] {
        let (x, y) = (matrix(tokens, n, 0.2), matrix(tokens, m, 0.3));
        let (before, before_back) = (matrix(tokens, m, 0.4), matrix(tokens, n, 0.5));
        for weight in [
            WeightView::from(dense.view()),
            (&blocks).into(),
            WeightView::Zero(m, n),
        ] {
            for noise in [None, Some(&Waves as &dyn RowPerturbation<f64>)] {
                for low_rank in [[None; 2], [Some(low_rank), None], [Some(low_rank); 2]] {
                    let acting = ActingWeight {
                        weight,
                        low_rank,
                        noise,
                    };
                    let mut sum = weight.rows(&Vec::from_iter(0..m));
                    if let Some(noise) = noise {
                        noise.add_rows(0, sum.view_mut());
                    }
                    let terms = low_rank.iter().flatten().count() as f64;
                    sum = sum + terms * 1.5 * b.dot(&a);
                    let product = x.dot(&sum.t());
                    for (start, base) in [
                        (Addend::Scaled(0.0), Array2::zeros((tokens, m))),
                        (Addend::Scaled(1.0), before.clone()),
                        (
                            Addend::Row(&bias),
                            ndarray::aview1(&bias)
                                .broadcast((tokens, m))
                                .unwrap()
                                .to_owned(),
                        ),
                    ] {
                        let mut out = before.clone();
                        acting.times_transposed(x.view(), start, out.view_mut());
                        assert_close(&out, &(&product + &base));
                    }
                    let product = y.dot(&sum);
                    for beta in [0.0, 1.0] {
                        let mut out = before_back.clone();
                        acting.times(y.view(), beta, out.view_mut());
                        assert_close(&out, &(&product + beta * &before_back));
                    }
                }
            }
        }
    }
}

/// Sums of some 500 terms of magnitude up to 10, in two orders and groupings.
fn assert_close(found: &Array2<f64>, expected: &Array2<f64>) {
    let largest = (found - expected).mapv(f64::abs);
    assert!(largest.iter().all(|error| *error < 1e-11), "{largest}");
}

/// A product over no columns is zero, and one with no rows changes nothing.
#[test]
fn empty_weights_have_products_too() {
    for noise in [None, Some(&Waves as &dyn RowPerturbation<f64>)] {
        for (m, n) in [(3, 0), (0, 3), (0, 0)] {
            let weight = Array2::zeros((m, n));
            let mut out = Array2::from_elem((2, m), f64::NAN);
            let x = matrix(2, n, 0.1);
            let acting = ActingWeight {
                noise,
                ..WeightView::from(weight.view()).into()
            };
            acting.times_transposed(x.view(), Addend::Scaled(0.0), out.view_mut());
            assert_eq!(out, Array2::<f64>::zeros((2, m)));
            let mut out = matrix(2, n, 0.2);
            let y = matrix(2, m, 0.3);
            acting.times(y.view(), 1.0, out.view_mut());
            assert_eq!(out, matrix::<f64>(2, n, 0.2));
        }
    }
}

/// Every kernel that splits its work, on sizes beyond the limits of 2^20
/// multiply-adds and 2^14 elements.
fn split_results<T: Scalar>() -> Vec<Vec<T>> {
    let (tall, wide) = (matrix::<T>(1000, 70, 0.1), matrix::<T>(70, 150, 0.2));
    let mut results = vec![
        matmul(tall.view(), wide.view()).into_raw_vec_and_offset().0,
        matmul_nt(wide.t(), tall.view()).into_raw_vec_and_offset().0,
        matmul_tn(tall.view(), tall.view())
            .into_raw_vec_and_offset()
            .0,
    ];
    let (x, weight) = (matrix::<T>(500, 512, 0.3), matrix::<T>(300, 512, 0.4));
    let blocks = quantized(300, 512);
    for weight in [WeightView::from(weight.view()), (&blocks).into()] {
        let acting = ActingWeight {
            noise: Some(&Waves as &dyn RowPerturbation<T>),
            ..weight.into()
        };
        let mut out = Array2::from_elem((500, 300), T::ZERO);
        acting.times_transposed(x.view(), Addend::Scaled(T::ZERO), out.view_mut());
        let mut back = Array2::from_elem((500, 512), T::ZERO);
        acting.times(out.view(), T::ZERO, back.view_mut());
        results.extend([out, back].map(|matrix| matrix.into_raw_vec_and_offset().0));
    }

    let (x, y) = (numbers::<T>(100_003, 0.5), numbers::<T>(100_003, 0.6));
    results.push(vec![sum(&x), dot(&x, &y), squared_norm(&x)]);
    results.push(sum_rows(tall.view()));
    results.push(sum_rows(weight.view()));
    results
}

fn assert_same_for_any_threads<T: Scalar>() {
    let with_threads = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("a thread pool").install(split_results::<T>)
    };
    let alone = with_threads(1);
    for threads in [2, 7] {
        for (kernel, (found, expected)) in with_threads(threads).iter().zip(&alone).enumerate() {
            assert!(found == expected, "result {kernel} on {threads} threads");
        }
    }
}

#[test]
fn results_have_the_same_bits_for_any_number_of_threads() {
    assert_same_for_any_threads::<f32>();
    assert_same_for_any_threads::<f64>();
}

#[test]
fn sums_agree_with_integers() {
    // Sums of integers below 2^53 are exact in any order.
    let x: Vec<f64> = (0..50_001).map(f64::from).collect();
    assert_eq!(sum(&x), 50_000.0 * 50_001.0 / 2.0);
    assert_eq!(squared_norm(&x), 50_000.0 * 50_001.0 * 100_001.0 / 6.0);
    let rows = Array2::from_shape_fn((5000, 7), |(row, column)| (row * (column + 1)) as f64);
    let total = 4999.0 * 5000.0 / 2.0;
    let expected: Vec<f64> = (1..=7).map(|factor| total * f64::from(factor)).collect();
    assert_eq!(sum_rows(rows.view()), expected);
    assert_eq!(sum_rows(Array2::<f64>::zeros((0, 3)).view()), [0.0; 3]);
    assert!(sum_rows(Array2::<f64>::zeros((3, 0)).view()).is_empty());
}

//! Every kernel of this processor against `matrixmultiply`, in double precision.

use ndarray::{Array2, Axis, s};
use proptest::prelude::*;

use super::*;
use crate::random::{Purpose, Stream};
use crate::raw::gemm::dgemm;

/// The kernels of this processor.
fn shapes() -> Vec<TileShape> {
    Level::available().filter_map(shape_at).collect()
}

fn matrix(seed: u32, rows: usize, columns: usize) -> Array2<f32> {
    let mut numbers = vec![0.0; rows * columns];
    Stream::new(5, Purpose::Perturbation, seed, 0).fill_normal(0, &mut numbers);
    Array2::from_shape_vec((rows, columns), numbers).unwrap()
}

/// How a matrix lies in memory.
#[derive(Debug, Clone, Copy)]
enum Layout {
    Rows,
    Columns,
    /// Every second row and third column of a larger one.
    Sliced,
    /// Rows of a wider matrix, as the heads of attention are.
    Strided,
}

fn layout() -> impl Strategy<Value = Layout> {
    use Layout::{Columns, Rows, Sliced, Strided};
    prop::sample::select(vec![Rows, Columns, Sliced, Strided])
}

impl Layout {
    fn storage(self, seed: u32, rows: usize, columns: usize) -> Array2<f32> {
        match self {
            Layout::Rows => matrix(seed, rows, columns),
            Layout::Columns => matrix(seed, columns, rows),
            Layout::Sliced => matrix(seed, 2 * rows, 3 * columns),
            Layout::Strided => matrix(seed, rows, columns + 5),
        }
    }

    fn view(self, storage: &mut Array2<f32>) -> ArrayViewMut2<'_, f32> {
        match self {
            Layout::Rows => storage.view_mut(),
            Layout::Columns => storage.view_mut().reversed_axes(),
            Layout::Sliced => storage.slice_mut(s![..;2, ..;3]),
            Layout::Strided => {
                let columns = storage.ncols() - 5;
                storage.slice_mut(s![.., 2..2 + columns])
            }
        }
    }
}

/// Checks `found = alpha a b + base` against the product in double precision:
/// the rounding of k + 3 operations on the sum of magnitudes.
fn check(
    alpha: f32,
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    base: ArrayView2<'_, f32>,
    found: ArrayView2<'_, f32>,
) -> Result<(), TestCaseError> {
    let wide = |x: ArrayView2<'_, f32>| x.mapv(f64::from);
    let product = |a: Array2<f64>, b: Array2<f64>, mut base: Array2<f64>| {
        dgemm(1.0, a.view(), b.view(), 1.0, base.view_mut());
        base
    };
    let scaled = wide(a) * f64::from(alpha);
    let magnitude = product(scaled.abs(), wide(b).abs(), wide(base).abs());
    let expected = product(scaled, wide(b), wide(base));
    let bound = (a.ncols() + 3) as f64 * f64::from(f32::EPSILON);
    for ((found, expected), magnitude) in found.iter().zip(&expected).zip(&magnitude) {
        let error = (f64::from(*found) - expected).abs();
        prop_assert!(error <= bound * magnitude, "{found} for {expected}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn products_agree_with_matrixmultiply(
        (m, k, n) in (0..70usize, 0..40usize, 0..120usize),
        (a_layout, b_layout) in (layout(), layout()),
        c_layout in prop::sample::select(vec![Layout::Rows, Layout::Columns, Layout::Strided]),
        alpha in -2.0..2.0_f32, beta in prop::sample::select(vec![0.0, 1.0, -0.5_f32]),
    ) {
        let (mut a, mut b) = (a_layout.storage(1, m, k), b_layout.storage(2, k, n));
        let (a, b) = (a_layout.view(&mut a), b_layout.view(&mut b));
        for shape in shapes() {
            let mut c = c_layout.storage(3, m, n);
            let before = c.clone();
            if beta == 0.0 {
                // The old contents are not read.
                c_layout.view(&mut c).fill(f32::NAN);
            }
            let base = c_layout.view(&mut before.clone()).map(|c| beta * c);
            let done = sgemm_with(shape, alpha, a.view(), b.view(), beta, c_layout.view(&mut c));
            prop_assert!(done || m.min(n) < 2);
            if done {
                check(alpha, a.view(), b.view(), base.view(), c_layout.view(&mut c).view())?;
            }
            if let (Layout::Strided, true) = (c_layout, n > 0) {
                // Nothing beside the result is written.
                let beside = |c: &Array2<f32>| (c.slice(s![.., ..2]).to_owned(), c.slice(s![.., n + 2..]).to_owned());
                prop_assert_eq!(beside(&c), beside(&before));
            }
        }
    }
}

/// Sums longer than a stretch, and rows of more than a block.
#[test]
fn long_and_large_products_agree_with_matrixmultiply() {
    for shape in shapes() {
        for (m, k, n) in [
            (300, 400, 50),
            (8, 1000, 100),
            (100, 1000, 8),
            (3, 500, 200),
        ] {
            for transposed in [false, true] {
                let (a, b) = match transposed {
                    false => (matrix(1, m, k), matrix(2, n, k).reversed_axes()),
                    true => (matrix(1, k, m).reversed_axes(), matrix(2, k, n)),
                };
                let (base, mut c) = (Array2::zeros((m, n)), matrix(3, m, n));
                assert!(sgemm_with(
                    shape,
                    1.0,
                    a.view(),
                    b.view(),
                    0.0,
                    c.view_mut()
                ));
                check(1.0, a.view(), b.view(), base.view(), c.view()).unwrap();
            }
        }
    }
}

/// An element's bits do not depend on what is calculated beside it.
#[test]
fn pieces_have_the_bits_of_the_whole() {
    for shape in shapes() {
        let (a, b) = (matrix(1, 200, 300), matrix(2, 300, 100));
        let mut whole = Array2::zeros((200, 100));
        assert!(sgemm_with(
            shape,
            1.0,
            a.view(),
            b.view(),
            0.0,
            whole.view_mut()
        ));
        for rows in [1, 7, 50, 96] {
            let mut pieces = Array2::zeros((200, 100));
            let parts = pieces.axis_chunks_iter_mut(Axis(0), rows);
            for (c, a) in parts.zip(a.axis_chunks_iter(Axis(0), rows)) {
                assert!(sgemm_with(shape, 1.0, a, b.view(), 0.0, c));
            }
            assert_eq!(pieces, whole, "in pieces of {rows} rows");
        }
    }
}

#[test]
fn transposes_of_every_size_are_right() {
    for m in 0..20 {
        for n in 0..20 {
            let source = matrix(1, m, n);
            let mut target = Array2::zeros((n, m));
            transpose_into(source.view(), target.view_mut());
            assert_eq!(target, source.t());
        }
    }
}

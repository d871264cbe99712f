//! Kernels in vector instructions against the general engine.

use ggpo_tensor::{matmul, matmul_nt, matmul_tn};
use ndarray::{Array2, ArrayView2, Axis, s};

use crate::World;

/// Longest axis.
const LONGEST: usize = 70;

/// A matrix of small whole numbers that is a window of a larger one, in rows or columns,
/// with every second element or all, forwards or backwards.
struct Operand {
    whole: Array2<f32>,
    transposed: bool,
    step: isize,
    offset: usize,
    dim: (usize, usize),
}

impl Operand {
    fn new((rows, columns): (usize, usize), how: u8) -> Self {
        let transposed = how & 1 == 1;
        let step = [1_isize, 2, -1, -2][usize::from(how >> 1) & 3];
        let offset = usize::from(how >> 3) & 3;
        let (m, n) = if transposed {
            (columns, rows)
        } else {
            (rows, columns)
        };
        let stride = step.unsigned_abs();
        let shape = (m * stride + offset, n * stride + offset);
        let number = |(i, j)| ((7 * i + 3 * j + usize::from(how)) % 9) as f32 - 4.0;
        Operand {
            whole: Array2::from_shape_fn(shape, number),
            transposed,
            step,
            offset,
            dim: (m, n),
        }
    }

    fn view(&self) -> ArrayView2<'_, f32> {
        let stride = self.step.unsigned_abs();
        let (m, n) = self.dim;
        let window = self.whole.slice(s![
            self.offset..self.offset + m * stride,
            self.offset..self.offset + n * stride
        ]);
        let mut window = window.slice_move(s![..;stride, ..;stride]);
        if self.step < 0 {
            window.invert_axis(Axis(0));
            window.invert_axis(Axis(1));
        }
        match self.transposed {
            true => window.reversed_axes(),
            false => window,
        }
    }
}

/// Products of whole numbers below 2^24 have one value in any order of summing, so the
/// kernels of all levels must agree with `f64` to the bit.
pub(crate) fn products(_: &World, bytes: &[u8]) {
    let &[m, k, n, how_a, how_b, form, ..] = bytes else {
        return;
    };
    let [m, k, n] = [m, k, n].map(|length| usize::from(length) % LONGEST);
    let (a_dim, b_dim) = match form % 3 {
        0 => ((m, k), (k, n)),
        1 => ((m, k), (n, k)),
        _ => ((k, m), (k, n)),
    };
    let (a, b) = (Operand::new(a_dim, how_a), Operand::new(b_dim, how_b));
    let (a, b) = (a.view(), b.view());
    let (wide_a, wide_b) = (a.mapv(f64::from), b.mapv(f64::from));
    let (found, expected) = match form % 3 {
        0 => (matmul(a, b), matmul(wide_a.view(), wide_b.view())),
        1 => (matmul_nt(a, b), matmul_nt(wide_a.view(), wide_b.view())),
        _ => (matmul_tn(a, b), matmul_tn(wide_a.view(), wide_b.view())),
    };
    assert_eq!(
        found.mapv(f64::from),
        expected,
        "{m} x {k} x {n}, {how_a}, {how_b}, {form}"
    );
}

pub(crate) fn seeds(_: &World) -> Vec<Vec<u8>> {
    vec![
        vec![8, 16, 48, 0, 0, 0],
        vec![1, 69, 17, 1, 2, 1],
        vec![33, 0, 5, 31, 30, 2],
        vec![65, 64, 1, 9, 4, 0],
    ]
}

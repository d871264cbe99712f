//! Rearranging operands: the left one in tiles, and matrices to their transpose.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    _mm256_loadu_ps, _mm256_permute2f128_ps, _mm256_setzero_ps, _mm256_shuffle_ps,
    _mm256_storeu_ps, _mm256_unpackhi_ps, _mm256_unpacklo_ps,
};

use ndarray::{ArrayView2, ArrayViewMut2, Axis, s};

use super::Left;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Level, level};

/// Packs `a` (m x k) in tiles of rows: tile after tile, each k x rows of a tile.
pub(super) fn tiles(a: ArrayView2<'_, f32>, rows: usize, packed: &mut Vec<f32>) -> Left {
    let (m, k) = a.dim();
    packed.resize(m.div_ceil(rows) * k * rows, 0.0);
    for (source, tile) in a
        .axis_chunks_iter(Axis(0), rows)
        .zip(packed.chunks_exact_mut((k * rows).max(1)))
    {
        let tile = ArrayViewMut2::from_shape((k, rows), tile).expect("one tile");
        let mut tile = tile.slice_move(s![.., ..source.nrows()]);
        tile.assign(&source.t());
    }
    Left {
        start: packed.as_ptr(),
        strides: [1, rows as isize],
        tile: (k * rows) as isize,
    }
}

/// Numbers along a side of the squares that are transposed in registers.
#[cfg(target_arch = "x86_64")]
const SIDE: usize = 8;

/// Writes the transpose of `source` (m x n) to `target` (n x m).
///
/// # Panics
/// If the shapes do not fit.
pub(crate) fn transpose_into(source: ArrayView2<'_, f32>, mut target: ArrayViewMut2<'_, f32>) {
    let (m, n) = source.dim();
    assert_eq!(target.dim(), (n, m), "shape of the transpose");
    #[cfg(target_arch = "x86_64")]
    if source.strides()[1] == 1 && target.strides()[1] == 1 && level() >= Level::Avx2 {
        return transpose_by_squares(source, target);
    }
    target.assign(&source.t());
}

/// [`transpose_into`] in squares, for a processor with AVX2, as `level` vouches for; rows
/// must be contiguous.
#[cfg(target_arch = "x86_64")]
fn transpose_by_squares(source: ArrayView2<'_, f32>, mut target: ArrayViewMut2<'_, f32>) {
    let (m, n) = source.dim();
    let (whole_m, whole_n) = (m - m % SIDE, n - n % SIDE);
    let (from_stride, to_stride) = (source.strides()[0], target.strides()[0]);
    for i in (0..whole_m).step_by(SIDE) {
        for j in (0..whole_n).step_by(SIDE) {
            // SAFETY: the processor has AVX2; a square of 8 x 8 numbers from
            // (i, j) on lies inside the source, and from (j, i) on inside the
            // target, whose rows are contiguous and as far apart as is said.
            unsafe {
                let from = source.as_ptr().offset(i as isize * from_stride).add(j);
                let to = target.as_mut_ptr().offset(j as isize * to_stride).add(i);
                transpose_square(from, from_stride, to, to_stride);
            }
        }
    }
    let mut rest = |rows: std::ops::Range<usize>, columns: std::ops::Range<usize>| {
        let source = source.slice(s![rows.clone(), columns.clone()]);
        target.slice_mut(s![columns, rows]).assign(&source.t());
    };
    rest(whole_m..m, 0..n);
    rest(0..whole_m, whole_n..n);
}

/// # Safety
/// Needs AVX2, eight readable numbers at each of eight rows of `from`, and
/// eight writable ones at each of eight rows of `to`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn transpose_square(from: *const f32, from_stride: isize, to: *mut f32, to_stride: isize) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut rows = [_mm256_setzero_ps(); SIDE];
        for i in 0..SIDE {
            rows[i] = _mm256_loadu_ps(from.offset(i as isize * from_stride));
        }
        // Pairs, then fours of rows inside each half of a vector.
        let mut pairs = rows;
        for i in (0..SIDE).step_by(2) {
            pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
            pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
        }
        let mut fours = pairs;
        for i in [0, 4] {
            for half in 0..2 {
                let (low, high) = (pairs[i + half], pairs[i + half + 2]);
                fours[i + 2 * half] = _mm256_shuffle_ps::<0b01_00_01_00>(low, high);
                fours[i + 2 * half + 1] = _mm256_shuffle_ps::<0b11_10_11_10>(low, high);
            }
        }
        for i in 0..4 {
            let (low, high) = (fours[i], fours[i + 4]);
            let left = _mm256_permute2f128_ps::<0x20>(low, high);
            let right = _mm256_permute2f128_ps::<0x31>(low, high);
            _mm256_storeu_ps(to.offset(i as isize * to_stride), left);
            _mm256_storeu_ps(to.offset((i + 4) as isize * to_stride), right);
        }
    }
}

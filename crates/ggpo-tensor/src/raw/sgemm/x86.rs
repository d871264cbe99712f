//! The inner kernels: a tile of C stays in registers over a stretch of K.

use std::arch::x86_64::{__m256, __m512};

use super::tile::{Base, Tile, TileShape};
use super::vector::Vector;

pub(super) static AVX512: TileShape = TileShape {
    rows: 8,
    thin_rows: 16,
    columns: avx512::VECTORS * <__m512 as Vector>::LANES,
    lanes: <__m512 as Vector>::LANES,
    stretch: 192,
    half: Some(&AVX2),
    kernel: avx512::kernel,
};

/// Twelve sums, two vectors of B and a broadcast of A are fifteen of the sixteen
/// registers: with one more the compiler would keep a sum on the stack, and every
/// step would wait for a store and a load.
pub(super) static AVX2: TileShape = TileShape {
    rows: 6,
    thin_rows: 12,
    columns: avx2::VECTORS * <__m256 as Vector>::LANES,
    lanes: <__m256 as Vector>::LANES,
    stretch: 384,
    half: None,
    kernel: avx2::kernel,
};

/// The kernel in functions compiled for one instruction set, one for each
/// number of rows and vectors.
macro_rules! kernels {
    ($name:ident, $features:literal, $vector:ty, $vectors:literal: [$($partial:literal),*], $thin:literal, [$($rows:literal),+]) => {
        mod $name {
            use super::*;

            /// Vectors across a full tile.
            pub(super) const VECTORS: usize = $vectors;

            #[target_feature(enable = $features)]
            unsafe fn rows<const ROWS: usize>(tile: &Tile) {
                let lanes = <$vector as Vector>::LANES;
                // SAFETY: as `Kernel` demands.
                unsafe {
                    match tile.columns.div_ceil(lanes) {
                        1 if tile.columns == lanes => run::<$vector, ROWS, 1, true>(tile),
                        _ if tile.columns == VECTORS * lanes => {
                            run::<$vector, ROWS, VECTORS, true>(tile)
                        }
                        $($partial => run::<$vector, ROWS, $partial, false>(tile),)*
                        _ => run::<$vector, ROWS, VECTORS, false>(tile),
                    }
                }
            }

            /// A tile of one vector's columns has more rows, or each sum would wait
            /// for its last step.
            #[target_feature(enable = $features)]
            unsafe fn thin(tile: &Tile) {
                // SAFETY: as `Kernel` demands.
                unsafe {
                    match tile.columns == <$vector as Vector>::LANES {
                        true => run::<$vector, $thin, 1, true>(tile),
                        false => run::<$vector, $thin, 1, false>(tile),
                    }
                }
            }

            pub(super) unsafe fn kernel(mut count: usize, mut tile: Tile) {
                let lanes = <$vector as Vector>::LANES;
                // SAFETY: as `Kernel` demands; each call takes rows that are there.
                unsafe {
                    while tile.columns <= lanes && count >= $thin {
                        thin(&tile);
                        count -= $thin;
                        tile.a = tile.a.wrapping_offset($thin * tile.a_strides[0]);
                        tile.c = tile.c.wrapping_offset($thin * tile.c_stride);
                    }
                    $(while count >= $rows {
                        rows::<$rows>(&tile);
                        count -= $rows;
                        tile.a = tile.a.wrapping_offset($rows * tile.a_strides[0]);
                        tile.c = tile.c.wrapping_offset($rows * tile.c_stride);
                    })+
                }
            }
        }
    };
}

kernels!(avx512, "avx512f", __m512, 3: [1, 2], 16, [8, 6, 5, 4, 3, 2, 1]);
kernels!(avx2, "avx2,fma", __m256, 2: [1], 12, [6, 5, 4, 3, 2, 1]);

/// # Safety
/// As [`Kernel`](super::tile::Kernel), for ROWS rows and columns that need N vectors, all of
/// them whole if FULL; to be inlined into a function compiled for the instruction set of V.
#[inline(always)]
unsafe fn run<V: Vector, const ROWS: usize, const N: usize, const FULL: bool>(tile: &Tile) {
    let &Tile {
        k,
        a,
        a_strides: [a_row, a_step],
        b,
        b_stride,
        c,
        c_stride,
        columns,
        alpha,
        base,
    } = tile;
    // SAFETY: every access is inside A, B and C by the bounds that the caller
    // has promised: i < ROWS, the step is below k, and only the last vector, of
    // which the mask takes the columns that are left, can reach beyond a row.
    // Pointers that have passed the last element are not used.
    unsafe {
        let last = V::first(columns - (N - 1) * V::LANES);
        let whole = |j| FULL || j < N - 1;
        let mut rows = [a; ROWS];
        for i in 1..ROWS {
            // Of an empty sum there is nothing to point to.
            rows[i] = a.wrapping_offset(i as isize * a_row);
        }
        let mut sums = [[V::zero(); N]; ROWS];
        let mut b_row = b;
        let mut step = 0_isize;
        for _ in 0..k {
            let mut right = [V::zero(); N];
            for j in 0..N {
                right[j] = read(whole(j), last, b_row.wrapping_add(j * V::LANES));
            }
            for i in 0..ROWS {
                let left = V::splat(*rows[i].wrapping_offset(step));
                for j in 0..N {
                    sums[i][j] = left.mul_add(right[j], sums[i][j]);
                }
            }
            step += a_step;
            b_row = b_row.wrapping_offset(b_stride);
        }
        let alpha = V::splat(alpha);
        for i in 0..ROWS {
            let c = c.wrapping_offset(i as isize * c_stride);
            for j in 0..N {
                let c = c.wrapping_add(j * V::LANES);
                let out = match base {
                    Base::Zero => sums[i][j].mul(alpha),
                    Base::Scaled(beta) => {
                        let before: V = read(whole(j), last, c);
                        sums[i][j].mul_add(alpha, before.mul(V::splat(beta)))
                    }
                    Base::Row(row) => {
                        let row = read(whole(j), last, row.wrapping_add(j * V::LANES));
                        sums[i][j].mul_add(alpha, row)
                    }
                };
                match whole(j) {
                    true => out.store(c),
                    false => out.store_masked(last, c),
                }
            }
        }
    }
}

/// # Safety
/// As [`Vector`]; all lanes must be readable, or those of the mask.
#[inline(always)]
unsafe fn read<V: Vector>(whole: bool, mask: V::Mask, from: *const f32) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        match whole {
            true => V::load(from),
            false => V::load_masked(mask, from),
        }
    }
}

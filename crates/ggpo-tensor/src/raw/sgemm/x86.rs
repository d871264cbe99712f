//! The inner kernels: a tile of C stays in registers over a stretch of K.

use std::arch::x86_64::{__m256, __m512};

use super::tile::{Base, Tile, TileShape};
use super::vector::Vector;

/// Vectors across a full tile.
const VECTORS: usize = 3;

pub(super) const AVX512: TileShape = TileShape {
    rows: 8,
    columns: VECTORS * <__m512 as Vector>::LANES,
    kernel: avx512::kernel,
};

pub(super) const AVX2: TileShape = TileShape {
    rows: 4,
    columns: VECTORS * <__m256 as Vector>::LANES,
    kernel: avx2::kernel,
};

/// The kernel in functions compiled for one instruction set, one for each
/// number of rows and vectors.
macro_rules! kernels {
    ($name:ident, $features:literal, $vector:ty, [$($rows:literal),+]) => {
        mod $name {
            use super::*;

            #[target_feature(enable = $features)]
            unsafe fn rows<const ROWS: usize>(tile: &Tile) {
                let lanes = <$vector as Vector>::LANES;
                // SAFETY: as `Kernel` demands.
                unsafe {
                    match tile.columns.div_ceil(lanes) {
                        1 => run::<$vector, ROWS, 1>(tile),
                        2 => run::<$vector, ROWS, 2>(tile),
                        _ => run::<$vector, ROWS, VECTORS>(tile),
                    }
                }
            }

            pub(super) unsafe fn kernel(mut count: usize, mut tile: Tile) {
                // SAFETY: as `Kernel` demands; each call takes rows that are there.
                unsafe {
                    $(while count >= $rows {
                        rows::<$rows>(&tile);
                        count -= $rows;
                        tile.a = tile.a.offset($rows * tile.a_strides[0]);
                        tile.c = tile.c.offset($rows * tile.c_stride);
                    })+
                }
            }
        }
    };
}

kernels!(avx512, "avx512f", __m512, [8, 4, 2, 1]);
kernels!(avx2, "avx2,fma", __m256, [4, 2, 1]);

/// # Safety
/// As [`Kernel`](super::tile::Kernel), for ROWS rows and columns that need N vectors; to be inlined
/// into a function compiled for the instruction set of V.
#[inline(always)]
unsafe fn run<V: Vector, const ROWS: usize, const N: usize>(tile: &Tile) {
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
    unsafe {
        let last = V::first(columns - (N - 1) * V::LANES);
        let mut rows = [a; ROWS];
        for i in 1..ROWS {
            rows[i] = a.offset(i as isize * a_row);
        }
        let mut sums = [[V::zero(); N]; ROWS];
        let mut b_row = b;
        let mut step = 0_isize;
        for _ in 0..k {
            let mut right = [V::zero(); N];
            for j in 0..N - 1 {
                right[j] = V::load(b_row.add(j * V::LANES));
            }
            right[N - 1] = V::load_masked(last, b_row.add((N - 1) * V::LANES));
            for i in 0..ROWS {
                let left = V::splat(*rows[i].offset(step));
                for j in 0..N {
                    sums[i][j] = left.mul_add(right[j], sums[i][j]);
                }
            }
            step += a_step;
            b_row = b_row.offset(b_stride);
        }
        let alpha = V::splat(alpha);
        for i in 0..ROWS {
            let c = c.offset(i as isize * c_stride);
            for j in 0..N {
                let c = c.add(j * V::LANES);
                let whole = j < N - 1;
                let out = match base {
                    Base::Zero => sums[i][j].mul(alpha),
                    Base::Scaled(beta) => {
                        let before = read::<V>(whole, last, c);
                        sums[i][j].mul_add(alpha, before.mul(V::splat(beta)))
                    }
                    Base::Row(row) => {
                        let row = read::<V>(whole, last, row.add(j * V::LANES));
                        sums[i][j].mul_add(alpha, row)
                    }
                };
                match whole {
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

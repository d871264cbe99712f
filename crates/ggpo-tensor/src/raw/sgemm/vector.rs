//! The vectors of the inner kernel: 16 numbers with AVX-512, 8 with AVX2.

use std::arch::x86_64::{
    __m256, __m256i, __m512, __mmask16, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_maskload_ps, _mm256_maskstore_ps, _mm256_mul_ps, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_storeu_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

/// A vector of `LANES` single-precision numbers.
///
/// # Safety
/// Every method needs the instruction set of its type, which the function that
/// it is inlined into must have been compiled for and the processor must have.
/// Pointers must be valid for the lanes that are read or written.
pub(super) trait Vector: Copy {
    /// Numbers in a vector.
    const LANES: usize;
    /// Which lanes take part in a masked access.
    type Mask: Copy;

    /// The first `count` lanes, of at most [`LANES`](Self::LANES).
    unsafe fn first(count: usize) -> Self::Mask;
    unsafe fn zero() -> Self;
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    /// The lanes of the mask; 0 in the others, whose memory is not touched.
    unsafe fn load_masked(mask: Self::Mask, from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn store_masked(self, mask: Self::Mask, to: *mut f32);
    /// `self * factor`.
    unsafe fn mul(self, factor: Self) -> Self;
    /// `self * factor + addend`, rounded once.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
}

impl Vector for __m512 {
    const LANES: usize = 16;
    type Mask = __mmask16;

    #[inline(always)]
    unsafe fn first(count: usize) -> __mmask16 {
        ((1_u32 << count) - 1) as __mmask16
    }
    #[inline(always)]
    unsafe fn zero() -> Self {
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_masked(mask: __mmask16, from: *const f32) -> Self {
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self) }
    }
    #[inline(always)]
    unsafe fn store_masked(self, mask: __mmask16, to: *mut f32) {
        unsafe { _mm512_mask_storeu_ps(to, mask, self) }
    }
    #[inline(always)]
    unsafe fn mul(self, factor: Self) -> Self {
        unsafe { _mm512_mul_ps(self, factor) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        unsafe { _mm512_fmadd_ps(self, factor, addend) }
    }
}

/// Eight lanes that are on, then eight that are off: the mask of the first
/// `count` lanes starts at element `8 - count`.
static LANES_ON: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

impl Vector for __m256 {
    const LANES: usize = 8;
    type Mask = __m256i;

    #[inline(always)]
    unsafe fn first(count: usize) -> __m256i {
        unsafe { _mm256_loadu_si256(LANES_ON.as_ptr().add(8 - count).cast()) }
    }
    #[inline(always)]
    unsafe fn zero() -> Self {
        unsafe { _mm256_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_masked(mask: __m256i, from: *const f32) -> Self {
        unsafe { _mm256_maskload_ps(from, mask) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, self) }
    }
    #[inline(always)]
    unsafe fn store_masked(self, mask: __m256i, to: *mut f32) {
        unsafe { _mm256_maskstore_ps(to, mask, self) }
    }
    #[inline(always)]
    unsafe fn mul(self, factor: Self) -> Self {
        unsafe { _mm256_mul_ps(self, factor) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        unsafe { _mm256_fmadd_ps(self, factor, addend) }
    }
}

//! One body of safe code, compiled for several instruction sets.
//!
//! A program built for a baseline processor may run on a better one. The
//! compiler uses wider vectors only inside functions marked with
//! `#[target_feature]`, so a hot loop is written once as a [`Kernel`] whose
//! `run` is `#[inline(always)]`, and [`run`] calls the copy that was compiled
//! for the [`Level`] that is asked for.
//!
//! Every copy performs the same IEEE operations: the compiler never fuses a
//! multiplication with an addition unless `mul_add` asks for it, and kernels
//! must not. So the level changes the speed, never a bit of a result.

use crate::simd::{Level, level};

/// Work to be compiled once for each [`Level`].
pub(crate) trait Kernel {
    /// What the work returns.
    type Output;

    /// Does the work. Implementations must be `#[inline(always)]`, as must
    /// everything hot they call, or the code keeps the baseline's vectors.
    fn run(self) -> Self::Output;
}

/// The best level of this processor.
///
/// The standard library remembers what it detected, so this is a few loads.
#[inline]
pub(crate) fn best_level() -> Level {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw");
        return if wide { Level::Avx512 } else { Level::Avx2 };
    }
    Level::Portable
}

/// Runs `kernel` in the copy compiled for the level of this process.
#[inline]
pub(crate) fn run<K: Kernel>(kernel: K) -> K::Output {
    run_at(level(), kernel)
}

/// Runs `kernel` in the copy compiled for `level`, or for the best level of
/// this processor where that is lower.
#[inline]
pub(crate) fn run_at<K: Kernel>(level: Level, kernel: K) -> K::Output {
    match level.min(best_level()) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level is at most the processor's best, so it has AVX2 and
        // FMA; the function needs nothing else.
        Level::Avx2 => unsafe { run_avx2(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level is at most the processor's best, so it has AVX-512 F,
        // DQ, VL and BW; the function needs nothing else.
        Level::Avx512 => unsafe { run_avx512(kernel) },
        _ => kernel.run(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,fma")]
fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

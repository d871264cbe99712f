//! One body of safe code, compiled for several instruction sets.
//!
//! A program built for a baseline processor may run on a better one. The
//! compiler uses wider vectors only inside functions marked with
//! `#[target_feature]`, so a hot loop is written once as a [`Kernel`] whose
//! `run` is `#[inline(always)]`, and [`run`] calls the copy that was compiled
//! for the best instruction set the processor has.
//!
//! Every copy performs the same IEEE operations: the compiler never fuses a
//! multiplication with an addition unless `mul_add` asks for it, and kernels
//! must not. So the level changes the speed, never a bit of a result.

/// Work to be compiled once for each [`Level`].
pub(crate) trait Kernel {
    /// What the work returns.
    type Output;

    /// Does the work. Implementations must be `#[inline(always)]`, as must
    /// everything hot they call, or the code keeps the baseline's vectors.
    fn run(self) -> Self::Output;
}

/// An instruction set that a kernel is compiled for, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// What the compiler assumes of every processor of the target.
    Baseline,
    /// 256-bit integer and floating-point vectors.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit vectors with the DQ, VL and BW extensions.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The best level of this processor.
    ///
    /// The standard library remembers what it detected, so this is a few loads.
    #[inline]
    pub(crate) fn detected() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
            {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") {
                return Self::Avx2;
            }
        }
        Self::Baseline
    }

    /// Every level of this processor, from least to best.
    #[cfg(test)]
    pub(crate) fn available() -> impl Iterator<Item = Self> {
        [
            Self::Baseline,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512,
        ]
        .into_iter()
        .filter(|level| *level <= Self::detected())
    }
}

/// Runs `kernel` in the copy compiled for the best level of this processor.
#[inline]
pub(crate) fn run<K: Kernel>(kernel: K) -> K::Output {
    run_at(Level::detected(), kernel)
}

/// Runs `kernel` in the copy compiled for `level`, or for the best level of
/// this processor where that is lower.
#[inline]
pub(crate) fn run_at<K: Kernel>(level: Level, kernel: K) -> K::Output {
    match level.min(Level::detected()) {
        Level::Baseline => kernel.run(),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level is at most the detected one, so the processor has
        // AVX2; the function needs nothing else.
        Level::Avx2 => unsafe { run_avx2(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level is at most the detected one, so the processor has
        // AVX-512 F, DQ, VL and BW; the function needs nothing else.
        Level::Avx512 => unsafe { run_avx512(kernel) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

//! The level of instruction set that this crate's own kernels run at.
//!
//! A program is built for every processor of its architecture, and finds out at
//! run time what the one it runs on can do. All kernels of this crate then run at
//! one [`Level`], the best one that the processor has, or the one that the
//! environment variable `GGPO_SIMD` names.
//!
//! | level | needs | products in `f32` | everything else |
//! |---|---|---|---|
//! | `portable` | nothing | `matrixmultiply` | what the compiler assumes of the target: SSE2 on x86-64, NEON on AArch64 |
//! | `avx2` | AVX2 and FMA | a kernel of 6 x 16 | 256-bit vectors |
//! | `avx512` | AVX-512 F, DQ, VL and BW | a kernel of 8 x 48 | 512-bit vectors |
//!
//! Products in `f64` run on `matrixmultiply` at every level. That library detects
//! the processor by itself, so `GGPO_SIMD` does not reach it: a product on it may
//! use wider vectors than the level says.
//!
//! The level changes the bits of products in `f32`, whose sums are added up in
//! another order, and of nothing else.

use std::fmt;
use std::sync::OnceLock;

use thiserror::Error;

use crate::raw::dispatch;

/// The environment variable that picks the level.
pub const VARIABLE: &str = "GGPO_SIMD";

/// An instruction set that kernels are compiled for, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// What the compiler assumes of every processor of the target.
    Portable,
    /// 256-bit vectors: AVX2 and FMA.
    Avx2,
    /// 512-bit vectors: AVX-512 F, DQ, VL and BW.
    Avx512,
}

impl Level {
    /// All levels, from least to most.
    pub const ALL: [Level; 3] = [Level::Portable, Level::Avx2, Level::Avx512];

    /// Its name, as `GGPO_SIMD` has it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
        }
    }

    /// The level of this name.
    ///
    /// # Errors
    /// [`LevelError::Unknown`] if there is none.
    pub fn named(name: &str) -> Result<Self, LevelError> {
        let found = Level::ALL.into_iter().find(|level| level.name() == name);
        found.ok_or_else(|| LevelError::Unknown(name.to_owned()))
    }

    /// The best level of this processor.
    pub fn best() -> Self {
        dispatch::best_level()
    }

    /// The levels that this processor has, from least to most.
    pub fn available() -> impl Iterator<Item = Self> {
        Level::ALL
            .into_iter()
            .filter(|level| *level <= Self::best())
    }

    /// The level itself.
    ///
    /// # Errors
    /// [`LevelError::Missing`] if this processor does not have it.
    pub fn if_available(self) -> Result<Self, LevelError> {
        match self <= Self::best() {
            true => Ok(self),
            false => Err(LevelError::Missing(self)),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A level that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LevelError {
    /// There is no level of this name.
    #[error("{VARIABLE}: expected portable, avx2 or avx512, found {0:?}")]
    Unknown(String),
    /// The processor does not have it.
    #[error("{VARIABLE}: expected a level that this processor has, {have}, found {0}", have = of_this_processor())]
    Missing(Level),
}

fn of_this_processor() -> String {
    let names: Vec<&str> = Level::available().map(Level::name).collect();
    names.join(" or ")
}

/// The level that the environment asks for, or the best one of this processor;
/// read once in a process.
///
/// Programs call this when they start, so that a wrong value ends them with a
/// sentence.
///
/// # Errors
/// If `GGPO_SIMD` names no level, or one that this processor does not have.
pub fn requested() -> Result<Level, LevelError> {
    static REQUESTED: OnceLock<Result<Level, LevelError>> = OnceLock::new();
    let read = || match std::env::var_os(VARIABLE) {
        None => Ok(Level::best()),
        Some(name) => Level::named(&name.to_string_lossy())?.if_available(),
    };
    REQUESTED.get_or_init(read).clone()
}

/// The level that kernels run at.
///
/// # Panics
/// With the sentence of [`requested`]'s error.
#[inline]
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| requested().unwrap_or_else(|error| panic!("{error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_the_names_that_the_variable_takes() {
        for level in Level::ALL {
            assert_eq!(Level::named(level.name()), Ok(level));
        }
        for wrong in ["", "AVX2", "sse2", "avx512 "] {
            let error = Level::named(wrong).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("GGPO_SIMD: expected portable, avx2 or avx512, found {wrong:?}")
            );
        }
    }

    #[test]
    fn a_level_above_the_processors_best_is_refused() {
        for level in Level::ALL {
            let found = level.if_available();
            assert_eq!(found.is_ok(), level <= Level::best());
            if let Err(error) = found {
                assert!(error.to_string().contains("portable"), "{error}");
            }
        }
        let message = LevelError::Missing(Level::Avx512).to_string();
        assert!(message.ends_with("found avx512"), "{message}");
    }
}

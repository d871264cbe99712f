//! Multiply-adds in registers, as many per cycle as the processor can do.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::hint::black_box;

use crate::simd::Level;

/// Independent chains of multiply-adds: more than their latency times their
/// rate (4 cycles, 2 per cycle), so that none waits for another, and few enough
/// for 16 registers with the two factors.
const CHAINS: usize = 12;

/// Does `rounds` multiply-adds in each lane of all chains with the vectors of a
/// level, and returns the floating-point operations that this was, a multiply-add
/// being two.
///
/// # Panics
/// If the processor does not have the level.
pub(crate) fn multiply_adds(level: Level, rounds: u64) -> u64 {
    let lanes = run(level, rounds);
    2 * rounds * (CHAINS * lanes) as u64
}

/// Runs the kernel of a level and returns its number of lanes.
fn run(level: Level, rounds: u64) -> usize {
    match level
        .if_available()
        .unwrap_or_else(|error| panic!("{error}"))
    {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level was just found to be one that the processor has, and
        // with it AVX-512 F.
        Level::Avx512 => unsafe {
            avx512(rounds);
            16
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level was just found to be one that the processor has, and
        // with it AVX2 and FMA.
        Level::Avx2 => unsafe {
            avx2(rounds);
            8
        },
        _ => {
            portable(rounds);
            PORTABLE_LANES
        }
    }
}

/// The value that a chain starts at: different ones, or the compiler would see
/// that one chain is enough. With the factors below they go to 1.
fn start(chain: usize) -> f32 {
    black_box(chain as f32)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(rounds: u64) {
    let half = _mm512_set1_ps(black_box(0.5));
    let mut chains: [__m512; CHAINS] = std::array::from_fn(|chain| _mm512_set1_ps(start(chain)));
    for _ in 0..rounds {
        for chain in &mut chains {
            *chain = _mm512_fmadd_ps(*chain, half, half);
        }
    }
    black_box(chains);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(rounds: u64) {
    let half = _mm256_set1_ps(black_box(0.5));
    let mut chains: [__m256; CHAINS] = std::array::from_fn(|chain| _mm256_set1_ps(start(chain)));
    for _ in 0..rounds {
        for chain in &mut chains {
            *chain = _mm256_fmadd_ps(*chain, half, half);
        }
    }
    black_box(chains);
}

/// Lanes of the vectors that every processor of the common targets has.
const PORTABLE_LANES: usize = 4;

/// Vectors as the compiler makes them. Without a fused instruction, which only
/// some targets have from the start, a multiplication and an addition.
fn portable(rounds: u64) {
    let half = black_box(0.5_f32);
    let mut chains: [[f32; PORTABLE_LANES]; CHAINS] =
        std::array::from_fn(|chain| [start(chain); PORTABLE_LANES]);
    for _ in 0..rounds {
        for chain in chains.as_flattened_mut() {
            *chain = if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
                chain.mul_add(half, half)
            } else {
                *chain * half + half
            };
        }
    }
    black_box(chains);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chain_and_lane_is_counted() {
        for level in Level::available() {
            assert_eq!(multiply_adds(level, 0), 0);
            assert_eq!(multiply_adds(level, 10), 10 * multiply_adds(level, 1));
            let per_round = multiply_adds(level, 1) as usize;
            let lanes = [PORTABLE_LANES, 8, 16][level as usize];
            assert_eq!(per_round, 2 * CHAINS * lanes);
        }
    }

    /// A compiler that took the work away would give a time that does not grow.
    #[test]
    fn the_work_is_done() {
        for level in Level::available() {
            let start = std::time::Instant::now();
            multiply_adds(level, 10_000_000);
            // A multiply-add of one chain cannot wait for less than one cycle, and
            // no processor does 100 of them in a nanosecond.
            assert!(start.elapsed().as_secs_f64() > 1e-4);
        }
    }
}

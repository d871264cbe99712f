//! The Philox 4x32 block function.

const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
/// Added to the key after each round: golden ratio and √3 − 1.
const KEY_STEPS: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];

/// Philox 4x32: a bijection of 128-bit counters for each 64-bit key, in `ROUNDS`
/// rounds (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
/// 1, 2, 3", SC 2011, doi:10.1145/2063384.2063405).
///
/// Seven rounds are the fewest whose outputs at successive counters pass all
/// tests of TestU01's BigCrush (their table 2); ten are the authors' default,
/// with a margin.
///
/// ```
/// use ggpo_tensor::random::philox4x32;
///
/// let words = philox4x32::<7>([0; 4], [0; 2]);
/// assert_eq!(words, [0x5f6fb709, 0x0d893f64, 0x4f121f81, 0x4f730a48]);
/// ```
#[inline(always)]
pub fn philox4x32<const ROUNDS: usize>(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    // Words are kept in 64 bits, of which a round reads the lower half only: a
    // vector unit multiplies the lower halves of 64-bit lanes, and anything else
    // would be moved there and back in every round.
    let [mut c0, mut c1, mut c2, mut c3] = counter.map(u64::from);
    let [mut k0, mut k1] = key;
    for _ in 0..ROUNDS {
        let product0 = lower(c0) * u64::from(MULTIPLIERS[0]);
        let product1 = lower(c2) * u64::from(MULTIPLIERS[1]);
        c0 = (product1 >> 32) ^ c1 ^ u64::from(k0);
        c2 = (product0 >> 32) ^ c3 ^ u64::from(k1);
        [c1, c3] = [product1, product0];
        k0 = k0.wrapping_add(KEY_STEPS[0]);
        k1 = k1.wrapping_add(KEY_STEPS[1]);
    }
    [c0, c1, c2, c3].map(|word| word as u32)
}

#[inline(always)]
fn lower(word: u64) -> u64 {
    word & 0xffff_ffff
}

//! The Philox 4x32-10 block function.

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
/// Added to the key after each round: golden ratio and √3 − 1.
const KEY_STEPS: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];

/// Philox 4x32 with ten rounds: a bijection of 128-bit counters for each
/// 64-bit key, whose outputs at successive counters pass all known statistical
/// tests (Salmon, Moraes, Dror and Shaw, SC 2011, doi:10.1145/2063384.2063405).
///
/// ```
/// use ggpo_tensor::random::philox4x32_10;
///
/// let words = philox4x32_10([0; 4], [0; 2]);
/// assert_eq!(words, [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
/// ```
#[inline(always)]
pub fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..ROUNDS {
        let (high0, low0) = widening_mul(MULTIPLIERS[0], c0);
        let (high1, low1) = widening_mul(MULTIPLIERS[1], c2);
        [c0, c1, c2, c3] = [high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0];
        k0 = k0.wrapping_add(KEY_STEPS[0]);
        k1 = k1.wrapping_add(KEY_STEPS[1]);
    }
    [c0, c1, c2, c3]
}

/// The upper and the lower half of a 64-bit product.
#[inline(always)]
fn widening_mul(a: u32, b: u32) -> (u32, u32) {
    let product = u64::from(a) * u64::from(b);
    ((product >> 32) as u32, product as u32)
}

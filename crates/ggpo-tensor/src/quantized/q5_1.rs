//! Q5_1: `x = q d + m`, q in 0..32.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, a half |
//! | 2..4 | m, a half |
//! | 4..24 | the numbers q, as in Q5_0 |

use super::half::f16;
use super::number;
use super::q5_0::five_bits;
use crate::Scalar;

/// One block of 32 elements.
pub(super) const BYTES: usize = 24;

#[inline(always)]
pub(super) fn dequantize<T: Scalar>(block: &[u8; BYTES], out: &mut [T; 32]) {
    let d = f16([block[0], block[1]]);
    let m = f16([block[2], block[3]]);
    let q = five_bits([block[4], block[5], block[6], block[7]], &block[8..]);
    for i in 0..32 {
        out[i] = number(f32::from(q[i]) * d + m);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_by_hand() {
        let mut block = [0; BYTES];
        // d = 0.25, m = -1.
        block[..2].copy_from_slice(&0x3400_u16.to_le_bytes());
        block[2..4].copy_from_slice(&0xbc00_u16.to_le_bytes());
        block[4..8].copy_from_slice(&(1_u32 << 1 | 1 << 31).to_le_bytes());
        block[8 + 1] = 0x32;
        block[23] = 0xf0;
        let mut out = [0.0_f32; 32];
        dequantize(&block, &mut out);
        let mut expected = [-1.0; 32];
        expected[1] = 3.5;
        expected[17] = -0.25;
        expected[31] = 6.75;
        assert_eq!(out, expected);
    }
}

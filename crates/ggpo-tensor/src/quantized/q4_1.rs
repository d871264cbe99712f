//! Q4_1: `x = q d + m`, q in 0..16.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, a half |
//! | 2..4 | m, a half |
//! | 4..20 | 16 bytes; byte i holds q of element i in its low four bits, of element i + 16 in its high ones |

use super::half::f16;
use super::number;
use crate::Scalar;

/// One block of 32 elements.
pub(super) const BYTES: usize = 20;

#[inline(always)]
pub(super) fn dequantize<T: Scalar>(block: &[u8; BYTES], out: &mut [T; 32]) {
    let d = f16([block[0], block[1]]);
    let m = f16([block[2], block[3]]);
    for i in 0..16 {
        let byte = block[4 + i];
        out[i] = number(f32::from(byte & 15) * d + m);
        out[i + 16] = number(f32::from(byte >> 4) * d + m);
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
        block[4] = 0xf4;
        block[19] = 0x2a;
        let mut out = [0.0_f32; 32];
        dequantize(&block, &mut out);
        let mut expected = [-1.0; 32];
        expected[0] = 0.0;
        expected[16] = 2.75;
        expected[15] = 1.5;
        expected[31] = -0.5;
        assert_eq!(out, expected);
    }
}

//! Q8_0: `x = q d`, q in -128..128.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, a half |
//! | 2..34 | q of the 32 elements, in two's complement |

use super::half::f16;
use super::number;
use crate::Scalar;

/// One block of 32 elements.
pub(super) const BYTES: usize = 34;

#[inline(always)]
pub(super) fn dequantize<T: Scalar>(block: &[u8; BYTES], out: &mut [T; 32]) {
    let d = f16([block[0], block[1]]);
    for i in 0..32 {
        out[i] = number(f32::from(block[2 + i] as i8) * d);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_by_hand() {
        let mut block = [0; BYTES];
        // d = -0.125.
        block[..2].copy_from_slice(&0xb000_u16.to_le_bytes());
        block[2] = 4;
        block[3] = 0x80;
        block[33] = 0xff;
        let mut out = [1.0_f64; 32];
        dequantize(&block, &mut out);
        let mut expected = [0.0; 32];
        expected[0] = -0.5;
        expected[1] = 16.0;
        expected[31] = 0.125;
        assert_eq!(out, expected);
    }
}

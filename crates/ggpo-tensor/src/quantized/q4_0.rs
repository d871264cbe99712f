//! Q4_0: `x = (q - 8) d`, q in 0..16.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, a half |
//! | 2..18 | 16 bytes; byte i holds q of element i in its low four bits, of element i + 16 in its high ones |

use super::half::f16;
use super::number;
use crate::Scalar;

/// One block of 32 elements.
pub(super) const BYTES: usize = 18;

#[inline(always)]
pub(super) fn dequantize<T: Scalar>(block: &[u8; BYTES], out: &mut [T; 32]) {
    let d = f16([block[0], block[1]]);
    for i in 0..16 {
        let byte = block[2 + i];
        out[i] = number(f32::from((byte & 15) as i8 - 8) * d);
        out[i + 16] = number(f32::from((byte >> 4) as i8 - 8) * d);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_by_hand() {
        let mut block = [0x88; BYTES];
        // d = 0.5, and 8 stands for 0.
        block[..2].copy_from_slice(&0x3800_u16.to_le_bytes());
        block[2] = 0xf0;
        block[17] = 0x19;
        let mut out = [1.0_f64; 32];
        dequantize(&block, &mut out);
        let mut expected = [0.0; 32];
        expected[0] = -4.0;
        expected[16] = 3.5;
        expected[15] = 0.5;
        expected[31] = -3.5;
        assert_eq!(out, expected);
    }
}

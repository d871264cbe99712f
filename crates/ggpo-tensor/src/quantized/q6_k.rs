//! Q6_K: `x = (d s_j) (q - 32)`, q in 0..64, with a scale `s_j` in -128..128 for
//! each part j of 16 elements.
//!
//! | bytes | content |
//! |---|---|
//! | 0..128 | the low four bits of every q |
//! | 128..192 | the high two bits of every q |
//! | 192..208 | the 16 scales, in two's complement |
//! | 208..210 | d, a half |
//!
//! Each half of 128 elements has 64 bytes of the first kind and 32 of the second.
//! In a half, with i in 0..32:
//!
//! | element | low bits in | high bits in byte i of the second kind |
//! |---|---|---|
//! | i | byte i, low | bits 0 and 1 |
//! | i + 32 | byte i + 32, low | bits 2 and 3 |
//! | i + 64 | byte i, high | bits 4 and 5 |
//! | i + 96 | byte i + 32, high | bits 6 and 7 |

use super::half::f16;
use super::number;
use crate::Scalar;

/// One block of 256 elements.
pub(super) const BYTES: usize = 210;

#[inline(always)]
pub(super) fn dequantize<T: Scalar>(block: &[u8; BYTES], out: &mut [T; 256]) {
    let d = f16([block[208], block[209]]);
    for half in 0..2 {
        let low = &block[64 * half..][..64];
        let high = &block[128 + 32 * half..][..32];
        let scales = &block[192 + 8 * half..][..8];
        let out = &mut out[128 * half..][..128];
        for quarter in 0..4 {
            let low = &low[32 * (quarter % 2)..][..32];
            let low_shift = 4 * (quarter / 2);
            for part in 0..2 {
                let scale = d * f32::from(scales[2 * quarter + part] as i8);
                for i in 16 * part..16 * part + 16 {
                    let q = low[i] >> low_shift & 15 | (high[i] >> (2 * quarter) & 3) << 4;
                    out[32 * quarter + i] = number(scale * f32::from(q as i8 - 32));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_by_hand() {
        let mut block = [0; BYTES];
        // d = 0.5, and all high bits 0b10: q = 32 stands for 0.
        block[208..].copy_from_slice(&0x3800_u16.to_le_bytes());
        block[128..192].fill(0b10_10_10_10);
        // Scales of the parts 0, 7, and 10: element 160 is the first of part 10.
        block[192] = 2;
        block[192 + 7] = 0xff;
        block[192 + 10] = 4;
        // Element 15: q = 0b11_0101 = 53.
        block[15] = 0x05;
        block[128 + 15] = 0b10_10_10_11;
        // Element 127 = 96 + 31 of the first half: q = 0b00_1100 = 12.
        block[63] = 0xc0;
        block[128 + 31] = 0b00_10_10_10;
        // Element 160 = 32 + 0 of the second half: q = 0b01_0001 = 17.
        block[64 + 32] = 0x01;
        block[128 + 32] = 0b10_10_01_10;
        let mut out = [1.0_f32; 256];
        dequantize(&block, &mut out);
        let mut expected = [0.0; 256];
        expected[15] = 21.0;
        expected[127] = 10.0;
        expected[160] = -30.0;
        assert_eq!(out, expected);
    }
}

//! Q3_K: `x = (d (s_j - 32)) (q - 4)`, q in 0..8, with a scale `s_j` in 0..64 for each
//! part j of 16 elements.
//!
//! | bytes | content |
//! |---|---|
//! | 0..32 | the high bit of every q: bit k of byte i is that of element 32 k + i |
//! | 32..96 | the low two bits of every q, as the q of Q2_K |
//! | 96..108 | the scales, six bits each |
//! | 108..110 | d, a half |
//!
//! Of the twelve bytes of scales, byte j below 8 holds the low four bits of `s_j` and,
//! above them, of `s_(j+8)`; byte j + 8 holds the high two bits of `s_j`, `s_(j+4)`,
//! `s_(j+8)` and `s_(j+12)`, from its low bits on.

use super::half::f16;
use super::number;
use crate::Scalar;

/// One block of 256 elements.
pub(super) const BYTES: usize = 110;

#[inline(always)]
pub(super) fn dequantize<T: Scalar>(block: &[u8; BYTES], out: &mut [T; 256]) {
    let d = f16([block[108], block[109]]);
    let packed = &block[96..108];
    for part in 0..16 {
        let (half, quarter, first) = (part / 8, part % 8 / 2, 16 * (part % 2));
        let low = &block[32 + 32 * half + first..][..16];
        let high = &block[first..][..16];
        let out = &mut out[16 * part..][..16];
        let scale = packed[part % 8] >> (4 * half) & 15
            | (packed[8 + part % 4] >> (2 * (part / 4)) & 3) << 4;
        let scale = d * f32::from(scale as i8 - 32);
        for i in 0..16 {
            let q = low[i] >> (2 * quarter) & 3 | (high[i] >> (part / 2) & 1) << 2;
            out[i] = number(scale * f32::from(q as i8 - 4));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_by_hand() {
        let mut block = [0; BYTES];
        // d = 0.5, and all high bits: q = 4 stands for 0.
        block[108..].copy_from_slice(&0x3800_u16.to_le_bytes());
        block[..32].fill(0xff);
        // s_0 = 0b10_0011 = 35, s_9 = 0b01_0100 = 20, s_15 = 0.
        block[96] = 0x03;
        block[96 + 1] = 0x40;
        block[96 + 8] = 0b00_00_00_10;
        block[96 + 9] = 0b00_01_00_00;
        // Element 5 of part 0: q = 0b010. Element 0 of part 9, the 16th of the second
        // half: q = 0b111. The last element, whose part has the scale -32: q = 0b000.
        block[32 + 5] = 0b10;
        block[5] = 0xfe;
        block[32 + 32 + 16] = 0b11;
        block[31] = 0x7f;
        let mut out = [1.0_f32; 256];
        dequantize(&block, &mut out);
        let mut expected = [0.0; 256];
        expected[5] = 0.5 * 3.0 * -2.0;
        expected[144] = 0.5 * -12.0 * 3.0;
        expected[255] = 0.5 * -32.0 * -4.0;
        assert_eq!(out, expected);
    }
}

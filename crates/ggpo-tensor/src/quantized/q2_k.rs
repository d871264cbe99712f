//! Q2_K: `x = (d s_j) q - (e m_j)`, q in 0..4, with a scale `s_j` and a minimum `m_j`
//! in 0..16 for each part j of 16 elements.
//!
//! | bytes | content |
//! |---|---|
//! | 0..16 | byte j holds `s_j` in its low four bits, `m_j` in its high ones |
//! | 16..80 | the numbers q: byte i of a half holds those of the elements i, i + 32, i + 64 and i + 96 of the half, from its low bits on |
//! | 80..82 | d, a half |
//! | 82..84 | e, a half |
//!
//! A half is 128 elements in 32 bytes.

use super::half::f16;
use super::number;
use crate::Scalar;

/// One block of 256 elements.
pub(super) const BYTES: usize = 84;

#[inline(always)]
pub(super) fn dequantize<T: Scalar>(block: &[u8; BYTES], out: &mut [T; 256]) {
    let d = f16([block[80], block[81]]);
    let e = f16([block[82], block[83]]);
    for part in 0..16 {
        let (half, quarter, first) = (part / 8, part % 8 / 2, 16 * (part % 2));
        let bytes = &block[16 + 32 * half + first..][..16];
        let out = &mut out[16 * part..][..16];
        let scale = d * f32::from(block[part] & 15);
        let minimum = e * f32::from(block[part] >> 4);
        for i in 0..16 {
            let q = bytes[i] >> (2 * quarter) & 3;
            out[i] = number(scale * f32::from(q) - minimum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_by_hand() {
        let mut block = [0; BYTES];
        // d = 0.5, e = 1; s_0 = 3, m_0 = 2; s_13 = 15, m_13 = 0.
        block[80..82].copy_from_slice(&0x3800_u16.to_le_bytes());
        block[82..84].copy_from_slice(&0x3c00_u16.to_le_bytes());
        block[0] = 0x23;
        block[13] = 0x0f;
        // Element 2 of part 0; element 1 of part 13, which is 81 = 64 + 17 of the second
        // half.
        block[16 + 2] = 0b01_01_01_11;
        block[16 + 32 + 17] = 0b00_10_00_00;
        let mut out = [1.0_f32; 256];
        dequantize(&block, &mut out);
        let mut expected = [0.0; 256];
        expected[..16].fill(-2.0);
        expected[2] = 4.5 - 2.0;
        expected[209] = 15.0;
        assert_eq!(out, expected);
    }
}

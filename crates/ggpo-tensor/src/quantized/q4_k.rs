//! Q4_K: `x = (d s_j) q - (e m_j)`, q in 0..16, with a scale `s_j` and a minimum
//! `m_j` in 0..64 for each part j of 32 elements.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, a half |
//! | 2..4 | e, a half |
//! | 4..16 | the eight scales and eight minima, six bits each |
//! | 16..144 | four times 32 bytes, each for two parts: byte i holds q of element i of the first part in its low four bits, of the second in its high ones |
//!
//! Of the twelve bytes of scales, byte j below 4 holds `s_j` in its low six bits
//! and byte j + 4 holds `m_j`; byte j + 8 holds the low four bits of `s_(j+4)`
//! and, above them, of `m_(j+4)`, whose high two bits are the high two bits of
//! byte j and byte j + 4.

use super::half::f16;
use super::number;
use crate::Scalar;

/// One block of 256 elements.
pub(super) const BYTES: usize = 144;

#[inline(always)]
pub(super) fn dequantize<T: Scalar>(block: &[u8; BYTES], out: &mut [T; 256]) {
    let d = f16([block[0], block[1]]);
    let e = f16([block[2], block[3]]);
    let packed = &block[4..16];
    for pair in 0..4 {
        let bytes = &block[16 + 32 * pair..][..32];
        let (low, high) = out[64 * pair..][..64].split_at_mut(32);
        let [scale, minimum] = scale_and_minimum(packed, 2 * pair);
        let (scale, minimum) = (d * f32::from(scale), e * f32::from(minimum));
        for (out, byte) in low.iter_mut().zip(bytes) {
            *out = number(scale * f32::from(byte & 15) - minimum);
        }
        let [scale, minimum] = scale_and_minimum(packed, 2 * pair + 1);
        let (scale, minimum) = (d * f32::from(scale), e * f32::from(minimum));
        for (out, byte) in high.iter_mut().zip(bytes) {
            *out = number(scale * f32::from(byte >> 4) - minimum);
        }
    }
}

/// `s_j` and `m_j`.
#[inline(always)]
pub(super) fn scale_and_minimum(packed: &[u8], j: usize) -> [u8; 2] {
    if j < 4 {
        return [packed[j] & 63, packed[j + 4] & 63];
    }
    let low = packed[j + 4];
    [
        low & 15 | packed[j - 4] >> 6 << 4,
        low >> 4 | packed[j] >> 6 << 4,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_by_hand() {
        let mut block = [0; BYTES];
        // d = 1, e = 0.5.
        block[..2].copy_from_slice(&0x3c00_u16.to_le_bytes());
        block[2..4].copy_from_slice(&0x3800_u16.to_le_bytes());
        // s_0 = 3, s_4 = 0b10_0001 = 33; m_0 = 2, m_4 = 0b01_0100 = 20.
        block[4] = 0b10_000011;
        block[8] = 0b01_000010;
        block[12] = 0b0100_0001;
        // s_5 = 7 and m_5 = 0: its low bits are in byte 9 of the scales.
        block[13] = 0b0000_0111;
        // Element 1 of parts 0 and 1, element 31 of parts 4 and 5.
        block[16 + 1] = 0x25;
        block[16 + 64 + 31] = 0xa9;
        let mut out = [0.0_f32; 256];
        dequantize(&block, &mut out);
        let mut expected = [0.0; 256];
        expected[..32].fill(-1.0);
        expected[1] = 3.0 * 5.0 - 1.0;
        // Part 1 has the scale 0: its 2 vanishes.
        expected[128..160].fill(-10.0);
        expected[159] = 33.0 * 9.0 - 10.0;
        expected[191] = 7.0 * 10.0;
        assert_eq!(out, expected);
    }
}

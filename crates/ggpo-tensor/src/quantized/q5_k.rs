//! Q5_K: `x = (d s_j) q - (e m_j)`, q in 0..32, with a scale `s_j` and a minimum
//! `m_j` in 0..64 for each part j of 32 elements.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, a half |
//! | 2..4 | e, a half |
//! | 4..16 | the scales and minima, as in Q4_K |
//! | 16..48 | the high bit of every q: bit j of byte i is that of element i of part j |
//! | 48..176 | the low four bits of every q, as in Q4_K |

use super::half::f16;
use super::number;
use super::q4_k::scale_and_minimum;
use crate::Scalar;

/// One block of 256 elements.
pub(super) const BYTES: usize = 176;

#[inline(always)]
pub(super) fn dequantize<T: Scalar>(block: &[u8; BYTES], out: &mut [T; 256]) {
    let d = f16([block[0], block[1]]);
    let e = f16([block[2], block[3]]);
    let (packed, high) = (&block[4..16], &block[16..48]);
    for part in 0..8 {
        let low = &block[48 + 32 * (part / 2)..][..32];
        let out = &mut out[32 * part..][..32];
        let [scale, minimum] = scale_and_minimum(packed, part);
        let (scale, minimum) = (d * f32::from(scale), e * f32::from(minimum));
        for i in 0..32 {
            let q = low[i] >> (4 * (part % 2)) & 15 | (high[i] >> part & 1) << 4;
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
        // d = 1, e = 0.5; s_0 = 3, m_0 = 2; s_5 = 7, m_5 = 0.
        block[..2].copy_from_slice(&0x3c00_u16.to_le_bytes());
        block[2..4].copy_from_slice(&0x3800_u16.to_le_bytes());
        block[4] = 3;
        block[8] = 2;
        block[13] = 7;
        // Element 1 of part 0, element 31 of part 5.
        block[16 + 1] = 1;
        block[48 + 1] = 0x05;
        block[16 + 31] = 1 << 5;
        block[48 + 64 + 31] = 0xa0;
        let mut out = [1.0_f32; 256];
        dequantize(&block, &mut out);
        let mut expected = [0.0; 256];
        expected[..32].fill(-1.0);
        expected[1] = 3.0 * 21.0 - 1.0;
        expected[191] = 7.0 * 26.0;
        assert_eq!(out, expected);
    }
}

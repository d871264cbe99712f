//! Q5_0: `x = (q - 16) d`, q in 0..32.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, a half |
//! | 2..6 | a word; bit i is the high bit of q of element i |
//! | 6..22 | 16 bytes; byte i holds the low four bits of q of element i in its low bits, of element i + 16 in its high ones |

use super::half::f16;
use super::number;
use crate::Scalar;

/// One block of 32 elements.
pub(super) const BYTES: usize = 22;

#[inline(always)]
pub(super) fn dequantize<T: Scalar>(block: &[u8; BYTES], out: &mut [T; 32]) {
    let d = f16([block[0], block[1]]);
    let q = five_bits([block[2], block[3], block[4], block[5]], &block[6..]);
    for i in 0..32 {
        out[i] = number(f32::from(q[i] as i8 - 16) * d);
    }
}

/// The 32 numbers q of five bits, from the word of high bits and the 16 bytes of low
/// ones.
#[inline(always)]
pub(super) fn five_bits(high: [u8; 4], low: &[u8]) -> [u8; 32] {
    let high = u32::from_le_bytes(high);
    let bit = |i: usize| (high >> i & 1) as u8;
    let mut q = [0; 32];
    for i in 0..16 {
        q[i] = low[i] & 15 | bit(i) << 4;
        q[i + 16] = low[i] >> 4 | bit(i + 16) << 4;
    }
    q
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_by_hand() {
        let mut block = [0; BYTES];
        // d = 0.5. All high bits but those of elements 3 and 20: q = 16 stands for 0.
        block[..2].copy_from_slice(&0x3800_u16.to_le_bytes());
        block[2..6].copy_from_slice(&(!(1_u32 << 3 | 1 << 20)).to_le_bytes());
        block[6] = 0x01;
        block[6 + 3] = 0x0f;
        block[6 + 4] = 0x70;
        block[21] = 0xf0;
        let mut out = [1.0_f32; 32];
        dequantize(&block, &mut out);
        let mut expected = [0.0; 32];
        expected[0] = 0.5;
        expected[3] = -0.5;
        expected[20] = -4.5;
        expected[31] = 7.5;
        assert_eq!(out, expected);
    }
}

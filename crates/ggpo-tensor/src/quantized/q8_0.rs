//! Q8_0: `x = q d`, q in -128..128.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, a half |
//! | 2..34 | q of the 32 elements, in two's complement |

use super::half::{f16, largest, to_f16};
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

/// The block for 32 numbers: d is the largest magnitude over 127, to the nearest half, and
/// q what is nearest to `x / d`. None if d is no half.
pub(super) fn quantize(numbers: &[f32; 32]) -> Option<[u8; BYTES]> {
    let d = to_f16(largest(numbers)?.abs() / 127.0)?;
    let mut block = [0; BYTES];
    block[..2].copy_from_slice(&d);
    let d = f16(d);
    if d != 0.0 {
        for (byte, x) in block[2..].iter_mut().zip(numbers) {
            *byte = (x / d).round().clamp(-127.0, 127.0) as i8 as u8;
        }
    }
    Some(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_numbers_by_hand() {
        let mut numbers = [0.0; 32];
        // d = 0.5.
        [numbers[0], numbers[1], numbers[2], numbers[31]] = [-63.5, 1.3, 0.2, 63.4];
        let block = quantize(&numbers).expect("it can be held");
        assert_eq!(block[..2], 0x3800_u16.to_le_bytes());
        assert_eq!(block[2..5], [-127_i8, 3, 0].map(|q| q as u8));
        assert_eq!((block[5], block[33]), (0, 127));
        assert_eq!(quantize(&[0.0; 32]), Some([0; BYTES]));
    }

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

//! Q4_0: `x = (q - 8) d`, q in 0..16.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, a half |
//! | 2..18 | 16 bytes; byte i holds q of element i in its low four bits, of element i + 16 in its high ones |

use super::half::{f16, largest, to_f16};
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

/// The block for 32 numbers: d is the number of the largest magnitude over -8, to the
/// nearest half, so that its q is 0; the other q are the nearest to `x / d + 8`. None if d
/// is no half.
pub(super) fn quantize(numbers: &[f32; 32]) -> Option<[u8; BYTES]> {
    let d = to_f16(largest(numbers)? / -8.0)?;
    let mut block = [0; BYTES];
    block[..2].copy_from_slice(&d);
    let d = f16(d);
    let q = |x: f32| match d {
        0.0 => 8,
        d => ((x / d).round() + 8.0).clamp(0.0, 15.0) as u8,
    };
    for i in 0..16 {
        block[2 + i] = q(numbers[i]) | q(numbers[i + 16]) << 4;
    }
    Some(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_numbers_by_hand() {
        let mut numbers = [0.0; 32];
        // d = -0.5; the number opposite to the largest has no q of its own.
        [numbers[0], numbers[1], numbers[16], numbers[31]] = [4.0, 1.3, -4.0, -0.6];
        let block = quantize(&numbers).expect("it can be held");
        assert_eq!(block[..2], 0xb800_u16.to_le_bytes());
        assert_eq!((block[2], block[3], block[17]), (0xf0, 0x85, 0x98));
        let zero = quantize(&[0.0; 32]).expect("it can be held");
        assert_eq!(zero[2..], [0x88; 16]);
    }

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

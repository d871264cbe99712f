//! Numbers of 16 bits: the formats F16 and BF16, and the scales of all others.
//!
//! The conversions are straight arithmetic, so that a loop over them becomes
//! vector code, which a call for each number would prevent.

use std::hint::select_unpredictable;

use super::number;
use crate::Scalar;

/// One number.
pub(super) const BYTES: usize = 2;

/// The value of an IEEE half.
///
/// Sign, 5 bits of exponent with bias 15, 10 bits of fraction. With the
/// fraction moved to the place it has in an `f32`, the exponent lacks the
/// difference of the biases, 127 - 15: multiplying by 2^112 supplies it and
/// turns subnormal halves into normal numbers, both exactly.
#[inline(always)]
pub(super) fn f16(bytes: [u8; BYTES]) -> f32 {
    let word = u32::from(u16::from_le_bytes(bytes));
    let (sign, magnitude) = ((word & 0x8000) << 16, (word & 0x7fff) << 13);
    let two_to_112 = f32::from_bits((127 + 112) << 23);
    let finite = (f32::from_bits(magnitude) * two_to_112).to_bits();
    // Infinity and NaN have the largest exponent in both formats.
    let special = magnitude | 0x7f80_0000;
    let is_special = magnitude >= 0x7c00 << 13;
    f32::from_bits(sign | select_unpredictable(is_special, special, finite))
}

/// The value of the upper half of an `f32`.
#[inline(always)]
pub(super) fn bf16(bytes: [u8; BYTES]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

/// The nearest half to a number, if it is finite.
pub(super) fn to_f16(x: f32) -> Option<[u8; BYTES]> {
    let half = half::f16::from_f32(x);
    half.is_finite().then(|| half.to_le_bytes())
}

/// The nearest number to `x` of which the lower half of the bits is 0, if it is finite.
pub(super) fn to_bf16(x: f32) -> Option<[u8; BYTES]> {
    let half = half::bf16::from_f32(x);
    half.is_finite().then(|| half.to_le_bytes())
}

/// The number of the largest magnitude; none if one is not finite.
pub(super) fn largest(numbers: &[f32]) -> Option<f32> {
    let larger = |a: f32, b: f32| if b.abs() > a.abs() { b } else { a };
    let finite = numbers.iter().all(|x| x.is_finite());
    finite.then(|| numbers.iter().copied().fold(0.0, larger))
}

#[inline(always)]
pub(super) fn dequantize_f16<T: Scalar>(block: &[u8; BYTES], out: &mut [T; 1]) {
    *out = [number(f16(*block))];
}

#[inline(always)]
pub(super) fn dequantize_bf16<T: Scalar>(block: &[u8; BYTES], out: &mut [T; 1]) {
    *out = [number(bf16(*block))];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_has_the_value_that_the_library_gives_it() {
        for word in 0..=u16::MAX {
            let bytes = word.to_le_bytes();
            let pairs = [
                (f16(bytes), half::f16::from_le_bytes(bytes).to_f32()),
                (bf16(bytes), half::bf16::from_le_bytes(bytes).to_f32()),
            ];
            for (found, expected) in pairs {
                let same = found.to_bits() == expected.to_bits();
                assert!(same || (found.is_nan() && expected.is_nan()), "{word:#06x}");
            }
        }
    }
}

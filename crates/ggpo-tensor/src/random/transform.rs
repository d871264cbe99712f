//! What the four words of a block are turned into, in plain `f32` arithmetic.
//!
//! Everything here is branch-free and multiplies and adds separately: a fused
//! `mul_add` would be a slow library call on processors without it, and its
//! different rounding would make results depend on the processor.

use std::f32::consts::TAU;

/// 2⁻¹⁶, 2⁻³² and 1 − 2⁻²⁴, the largest `f32` below one.
const TWO_POW_MINUS_16: f32 = 1.0 / 65_536.0;
const TWO_POW_MINUS_32: f32 = TWO_POW_MINUS_16 * TWO_POW_MINUS_16;
const BELOW_ONE: f32 = 1.0 - f32::EPSILON / 2.0;

/// A reading of the four words of a block as four elements.
pub(super) trait Transform {
    /// What one element is.
    type Element: Copy + Default;

    /// Element `i` stands in the place of word `i`.
    fn apply(words: [u32; 4]) -> [Self::Element; 4];
}

/// Words as they are.
pub(super) struct Bits;

impl Transform for Bits {
    type Element = u32;

    #[inline(always)]
    fn apply(words: [u32; 4]) -> [u32; 4] {
        words
    }
}

/// Uniform numbers in the open interval (0, 1).
pub(super) struct Uniform;

impl Transform for Uniform {
    type Element = f32;

    #[inline(always)]
    fn apply([a, b, c, d]: [u32; 4]) -> [f32; 4] {
        [open_unit(a), open_unit(b), open_unit(c), open_unit(d)]
    }
}

/// Normal numbers by the method of Box and Muller (1958).
pub(super) struct Normal;

impl Transform for Normal {
    type Element = f32;

    #[inline(always)]
    fn apply([a, b, c, d]: [u32; 4]) -> [f32; 4] {
        let [z0, z1] = box_muller(a, b);
        let [z2, z3] = box_muller(c, d);
        [z0, z1, z2, z3]
    }
}

/// `(word + 1/2) 2⁻³²`, exactly.
pub(super) fn unit_interval(word: u32) -> f64 {
    (f64::from(word) + 0.5) * (1.0 / 4_294_967_296.0)
}

/// `(word + 1/2) 2⁻³²` rounded to nearest, in `[2⁻³³, 1]`.
///
/// The two halves of the word convert exactly and their sum is rounded once.
#[inline(always)]
fn half_open_unit(word: u32) -> f32 {
    let high = (word >> 16) as i32 as f32;
    let low = (word & 0xffff) as i32 as f32;
    high * TWO_POW_MINUS_16 + (low + 0.5) * TWO_POW_MINUS_32
}

/// `(word + 1/2) 2⁻³²` rounded to the nearest `f32` below one.
#[inline(always)]
fn open_unit(word: u32) -> f32 {
    let u = half_open_unit(word);
    if u < BELOW_ONE { u } else { BELOW_ONE }
}

/// Two independent normals `√(−2 ln u) (cos φ, sin φ)` from two words: the
/// first gives `u`, the second the angle `φ`.
#[inline(always)]
fn box_muller(radius_word: u32, angle_word: u32) -> [f32; 2] {
    let radius = (-2.0 * ln(half_open_unit(radius_word))).sqrt();
    let (sin, cos) = sin_cos_of_turn(angle_word);
    [radius * cos, radius * sin]
}

/// Natural logarithm of a normal positive `u`; within 2 units in the last place.
///
/// With `u = 2ᵏ (1 + f)` and `1 + f` in `[√½, √2)`, it is
/// `k ln 2 + f − f²/2 + f³ P(f)`. The polynomial minimises the greatest
/// relative error of the whole (Remez), which is 2⁻²⁷.
#[inline(always)]
fn ln(u: f32) -> f32 {
    const SQRT_HALF_BITS: u32 = 0x3f35_04f3;
    // ln 2 in two parts; multiples k of the first are exact for |k| < 2⁹.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;

    let bits = u.to_bits().wrapping_sub(SQRT_HALF_BITS);
    let k = ((bits as i32) >> 23) as f32;
    let f = f32::from_bits((bits & 0x007f_ffff).wrapping_add(SQRT_HALF_BITS)) - 1.0;

    let mut p = -7.865_456e-2;
    p = p * f + 1.287_920_3e-1;
    p = p * f - 1.312_529_4e-1;
    p = p * f + 1.418_142e-1;
    p = p * f - 1.662_497e-1;
    p = p * f + 2.000_228_3e-1;
    p = p * f - 2.500_079_6e-1;
    p = p * f + 3.333_331_6e-1;

    let square = f * f;
    let small = p * f * square - 0.5 * square + k * LN_2_LOW;
    (f + small) + k * LN_2_HIGH
}

/// Sine and cosine of `word 2⁻³²` of a full turn; each within 3 units in the
/// last place.
///
/// The word is split exactly into the nearest quarter turn and a remainder of
/// at most an eighth, so no accuracy is lost near the zeros. The polynomials
/// minimise the greatest relative error on the eighth (Remez): 2⁻²⁸ for the
/// sine and 2⁻³² for the cosine.
#[inline(always)]
fn sin_cos_of_turn(word: u32) -> (f32, f32) {
    let quarter = word.wrapping_add(1 << 29) >> 30;
    let remainder = word.wrapping_sub(quarter << 30) as i32;
    let angle = remainder as f32 * (TAU * TWO_POW_MINUS_32);
    let square = angle * angle;

    let s = (-1.952_023_7e-4 * square + 8.332_205e-3) * square - 1.666_665_5e-1;
    let sin = angle + angle * square * s;
    let c = (2.446_103_1e-5 * square - 1.388_759_4e-3) * square + 4.166_665_3e-2;
    let cos = (1.0 - 0.5 * square) + square * square * c;

    let odd = quarter & 1 == 1;
    let (s, c) = if odd { (cos, sin) } else { (sin, cos) };
    let sin_sign = (quarter & 2) << 30;
    let cos_sign = (quarter.wrapping_add(1) & 2) << 30;
    (
        f32::from_bits(s.to_bits() ^ sin_sign),
        f32::from_bits(c.to_bits() ^ cos_sign),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU as TAU_64;

    /// Words of every magnitude: all patterns of leading bits at each shift,
    /// their complements, and a lattice over the whole range.
    fn words() -> impl Iterator<Item = u32> {
        let shifted = (0..32).flat_map(|shift| (0..4096u32).map(move |k| k << 20 >> shift));
        let lattice = (0..400_000u32).map(|k| k.wrapping_mul(2_654_435_769));
        shifted.flat_map(|word| [word, !word]).chain(lattice)
    }

    /// Distance of `value` from `exact` in units of its last place.
    fn ulps(value: f32, exact: f64) -> f64 {
        let unit = f64::from(f32::EPSILON) * 2f64.powi(exact.abs().log2().floor() as i32);
        (f64::from(value) - exact).abs() / unit
    }

    // The bounds below are the roundings of the last few operations, at most
    // half a unit each (up to a whole one where the result falls into the next
    // lower binade), plus a polynomial error under a tenth of a unit.

    #[test]
    fn the_logarithm_is_within_two_units_in_the_last_place() {
        for u in words().map(half_open_unit).filter(|u| *u < 1.0) {
            assert!(ulps(ln(u), f64::from(u).ln()) <= 2.0, "ln {u}");
        }
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn sine_and_cosine_are_within_three_units_in_the_last_place() {
        for word in words() {
            let (sin, cos) = sin_cos_of_turn(word);
            // Reduced exactly to an eighth of a turn, where `f64` is accurate.
            let quarter = word.wrapping_add(1 << 29) >> 30;
            let rest = word.wrapping_sub(quarter << 30) as i32;
            let (s, c) = (f64::from(rest) * (TAU_64 / 4_294_967_296.0)).sin_cos();
            let (exact_sin, exact_cos) = [(s, c), (c, -s), (-s, -c), (-c, s)][quarter as usize];
            for (value, exact) in [(sin, exact_sin), (cos, exact_cos)] {
                if exact == 0.0 {
                    assert_eq!(value, 0.0);
                } else {
                    assert!(ulps(value, exact) <= 3.0, "{word:#x}: {value} for {exact}");
                }
            }
        }
    }

    #[test]
    fn normals_agree_with_the_formula_in_double_precision() {
        for word in words() {
            let other = word.rotate_left(7) ^ 0x5bd1_e995;
            let [z0, z1] = box_muller(word, other);
            // The radius word as rounded to f32: the formula's own argument.
            let u = f64::from(half_open_unit(word));
            let radius = (-2.0 * u.ln()).sqrt();
            let (sin, cos) = (f64::from(other) * (TAU_64 / 4_294_967_296.0)).sin_cos();
            // Five units of 2⁻²³ for the relative errors of logarithm (halved
            // by the root), root, sine and product.
            let tolerance = 5.0 * f64::from(f32::EPSILON);
            for (z, exact) in [(z0, radius * cos), (z1, radius * sin)] {
                let error = (f64::from(z) - exact).abs();
                assert!(error <= tolerance * exact.abs() + 1e-15, "{z} for {exact}");
            }
        }
    }

    #[test]
    fn normals_reach_the_tail_that_all_32_bits_allow() {
        let [z, zero] = box_muller(0, 0);
        // The smallest uniform number is 2⁻³³.
        let exact = (66.0 * std::f64::consts::LN_2).sqrt();
        assert!(ulps(z, exact) <= 2.0, "{z}");
        assert_eq!(zero, 0.0);
        assert!(box_muller(u32::MAX, 0).iter().all(|z| *z == 0.0));
    }

    #[test]
    fn single_precision_uniforms_are_the_double_ones_rounded_below_one() {
        for word in words().chain([0, u32::MAX]) {
            let expected = (unit_interval(word) as f32).min(BELOW_ONE);
            assert_eq!(open_unit(word), expected);
            assert!(0.0 < expected && expected < 1.0);
        }
    }
}

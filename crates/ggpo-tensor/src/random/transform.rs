//! What the four words of a block are turned into, in plain `f32` arithmetic.
//!
//! Everything here is branch-free and multiplies and adds separately: a fused
//! `mul_add` would be a slow library call on processors without it, and its
//! different rounding would make results depend on the processor.

/// 2⁻¹⁶, 2⁻³¹, 2⁻³² and 1 − 2⁻²⁴, the largest `f32` below one.
const TWO_POW_MINUS_16: f32 = 1.0 / 65_536.0;
const TWO_POW_MINUS_31: f32 = 2.0 * TWO_POW_MINUS_32;
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

/// Two independent normals `√(−2 ln u) (cos φ, sin φ)` from two words.
///
/// The lower 31 bits of the first give `u`, all but the last bit of the second an
/// angle within an eighth of a turn of 0, and the two bits that are left take it to
/// any place of the circle: one negates the cosine, the other swaps the two.
#[inline(always)]
fn box_muller(radius_word: u32, angle_word: u32) -> [f32; 2] {
    let radius = minus_two_ln(radius_word).sqrt();
    let (sin, cos) = sin_cos_of_eighth(angle_word & !1);
    let cos = f32::from_bits(cos.to_bits() ^ (radius_word & SIGN));
    let swapped = angle_word & 1 == 1;
    let (first, second) = if swapped { (sin, cos) } else { (cos, sin) };
    [radius * first, radius * second]
}

/// The sign bit of a word, as an integer in two's complement and as an `f32`.
const SIGN: u32 = 1 << 31;

/// `−2 ln u` for `u = |w| 2⁻³¹`, w being the word as an integer with a sign; for 0,
/// which stands for the half unit above it, the middle of that, a quarter. Within
/// 4 units in the last place of the value at `|w|` rounded to `f32`.
///
/// With `u = 2ᵏ (1 + f)` and `1 + f` in `[√½, √2)`, it is
/// `−2 k ln 2 + f P(f)`. The polynomial minimises the greatest relative error
/// (Remez), which is 2⁻²⁵.
#[inline(always)]
fn minus_two_ln(word: u32) -> f32 {
    const SQRT_HALF_BITS: u32 = 0x3f35_04f3;
    /// The bits of `√½ 2³¹`.
    const ORIGIN: u32 = SQRT_HALF_BITS + (31 << 23);

    let magnitude = (word as i32 as f32).abs();
    let magnitude = if magnitude > 0.25 { magnitude } else { 0.25 };
    let bits = magnitude.to_bits().wrapping_sub(ORIGIN);
    let k = ((bits as i32) >> 23) as f32;
    let f = f32::from_bits((bits & 0x007f_ffff).wrapping_add(SQRT_HALF_BITS)) - 1.0;

    // Pairs of coefficients, then pairs of pairs: a chain half as long as Horner's.
    let square = f * f;
    let p01 = 9.999_997_6e-1 * f - 2.0;
    let p23 = 5.000_415e-1 * f - 6.666_837_3e-1;
    let p45 = 3.312_478_7e-1 * f - 3.991_366_6e-1;
    let p67 = 2.873_368_6e-1 * f - 2.990_453_2e-1;
    let p8 = -1.744_471_2e-1 * square;
    let fourth = square * square;
    let p = (p01 + p23 * square) + (p45 + (p67 + p8) * square) * fourth;
    p * f + k * (-2.0 * std::f32::consts::LN_2)
}

/// Sine and cosine of an eighth of a turn times `word 2⁻³¹`, the word being an
/// integer with a sign; each within 3 units in the last place.
///
/// The polynomials in the square of the argument minimise the greatest relative
/// error (Remez): 2⁻²⁸ for the sine and 2⁻²⁴·⁹ for the cosine.
#[inline(always)]
fn sin_cos_of_eighth(word: u32) -> (f32, f32) {
    let t = word as i32 as f32 * TWO_POW_MINUS_31;
    let square = t * t;
    let fourth = square * square;
    let s01 = 7.853_982e-1 - 8.074_543_6e-2 * square;
    let s23 = 2.490_001e-3 - 3.595_045_2e-5 * square;
    let c01 = 0.999_999_94 - 3.084_241_7e-1 * square;
    let c23 = 1.584_968_3e-2 - 3.187_278_3e-4 * square;
    (t * (s01 + s23 * fourth), c01 + c23 * fourth)
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
    // lower binade), plus the error of the polynomial: half a unit at
    // most.

    /// The magnitude that a radius word stands for, rounded to `f32` as the
    /// formula's own argument, as a share of 2³¹.
    fn share(word: u32) -> f64 {
        let magnitude = f64::from((word as i32 as f32).abs());
        magnitude.max(0.25) / 2_147_483_648.0
    }

    #[test]
    fn the_logarithm_is_within_four_units_in_the_last_place() {
        for word in words().filter(|word| share(*word) < 1.0) {
            let value = minus_two_ln(word);
            assert!(ulps(value, -2.0 * share(word).ln()) <= 4.0, "{word:#x}");
        }
        assert_eq!(minus_two_ln(SIGN), 0.0);
    }

    #[test]
    fn sine_and_cosine_are_within_three_units_in_the_last_place() {
        for word in words() {
            let (sin, cos) = sin_cos_of_eighth(word);
            let angle = f64::from(word as i32) * (TAU_64 / 8.0 / 2_147_483_648.0);
            let (exact_sin, exact_cos) = angle.sin_cos();
            assert!(ulps(cos, exact_cos) <= 3.0, "cosine of {word:#x}");
            if exact_sin == 0.0 {
                assert_eq!(sin, 0.0);
            } else {
                assert!(ulps(sin, exact_sin) <= 3.0, "sine of {word:#x}");
            }
        }
    }

    #[test]
    fn normals_agree_with_the_formula_in_double_precision() {
        for word in words() {
            let other = word.rotate_left(7) ^ 0x5bd1_e995;
            let [z0, z1] = box_muller(word, other);
            let radius = (-2.0 * share(word).ln()).sqrt();
            let angle = f64::from((other & !1) as i32) * (TAU_64 / 8.0 / 2_147_483_648.0);
            let (sin, mut cos) = angle.sin_cos();
            if (word as i32) < 0 {
                cos = -cos;
            }
            let (first, second) = if other & 1 == 1 {
                (sin, cos)
            } else {
                (cos, sin)
            };
            // Five units of 2⁻²³ for the relative errors of logarithm (halved
            // by the root), root, sine and product.
            let tolerance = 5.0 * f64::from(f32::EPSILON);
            for (z, exact) in [(z0, radius * first), (z1, radius * second)] {
                let error = (f64::from(z) - exact).abs();
                assert!(error <= tolerance * exact.abs() + 1e-15, "{z} for {exact}");
            }
        }
    }

    /// The two spare bits take the eighths on both sides of 0 to all of the
    /// circle, each place as often as any other.
    #[test]
    fn angles_are_even_around_the_circle() {
        const PLACES: usize = 64;
        let mut counts = [0; PLACES];
        for radius_word in [5 << 20, SIGN | 5 << 20] {
            for angle_word in (0..1_u32 << 17).map(|k| (k << 15) | (1 << 14) | (k & 1)) {
                let [z0, z1] = box_muller(radius_word, angle_word);
                let turn = f64::from(z1).atan2(f64::from(z0)) / TAU_64 + 0.5;
                counts[(turn * PLACES as f64) as usize % PLACES] += 1;
            }
        }
        // Each of the eight pieces of the circle has the same lattice, so a place
        // can differ by its two ends only.
        let mean = counts.iter().sum::<i32>() / PLACES as i32;
        assert!(
            counts.iter().all(|count| (count - mean).abs() <= 2),
            "{counts:?}"
        );
    }

    #[test]
    fn normals_reach_the_tail_that_31_bits_allow() {
        let [z, zero] = box_muller(0, 0);
        // The smallest uniform number is a quarter of 2⁻³¹.
        let exact = (66.0 * std::f64::consts::LN_2).sqrt();
        assert!(ulps(z, exact) <= 2.0, "{z}");
        assert_eq!(zero, 0.0);
        assert!(box_muller(SIGN, 0).iter().all(|z| *z == 0.0));
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

//! `exp`, `tanh` and `erf` of an `f32`, in branch-free arithmetic that vectorises.
//!
//! The library's functions are calls, one number at a time. These are straight
//! sequences of additions, multiplications, selections and at most one division,
//! always inlined, so a loop over them becomes vector code of whatever width the
//! loop was compiled for (see [`crate::raw::dispatch`]). Multiplications and
//! additions stay separate, so the width never changes a bit. The selections
//! between two long formulas are explicit: as branches they would count against
//! the inlining of the loop's closure, without which nothing is vectorised.
//!
//! The coefficients minimise the greatest error over the stated interval: the
//! exchange algorithm of Remez in 50 decimal digits, then rounded to `f32`. Errors
//! in units in the last place were found by comparing all floats with `f64`.

use std::hint::select_unpredictable;

/// `c[0] + c[1] x + c[2] x² + …`
#[inline(always)]
fn polynomial<const N: usize>(x: f32, c: [f32; N]) -> f32 {
    let mut sum = c[N - 1];
    for i in (0..N - 1).rev() {
        sum = sum * x + c[i];
    }
    sum
}

/// 2ᵏ for `k` in −126..=127; any number for other `k`.
#[inline(always)]
fn power_of_two(k: i32) -> f32 {
    f32::from_bits((k.wrapping_add(127) as u32) << 23)
}

/// `(m, k)` with `m 2ᵏ = exp(x)` for |x| up to 104; m is NaN for NaN.
///
/// With k the integer nearest to `x / ln 2` and `r = x − k ln 2`, it is
/// `m = 1 + r + r² P(r)`. The relative error of the polynomial form is 2⁻²⁸.
#[inline(always)]
fn scaled_exp(x: f32) -> (f32, i32) {
    // ln 2 in two parts; multiples k of the first are exact for |k| < 2⁹.
    const LN_2_HIGH: f32 = 0.693_145_75;
    const LN_2_LOW: f32 = 1.428_606_8e-6;
    // Adding 3 · 2²² leaves a sum whose last bit counts ones: it rounds, and
    // the low bits are the rounded number.
    const ROUND: f32 = 12_582_912.0;

    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let k = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let multiple = shifted - ROUND;
    let r = (x - multiple * LN_2_HIGH) - multiple * LN_2_LOW;
    let p = polynomial(
        r,
        [
            4.999_999_4e-1,
            1.666_652_1e-1,
            4.166_839e-2,
            8.368_717e-3,
            1.381_459_9e-3,
        ],
    );
    (1.0 + (r + r * r * p), k)
}

/// e to the power of `x`, within 1 unit in the last place; subnormal results
/// within 1 unit, too. Beyond the range of `f32` it is infinite or 0, and NaN
/// for NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // The largest float is e^88.72…, half the smallest one e^−103.97…
    const LARGEST: f32 = 89.0;
    const SMALLEST: f32 = -104.0;

    let x = if x > LARGEST { LARGEST } else { x };
    let x = if x < SMALLEST { SMALLEST } else { x };
    let (mantissa, k) = scaled_exp(x);
    // In two steps, as 2ᵏ itself may be out of range when the result is not.
    let half = k >> 1;
    mantissa * power_of_two(half) * power_of_two(k.wrapping_sub(half))
}

/// [`exp`] for |x| up to 87.
#[inline(always)]
fn exp_inside(x: f32) -> f32 {
    let (mantissa, k) = scaled_exp(x);
    mantissa * power_of_two(k)
}

/// Hyperbolic tangent, within 1.5 units in the last place, odd to the bit and
/// at most 1 in magnitude; NaN for NaN.
///
/// Up to 0.55 it is `x + x³ P(x²)`, which leaves small numbers as they are; the
/// relative error of the polynomial form is 2⁻²⁹·⁸. From there on it is
/// `1 − 2 / (e^2x + 1)`, which subtracts at most a half, and rounds to 1 from
/// 9.011 on.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    const SATURATED: f32 = 9.5;
    let magnitude = x.abs();
    let square = x * x;
    let p = polynomial(
        square,
        [
            -3.333_331_6e-1,
            1.333_258_6e-1,
            -5.385_231e-2,
            2.107_168e-2,
            -6.274_240_6e-3,
        ],
    );
    let near = magnitude + magnitude * square * p;
    let inside = if magnitude > SATURATED {
        SATURATED
    } else {
        magnitude
    };
    let far = 1.0 - 2.0 / (exp_inside(inside + inside) + 1.0);
    select_unpredictable(magnitude < 0.55, near, far).copysign(x)
}

/// Error function, within 1.5 units in the last place, odd to the bit and at
/// most 1 in magnitude; NaN for NaN.
///
/// Up to 1 it is `x + x P(x²)`, where the relative error of the polynomial form
/// is 2⁻²⁹·⁶. From there on it is `1 − exp(−R(|x|))`: `R` follows the logarithm of
/// the complement so that the whole has an error of 2⁻²⁹·⁸ up to 4, where 1 has
/// been reached.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    const SATURATED: f32 = 4.0;
    let magnitude = x.abs();
    let p = polynomial(
        x * x,
        [
            1.283_791_7e-1,
            -3.761_262_6e-1,
            1.128_358_54e-1,
            -2.685_381_1e-2,
            5.188_327_3e-3,
            -8.010_192e-4,
            7.853_857e-5,
        ],
    );
    let near = magnitude + magnitude * p;
    let inside = if magnitude > SATURATED {
        SATURATED
    } else {
        magnitude
    };
    let r = polynomial(
        inside,
        [
            3.537_194e-4,
            1.127_04,
            6.382_257e-1,
            1.030_373_65e-1,
            -2.180_531_8e-2,
            2.939_607e-3,
            -1.855_739_8e-4,
        ],
    );
    let far = 1.0 - exp_inside(-r);
    select_unpredictable(magnitude < 1.0, near, far).copysign(x)
}

#[cfg(test)]
mod tests {
    use crate::raw::dispatch::{Kernel, run_at};
    use crate::simd::Level;

    /// Applies a function to every element, as the loops of this crate do.
    struct Apply<'a, F>(&'a [f32], &'a mut [f32], F);

    impl<F: Fn(f32) -> f32> Kernel for Apply<'_, F> {
        type Output = ();

        #[inline(always)]
        fn run(self) {
            for (out, &x) in self.1.iter_mut().zip(self.0) {
                *out = (self.2)(x);
            }
        }
    }

    fn check(name: &str, f: impl Fn(f32) -> f32 + Copy) {
        // Every 4099th float, infinities and NaN among them.
        let x: Vec<f32> = (0..=u32::MAX).step_by(4099).map(f32::from_bits).collect();
        let results = Level::available().map(|level| {
            let mut out = vec![0.0; x.len()];
            run_at(level, Apply(&x, &mut out, f));
            out
        });
        let one_by_one: Vec<f32> = x.iter().map(|&x| f(std::hint::black_box(x))).collect();
        for result in results {
            for ((&x, &a), &b) in x.iter().zip(&one_by_one).zip(&result) {
                // A NaN stays one; its sign and payload are not specified.
                let same = a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
                assert!(same, "{name} {x}: {a} or {b}");
                assert_eq!(x.is_nan(), a.is_nan(), "{name} {x}");
            }
        }
    }

    #[test]
    fn all_levels_give_the_same_bits() {
        check("exp", super::exp);
        check("tanh", super::tanh);
        check("erf", super::erf);
    }
}

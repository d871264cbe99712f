//! The functions of [`Real`] against the system's in double precision, and the
//! laws of the kernels that are built from them.

use ggpo_tensor::softmax::{log_sum_exp, softmax};
use ggpo_tensor::{Real, activation, tensor};
use proptest::prelude::*;

/// Non-negative floats of every magnitude: about a million, evenly spaced in
/// their bits, with both ends, and the surroundings of every power of two.
fn magnitudes() -> impl Iterator<Item = f32> {
    let infinity = f32::INFINITY.to_bits();
    let spread = (0..=infinity).step_by(2039);
    let corners = (0..=255u32).flat_map(|exponent| {
        (-8..=8).map(move |offset| (exponent << 23).saturating_add_signed(offset))
    });
    let bits = spread
        .chain(corners)
        .chain([1, 2, 3, infinity - 1, infinity]);
    bits.map(f32::from_bits).filter(|x| !x.is_nan())
}

/// Numbers where the functions are neither 0, 1 nor infinite, 2⁻¹⁴ apart.
fn lattice() -> impl Iterator<Item = f32> {
    (0..=105 << 14).map(|k| k as f32 / 16_384.0)
}

fn both_signs() -> impl Iterator<Item = f32> {
    magnitudes().chain(lattice()).flat_map(|x| [x, -x])
}

/// Distance of `value` from `exact` in units of the last place of an `f32` of
/// that magnitude, subnormal ones included.
fn ulps(value: f32, exact: f64) -> f64 {
    let exponent = exact.abs().log2().floor().max(-126.0);
    (f64::from(value) - exact).abs() / (exponent - 23.0).exp2()
}

// The bounds are those of the doc comments. Comparing all floats gave 0.98 for
// exp, 1.46 for tanh and 1.32 for erf: polynomial errors under a tenth of a unit
// plus the roundings of the last few operations.

#[test]
fn exp_is_within_one_unit_in_the_last_place() {
    for x in both_signs() {
        let (value, exact) = (Real::exp(x), f64::from(x).exp());
        let rounded = exact as f32;
        if rounded.is_infinite() || exact == 0.0 {
            assert_eq!(value, rounded, "exp {x}");
        } else {
            assert!(ulps(value, exact) <= 1.0, "exp {x} = {value} for {exact}");
        }
    }
}

#[test]
fn exp_ends_where_floats_end() {
    // The last argument below infinity, and its successor.
    assert!(Real::exp(88.722_84_f32) > 3.4e38);
    assert_eq!(Real::exp(88.722_84_f32.next_up()), f32::INFINITY);
    // Half the smallest subnormal is e^−103.9721; above it rounds up.
    assert_eq!(Real::exp(-103.972_f32), f32::from_bits(1));
    assert_eq!(Real::exp(-103.973_f32), 0.0);
    assert_eq!(Real::exp(f32::INFINITY), f32::INFINITY);
    assert_eq!(Real::exp(f32::NEG_INFINITY), 0.0);
    assert_eq!((Real::exp(0.0_f32), Real::exp(-0.0_f32)), (1.0, 1.0));
    assert!(Real::exp(f32::NAN).is_nan());
}

/// What tanh and erf have in common. `slope` is the one at 0, `end` the least
/// magnitude whose exact value rounds to 1.
fn check_sigmoidal(
    name: &str,
    f: fn(f32) -> f32,
    exact: fn(f64) -> f64,
    bound: f64,
    slope: f64,
    end: f32,
) {
    for x in both_signs() {
        let value = f(x);
        assert_eq!(value.to_bits(), (-f(-x)).to_bits(), "{name} is odd at {x}");
        assert!(value.abs() <= 1.0, "{name} {x} = {value}");
        assert_eq!(value.is_sign_negative(), x.is_sign_negative(), "{name} {x}");
        if x.abs() > end * 1.001 {
            assert_eq!(value.abs(), 1.0, "{name} {x}");
        }
        let tiny = x.abs() < 1e-5;
        let exact = if tiny {
            slope * f64::from(x)
        } else {
            exact(f64::from(x))
        };
        if exact != 0.0 {
            assert!(
                ulps(value, exact) <= bound,
                "{name} {x} = {value} for {exact}"
            );
        }
    }
    assert!(f(f32::NAN).is_nan());
    // No step back by more than the two errors at neighbouring points allow.
    let mut before = 0.0;
    for x in lattice() {
        let drop = f64::from(before - f(x)) / f64::from(f32::EPSILON);
        assert!(drop <= bound, "{name} falls at {x}");
        before = f(x);
    }
}

#[test]
fn tanh_is_odd_bounded_and_within_one_and_a_half_units() {
    check_sigmoidal("tanh", Real::tanh, f64::tanh, 1.5, 1.0, 9.011);
    // Small numbers come back as they are, subnormal ones included.
    for x in magnitudes().filter(|x| *x < 1e-4) {
        assert_eq!(Real::tanh(x), x);
    }
}

#[test]
fn erf_is_odd_bounded_and_within_one_and_a_half_units() {
    let slope = std::f64::consts::FRAC_2_SQRT_PI;
    check_sigmoidal("erf", Real::erf, libm::erf, 1.5, slope, 3.92);
}

#[test]
fn the_larger_number_is_self_for_ties_and_nan() {
    assert_eq!(Real::max(1.0_f32, 2.0), 2.0);
    assert_eq!(Real::max(2.0_f32, 1.0), 2.0);
    assert!(Real::max(0.0_f32, -0.0).is_sign_positive());
    assert!(Real::max(-0.0_f32, 0.0).is_sign_negative());
    assert!(Real::max(f32::NAN, 1.0).is_nan());
    assert_eq!(Real::max(1.0, f32::NAN), 1.0);
}

#[test]
fn activations_agree_with_double_precision() {
    type Pair = (fn(f32) -> f32, fn(f64) -> f64);
    let pairs: [Pair; 7] = [
        (activation::gelu_erf, activation::gelu_erf),
        (activation::gelu_erf_slope, activation::gelu_erf_slope),
        (activation::gelu_tanh, activation::gelu_tanh),
        (activation::gelu_tanh_slope, activation::gelu_tanh_slope),
        (activation::silu, activation::silu),
        (activation::silu_slope, activation::silu_slope),
        (activation::sigmoid, activation::sigmoid),
    ];
    for (which, (single, double)) in pairs.into_iter().enumerate() {
        for x in lattice().filter(|x| *x < 30.0).flat_map(|x| [x, -x]) {
            let error = (f64::from(single(x)) - double(f64::from(x))).abs();
            // Each is a product of factors with a few units of 2⁻²³ as errors, of
            // which the largest are x and, in the slope of the tanh form, x³/15;
            // beyond |x| = 6 only x itself still grows.
            let scale = 1.0 + f64::from(x).abs().min(6.0).powi(3) / 8.0;
            let tolerance = 4.0 * f64::from(f32::EPSILON) * scale.max(f64::from(x).abs());
            assert!(error <= tolerance, "activation {which} at {x}: {error:e}");
        }
    }
}

/// A row of logits, some of them far beyond the range of `exp`.
fn logits() -> impl Strategy<Value = Vec<f32>> {
    (0..4usize).prop_flat_map(|size| {
        let bound: f32 = [1e-3, 10.0, 1e3, 1e30][size];
        prop::collection::vec(-bound..bound, 1..200)
    })
}

/// The softmax of one row.
fn softmax_of(row: &[f32]) -> Vec<f32> {
    let out = softmax(&tensor(&[row.len()], row.to_vec()));
    out.into_iter().collect()
}

/// Softmax in double precision.
fn exact_softmax(row: &[f32]) -> Vec<f64> {
    let values: Vec<_> = row.iter().copied().map(f64::from).collect();
    let max = values.iter().copied().fold(f64::MIN, f64::max);
    let terms: Vec<_> = values.iter().map(|x| (x - max).exp()).collect();
    let total: f64 = terms.iter().sum();
    terms.iter().map(|x| x / total).collect()
}

// An element has the rounding of x − max, which at a difference d costs d 2⁻²⁴
// relative and counts only while e^−d does (d e^−d < 1/2), then exp, the sum
// (12 additions deep for 200 elements, and 4 to join), the reciprocal and the
// product: well under 20 units of 2⁻²⁴ of a number that is at most 1.
const SOFTMAX_TOLERANCE: f64 = 10.0 * f32::EPSILON as f64;

proptest! {
    #[test]
    fn softmax_is_a_distribution(row in logits()) {
        let p = softmax_of(&row);
        let exact = exact_softmax(&row);
        for (p, exact) in p.iter().zip(&exact) {
            prop_assert!((f64::from(*p) - exact).abs() <= SOFTMAX_TOLERANCE);
        }
        let total: f64 = p.iter().copied().map(f64::from).sum();
        prop_assert!((total - 1.0).abs() <= SOFTMAX_TOLERANCE, "sum {total}");
    }

    #[test]
    fn log_sum_exp_is_that_of_double_precision(row in logits()) {
        let max = row.iter().copied().map(f64::from).fold(f64::MIN, f64::max);
        let exact = max + row.iter().map(|x| (f64::from(*x) - max).exp()).sum::<f64>().ln();
        // The logarithm of the sum is at most ln 200 < 6; its argument is as
        // accurate as a softmax, and the final sum is rounded once.
        let tolerance = f64::from(f32::EPSILON) * (10.0 + exact.abs());
        prop_assert!((f64::from(log_sum_exp(&row)) - exact).abs() <= tolerance);
    }
}

#[test]
fn rows_without_elements_and_with_nan() {
    assert!(softmax_of(&[]).is_empty());
    assert_eq!(log_sum_exp::<f32>(&[]), f32::NEG_INFINITY);
    for position in 0..40 {
        let mut row = vec![1.0_f32; 40];
        row[position] = f32::NAN;
        assert!(log_sum_exp(&row).is_nan());
        assert!(softmax_of(&row).iter().all(|p| p.is_nan()));
    }
}

//! Activation functions of one number, and their derivatives.
//!
//! They are branch-free for `f32` and always inlined, so that the loops of
//! [`parallel`](crate::parallel) over them become vector code.

use crate::Scalar;

/// `x Phi(x)` with the exact normal distribution function (erf).
#[inline(always)]
pub fn gelu_erf<T: Scalar>(x: T) -> T {
    x * normal_cdf(x)
}

/// Derivative of [`gelu_erf`]: `Phi(x) + x phi(x)`.
#[inline(always)]
pub fn gelu_erf_slope<T: Scalar>(x: T) -> T {
    let density = (x * x * T::from_f64(-0.5)).exp()
        * T::from_f64(std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2 / 2.0);
    normal_cdf(x) + x * density
}

#[inline(always)]
fn normal_cdf<T: Scalar>(x: T) -> T {
    let half = T::from_f64(0.5);
    half + half * (x * T::from_f64(std::f64::consts::FRAC_1_SQRT_2)).erf()
}

/// `sqrt(2 / pi)`, of the tanh form of GELU.
const TANH_SCALE: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
/// The cubic coefficient of the tanh form of GELU.
const TANH_CUBIC: f64 = 0.044715;

/// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
#[inline(always)]
pub fn gelu_tanh<T: Scalar>(x: T) -> T {
    let inner = T::from_f64(TANH_SCALE) * (x + T::from_f64(TANH_CUBIC) * x * x * x);
    T::from_f64(0.5) * x * (T::ONE + inner.tanh())
}

/// Derivative of [`gelu_tanh`].
#[inline(always)]
pub fn gelu_tanh_slope<T: Scalar>(x: T) -> T {
    let half = T::from_f64(0.5);
    let square = x * x;
    let inner = T::from_f64(TANH_SCALE) * (x + T::from_f64(TANH_CUBIC) * square * x);
    let t = inner.tanh();
    let inner_slope = T::from_f64(TANH_SCALE) * (T::ONE + T::from_f64(3.0 * TANH_CUBIC) * square);
    half * (T::ONE + t) + half * x * (T::ONE - t * t) * inner_slope
}

/// `max(x, 0)`; NaN stays NaN.
#[inline(always)]
pub fn relu<T: Scalar>(x: T) -> T {
    if x < T::ZERO { T::ZERO } else { x }
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub fn sigmoid<T: Scalar>(x: T) -> T {
    T::ONE / (T::ONE + (-x).exp())
}

/// `x sigmoid(x)`.
#[inline(always)]
pub fn silu<T: Scalar>(x: T) -> T {
    x * sigmoid(x)
}

/// Derivative of [`silu`].
#[inline(always)]
pub fn silu_slope<T: Scalar>(x: T) -> T {
    let s = sigmoid(x);
    s * (T::ONE + x * (T::ONE - s))
}

//! Dual numbers `x + dx e` with `e² = 0`: a value and a tangent. A function of them
//! gives its value at x and its derivative along dx.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use crate::raw::gemm::check_shapes;
use crate::{Products, Real};

/// A value and a tangent: `value + tangent e` with `e² = 0`.
///
/// Kernels and tape calculate with it as with any [`Scalar`](crate::Scalar). What
/// comes out carries, beside its value, its derivative along the tangents of what
/// went in. So a gradient that was calculated on dual numbers has as its tangent
/// the product of the Hessian with the direction in the tangents: forward mode over
/// reverse mode, exact up to rounding.
///
/// Two numbers are equal if their values are; see [`Real`]. Where a function has no
/// derivative (the square root at 0, say), the tangent is not a finite number.
///
/// ```
/// use ggpo_tensor::{Dual, Real};
///
/// let x = Dual { value: 3.0, tangent: 1.0 };
/// let y = x * x + x.exp();
/// assert_eq!(y.tangent, 6.0 + 3.0_f64.exp());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Dual<T = f64> {
    /// The value.
    pub value: T,
    /// The derivative of the value along a direction.
    pub tangent: T,
}

impl<T: Real> Dual<T> {
    /// A number that does not change along the direction.
    #[inline(always)]
    pub fn constant(value: T) -> Self {
        Dual {
            value,
            tangent: T::ZERO,
        }
    }

    /// The value of a function and its derivative, by the chain rule.
    #[inline(always)]
    fn chain(self, value: T, slope: T) -> Self {
        Dual {
            value,
            tangent: slope * self.tangent,
        }
    }
}

impl<T: Real> Real for Dual<T> {
    const ZERO: Self = Dual {
        value: T::ZERO,
        tangent: T::ZERO,
    };
    const ONE: Self = Dual {
        value: T::ONE,
        tangent: T::ZERO,
    };

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        Self::constant(T::from_f64(value))
    }
    #[inline(always)]
    fn value(self) -> f64 {
        self.value.value()
    }
    #[inline(always)]
    fn exp(self) -> Self {
        let y = self.value.exp();
        self.chain(y, y)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        self.chain(self.value.ln(), T::ONE / self.value)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        let y = self.value.sqrt();
        self.chain(y, T::ONE / (y + y))
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        let y = self.value.tanh();
        self.chain(y, T::ONE - y * y)
    }
    #[inline(always)]
    fn erf(self) -> Self {
        let factor = T::from_f64(std::f64::consts::FRAC_2_SQRT_PI);
        let slope = factor * (-self.value * self.value).exp();
        self.chain(self.value.erf(), slope)
    }
}

/// Products of the parts: `A B + (dA B + A dB) e`, by the products of T.
impl<T: Products> Products for Dual<T> {
    fn gemm_serial(
        alpha: Self,
        a: ArrayView2<'_, Self>,
        b: ArrayView2<'_, Self>,
        beta: Self,
        mut c: ArrayViewMut2<'_, Self>,
    ) {
        check_shapes(a.dim(), b.dim(), c.dim());
        let (a, da) = parts(a);
        let (b, db) = parts(b);
        let mut value = Array2::from_elem(c.dim(), T::ZERO);
        let mut tangent = value.clone();
        T::gemm_serial(T::ONE, a.view(), b.view(), T::ZERO, value.view_mut());
        for (one, other) in [(da.as_ref(), Some(&b)), (Some(&a), db.as_ref())] {
            // Constants, frozen weights among them, have no tangents.
            if let (Some(one), Some(other)) = (one, other) {
                let sum = tangent.view_mut();
                T::gemm_serial(T::ONE, one.view(), other.view(), T::ONE, sum);
            }
        }
        let products = value.into_iter().zip(tangent);
        for (c, (value, tangent)) in c.iter_mut().zip(products) {
            let product = alpha * Dual { value, tangent };
            *c = match beta == Self::ZERO {
                true => product,
                false => product + beta * *c,
            };
        }
    }
}

/// The values of a matrix and its tangents; none if all of them are 0.
fn parts<T: Real>(matrix: ArrayView2<'_, Dual<T>>) -> (Array2<T>, Option<Array2<T>>) {
    let moves = matrix.iter().any(|x| x.tangent != T::ZERO);
    let tangents = moves.then(|| matrix.map(|x| x.tangent));
    (matrix.map(|x| x.value), tangents)
}

impl<T: Real> Add for Dual<T> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Dual {
            value: self.value + other.value,
            tangent: self.tangent + other.tangent,
        }
    }
}

impl<T: Real> Sub for Dual<T> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Dual {
            value: self.value - other.value,
            tangent: self.tangent - other.tangent,
        }
    }
}

impl<T: Real> Mul for Dual<T> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Dual {
            value: self.value * other.value,
            tangent: self.tangent * other.value + self.value * other.tangent,
        }
    }
}

impl<T: Real> Div for Dual<T> {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        Dual {
            value,
            tangent: (self.tangent - value * other.tangent) / other.value,
        }
    }
}

impl<T: Real> Neg for Dual<T> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Dual {
            value: -self.value,
            tangent: -self.tangent,
        }
    }
}

impl<T: Real> AddAssign for Dual<T> {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl<T: Real> SubAssign for Dual<T> {
    #[inline(always)]
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl<T: Real> MulAssign for Dual<T> {
    #[inline(always)]
    fn mul_assign(&mut self, other: Self) {
        *self = *self * other;
    }
}

impl<T: Real> PartialEq for Dual<T> {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Real> PartialOrd for Dual<T> {
    #[inline(always)]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl<T: Real> fmt::Display for Dual<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} + {} e", self.value, self.tangent)
    }
}

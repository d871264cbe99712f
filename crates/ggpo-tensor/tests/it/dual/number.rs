//! Dual numbers `x + dx e` with `e² = 0`: a value and a tangent. A function of them
//! gives its value at x and its derivative along dx.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

use ggpo_tensor::{Products, Real};

/// A value and a tangent, in `f64`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dual {
    pub(crate) value: f64,
    pub(crate) tangent: f64,
}

impl Dual {
    /// The value of a function and its derivative, by the chain rule.
    fn chain(self, value: f64, slope: f64) -> Dual {
        Dual {
            value,
            tangent: slope * self.tangent,
        }
    }
}

impl Real for Dual {
    const ZERO: Self = Dual {
        value: 0.0,
        tangent: 0.0,
    };
    const ONE: Self = Dual {
        value: 1.0,
        tangent: 0.0,
    };

    fn from_f64(value: f64) -> Self {
        Dual {
            value,
            tangent: 0.0,
        }
    }
    fn value(self) -> f64 {
        self.value
    }
    fn exp(self) -> Self {
        let y = self.value.exp();
        self.chain(y, y)
    }
    fn ln(self) -> Self {
        self.chain(self.value.ln(), 1.0 / self.value)
    }
    fn sqrt(self) -> Self {
        let y = self.value.sqrt();
        self.chain(y, 0.5 / y)
    }
    fn tanh(self) -> Self {
        let y = self.value.tanh();
        self.chain(y, 1.0 - y * y)
    }
    fn erf(self) -> Self {
        let slope = std::f64::consts::FRAC_2_SQRT_PI * (-self.value * self.value).exp();
        self.chain(Real::erf(self.value), slope)
    }
}

/// The general forms.
impl Products for Dual {}

impl Add for Dual {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Dual {
            value: self.value + other.value,
            tangent: self.tangent + other.tangent,
        }
    }
}

impl Sub for Dual {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Dual {
            value: self.value - other.value,
            tangent: self.tangent - other.tangent,
        }
    }
}

impl Mul for Dual {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Dual {
            value: self.value * other.value,
            tangent: self.tangent * other.value + self.value * other.tangent,
        }
    }
}

impl Div for Dual {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        Dual {
            value,
            tangent: (self.tangent - value * other.tangent) / other.value,
        }
    }
}

impl Neg for Dual {
    type Output = Self;
    fn neg(self) -> Self {
        Dual {
            value: -self.value,
            tangent: -self.tangent,
        }
    }
}

impl AddAssign for Dual {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Dual {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl MulAssign for Dual {
    fn mul_assign(&mut self, other: Self) {
        *self = *self * other;
    }
}

impl PartialEq for Dual {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl PartialOrd for Dual {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl fmt::Display for Dual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} + {} e", self.value, self.tangent)
    }
}

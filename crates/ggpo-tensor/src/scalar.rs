//! What a kernel may assume of a number: [`Real`], and matrix products of it,
//! [`Products`]; both together are a [`Scalar`].

use std::fmt::{Debug, Display};
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

use ndarray::{ArrayView2, ArrayView3, ArrayViewMut2, Axis, s};

use crate::{math, raw};

/// A number of the kernels and of the automatic differentiation, which use nothing
/// of it but these two traits.
///
/// A type becomes one by implementing [`Real`] (two constants, seven functions and
/// the operators) and an empty [`Products`], whose methods have general forms. So a
/// type that carries more than a value, a dual number with a tangent, say, runs
/// through all kernels and gives derivatives of what they calculate.
pub trait Scalar: Real + Products {}

impl<T: Products> Scalar for T {}

/// A real number, or something that calculates like one.
///
/// Comparisons, `==` included, and [`value`](Real::value) look at the primal value
/// only. So where a kernel asks whether a factor is 0, as products do of `beta`, a
/// factor whose value is 0 counts as the constant.
///
/// Loops over `f32` become vector code because its functions are straight
/// arithmetic without branches or calls; an implementation for another type
/// should mark its methods `#[inline(always)]` to keep that. For `f32`, `exp` is
/// within 1 unit in the last place, `tanh` and `erf` are within 1.5, subnormal
/// numbers included; `f64` has the system's `exp`, `ln` and `tanh`.
pub trait Real:
    Copy
    + Send
    + Sync
    + Debug
    + Display
    + Default
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + 'static
{
    /// The number 0; equal to `Default::default()`.
    const ZERO: Self;
    /// The number 1.
    const ONE: Self;

    /// The number nearest to `value`.
    fn from_f64(value: f64) -> Self;
    /// The primal value.
    fn value(self) -> f64;

    /// e to the power of `self`.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Error function, `2 / sqrt(pi) * integral of exp(-t^2) from 0 to self`.
    fn erf(self) -> Self;

    /// The larger of two numbers; `self` if they are equal or one is NaN.
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        if other > self { other } else { self }
    }
}

/// Matrix products of a number, on the calling thread: what all products of this
/// crate are made of.
///
/// Every method has a general form in terms of [`Real`], so an implementation may
/// be empty. One that has something faster replaces [`gemm_serial`] alone, or with
/// panels of its own width the others as well.
///
/// [`gemm_serial`]: Self::gemm_serial
pub trait Products: Real {
    /// `c <- alpha a b + beta c`, for any strides; `a` is m x k, `b` k x n, `c`
    /// m x n.
    ///
    /// With `beta` zero the old contents of `c` are not read.
    ///
    /// # Panics
    /// If the shapes do not fit.
    fn gemm_serial(
        alpha: Self,
        a: ArrayView2<'_, Self>,
        b: ArrayView2<'_, Self>,
        beta: Self,
        c: ArrayViewMut2<'_, Self>,
    ) {
        general_gemm(alpha, a, b, beta, c);
    }

    /// Columns of a panel for [`gemm_panels`](Self::gemm_panels): a divisor of 192,
    /// so that a block of keys of [`attention`](crate::attention) begins a panel.
    fn panel_columns() -> usize {
        GENERAL_PANEL
    }

    /// `c <- alpha a B + start`, with B in panels: k rows of
    /// [`panel_columns`](Self::panel_columns) numbers each, of which the first n
    /// columns of all count.
    ///
    /// # Panics
    /// If the shapes do not fit: `a` is m x k, `panels` enough panels for the n
    /// columns x k x columns of a panel, contiguous, `c` m x n with contiguous
    /// rows.
    fn gemm_panels(
        alpha: Self,
        a: ArrayView2<'_, Self>,
        panels: ArrayView3<'_, Self>,
        start: Addend<'_, Self>,
        c: ArrayViewMut2<'_, Self>,
    ) {
        general_panels(alpha, a, panels, start, c);
    }

    /// Writes the transpose of `source` (m x n) to `target` (n x m).
    ///
    /// # Panics
    /// If the shapes do not fit.
    fn transpose_into(source: ArrayView2<'_, Self>, mut target: ArrayViewMut2<'_, Self>) {
        assert_eq!(target.dim(), source.t().dim(), "shape of the transpose");
        target.assign(&source.t());
    }
}

/// What a product is added to.
#[derive(Clone, Copy, Debug)]
pub enum Addend<'a, T> {
    /// `c` times a factor; with 0 the old contents of `c` are not read.
    Scaled(T),
    /// The same row, as long as those of `c`, for every row of `c`, whose old
    /// contents are not read: a bias.
    Row(&'a [T]),
}

/// Columns of a panel where there is no kernel of its own.
const GENERAL_PANEL: usize = 64;

/// [`Products::gemm_serial`], every element a sum in the order of k.
fn general_gemm<T: Real>(
    alpha: T,
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
    beta: T,
    mut c: ArrayViewMut2<'_, T>,
) {
    raw::gemm::check_shapes(a.dim(), b.dim(), c.dim());
    for (a, mut c) in a.outer_iter().zip(c.outer_iter_mut()) {
        for (b, c) in b.axis_iter(Axis(1)).zip(&mut c) {
            let mut sum = T::ZERO;
            for (&a, &b) in a.iter().zip(b) {
                sum += a * b;
            }
            *c = match beta == T::ZERO {
                true => alpha * sum,
                false => alpha * sum + beta * *c,
            };
        }
    }
}

/// [`Products::gemm_panels`] by one product for each panel.
fn general_panels<T: Products>(
    alpha: T,
    a: ArrayView2<'_, T>,
    panels: ArrayView3<'_, T>,
    start: Addend<'_, T>,
    mut c: ArrayViewMut2<'_, T>,
) {
    let beta = match start {
        Addend::Scaled(beta) => beta,
        Addend::Row(row) => {
            c.assign(&ndarray::aview1(row));
            T::ONE
        }
    };
    let columns = c.axis_chunks_iter_mut(Axis(1), panels.dim().2);
    for (c, panel) in columns.zip(panels.outer_iter()) {
        let b = panel.slice_move(s![.., ..c.ncols()]);
        T::gemm_serial(alpha, a, b, beta, c);
    }
}

macro_rules! real_of_the_machine {
    ($float:ty, $exp:path, $tanh:path, $erf:path) => {
        impl Real for $float {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;

            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as $float
            }
            #[inline(always)]
            fn value(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn exp(self) -> Self {
                $exp(self)
            }
            #[inline(always)]
            fn ln(self) -> Self {
                <$float>::ln(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                <$float>::sqrt(self)
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                $tanh(self)
            }
            #[inline(always)]
            fn erf(self) -> Self {
                $erf(self)
            }
        }
    };
}

real_of_the_machine!(f32, math::exp, math::tanh, math::erf);
real_of_the_machine!(f64, f64::exp, f64::tanh, libm::erf);

/// Kernels of this crate at the levels that have one.
impl Products for f32 {
    fn gemm_serial(
        alpha: f32,
        a: ArrayView2<'_, f32>,
        b: ArrayView2<'_, f32>,
        beta: f32,
        c: ArrayViewMut2<'_, f32>,
    ) {
        raw::gemm::sgemm(alpha, a, b, beta, c);
    }

    fn panel_columns() -> usize {
        raw::sgemm::panel_columns().unwrap_or(GENERAL_PANEL)
    }

    fn gemm_panels(
        alpha: f32,
        a: ArrayView2<'_, f32>,
        panels: ArrayView3<'_, f32>,
        start: Addend<'_, f32>,
        mut c: ArrayViewMut2<'_, f32>,
    ) {
        if !raw::sgemm::sgemm_panels(alpha, a, panels, start, c.view_mut()) {
            general_panels(alpha, a, panels, start, c);
        }
    }

    fn transpose_into(source: ArrayView2<'_, f32>, target: ArrayViewMut2<'_, f32>) {
        raw::sgemm::transpose_into(source, target);
    }
}

/// `matrixmultiply`, for what only checks and tests use.
impl Products for f64 {
    fn gemm_serial(
        alpha: f64,
        a: ArrayView2<'_, f64>,
        b: ArrayView2<'_, f64>,
        beta: f64,
        c: ArrayViewMut2<'_, f64>,
    ) {
        raw::gemm::dgemm(alpha, a, b, beta, c);
    }
}

//! Safe wrappers of `matrixmultiply`.

use ndarray::{ArrayView2, ArrayViewMut2};

/// Checks the shapes of a, b and c in `c <- alpha a b + beta c`.
///
/// # Panics
/// If they do not fit.
pub(crate) fn check_shapes((m, k): (usize, usize), (k_b, n): (usize, usize), c: (usize, usize)) {
    assert_eq!(k, k_b, "gemm: a is {m} x {k}, b is {k_b} x {n}");
    assert_eq!(c, (m, n), "gemm: a b is {m} x {n}, c is {c:?}");
}

macro_rules! gemm_wrapper {
    ($name:ident, $float:ty $(, $own:path)?) => {
        /// `c <- alpha a b + beta c` for any strides.
        pub(crate) fn $name(
            alpha: $float,
            a: ArrayView2<'_, $float>,
            b: ArrayView2<'_, $float>,
            beta: $float,
            mut c: ArrayViewMut2<'_, $float>,
        ) {
            check_shapes(a.dim(), b.dim(), c.dim());
            let ((m, k), n) = (a.dim(), b.ncols());
            if m == 0 || n == 0 {
                return;
            }
            $(if $own(alpha, a, b, beta, c.view_mut()) {
                return;
            })?
            let (a_stride, b_stride, c_stride) = (
                [a.strides()[0], a.strides()[1]],
                [b.strides()[0], b.strides()[1]],
                [c.strides()[0], c.strides()[1]],
            );
            // SAFETY: the views guarantee that every element reached by their
            // pointer, strides and the shapes checked above is valid to read
            // (a, b) or to write (c). `c` is a unique borrow, so it overlaps
            // neither `a` nor `b` nor itself.
            unsafe {
                matrixmultiply::$name(
                    m,
                    k,
                    n,
                    alpha,
                    a.as_ptr(),
                    a_stride[0],
                    a_stride[1],
                    b.as_ptr(),
                    b_stride[0],
                    b_stride[1],
                    beta,
                    c.as_mut_ptr(),
                    c_stride[0],
                    c_stride[1],
                );
            }
        }
    };
}

gemm_wrapper!(sgemm, f32, crate::raw::sgemm::sgemm);
gemm_wrapper!(dgemm, f64);

//! A function of many numbers, with its gradient and the products of its Hessian:
//! all that the measures know of a model.

use ggpo_tensor::Scalar;

use super::vector::{difference, norm, scaled, sum};

/// A matrix among the numbers that a function depends on, its rows one after the
/// other; a vector is a matrix of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its name.
    pub name: String,
    /// Number of its rows: the outputs of a weight.
    pub rows: usize,
    /// Length of a row.
    pub columns: usize,
}

/// A twice differentiable function L of d numbers, and a point w.
///
/// A result depends on the arguments alone, not on the number of threads.
pub trait Objective<T: Scalar> {
    /// The point w, length d.
    fn point(&self) -> &[T];

    /// What the numbers are, in their order.
    fn blocks(&self) -> &[Block];

    /// `L(x)`.
    ///
    /// # Panics
    /// If x has not the length d; this holds for all methods.
    fn loss(&self, x: &[T]) -> f64;

    /// The gradient at x, length d.
    fn gradient(&self, x: &[T]) -> Vec<T>;

    /// `H v` with the Hessian H at the point w, length d.
    fn hessian_product(&self, v: &[T]) -> Vec<T>;
}

/// `H v` at the point, from central differences of gradients along v:
/// `(g(w + h v) - g(w - h v)) / 2h` with `h = step / ||v||`.
///
/// What the exact products are held against. Its error is of the order of `step^2`,
/// and of the rounding of the gradients over `step`.
pub fn hessian_product_by_differences<T: Scalar>(
    objective: &impl Objective<T>,
    v: &[T],
    step: f64,
) -> Vec<T> {
    let length = norm(v);
    if length == 0.0 {
        return scaled(v, 0.0);
    }
    let h = step / length;
    let at = |h: f64| objective.gradient(&sum(objective.point(), h, v));
    scaled(&difference(&at(h), &at(-h)), 0.5 / h)
}

/// The whole Hessian, d x d in rows, by differences along every axis: for a function
/// of few numbers.
pub fn hessian_by_differences<T: Scalar>(objective: &impl Objective<T>, step: f64) -> Vec<Vec<T>> {
    let d = objective.point().len();
    let row = |axis: usize| {
        let mut v = vec![T::ZERO; d];
        v[axis] = T::ONE;
        hessian_product_by_differences(objective, &v, step)
    };
    (0..d).map(row).collect()
}

//! The array type that the upper floors pass around.

use ndarray::{ArcArray, ArrayView2, IxDyn};

use crate::Scalar;

/// A reference-counted array of any number of axes, in standard (row-major,
/// contiguous) layout: cloning and reshaping are free.
pub type Tensor<T> = ArcArray<T, IxDyn>;

/// Makes a tensor of the given shape from its elements in row-major order.
///
/// # Panics
/// If the number of elements is not the product of the shape.
pub fn tensor<T: Scalar>(shape: &[usize], elements: Vec<T>) -> Tensor<T> {
    let found = elements.len();
    Tensor::from_shape_vec(shape, elements)
        .unwrap_or_else(|_| panic!("a tensor of shape {shape:?} cannot have {found} elements"))
}

/// The elements in row-major order.
///
/// # Panics
/// If the tensor is not in standard layout, which no function of this
/// workspace produces.
pub fn flat<T>(x: &Tensor<T>) -> &[T] {
    x.as_slice()
        .expect("tensors are kept in standard (row-major, contiguous) layout")
}

/// The tensor as a matrix: all axes but the last are folded into the rows.
///
/// # Panics
/// If the tensor has no axis.
pub fn view2<T>(x: &Tensor<T>) -> ArrayView2<'_, T> {
    let columns = *x.shape().last().expect("a matrix needs at least one axis");
    let rows = x.shape()[..x.ndim() - 1].iter().product();
    ArrayView2::from_shape((rows, columns), flat(x)).expect("rows x columns elements")
}

//! Moving elements without calculating: parts of an axis, joins, swapped axes.

use std::ops::Range;

use crate::{Scalar, Tensor, flat, tensor};

/// Number of elements before, along and after an axis.
fn extents(shape: &[usize], axis: usize) -> [usize; 3] {
    assert!(axis < shape.len(), "axis {axis} of shape {shape:?}");
    [
        shape[..axis].iter().product(),
        shape[axis],
        shape[axis + 1..].iter().product(),
    ]
}

fn with_length(shape: &[usize], axis: usize, length: usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    shape[axis] = length;
    shape
}

/// The part `range` of one axis.
///
/// # Panics
/// If the axis does not exist or the range leaves it.
pub fn slice_axis<T: Scalar>(x: &Tensor<T>, axis: usize, range: Range<usize>) -> Tensor<T> {
    let [before, length, after] = extents(x.shape(), axis);
    assert!(
        range.start <= range.end && range.end <= length,
        "range {range:?} of axis {axis} of shape {:?}",
        x.shape()
    );
    let source = flat(x);
    let mut out = Vec::with_capacity(before * range.len() * after);
    for block in 0..before {
        let first = (block * length + range.start) * after;
        out.extend_from_slice(&source[first..][..range.len() * after]);
    }
    tensor(&with_length(x.shape(), axis, range.len()), out)
}

/// The reverse of [`slice_axis`]: zeros of the given `length` along one axis,
/// with `x` in them from position `first` on.
///
/// # Panics
/// If the axis does not exist or is too short.
pub fn place_in_axis<T: Scalar>(
    x: &Tensor<T>,
    axis: usize,
    first: usize,
    length: usize,
) -> Tensor<T> {
    let [before, part, after] = extents(x.shape(), axis);
    assert!(
        first + part <= length,
        "{part} positions from {first} on in an axis of {length}"
    );
    let source = flat(x);
    let mut out = vec![T::ZERO; before * length * after];
    for block in 0..before {
        out[(block * length + first) * after..][..part * after]
            .copy_from_slice(&source[block * part * after..][..part * after]);
    }
    tensor(&with_length(x.shape(), axis, length), out)
}

/// Tensors one after the other along one axis.
///
/// # Panics
/// If there is none, the axis does not exist, or another axis differs.
pub fn concat<T: Scalar>(parts: &[&Tensor<T>], axis: usize) -> Tensor<T> {
    let shape = parts.first().expect("something to concatenate").shape();
    let [before, _, after] = extents(shape, axis);
    let mut length = 0;
    for part in parts {
        assert!(
            part.ndim() == shape.len()
                && with_length(part.shape(), axis, 0) == with_length(shape, axis, 0),
            "concatenating shapes {shape:?} and {:?} along axis {axis}",
            part.shape()
        );
        length += part.shape()[axis];
    }
    let mut out = Vec::with_capacity(before * length * after);
    for block in 0..before {
        for part in parts {
            let size = part.shape()[axis] * after;
            out.extend_from_slice(&flat(part)[block * size..][..size]);
        }
    }
    tensor(&with_length(shape, axis, length), out)
}

/// The same elements with two axes swapped, copied to standard layout.
///
/// # Panics
/// If an axis does not exist.
pub fn swap_axes<T: Scalar>(x: &Tensor<T>, first: usize, second: usize) -> Tensor<T> {
    assert!(
        first.max(second) < x.ndim(),
        "swapping axes {first} and {second} of shape {:?}",
        x.shape()
    );
    let mut view = x.view();
    view.swap_axes(first, second);
    view.as_standard_layout().into_owned().into_shared()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(shape: &[usize]) -> Tensor<f64> {
        let count = shape.iter().product::<usize>();
        tensor(shape, (0..count).map(|i| i as f64).collect())
    }

    #[test]
    fn a_slice_keeps_the_chosen_positions() {
        let x = counting(&[2, 3, 2]);
        let middle = slice_axis(&x, 1, 1..2);
        assert_eq!(middle, tensor(&[2, 1, 2], vec![2.0, 3.0, 8.0, 9.0]));
        assert_eq!(slice_axis(&x, 2, 0..0).shape(), [2, 3, 0]);
        let back = place_in_axis(&middle, 1, 1, 3);
        let expected = [0., 0., 2., 3., 0., 0., 0., 0., 8., 9., 0., 0.];
        assert_eq!(back, tensor(&[2, 3, 2], expected.to_vec()));
    }

    #[test]
    fn joined_slices_are_the_whole() {
        let x = counting(&[3, 4, 5]);
        for axis in 0..3 {
            let length = x.shape()[axis];
            for cut in 0..=length {
                let parts = [
                    slice_axis(&x, axis, 0..cut),
                    slice_axis(&x, axis, cut..length),
                ];
                assert_eq!(concat(&[&parts[0], &parts[1]], axis), x);
            }
        }
    }

    #[test]
    fn swapped_axes_are_in_standard_layout() {
        let swapped = swap_axes(&counting(&[2, 3, 2]), 0, 1);
        assert_eq!(swapped.shape(), [3, 2, 2]);
        let expected = [0., 1., 6., 7., 2., 3., 8., 9., 4., 5., 10., 11.];
        assert_eq!(flat(&swapped), expected);
    }

    #[test]
    #[should_panic(expected = "concatenating shapes [2, 3] and [2, 4] along axis 0")]
    fn other_axes_must_agree() {
        concat(&[&counting(&[2, 3]), &counting(&[2, 4])], 0);
    }
}

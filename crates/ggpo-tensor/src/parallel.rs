//! Elementwise and row-wise loops over threads, in pieces fixed by the shapes.
//!
//! Every piece runs in the copy of the code that was compiled for the widest
//! vectors of the processor; the bits of the results are the same in all copies.
//! A closure takes part in that as far as it is inlined: if what it calls is
//! `#[inline(always)]`, has no branches and is no longer than about ninety
//! operations, as all of [`activation`](crate::activation) is.

use rayon::prelude::*;

use crate::raw::dispatch::{self, Kernel};
use crate::{Scalar, Tensor, flat, tensor};

/// Elements per piece of an elementwise loop: a few microseconds of work.
const PIECE: usize = 1 << 14;

/// Does `work` on one of the threads that the loops of this crate run on.
///
/// A thread from outside hands every loop over and sleeps until it is woken,
/// which takes tens of microseconds each time; from inside, a loop begins at
/// once. So whatever consists of many loops (a training step, a forward pass)
/// is to be done inside.
pub fn in_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}

/// Calls `work(first_row, rows)` for pieces of `out`, which is read as rows of
/// `width` elements; a piece is a whole number of rows and about 2^14 elements.
///
/// # Panics
/// If `width` is 0 or does not divide the length of `out`.
pub fn for_row_pieces<T: Send, F>(out: &mut [T], width: usize, work: F)
where
    F: Fn(usize, &mut [T]) + Sync,
{
    for_costly_row_pieces(out, width, width, work);
}

/// [`for_row_pieces`] where a row takes as much work as `cost` elements: for
/// results that are shorter than what they are calculated from.
///
/// # Panics
/// As [`for_row_pieces`].
pub fn for_costly_row_pieces<T: Send, F>(out: &mut [T], width: usize, cost: usize, work: F)
where
    F: Fn(usize, &mut [T]) + Sync,
{
    assert!(
        width > 0 && out.len().is_multiple_of(width),
        "{} elements are not rows of {width}",
        out.len()
    );
    let rows = (PIECE / cost.max(1)).max(1);
    if out.len() <= rows * width {
        return dispatch::run(Piece(&work, 0, out));
    }
    out.par_chunks_mut(rows * width)
        .enumerate()
        .for_each(|(piece, chunk)| dispatch::run(Piece(&work, piece * rows, chunk)));
}

/// Work on some rows, of which the first has the given number.
struct Piece<'a, T, F>(&'a F, usize, &'a mut [T]);

impl<T, F: Fn(usize, &mut [T])> Kernel for Piece<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Piece(work, first, rows) = self;
        work(first, rows);
    }
}

/// `f` of every element.
pub fn map<T: Scalar>(x: &Tensor<T>, f: impl Fn(T) -> T + Sync) -> Tensor<T> {
    elementwise([x; 3], |x, _, _| f(x))
}

/// `f` of every pair of elements of two tensors of the same shape.
///
/// # Panics
/// If the shapes differ.
pub fn zip_map<T: Scalar>(x: &Tensor<T>, y: &Tensor<T>, f: impl Fn(T, T) -> T + Sync) -> Tensor<T> {
    assert_eq!(x.shape(), y.shape(), "elementwise operation on two shapes");
    elementwise([x, y, y], |x, y, _| f(x, y))
}

/// `f` of every triple of elements of three tensors of the same shape.
///
/// # Panics
/// If the shapes differ.
pub fn zip_map3<T: Scalar>(
    x: &Tensor<T>,
    y: &Tensor<T>,
    z: &Tensor<T>,
    f: impl Fn(T, T, T) -> T + Sync,
) -> Tensor<T> {
    assert!(
        x.shape() == y.shape() && y.shape() == z.shape(),
        "elementwise operation on shapes {:?}, {:?} and {:?}",
        x.shape(),
        y.shape(),
        z.shape()
    );
    elementwise([x, y, z], f)
}

/// `f` of every triple of elements. An operand that `f` ignores costs nothing.
fn elementwise<T: Scalar>(operands: [&Tensor<T>; 3], f: impl Fn(T, T, T) -> T + Sync) -> Tensor<T> {
    let sources = operands.map(flat);
    let mut out = vec![T::ZERO; sources[0].len()];
    for_row_pieces(&mut out, 1, |first, out| {
        let sources = sources.map(|source| &source[first..][..out.len()]);
        dispatch::run(Elementwise {
            sources,
            out,
            f: &f,
        });
    });
    tensor(operands[0].shape(), out)
}

/// `out = f(x, y, z)` for every element of one piece.
struct Elementwise<'a, T, F> {
    sources: [&'a [T]; 3],
    out: &'a mut [T],
    f: &'a F,
}

impl<T: Scalar, F: Fn(T, T, T) -> T> Kernel for Elementwise<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let [x, y, z] = self.sources;
        for (((out, &x), &y), &z) in self.out.iter_mut().zip(x).zip(y).zip(z) {
            *out = (self.f)(x, y, z);
        }
    }
}

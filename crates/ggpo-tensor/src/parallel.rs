//! Elementwise and row-wise loops over threads, in pieces fixed by the shapes.
//!
//! Every piece runs in the copy of the code that was compiled for the widest
//! vectors of the processor; the bits of the results are the same in all copies.
//! A closure takes part in that as far as it is inlined: if what it calls is
//! `#[inline(always)]`, has no branches and is no longer than about ninety
//! operations, as all of [`activation`](crate::activation) is.

use rayon::prelude::*;

use crate::raw::dispatch::{self, Kernel};
use crate::raw::pieces::vec_of_pieces;
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
    let rows = rows_of_a_piece(out.len(), width, cost);
    if out.len() <= rows * width {
        return dispatch::run(Piece(&work, 0, out));
    }
    out.par_chunks_mut(rows * width)
        .enumerate()
        .for_each(|(piece, chunk)| dispatch::run(Piece(&work, piece * rows, chunk)));
}

/// `len` zeros, written by all threads: a vector made in the usual way is written
/// by one of them, while the others wait.
pub fn zeros<T: Scalar>(len: usize) -> Vec<T> {
    vec_of_pieces(len, PIECE, T::ZERO, |_, _| {})
}

/// A vector of `len` elements that `work` writes as in [`for_row_pieces`]. It
/// finds zeros, but these were only ever written to cache.
///
/// # Panics
/// As [`for_row_pieces`].
pub fn new_rows<T: Scalar, F>(len: usize, width: usize, work: F) -> Vec<T>
where
    F: Fn(usize, &mut [T]) + Sync,
{
    let rows = rows_of_a_piece(len, width, width);
    vec_of_pieces(len, rows * width, T::ZERO, |piece, elements| {
        dispatch::run(Piece(&work, piece * rows, elements));
    })
}

/// Calls `work` on the elements of `x` as [`for_row_pieces`]: in place if nobody
/// else holds them, else on a copy.
///
/// # Panics
/// As [`for_row_pieces`].
pub fn update_rows<T: Scalar, F>(x: Tensor<T>, width: usize, work: F) -> Tensor<T>
where
    F: Fn(usize, &mut [T]) + Sync,
{
    match x.try_into_owned_nocopy() {
        Ok(mut x) => {
            let elements = x.as_slice_mut().expect("tensors are in standard layout");
            for_row_pieces(elements, width, work);
            x.into_shared()
        }
        Err(x) => {
            let source = flat(&x);
            let out = new_rows(source.len(), width, |first, rows| {
                rows.copy_from_slice(&source[first * width..][..rows.len()]);
                work(first, rows);
            });
            tensor(x.shape(), out)
        }
    }
}

/// Rows of `width` elements, each as much work as `cost` elements, of a piece.
fn rows_of_a_piece(len: usize, width: usize, cost: usize) -> usize {
    assert!(
        width > 0 && len.is_multiple_of(width),
        "{len} elements are not rows of {width}"
    );
    (PIECE / cost.max(1)).max(1)
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

/// [`zip_map`] whose result takes the place of `x` where nothing else holds it.
///
/// # Panics
/// If the shapes differ.
pub fn zip_update<T: Scalar>(
    x: Tensor<T>,
    y: &Tensor<T>,
    f: impl Fn(T, T) -> T + Sync,
) -> Tensor<T> {
    assert_eq!(x.shape(), y.shape(), "elementwise operation on two shapes");
    let y = flat(y);
    update_rows(x, 1, |first, x| {
        let y = &y[first..][..x.len()];
        dispatch::run(Update { x, y, f: &f });
    })
}

/// `x = f(x, y)` for every element of one piece.
struct Update<'a, T, F> {
    x: &'a mut [T],
    y: &'a [T],
    f: &'a F,
}

impl<T: Scalar, F: Fn(T, T) -> T> Kernel for Update<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (x, &y) in self.x.iter_mut().zip(self.y) {
            *x = (self.f)(*x, y);
        }
    }
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
    let out = new_rows(sources[0].len(), 1, |first, out: &mut [T]| {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn count(len: usize) -> Tensor<f64> {
        tensor(&[len], (0..len).map(|i| i as f64).collect())
    }

    #[test]
    fn an_update_is_in_place_exactly_if_nobody_else_holds_the_elements() {
        for len in [0, 1, PIECE - 1, PIECE, 3 * PIECE + 5] {
            let y = count(len);
            let expected = zip_map(&y, &y, |x, y| 2.0 * x + y);
            let x = count(len);
            let (place, held) = (x.as_ptr(), x.clone());
            let copied = zip_update(x, &y, |x, y| 2.0 * x + y);
            assert_eq!(held, y);
            assert_eq!(copied, expected);
            let updated = zip_update(held, &y, |x, y| 2.0 * x + y);
            assert_eq!(updated, expected);
            assert!(len == 0 || updated.as_ptr() == place);
        }
    }

    #[test]
    fn new_rows_begin_with_zeros_and_know_their_number() {
        let out = new_rows(3 * 6000, 3, |first, rows: &mut [f64]| {
            for (row, elements) in (first..).zip(rows.chunks_exact_mut(3)) {
                assert_eq!(*elements, [0.0; 3]);
                elements.fill(row as f64);
            }
        });
        let expected = (0..6000).flat_map(|row| [row as f64; 3]);
        assert!(out.into_iter().eq(expected));
    }
}

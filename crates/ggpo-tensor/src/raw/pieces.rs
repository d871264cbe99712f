//! A new vector, written by several threads.

use std::mem::MaybeUninit;

use rayon::prelude::*;

/// A vector of `len` elements, of which `work(piece, elements)` writes the pieces
/// of `size` elements, the last one being shorter.
///
/// A piece is set to `start` by the thread that then writes it. So the
/// elements are in that thread's cache when `work` begins, and main memory is
/// written once, where a vector made of zeros and then overwritten takes two
/// passes, the first of them on one thread.
///
/// # Panics
/// If `size` is 0.
pub(crate) fn vec_of_pieces<T: Copy + Send + Sync>(
    len: usize,
    size: usize,
    start: T,
    work: impl Fn(usize, &mut [T]) + Sync,
) -> Vec<T> {
    let mut out = Vec::with_capacity(len);
    let fill = |(piece, slots): (usize, &mut [MaybeUninit<T>])| {
        for slot in &mut *slots {
            slot.write(start);
        }
        // SAFETY: all slots of the piece were written just above, `MaybeUninit<T>`
        // has the layout of T, and the borrow of the slots passes to the slice.
        let elements = unsafe { &mut *(std::ptr::from_mut(slots) as *mut [T]) };
        work(piece, elements);
    };
    let slots = &mut out.spare_capacity_mut()[..len];
    if len <= size {
        fill((0, slots));
    } else {
        slots.par_chunks_mut(size).enumerate().for_each(fill);
    }
    // SAFETY: the capacity is at least `len`, and the pieces, which are all of
    // the first `len` slots, were written; had `work` panicked, so would we have,
    // with a vector that is still empty.
    unsafe { out.set_len(len) };
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_starts_as_given_and_is_written_by_its_piece() {
        for len in [0, 1, 6, 7, 8, 20, 21, 22] {
            let out = vec_of_pieces(len, 7, 100, |piece, elements: &mut [usize]| {
                for (offset, element) in elements.iter_mut().enumerate() {
                    *element += 7 * piece + offset;
                }
            });
            assert_eq!(out, (100..100 + len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_panic_of_the_work_passes_through() {
        let result = std::panic::catch_unwind(|| {
            vec_of_pieces(10, 3, 0_u8, |piece, _| assert!(piece < 2, "third piece"))
        });
        assert!(result.is_err());
    }
}

//! Bringing a range of a stream's elements into a slice.

use super::Stream;
use super::transform::{Normal, Transform};
use crate::Scalar;
use crate::raw::dispatch::Kernel;

/// Blocks in a chunk: one for each lane of the widest vectors.
pub(super) const LANES: usize = 16;
/// Elements in a chunk: four words of each block.
pub(super) const CHUNK: usize = 4 * LANES;

/// The task of writing elements `start .. start + out.len()`, read by `T`.
pub(super) struct Fill<'a, T: Transform> {
    stream: Stream,
    start: u64,
    out: &'a mut [T::Element],
}

impl<'a, T: Transform> Fill<'a, T> {
    pub(super) fn new(stream: Stream, start: u64, out: &'a mut [T::Element]) -> Self {
        Self { stream, start, out }
    }
}

impl<T: Transform> Kernel for Fill<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for_chunks::<T, _, _>(self.stream, self.start, self.out, Copy);
    }
}

/// The task of adding the normal numbers from number `start` on, row by row, to
/// rows of `columns` numbers that follow each other, each times its row's scale.
pub(super) struct AddNormalRows<'a, E> {
    pub(super) stream: Stream,
    pub(super) start: u64,
    pub(super) columns: usize,
    pub(super) scales: &'a [E],
    pub(super) out: &'a mut [E],
}

impl<E: Scalar> Kernel for AddNormalRows<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let add = AddToRows {
            columns: self.columns,
            scales: self.scales,
            done: 0,
        };
        for_chunks::<Normal, _, _>(self.stream, self.start, self.out, add);
    }
}

/// What is done with the elements of a stream. A trait of its own, where a closure
/// would do, because a closure cannot be made to be inlined.
trait Use<V, E> {
    /// Uses the values that belong to the next elements. Implementations must be
    /// `#[inline(always)]`.
    fn values(&mut self, out: &mut [E], values: &[V]);
}

/// Puts the values in the place of the elements.
struct Copy;

impl<V: std::marker::Copy> Use<V, V> for Copy {
    #[inline(always)]
    fn values(&mut self, out: &mut [V], values: &[V]) {
        out.copy_from_slice(values);
    }
}

/// Adds the values times the scale of the element's row.
struct AddToRows<'a, E> {
    columns: usize,
    /// Of this row and those after it.
    scales: &'a [E],
    /// Elements of this row that have been passed.
    done: usize,
}

impl<E: Scalar> Use<f32, E> for AddToRows<'_, E> {
    #[inline(always)]
    fn values(&mut self, out: &mut [E], values: &[f32]) {
        // A chunk inside a row, as most are, is one loop of known length.
        if out.len() == CHUNK && self.done + CHUNK < self.columns {
            add_scaled(&mut out[..CHUNK], &values[..CHUNK], self.scales[0]);
            self.done += CHUNK;
            return;
        }
        let (mut out, mut values) = (out, values);
        while !out.is_empty() {
            let in_row = out.len().min(self.columns - self.done);
            let (part, others) = out.split_at_mut(in_row);
            add_scaled(part, &values[..in_row], self.scales[0]);
            (out, values) = (others, &values[in_row..]);
            self.done += in_row;
            if self.done == self.columns {
                self.scales = &self.scales[1..];
                self.done = 0;
            }
        }
    }
}

/// Adds `scale * z` to every element.
#[inline(always)]
fn add_scaled<E: Scalar>(out: &mut [E], values: &[f32], scale: E) {
    for (element, &z) in out.iter_mut().zip(values) {
        *element += scale * E::from_f64(f64::from(z));
    }
}

/// Has the elements of the stream, from number `start` on, used for those of `out`.
#[inline(always)]
fn for_chunks<T: Transform, E, U: Use<T::Element, E>>(
    stream: Stream,
    start: u64,
    out: &mut [E],
    mut user: U,
) {
    let mut chunk = start / CHUNK as u64;
    let mut skip = (start % CHUNK as u64) as usize;
    let mut rest = out;
    // The words of the next chunk are begun before those of this one are turned
    // into elements, as one waits for nothing of the other.
    let mut words = words_of(&stream, chunk);
    while !rest.is_empty() {
        chunk = chunk.wrapping_add(1) % (u64::MAX / CHUNK as u64 + 1);
        let (now, later) = rest.split_at_mut(rest.len().min(CHUNK - skip));
        let next = match later.is_empty() {
            true => words,
            false => words_of(&stream, chunk),
        };
        let values = elements_of::<T>(&words);
        user.values(now, &values[skip..skip + now.len()]);
        rest = later;
        words = next;
        skip = 0;
    }
}

/// The words of one chunk: word by word, lane by lane.
type Words = [[u32; LANES]; 4];

/// Made in lanes of 64 bits; the loop has no branches and no calls, so it becomes
/// vector code.
#[inline(always)]
fn words_of(stream: &Stream, chunk: u64) -> Words {
    stream.blocks::<LANES>(chunk * LANES as u64)
}

/// The 64 elements of one chunk, in lanes of 32 bits.
#[inline(always)]
fn elements_of<T: Transform>(words: &Words) -> [T::Element; CHUNK] {
    let mut values = [T::Element::default(); CHUNK];
    for lane in 0..LANES {
        let [v0, v1, v2, v3] = T::apply([0, 1, 2, 3].map(|word: usize| words[word][lane]));
        values[lane] = v0;
        values[LANES + lane] = v1;
        values[2 * LANES + lane] = v2;
        values[3 * LANES + lane] = v3;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;
    use crate::random::transform::{Bits, Normal, Uniform};
    use crate::raw::dispatch::run_at;
    use crate::simd::Level;

    /// The range as each build of this processor computes it, as bits.
    fn each_build<T: Transform>(start: u64, bits: impl Fn(T::Element) -> u32) -> Vec<Vec<u32>> {
        let stream = Stream::new(11, Purpose::Perturbation, 5, 9);
        Level::available()
            .map(|level| {
                let mut out = vec![T::Element::default(); 100_003];
                run_at(level, Fill::<T>::new(stream, start, &mut out));
                out.into_iter().map(&bits).collect()
            })
            .collect()
    }

    /// Rows shorter than a chunk, of one, and of some and a half.
    #[test]
    fn all_builds_add_the_same_normals_to_rows() {
        let stream = Stream::new(11, Purpose::Perturbation, 5, 9);
        for (columns, start) in [(1, 0), (7, 37), (63, 64), (64, 128), (100, 5), (320, 640)] {
            let scales: Vec<f32> = (0..9).map(|row| 0.1 * row as f32).collect();
            let mut normals = vec![0.0; columns * scales.len()];
            stream.fill_normal(start, &mut normals);
            let of_rows = normals.chunks(columns).zip(&scales);
            let expected: Vec<f32> = of_rows
                .flat_map(|(row, scale)| row.iter().map(move |&z| 1.5 + scale * z))
                .collect();
            for level in Level::available() {
                let mut out = vec![1.5; normals.len()];
                let task = AddNormalRows {
                    stream,
                    start,
                    columns,
                    scales: &scales,
                    out: &mut out,
                };
                run_at(level, task);
                assert_eq!(out, expected, "{level:?}, {columns} columns");
            }
        }
    }

    #[test]
    fn all_builds_give_the_same_bits() {
        for start in [0, 37, u64::MAX - 70] {
            for builds in [
                each_build::<Bits>(start, |word| word),
                each_build::<Uniform>(start, f32::to_bits),
                each_build::<Normal>(start, f32::to_bits),
            ] {
                for build in &builds {
                    assert!(*build == builds[0], "builds differ from start {start}");
                }
            }
        }
    }
}

//! Counter-based random numbers: every value is a pure function of where it is
//! asked for.
//!
//! A [`Stream`] is named by `(seed, purpose, step, layer)` and holds 2⁶⁴
//! elements. Element `index` depends on nothing else: not on what was drawn
//! before, on the number of threads, on how a range was cut into pieces, nor
//! on the vector width of the processor. So noise can be formed again in the
//! backward pass instead of being stored, and any run can be repeated exactly.
//!
//! The bits come from Philox 4x32 (Salmon, Moraes, Dror and Shaw, "Parallel
//! random numbers: as easy as 1, 2, 3", SC 2011): in seven rounds for the noise
//! on weights, of which a step makes two numbers for every weight, and in ten for
//! everything else. Its 64-bit key is a non-linear mix of seed and purpose; its 128-bit counter is
//! `[block low, block high, layer, step]`. Hence no two of a run's
//! `(purpose, step, layer, block)` ever encrypt the same input, and different
//! seeds give unrelated streams rather than shifted copies of one.
//!
//! # Layout of a stream
//!
//! One Philox block is four 32-bit words. Elements are arranged for vectors:
//! chunk `c` holds elements `64c .. 64c + 64`, made of blocks
//! `16c .. 16c + 16`, and element `64c + 16w + lane` is word `w` of block
//! `16c + lane`.

mod fill;
mod philox;
mod transform;
mod truncated;

pub use philox::philox4x32;

use fill::{AddNormalRows, Fill};
use transform::{Bits, Normal, Transform, Uniform, unit_interval};
use truncated::TruncatedNormal;

use crate::Scalar;
use crate::raw::dispatch;

/// What a stream of random numbers is for; part of its key.
///
/// Streams with different purposes are independent even where seed, step and
/// layer agree. The numbers are fixed: changing one changes every recorded run.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Noise added to the weights.
    Perturbation = 1,
    /// Which activations are dropped.
    Dropout = 2,
    /// First values of parameters.
    Init = 3,
    /// Order of the examples in an epoch.
    Shuffle = 4,
    /// Which tokens are masked.
    Masking = 5,
    /// Which labels are corrupted, and into what.
    LabelNoise = 6,
    /// Resampling for confidence intervals.
    Bootstrap = 7,
    /// Random directions for traces, eigenvalues and sharpness.
    Probe = 8,
    /// Tokens drawn while generating text.
    Sampling = 9,
    /// Synthetic data.
    Data = 10,
    /// Noise added to gradients.
    GradientNoise = 11,
}

/// A stream of 2⁶⁴ random elements named by `(seed, purpose, step, layer)`.
///
/// Each element can be read as 32 bits, as a uniform number or as half of a
/// normal pair. These are views of the same words: use a stream for one of
/// them. Indices wrap around after 2⁶⁴ − 1.
///
/// ```
/// use ggpo_tensor::random::{Purpose, Stream};
///
/// let stream = Stream::new(42, Purpose::Perturbation, 7, 3);
/// let mut noise = [0.0; 100];
/// stream.fill_normal(1000, &mut noise);
/// assert_eq!(noise[5], stream.normal(1005));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    key: [u32; 2],
    layer: u32,
    step: u32,
    rounds: Rounds,
}

/// Rounds of Philox that a stream's blocks take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rounds {
    Seven,
    Ten,
}

impl Stream {
    /// The stream of one purpose, training step and layer under a run's seed.
    ///
    /// For one `seed`, different `(purpose, step, layer)` never share a Philox
    /// input. For one `purpose`, different seeds never share a key.
    pub fn new(seed: u64, purpose: Purpose, step: u32, layer: u32) -> Self {
        // Both mixes are bijections, so keys are distinct in either argument.
        let key = mix(mix(seed) ^ u64::from(purpose as u32));
        Self {
            key: [key as u32, (key >> 32) as u32],
            layer,
            step,
            rounds: match purpose {
                Purpose::Perturbation => Rounds::Seven,
                _ => Rounds::Ten,
            },
        }
    }

    /// The key of the Philox function.
    pub fn key(&self) -> [u32; 2] {
        self.key
    }

    /// The counter of the block that element `index` is made of.
    pub fn counter(&self, index: u64) -> [u32; 4] {
        let block = block_of(index).0;
        [block as u32, (block >> 32) as u32, self.layer, self.step]
    }

    /// Writes elements `start .. start + out.len()` as 32 uniform bits each.
    pub fn fill_bits(&self, start: u64, out: &mut [u32]) {
        dispatch::run(Fill::<Bits>::new(*self, start, out));
    }

    /// Writes elements `start .. start + out.len()` as uniform numbers in the
    /// open interval (0, 1).
    ///
    /// Each is [`uniform`](Self::uniform) rounded to the nearest `f32` below 1.
    pub fn fill_uniform(&self, start: u64, out: &mut [f32]) {
        dispatch::run(Fill::<Uniform>::new(*self, start, out));
    }

    /// Writes elements `start .. start + out.len()` as draws from N(0, 1).
    ///
    /// Box and Muller, "A note on the generation of random normal deviates",
    /// Ann. Math. Statist. 29 (1958): words `(0, 1)` and `(2, 3)` of a block
    /// give two independent normals each, in the places of the words. The radius
    /// has 31 bits of its word, so values reach ±6.76. The relative
    /// error of a value against exact arithmetic is a few units of 2⁻²⁴.
    pub fn fill_normal(&self, start: u64, out: &mut [f32]) {
        dispatch::run(Fill::<Normal>::new(*self, start, out));
    }

    /// Adds the numbers of [`fill_normal`](Self::fill_normal) to rows of `columns`
    /// elements that follow each other, each times its row's scale.
    ///
    /// # Panics
    /// If `out` is not as many rows as there are scales.
    pub fn add_normal_rows<T: Scalar>(
        &self,
        start: u64,
        columns: usize,
        scales: &[T],
        out: &mut [T],
    ) {
        assert_eq!(out.len(), columns * scales.len(), "rows and their scales");
        dispatch::run(AddNormalRows {
            stream: *self,
            start,
            columns,
            scales,
            out,
        });
    }

    /// Writes elements `start .. start + out.len()` as draws from N(0, 1)
    /// conditioned on `|z| <= limit`.
    ///
    /// The values are not rescaled: with `c = limit`, density φ and
    /// distribution function Φ of N(0, 1), their variance is
    /// `1 - 2 c φ(c) / (2 Φ(c) - 1)`. Element `index` is the distribution's
    /// quantile at [`uniform(index)`](Self::uniform), so it never exceeds 6.3.
    ///
    /// # Panics
    ///
    /// If `limit` is not positive, or is NaN. Infinity means no truncation.
    pub fn fill_truncated_normal(&self, start: u64, limit: f32, out: &mut [f32]) {
        let law = TruncatedNormal::new(limit);
        let mut words = [0; fill::CHUNK];
        let mut next = start;
        for piece in out.chunks_mut(fill::CHUNK) {
            let words = &mut words[..piece.len()];
            self.fill_bits(next, words);
            for (value, &word) in piece.iter_mut().zip(words.iter()) {
                *value = law.quantile(unit_interval(word));
            }
            next = next.wrapping_add(fill::CHUNK as u64);
        }
    }

    /// Element `index` as 32 uniform bits.
    pub fn bits(&self, index: u64) -> u32 {
        self.element::<Bits>(index)
    }

    /// Element `index` as a uniform number in the open interval (0, 1): one of
    /// the 2³² values `(k + 1/2) 2⁻³²`.
    pub fn uniform(&self, index: u64) -> f64 {
        unit_interval(self.bits(index))
    }

    /// Element `index` as a draw from N(0, 1); see
    /// [`fill_normal`](Self::fill_normal).
    pub fn normal(&self, index: u64) -> f32 {
        self.element::<Normal>(index)
    }

    /// A uniform integer in `0 .. bound`; draw `index` of its own sequence.
    ///
    /// These draws use blocks that no element of the stream uses, one block of
    /// 128 bits for each, so a value's probability is off by less than 2⁻¹²⁸,
    /// and all of them together by less than 2⁻⁶⁴. The sequence repeats
    /// after 2⁶³ draws.
    ///
    /// # Panics
    ///
    /// If `bound` is zero.
    pub fn below(&self, index: u64, bound: u64) -> u64 {
        assert!(bound > 0, "no integer lies below 0");
        // Elements use blocks below 2⁶² only.
        let [a, b, c, d] = self.block((1 << 63) | index);
        let high = u128::from(a) << 32 | u128::from(b);
        let low = u128::from(c) << 32 | u128::from(d);
        // The upper 64 bits of the 192-bit product of all 128 bits with bound.
        let bound = u128::from(bound);
        ((high * bound + ((low * bound) >> 64)) >> 64) as u64
    }

    /// Puts `items` into a uniformly random order (Fisher and Yates), from the
    /// draws `1 .. items.len()` of [`below`](Self::below).
    pub fn shuffle<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let chosen = self.below(last as u64, last as u64 + 1) as usize;
            items.swap(last, chosen);
        }
    }

    /// The four words of one block of the stream.
    fn block(&self, block: u64) -> [u32; 4] {
        self.blocks::<1>(block).map(|[word]| word)
    }

    /// The four words of the blocks from number `first` on, which is a multiple of
    /// their count: word by word, block by block.
    #[inline(always)]
    fn blocks<const COUNT: usize>(&self, first: u64) -> [[u32; COUNT]; 4] {
        match self.rounds {
            Rounds::Seven => self.blocks_in::<COUNT, 7>(first),
            Rounds::Ten => self.blocks_in::<COUNT, 10>(first),
        }
    }

    #[inline(always)]
    fn blocks_in<const COUNT: usize, const ROUNDS: usize>(&self, first: u64) -> [[u32; COUNT]; 4] {
        let mut words = [[0; COUNT]; 4];
        for place in 0..COUNT {
            let counter = [
                (first as u32).wrapping_add(place as u32),
                (first >> 32) as u32,
                self.layer,
                self.step,
            ];
            let block = philox4x32::<ROUNDS>(counter, self.key);
            for word in 0..4 {
                words[word][place] = block[word];
            }
        }
        words
    }

    /// Element `index` as `T` reads it.
    fn element<T: Transform>(&self, index: u64) -> T::Element {
        let (block, word) = block_of(index);
        T::apply(self.block(block))[word]
    }
}

/// The block that an element is made of, and the place of its word there.
fn block_of(index: u64) -> (u64, usize) {
    let chunk = index / fill::CHUNK as u64;
    let place = (index % fill::CHUNK as u64) as usize;
    let block = chunk * fill::LANES as u64 + (place % fill::LANES) as u64;
    (block, place / fill::LANES)
}

/// A bijection of 64-bit words in which every bit of the result depends on
/// every bit of the argument: one step of SplitMix64 (Steele, Lea and Flood,
/// "Fast splittable pseudorandom number generators", OOPSLA 2014).
fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_and_counter_give_the_words_of_an_element() {
        let stream = Stream::new(7, Purpose::Perturbation, 3, 2);
        for index in [0, 5, 17, 63, 64, 1 << 40] {
            let words = philox4x32::<7>(stream.counter(index), stream.key());
            assert_eq!(words[block_of(index).1], stream.bits(index), "{index}");
        }
    }

    #[test]
    fn the_mix_of_keys_is_splitmix64() {
        // The first outputs of the reference generator seeded with 0.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
    }
}

//! What a cross entropy needs of the logits `z = x Wᵀ + b`, without storing them.
//!
//! W, of vocabulary x width, passes by in blocks of rows. Every row of x keeps
//! the largest logit so far, `m`, and the sum `l` of `exp(z - m)`; when a block
//! has a larger one, what was summed is multiplied by `exp(m - m')`. The mean
//! of the rows of W under the softmax, which the gradient of x is made of, is
//! summed in the same way, so that a logit is calculated once. Logits exist for
//! one block of W and one piece of x at a time.

use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, s};
use rayon::prelude::{ParallelSlice, ParallelSliceMut};

use crate::packed::{FEW_ROWS, Packed};
use crate::raw::dispatch::{self, Kernel};
use crate::reduce::{sum_lanes, sum_rows};
use crate::softmax::largest;
use crate::{Addend, Scalar, WeightView, gemm};

/// Rows of W that are packed together.
const BLOCK_ROWS: usize = 768;
/// Rows of a quantised W that are made in one go.
const FILL_ROWS: usize = 32;
/// Rows of x per piece: with the logits of a block, what a core's cache holds.
const PIECE_ROWS: usize = 128;

/// The logits `x Wᵀ + b` of a head over a vocabulary.
#[derive(Clone, Copy, Debug)]
pub struct LogitLayer<'a, T> {
    /// W, vocabulary x width.
    pub weight: WeightView<'a, T>,
    /// b, one number per row of W.
    pub bias: Option<&'a [T]>,
}

/// What [`LogitLayer::statistics`] finds for every row of x.
#[derive(Debug)]
pub struct Statistics<T> {
    /// `ln sum exp` of the logits.
    pub log_sums: Vec<T>,
    /// The logit of the target.
    pub chosen: Vec<T>,
    /// The mean row of W under the softmax of the logits, if it was asked for:
    /// rows of x x width.
    pub mean_rows: Option<Array2<T>>,
}

/// One row of x on the way.
#[derive(Clone, Copy)]
struct Running<T> {
    /// The largest logit so far.
    max: T,
    /// Sum of `exp(z - max)` so far.
    sum: T,
    /// The logit of the target, once it has passed.
    chosen: T,
    target: usize,
}

/// A block of rows of W, ready for its products.
enum Block<'a, T> {
    Plain(ArrayView2<'a, T>),
    Packed {
        transposed: Packed<T>,
        rows: Option<Packed<T>>,
    },
}

impl<'a, T: Scalar> Block<'a, T> {
    /// `means` says whether [`times`](Self::times) will be called.
    fn new(block: ArrayView2<'a, T>, x_rows: usize, means: bool) -> Self {
        if x_rows <= FEW_ROWS {
            return Block::Plain(block);
        }
        Block::Packed {
            transposed: Packed::new(block.reversed_axes()),
            rows: means.then(|| Packed::new(block)),
        }
    }

    /// `out <- x blockᵀ + bias`.
    fn logits(&self, x: ArrayView2<'_, T>, bias: Option<&[T]>, mut out: ArrayViewMut2<'_, T>) {
        match self {
            Block::Packed { transposed, .. } => {
                let start = bias.map_or(Addend::Scaled(T::ZERO), Addend::Row);
                transposed.product(T::ONE, x, start, out);
            }
            Block::Plain(block) => {
                if let Some(bias) = bias {
                    out.assign(&ndarray::aview1(bias));
                }
                let beta = bias.map_or(T::ZERO, |_| T::ONE);
                gemm(T::ONE, x, block.reversed_axes(), beta, out);
            }
        }
    }

    /// `out <- out + p block`.
    fn times(&self, p: ArrayView2<'_, T>, out: ArrayViewMut2<'_, T>) {
        match self {
            Block::Packed { rows, .. } => {
                let rows = rows.as_ref().expect("packed for this product");
                rows.product(T::ONE, p, Addend::Scaled(T::ONE), out);
            }
            Block::Plain(block) => gemm(T::ONE, p, *block, T::ONE, out),
        }
    }
}

impl<T: Scalar> LogitLayer<'_, T> {
    /// Logarithms, logits of the targets and, with `means`, the mean rows of W,
    /// for the rows of `x` (rows x width).
    ///
    /// # Panics
    /// If the shapes do not fit, or a target is not below the vocabulary.
    pub fn statistics(
        &self,
        x: ArrayView2<'_, T>,
        targets: &[usize],
        means: bool,
    ) -> Statistics<T> {
        self.check(x, targets);
        let rows = x.nrows();
        let mut running: Vec<Running<T>> = targets
            .iter()
            .map(|&target| Running {
                max: T::from_f64(f64::NEG_INFINITY),
                sum: T::ZERO,
                chosen: T::ZERO,
                target,
            })
            .collect();
        let width = if means { x.ncols() } else { 0 };
        let mut mean_rows = Array2::from_elem((rows, width), T::ZERO);
        let mut scratch = Array2::from_elem((rows, self.block_rows()), T::ZERO);
        self.for_blocks(|first, block| {
            let bias = self.bias.map(|bias| &bias[first..first + block.nrows()]);
            let words = block.nrows();
            let block = Block::new(block, rows, means);
            x.axis_chunks_iter(Axis(0), PIECE_ROWS)
                .into_par_iter()
                .zip(running.par_chunks_mut(PIECE_ROWS))
                .zip(mean_rows.axis_chunks_iter_mut(Axis(0), PIECE_ROWS))
                .zip(scratch.axis_chunks_iter_mut(Axis(0), PIECE_ROWS))
                .for_each(|(((x, running), mut mean_rows), scratch)| {
                    let mut logits = top_rows(scratch, words);
                    block.logits(x, bias, logits.view_mut());
                    dispatch::run(Absorb {
                        first,
                        logits: logits.as_slice_mut().expect("contiguous"),
                        words,
                        running,
                        means: mean_rows.as_slice_mut().expect("contiguous"),
                        width,
                    });
                    if means {
                        block.times(logits.view(), mean_rows);
                    }
                });
        });
        for (mut mean, row) in mean_rows.outer_iter_mut().zip(&running) {
            let inverse = T::ONE / row.sum;
            mean.map_inplace(|mean| *mean *= inverse);
        }
        Statistics {
            log_sums: running.iter().map(|row| row.max + row.sum.ln()).collect(),
            chosen: running.iter().map(|row| row.chosen).collect(),
            mean_rows: means.then_some(mean_rows),
        }
    }

    /// The gradients of W and b (only those that are asked for) of `factor`
    /// times the sum over the rows of `log_sum - chosen`. The logits are
    /// calculated once more.
    ///
    /// # Panics
    /// As [`statistics`](Self::statistics).
    pub fn gradients(
        &self,
        x: ArrayView2<'_, T>,
        targets: &[usize],
        log_sums: &[T],
        factor: T,
        [weight, bias]: [bool; 2],
    ) -> (Option<Array2<T>>, Option<Vec<T>>) {
        self.check(x, targets);
        assert_eq!(log_sums.len(), targets.len(), "one logarithm per row");
        let mut d_weight = weight.then(|| Array2::from_elem(self.weight.dim(), T::ZERO));
        let mut d_bias = bias.then(|| Vec::with_capacity(self.weight.nrows()));
        let mut scratch = Array2::from_elem((x.nrows(), self.block_rows()), T::ZERO);
        self.for_blocks(|first, block| {
            let words = first..first + block.nrows();
            let bias = self.bias.map(|bias| &bias[words.clone()]);
            let block = Block::new(block, x.nrows(), false);
            // The rows of one block lie together, so that all can be read at once.
            let mut logits = top_rows(scratch.view_mut(), words.len());
            logits
                .axis_chunks_iter_mut(Axis(0), PIECE_ROWS)
                .into_par_iter()
                .zip(x.axis_chunks_iter(Axis(0), PIECE_ROWS))
                .zip(targets.par_chunks(PIECE_ROWS))
                .zip(log_sums.par_chunks(PIECE_ROWS))
                .for_each(|(((mut logits, x), targets), log_sums)| {
                    block.logits(x, bias, logits.view_mut());
                    dispatch::run(Differentiate {
                        first,
                        logits: logits.as_slice_mut().expect("contiguous"),
                        words: words.len(),
                        targets,
                        log_sums,
                        factor,
                    });
                });
            if let Some(gradient) = &mut d_weight {
                let part = gradient.slice_mut(s![words, ..]);
                gemm(T::ONE, logits.t(), x, T::ZERO, part);
            }
            if let Some(gradient) = &mut d_bias {
                gradient.extend(sum_rows(logits.view()));
            }
        });
        (d_weight, d_bias)
    }

    fn check(&self, x: ArrayView2<'_, T>, targets: &[usize]) {
        let (words, width) = self.weight.dim();
        assert_eq!(
            x.ncols(),
            width,
            "head: states and weight {words} x {width}"
        );
        assert_eq!(x.nrows(), targets.len(), "head: states and targets");
        if let Some(bias) = self.bias {
            assert_eq!(bias.len(), words, "head: length of the bias");
        }
        for &target in targets {
            assert!(target < words, "target {target} among {words} classes");
        }
    }

    fn block_rows(&self) -> usize {
        BLOCK_ROWS.min(self.weight.nrows())
    }

    /// Calls `work(first, block)` for blocks of rows of W from the first to the
    /// last; those of a quantised W are made in scratch memory.
    fn for_blocks(&self, mut work: impl FnMut(usize, ArrayView2<'_, T>)) {
        let (words, width) = self.weight.dim();
        let mut scratch = match self.weight {
            WeightView::Dense(_) => Array2::default((0, width)),
            WeightView::Quantized(_) | WeightView::Zero(..) => {
                Array2::default((self.block_rows(), width))
            }
        };
        for first in (0..words).step_by(BLOCK_ROWS) {
            let rows = BLOCK_ROWS.min(words - first);
            if let WeightView::Dense(matrix) = self.weight {
                work(first, matrix.slice(s![first..first + rows, ..]));
                continue;
            }
            let mut block = scratch.slice_mut(s![..rows, ..]);
            block
                .axis_chunks_iter_mut(Axis(0), FILL_ROWS)
                .into_par_iter()
                .enumerate()
                .for_each(|(piece, rows)| self.weight.fill(first + piece * FILL_ROWS, rows));
            work(first, block.view());
        }
    }
}

/// The memory of `scratch` as rows x `words`, contiguous.
fn top_rows<T>(scratch: ArrayViewMut2<'_, T>, words: usize) -> ArrayViewMut2<'_, T> {
    let rows = scratch.nrows();
    let all = scratch.into_slice().expect("contiguous");
    ArrayViewMut2::from_shape((rows, words), &mut all[..rows * words]).expect("rows x words")
}

/// Replaces the logits of a block by `exp(z - max)` and adds them to the rows.
struct Absorb<'a, T> {
    /// Number of the block's first word.
    first: usize,
    logits: &'a mut [T],
    words: usize,
    running: &'a mut [Running<T>],
    /// The means so far, `width` numbers a row.
    means: &'a mut [T],
    width: usize,
}

impl<T: Scalar> Kernel for Absorb<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let rows = self.logits.chunks_exact_mut(self.words);
        for (index, (row, logits)) in self.running.iter_mut().zip(rows).enumerate() {
            if (self.first..self.first + self.words).contains(&row.target) {
                row.chosen = logits[row.target - self.first];
            }
            let max = largest(logits).map_or(row.max, |max| row.max.max(max));
            for logit in logits.iter_mut() {
                *logit = (*logit - max).exp();
            }
            let shrink = (row.max - max).exp();
            row.max = max;
            row.sum = row.sum * shrink + sum_lanes(logits, logits, |x, _| x);
            if shrink != T::ONE {
                for mean in &mut self.means[index * self.width..][..self.width] {
                    *mean *= shrink;
                }
            }
        }
    }
}

/// Replaces the logits of a block by `factor (exp(z - log_sum) - onehot)`.
struct Differentiate<'a, T> {
    /// Number of the block's first word.
    first: usize,
    logits: &'a mut [T],
    words: usize,
    targets: &'a [usize],
    log_sums: &'a [T],
    factor: T,
}

impl<T: Scalar> Kernel for Differentiate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let rows = self.logits.chunks_exact_mut(self.words);
        for ((logits, &target), &log_sum) in rows.zip(self.targets).zip(self.log_sums) {
            for logit in logits.iter_mut() {
                *logit = self.factor * (*logit - log_sum).exp();
            }
            if (self.first..self.first + self.words).contains(&target) {
                logits[target - self.first] -= self.factor;
            }
        }
    }
}

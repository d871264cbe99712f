//! Dropout whose mask is a function of a random stream, and never stored.

use crate::parallel::update_rows;
use crate::random::Stream;
use crate::raw::dispatch::{self, Kernel};
use crate::{Scalar, Tensor};

/// A dropout mask: element i of an array is kept if the stream's uniform
/// number i is at least the probability, and then divided by the probability of
/// being kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    stream: Stream,
    probability: f32,
}

impl Dropout {
    /// Drops each element with the given probability, in `[0, 1)`.
    ///
    /// # Panics
    /// If the probability is outside that interval.
    pub fn new(stream: Stream, probability: f32) -> Self {
        assert!(
            (0.0..1.0).contains(&probability),
            "dropout probability {probability} is not in [0, 1)"
        );
        Dropout {
            stream,
            probability,
        }
    }

    /// The product with the mask. It is linear in `x`, so the gradient of the
    /// input is this same function of the gradient of the output.
    pub fn apply<T: Scalar>(&self, x: Tensor<T>) -> Tensor<T> {
        let scale = T::from_f64(1.0 / (1.0 - f64::from(self.probability)));
        update_rows(x, 1, |first, piece| {
            let mut uniform = [0.0_f32; BLOCK];
            for (block, out) in piece.chunks_mut(BLOCK).enumerate() {
                let uniform = &mut uniform[..out.len()];
                self.stream
                    .fill_uniform((first + block * BLOCK) as u64, uniform);
                dispatch::run(Thin {
                    out,
                    uniform,
                    probability: self.probability,
                    scale,
                });
            }
        })
    }
}

/// Elements whose uniform numbers are made in one go.
const BLOCK: usize = 256;

/// `out` is scaled where its uniform number is at least the probability, else 0.
struct Thin<'a, T> {
    out: &'a mut [T],
    uniform: &'a [f32],
    probability: f32,
    scale: T,
}

impl<T: Scalar> Kernel for Thin<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (out, &uniform) in self.out.iter_mut().zip(self.uniform) {
            let kept = *out * self.scale;
            *out = if uniform >= self.probability {
                kept
            } else {
                T::ZERO
            };
        }
    }
}

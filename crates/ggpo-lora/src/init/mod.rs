//! Initialisations: where the training of an adapter starts.
//!
//! An initialisation is a pure function that gives the factors A0 and B0 of one
//! layer. Apart from LoRA's own (A random, B zero) their product is not zero.
//! So that the function of the model is nevertheless unchanged at the start,
//! the weight that acts is
//!
//! `W' = W + s (B A - B0 A0)`,
//!
//! with A and B trained from A0 and B0 on. Papers write the same as a changed
//! base weight, `W <- W - s B0 A0`. Here W is never written: the difference is
//! a term of rank 2r with a frozen half, which a quantised W can have as well.
//!
//! | function | made from | B0 A0 |
//! |---|---|---|
//! | [`pissa()`] | W | the best approximation of W / s of rank r |
//! | [`olora()`] | W | the first r columns of Q times the first r rows of R, W = Q R |
//! | [`lora_ga()`] | the gradient of W | other directions of output than of input |
//!
//! All of them decompose a matrix in `f64` on one thread, so that the bits of
//! the result do not depend on the number of threads. The signs of singular
//! vectors are free: where a decomposition is compared with another, column k of
//! B and row k of A may have both changed theirs.

mod decompositions;
mod lora_ga;
mod olora;
mod pissa;
mod pseudo_inverse;
#[cfg(test)]
mod testing;

pub use lora_ga::{LoraGaConfig, lora_ga};
pub use olora::olora;
pub use pissa::pissa;
pub use pseudo_inverse::pseudo_inverse;

use ggpo_tensor::Scalar;
use ndarray::Array2;

use crate::LoraError;

/// The factors of an adapter at the start of training.
///
/// Training starts from `A = A0` and `B = B0`, and the weight that acts is
/// `W + s (B A - B0 A0)`, so that the function of the model is at first that of W.
#[derive(Clone, Debug, PartialEq)]
pub struct Factors<T> {
    /// A0, the down projection: r x n.
    pub a: Array2<T>,
    /// B0, the up projection: m x r.
    pub b: Array2<T>,
}

impl<T: Scalar> Factors<T> {
    /// The factors, calculated in `f64`, as numbers of type `T` in standard layout.
    fn rounded(a: &Array2<f64>, b: &Array2<f64>) -> Self {
        let rounded =
            |x: &Array2<f64>| Array2::from_shape_fn(x.dim(), |place| T::from_f64(x[place]));
        Factors {
            a: rounded(a),
            b: rounded(b),
        }
    }
}

/// Refuses a rank that is not from 1 to min(m, n).
fn check_rank(rank: usize, (rows, columns): (usize, usize)) -> Result<(), LoraError> {
    if rank == 0 || rank > rows.min(columns) {
        return Err(LoraError::Rank {
            rank,
            rows,
            columns,
        });
    }
    Ok(())
}

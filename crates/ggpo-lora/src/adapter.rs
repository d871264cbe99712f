//! One low-rank adapter.

use ggpo_tensor::random::Stream;
use ggpo_tensor::{Scalar, Tensor, gemm, tensor, view2};
use ndarray::{Array2, ArrayView2};

use crate::{LoraConfig, LoraError};

/// The adapter of one linear layer `y = x W'ᵀ + b` with `W' = W + s B A`.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter<T> {
    /// A, the down projection: r x n.
    pub a: Tensor<T>,
    /// B, the up projection: m x r.
    pub b: Tensor<T>,
    /// The scaling s.
    pub scaling: T,
    /// Probability that an element of the adapter's input is dropped in training.
    pub dropout: f32,
}

impl<T: Scalar> Adapter<T> {
    /// A new adapter for a weight of m x n (out x in).
    ///
    /// A is Kaiming uniform with a = sqrt(5), that is U(-1/sqrt(n), 1/sqrt(n)):
    /// element (i, j) uses the number at position i n + j of `stream`, which
    /// should be one of its own for every layer. B is zero, so that W' = W.
    ///
    /// # Errors
    /// [`LoraError::Config`] as [`LoraConfig::validate`] says, and
    /// [`LoraError::Rank`] if the rank is above min(m, n).
    pub fn new(config: &LoraConfig, m: usize, n: usize, stream: Stream) -> Result<Self, LoraError> {
        let rank = config.rank;
        if rank == 0 || rank > m.min(n) {
            return Err(LoraError::Rank {
                rank,
                rows: m,
                columns: n,
            });
        }
        config.validate()?;
        let mut uniform = vec![0.0_f32; rank * n];
        stream.fill_uniform(0, &mut uniform);
        let bound = 1.0 / (n as f64).sqrt();
        let a = uniform
            .into_iter()
            .map(|u| T::from_f64((2.0 * f64::from(u) - 1.0) * bound))
            .collect();
        Ok(Adapter {
            a: tensor(&[rank, n], a),
            b: tensor(&[m, rank], vec![T::ZERO; m * rank]),
            scaling: T::from_f64(config.factor()),
            dropout: config.dropout,
        })
    }

    /// The rank r.
    pub fn rank(&self) -> usize {
        self.a.shape()[0]
    }

    /// The merged weight `W + s B A`, m x n.
    ///
    /// # Panics
    /// If `weight` is not m x n.
    pub fn merge(&self, weight: ArrayView2<'_, T>) -> Array2<T> {
        self.plus_product(weight, self.scaling)
    }

    /// The base weight `W' - s B A`, m x n, up to the rounding of the two sums.
    ///
    /// # Panics
    /// If `merged` is not m x n.
    pub fn unmerge(&self, merged: ArrayView2<'_, T>) -> Array2<T> {
        self.plus_product(merged, -self.scaling)
    }

    fn plus_product(&self, weight: ArrayView2<'_, T>, scaling: T) -> Array2<T> {
        let mut sum = weight.to_owned();
        let (a, b) = (view2(&self.a), view2(&self.b));
        gemm(scaling, b, a, T::ONE, sum.view_mut());
        sum
    }
}

//! The only thing the perturbations see of a model.

use ggpo_tensor::WeightView;
use ndarray::ArrayView2;

/// The adapted linear layers of a model, in a fixed order.
pub trait AdaptedLayers<T> {
    /// Number of adapted layers.
    fn count(&self) -> usize;

    /// The layer at `index`, which is below [`count`](Self::count).
    fn layer(&self, index: usize) -> LayerView<'_, T>;
}

/// One adapted layer `W' = W + s B A`, and the gradients of the previous step.
///
/// The gradients are those of the loss before clipping, averaged over the
/// micro-batches of the step; at the first step there are none.
#[derive(Clone, Copy, Debug)]
pub struct LayerView<'a, T> {
    /// The frozen base weight W: m x n (out x in), dense or quantised.
    pub weight: WeightView<'a, T>,
    /// A, the down projection: r x n.
    pub a: ArrayView2<'a, T>,
    /// B, the up projection: m x r.
    pub b: ArrayView2<'a, T>,
    /// The scaling s.
    pub scaling: T,
    /// dA, the gradient of A: r x n.
    pub grad_a: Option<ArrayView2<'a, T>>,
    /// dB, the gradient of B: m x r.
    pub grad_b: Option<ArrayView2<'a, T>>,
    /// G, the exact gradient of W': m x n. Read by
    /// [`GradientEstimate::Exact`](crate::GradientEstimate::Exact) only.
    pub grad_merged: Option<ArrayView2<'a, T>>,
}

//! The only thing the perturbations see of a model.

use std::borrow::Cow;

use ggpo_tensor::{Scalar, WeightView};
use ndarray::ArrayView2;

use crate::adapter::Magnitude;

/// The adapted linear layers of a model, in a fixed order.
///
/// The gradients are those of the loss before clipping, averaged over the
/// micro-batches of the last step; before the first step there are none.
pub trait AdaptedLayers<T: Scalar> {
    /// Number of adapted layers.
    fn count(&self) -> usize;

    /// The layer at `index`, which is below [`count`](Self::count).
    fn layer(&self, index: usize) -> LayerView<'_, T>;

    /// What is trained in the layer at `index`, in a fixed order: A and B, unless the
    /// adapter has other factors.
    fn factors(&self, index: usize) -> Vec<FactorView<'_, T>> {
        let layer = self.layer(index);
        [layer.grad_a, layer.grad_b]
            .map(|gradient| FactorView {
                gradient: gradient.map(|gradient| Cow::Owned(gradient.iter().copied().collect())),
                momentum: None,
            })
            .into()
    }
}

/// A list of views is a set of layers: what a model that is not of this project offers at
/// every step.
impl<T: Scalar> AdaptedLayers<T> for Vec<LayerView<'_, T>> {
    fn count(&self) -> usize {
        self.len()
    }

    fn layer(&self, index: usize) -> LayerView<'_, T> {
        self[index].reborrow()
    }
}

/// One adapted layer, `W' = W + s B A + U V`, and the gradients of the last step.
///
/// What acts in the layer is W', or W' with magnitudes m in place of its row norms.
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
    /// U (m x k) and V (k x n), which are not trained.
    pub constant: Option<[ArrayView2<'a, T>; 2]>,
    /// The magnitudes, and the norms that they replace.
    pub magnitude: Option<&'a Magnitude<T>>,
    /// dA, the gradient of A: r x n.
    pub grad_a: Option<ArrayView2<'a, T>>,
    /// dB, the gradient of B: m x r.
    pub grad_b: Option<ArrayView2<'a, T>>,
    /// G, the exact gradient of W': m x n. Read only by what
    /// [asks for it](crate::Perturbation::reads).
    pub grad_merged: Option<ArrayView2<'a, T>>,
}

impl<'a, T: Scalar> LayerView<'a, T> {
    /// A layer `W + s B A`, nothing else known of it.
    pub fn new(
        weight: WeightView<'a, T>,
        a: ArrayView2<'a, T>,
        b: ArrayView2<'a, T>,
        scaling: T,
    ) -> Self {
        LayerView {
            weight,
            a,
            b,
            scaling,
            constant: None,
            magnitude: None,
            grad_a: None,
            grad_b: None,
            grad_merged: None,
        }
    }

    /// The same view for a shorter time, as for
    /// [`ArrayView2::reborrow`](ndarray::ArrayView2::reborrow).
    pub fn reborrow(&self) -> LayerView<'_, T> {
        LayerView {
            weight: self.weight.reborrow(),
            a: self.a.reborrow(),
            b: self.b.reborrow(),
            scaling: self.scaling,
            constant: self.constant.map(|[u, v]| [u.reborrow(), v.reborrow()]),
            magnitude: self.magnitude,
            grad_a: self.grad_a.map(ArrayView2::reborrow),
            grad_b: self.grad_b.map(ArrayView2::reborrow),
            grad_merged: self.grad_merged.map(ArrayView2::reborrow),
        }
    }
}

/// A trained factor, its elements in one row.
#[derive(Clone, Debug)]
pub struct FactorView<'a, T: Clone> {
    /// The gradient of the last step.
    pub gradient: Option<Cow<'a, [T]>>,
    /// The optimiser's running mean of the gradients: the first moment of AdamW. None
    /// before the first step.
    pub momentum: Option<Cow<'a, [T]>>,
}

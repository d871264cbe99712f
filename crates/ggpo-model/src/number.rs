//! For which numbers the passes of a model are compiled.

use ggpo_autograd::Var;
use ggpo_tensor::{Dual, Scalar};

use crate::batch::Batch;
use crate::model::{Graph, Model};

/// A number that models calculate with.
///
/// The methods are the passes of [`Model`], under the same names. All that they
/// call, every operation of every family both ways, is generic, and would be
/// compiled again in each crate and test program that has a model calculate.
/// The methods of `f32`, `f64` and the dual numbers of both are written out in their implementations: code
/// that is not generic is compiled once, in this crate. Another [`Scalar`] needs
/// an implementation with nothing in it.
pub trait Number: Scalar {
    /// [`Model::logits`].
    fn logits(model: &Model, graph: &Graph<'_, Self>, batch: &Batch) -> Var<Self> {
        model.logits_of(graph, batch)
    }

    /// [`Model::logits_at`].
    fn logits_at(
        model: &Model,
        graph: &Graph<'_, Self>,
        batch: &Batch,
        positions: &[usize],
    ) -> Var<Self> {
        model.logits_at_of(graph, batch, positions)
    }

    /// [`Model::loss`].
    fn loss(model: &Model, graph: &Graph<'_, Self>, batch: &Batch) -> Var<Self> {
        model.loss_of(graph, batch)
    }

    /// [`Model::hidden_states`].
    fn hidden_states(model: &Model, graph: &Graph<'_, Self>, batch: &Batch) -> Var<Self> {
        model.states_of(graph, batch)
    }
}

macro_rules! compiled_here {
    ($($number:ty),*) => {$(
        impl Number for $number {
            fn logits(model: &Model, graph: &Graph<'_, Self>, batch: &Batch) -> Var<Self> {
                model.logits_of(graph, batch)
            }

            fn logits_at(
                model: &Model,
                graph: &Graph<'_, Self>,
                batch: &Batch,
                positions: &[usize],
            ) -> Var<Self> {
                model.logits_at_of(graph, batch, positions)
            }

            fn loss(model: &Model, graph: &Graph<'_, Self>, batch: &Batch) -> Var<Self> {
                model.loss_of(graph, batch)
            }

            fn hidden_states(model: &Model, graph: &Graph<'_, Self>, batch: &Batch) -> Var<Self> {
                model.states_of(graph, batch)
            }
        }
    )*};
}

compiled_here!(f32, f64, Dual<f64>);

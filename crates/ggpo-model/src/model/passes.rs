//! The passes of a model, generic over the number: what [`Number`] compiles.
//!
//! [`Number`]: crate::Number

use ggpo_autograd::{Var, ops};
use ggpo_tensor::Scalar;

use super::families::{Family, of_family};
use super::{Form, Graph, Head, Model, OutputLayer};
use crate::batch::Batch;

impl Model {
    pub(crate) fn logits_of<T: Scalar>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        self.head_logits(graph, self.head_states(graph, batch))
    }

    pub(crate) fn logits_at_of<T: Scalar>(
        &self,
        graph: &Graph<'_, T>,
        batch: &Batch,
        positions: &[usize],
    ) -> Var<T> {
        let states = self.head_states(graph, batch);
        let states = ops::embedding(&states, positions, &[positions.len()]);
        self.head_logits(graph, states)
    }

    pub(crate) fn loss_of<T: Scalar>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        let states = self.head_states(graph, batch);
        if !batch.values.is_empty() {
            let values: Vec<T> = batch.values.iter().map(|&v| T::from_f64(v)).collect();
            let mean = ops::mean_squared_error(&self.head_logits(graph, states), &values);
            return match values.len() / batch.target_count() {
                1 => mean,
                outputs => ops::scale(&mean, T::from_f64(outputs as f64)),
            };
        }
        let (rows, targets): (Vec<usize>, Vec<usize>) = batch
            .targets
            .iter()
            .enumerate()
            .filter_map(|(row, target)| Some((row, (*target)?)))
            .unzip();
        let states = if rows.len() == batch.targets.len() {
            states
        } else {
            ops::embedding(&states, &rows, &[rows.len()])
        };
        if self.head == Head::Tokens {
            let (states, layer) = self.output(graph, states);
            return graph.output_cross_entropy(&states, layer, &targets);
        }
        let targets: Vec<_> = targets.into_iter().map(Some).collect();
        ops::cross_entropy(&self.head_logits(graph, states), &targets)
    }

    pub(crate) fn states_of<T: Scalar>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        of_family!(&self.body, family => family.states(graph, batch))
    }

    /// The states that the head reads: batch x width where one answer per row is
    /// predicted (the state that speaks for the row), else (batch * time) x width.
    fn head_states<T: Scalar>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        let states = self.states_of(graph, batch);
        let &[rows, time, width] = states.shape() else {
            panic!("states of shape {:?}", states.shape())
        };
        let states = ops::reshape(&states, &[rows * time, width]);
        match (self.head, self.form()) {
            (Head::Tokens, _) => states,
            // The only state of a row speaks for it.
            _ if time == 1 => states,
            (Head::Classes(_) | Head::Value, Form::Encoder) => {
                let first: Vec<usize> = (0..rows).map(|row| row * time).collect();
                ops::embedding(&states, &first, &[rows])
            }
            (Head::Classes(_) | Head::Value, _) => {
                let last: Vec<usize> = batch
                    .attention
                    .rows()
                    .into_iter()
                    .enumerate()
                    .map(|(row, kept)| {
                        row * time + kept.iter().rposition(|kept| *kept).unwrap_or(0)
                    })
                    .collect();
                ops::embedding(&states, &last, &[rows])
            }
        }
    }

    fn head_logits<T: Scalar>(&self, graph: &Graph<'_, T>, states: Var<T>) -> Var<T> {
        let (states, layer) = self.output(graph, states);
        graph.output(&states, layer)
    }

    /// What the head's last layer reads, and that layer.
    fn output<T: Scalar>(&self, graph: &Graph<'_, T>, states: Var<T>) -> (Var<T>, OutputLayer) {
        of_family!(&self.body, family => family.output(graph, self.head, states))
    }
}

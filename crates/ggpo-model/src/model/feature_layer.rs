//! One layer on features that were calculated before: the smallest model there is to
//! adapt, in which LoRA's rank can be taken across the number of examples.
//!
//! `logits = H tanh(W x)`: x is a row of a table of features, W the layer, H the head. A
//! "text" is the number of a row, so that data, tokenizer, runs and adapters are those of
//! any other model.

use ggpo_autograd::{Var, ops};
use ggpo_tensor::Scalar;

use super::{Extra, Graph, Head, InitialValue, OutputLayer, ParameterSpec, linear_spec};
use crate::batch::Batch;

/// Shape of the layer.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureLayerConfig {
    /// Rows of the table of features.
    pub rows: usize,
    /// Features of a row, and outputs of the layer.
    pub width: usize,
}

/// The table, rows x width.
pub(super) const TABLE: &str = "features.weight";
/// The layer, width x width, without bias.
const LAYER: &str = "layer";

impl FeatureLayerConfig {
    pub(super) fn block_linears(&self) -> Vec<String> {
        vec![LAYER.to_owned()]
    }

    pub(super) fn specification(&self, head: Head) -> Vec<ParameterSpec> {
        let mut all = vec![ParameterSpec {
            name: TABLE.to_owned(),
            shape: vec![self.rows, self.width],
            start: InitialValue::Normal,
        }];
        all.extend(linear_spec(LAYER, self.width, self.width, false));
        if let Some(outputs) = head.outputs() {
            all.extend(linear_spec("score", outputs, self.width, false));
        }
        all
    }

    /// What a stored tensor is that is not a parameter.
    pub(super) fn extra(&self) -> Option<Extra> {
        None
    }

    /// What the layer makes of every row's features, batch x time x width.
    pub(super) fn states<T: Scalar>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        let x = ops::embedding(&graph.parameter(TABLE), &batch.ids, &batch.shape);
        ops::tanh(&graph.linear(&x, LAYER))
    }

    /// What the head's last layer reads, and that layer.
    pub(super) fn output<T: Scalar>(&self, states: Var<T>) -> (Var<T>, OutputLayer) {
        (states, OutputLayer::Module("score"))
    }
}

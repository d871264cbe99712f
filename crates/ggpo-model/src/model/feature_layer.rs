//! One layer on features that were calculated before: the smallest model there is to
//! adapt, in which LoRA's rank can be taken across the number of examples.
//!
//! `logits = H tanh(W x)`: x is a row of a table of features, W the layer, H the head. A
//! "text" is the number of a row, so that data, tokenizer, runs and adapters are those of
//! any other model.

use ggpo_autograd::{Var, ops};
use ggpo_tensor::Scalar;
use serde_json::{Value, json};

use super::families::{About, Family, Form, HeadKind};
use super::fields::Fields;
use super::{Extra, Graph, Head, InitialValue, OutputLayer, ParameterSpec, linear_spec};
use crate::Result;
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
const TABLE: &str = "features.weight";
/// The layer, width x width, without bias.
const LAYER: &str = "layer";

impl Family for FeatureLayerConfig {
    const ABOUT: About = About {
        model_type: "feature_layer",
        // Of this project alone.
        architectures: &[(HeadKind::Sequence, "FeatureLayerForSequenceClassification")],
        form: Form::Encoder,
        prefix: "",
        word_table: TABLE,
        ..About::DECODER
    };

    fn read(fields: &Fields<'_>, _lm_head: bool) -> Result<Self> {
        fields.only("activation_function", &json!("tanh"))?;
        let config = FeatureLayerConfig {
            rows: fields.count("rows")?,
            width: fields.count("hidden_size")?,
        };
        fields.finish(&[])?;
        Ok(config)
    }

    fn to_json(&self) -> Value {
        json!({
            "model_type": "feature_layer",
            "rows": self.rows,
            "hidden_size": self.width,
            "activation_function": "tanh",
        })
    }

    fn specification(&self, head: Head) -> Vec<ParameterSpec> {
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

    fn block_linears(&self) -> Vec<String> {
        vec![LAYER.to_owned()]
    }

    fn extra(&self, _name: &str, _head: Head) -> Option<Extra> {
        None
    }

    fn positions(&self) -> usize {
        1
    }

    fn vocabulary(&self) -> usize {
        self.rows
    }

    /// What the layer makes of every row's features.
    fn states<T: Scalar>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        let x = ops::embedding(&graph.parameter(TABLE), &batch.ids, &batch.shape);
        ops::tanh(&graph.linear(&x, LAYER))
    }

    fn output<T: Scalar>(
        &self,
        _graph: &Graph<'_, T>,
        _head: Head,
        states: Var<T>,
    ) -> (Var<T>, OutputLayer) {
        (states, OutputLayer::Module("score"))
    }
}

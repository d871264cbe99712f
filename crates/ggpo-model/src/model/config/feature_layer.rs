//! `config.json` of one layer on features.

use serde_json::{Value, json};

use super::fields::Fields;
use crate::Result;
use crate::model::FeatureLayerConfig;

pub(super) fn read(fields: &Fields<'_>) -> Result<FeatureLayerConfig> {
    fields.only("activation_function", &json!("tanh"))?;
    let config = FeatureLayerConfig {
        rows: fields.count("rows")?,
        width: fields.count("hidden_size")?,
    };
    fields.finish(&[])?;
    Ok(config)
}

pub(super) fn to_json(config: &FeatureLayerConfig) -> Value {
    json!({
        "model_type": "feature_layer",
        "rows": config.rows,
        "hidden_size": config.width,
        "activation_function": "tanh",
    })
}

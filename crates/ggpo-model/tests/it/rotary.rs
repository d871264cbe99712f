//! How `config.json` scales the frequencies of the rotary embedding.

use crate::model_folder::ModelFolder;
use ggpo_model::{Body, RopeScaling};
use serde_json::{Value, json};

const LLAMA3: RopeScaling = RopeScaling::Llama3 {
    factor: 8.0,
    low_freq_factor: 1.0,
    high_freq_factor: 4.0,
    original_max_position_embeddings: 8192,
};

#[test]
fn rotary_scaling_is_read_under_both_names() {
    let llama3 = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192
    });
    let linear = RopeScaling::Linear { factor: 2.5 };
    let cases = [
        (json!({"rope_theta": 5e5}), 5e5, None),
        (json!({}), 1e4, None),
        (
            json!({"rope_theta": 5e5, "rope_scaling": llama3}),
            5e5,
            Some(LLAMA3),
        ),
        (
            json!({"rope_scaling": {"type": "linear", "factor": 2.5}}),
            1e4,
            Some(linear),
        ),
        (
            json!({"rope_scaling": {"type": "linear", "rope_type": "linear", "factor": 2.5}}),
            1e4,
            Some(linear),
        ),
        (
            json!({"rope_parameters": {"rope_type": "linear", "factor": 2.5, "rope_theta": 2e4}}),
            2e4,
            Some(linear),
        ),
        (
            json!({"rope_parameters": {"rope_type": "default", "rope_theta": 2e4}, "rope_theta": 2e4}),
            2e4,
            None,
        ),
    ];
    let folder = |fields: &Value| {
        let folder = ModelFolder::of("llama");
        folder.configure(|all| {
            all.remove("rope_parameters");
            all.extend(fields.as_object().unwrap().clone());
        });
        folder
    };
    for (fields, theta, scaling) in cases {
        let Body::Llama(config) = folder(&fields).open().body else {
            panic!("not a Llama")
        };
        assert_eq!(config.rope_theta, theta, "{fields}");
        assert_eq!(config.rope_scaling, scaling, "{fields}");
    }
    let mut unfinished = llama3.clone();
    unfinished.as_object_mut().unwrap().remove("factor");
    let mut upside_down = llama3.clone();
    upside_down["low_freq_factor"] = json!(4.0);
    let refused = [
        (json!({"rope_scaling": unfinished}), "rope_scaling.factor"),
        (
            json!({"rope_scaling": upside_down}),
            "rope_scaling.high_freq_factor",
        ),
        (
            json!({"rope_scaling": {"type": "dynamic", "factor": 2.0}}),
            "dynamic",
        ),
        (
            json!({"rope_scaling": {"type": "linear", "factor": -2.0}}),
            "rope_scaling.factor",
        ),
        (
            json!({"rope_scaling": {"type": "linear", "factor": 2.0, "extra": 1}}),
            "rope_scaling.extra",
        ),
        (
            json!({"rope_scaling": {"type": "linear", "rope_type": "default"}}),
            "rope_scaling.type",
        ),
        (
            json!({"rope_scaling": {"factor": 2.0}}),
            "rope_scaling.type",
        ),
        (
            json!({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}),
            "yarn",
        ),
        (
            json!({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "rope_theta": 2e4}),
            "rope_theta",
        ),
        (
            json!({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "rope_scaling": llama3}),
            "rope_scaling",
        ),
        (
            json!({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}}),
            "partial_rotary_factor",
        ),
    ];
    for (fields, wanted) in refused {
        let error = folder(&fields).config_error();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn rotary_frequencies_are_scaled_as_published() {
    let theta: f64 = 500_000.0;
    let inverse = |c: usize| theta.powf(-2.0 * c as f64 / 16.0);
    // By the form with wavelengths that Llama 3.1 was published with: the
    // first four are kept, the fifth is between, the last three are divided by 8.
    let expected: [f64; 8] = [
        1.0,
        0.19392274474868576,
        0.03760603093086393,
        0.007292664737217109,
        0.0005248461609929547,
        3.428102195952591e-05,
        6.647869871181235e-06,
        1.2891731721515574e-06,
    ];
    for (c, expected) in expected.into_iter().enumerate() {
        let found = LLAMA3.apply(inverse(c));
        assert!((found / expected - 1.0).abs() < 1e-14, "{found}");
    }
    let linear = RopeScaling::Linear { factor: 2.5 };
    assert_eq!(linear.apply(0.5), 0.2);
}

//! The gradients of every parameter of every family, and what a model's files say of
//! its head.

use std::path::Path;

use crate::model_folder::{ModelFolder, RawTensors, raw_f32, read_raw};
use crate::weights::FAMILIES;
use ggpo_autograd::Tape;
use ggpo_model::batch::{Batch, DecoderInput, collate_causal};
use ggpo_model::weights::{load, stored_tensors, to_safetensors};
use ggpo_model::{Adapters, Body, Graph, Head, Model, Parameters, Precision};
use ggpo_tensor::Tensor;
use ggpo_tensor::random::{Purpose, Stream};
use serde_json::json;

/// Two sequences, one of them padded, with targets for `model`.
fn batch(model: &Model) -> Batch {
    let mut batch = collate_causal(&[&[5, 9, 2, 7, 11], &[8, 3, 1]], 0);
    match model.head {
        Head::Classes(classes) => batch.targets = vec![Some(1), Some(classes - 1)],
        Head::Value => (batch.targets, batch.values) = (Vec::new(), vec![0.7, -1.2]),
        Head::Tokens => {}
    }
    if matches!(model.body, Body::T5(_)) {
        batch.decoder = Some(DecoderInput {
            shape: [2, 3],
            ids: vec![0, 4, 6, 0, 10, 0],
        });
        batch.targets = vec![Some(4), Some(6), Some(1), Some(10), Some(1), None];
    }
    batch
}

/// The folder's parameters, with new ones where it has none.
fn all_parameters(folder: &ModelFolder, model: &Model) -> Parameters<f64> {
    let loaded = load(folder.path(), model).unwrap();
    let mut parameters: Parameters<f64> = loaded.parameters;
    for spec in &loaded.missing {
        let new = model.new_parameter(spec, 0.2, 3);
        parameters.insert(spec.name.clone(), new);
    }
    parameters
}

fn loss(model: &Model, parameters: &Parameters<f64>, batch: &Batch) -> f64 {
    let adapters = Adapters::new();
    let graph = Graph::for_evaluation(Tape::new(), parameters, &adapters);
    model.loss(&graph, batch).item()
}

fn moved(x: &Tensor<f64>, direction: &[f64], step: f64) -> Tensor<f64> {
    let numbers = x.iter().zip(direction).map(|(x, d)| x + step * d);
    ggpo_tensor::tensor(x.shape(), numbers.collect())
}

/// The gradient of every parameter along a random direction of length 1 against
/// the central difference of the loss.
fn check_gradients(folder: &ModelFolder, head: Head) {
    let model = Model::read(folder.path(), head).unwrap();
    let mut parameters = all_parameters(folder, &model);
    let batch = batch(&model);
    let adapters = Adapters::new();
    let graph = Graph::for_evaluation(Tape::new(), &parameters, &adapters)
        .training(parameters.keys().cloned());
    let value = model.loss(&graph, &batch);
    let gradients = graph.gradients(&value, 1.0).parameters;
    let names: Vec<String> = parameters.keys().cloned().collect();
    assert!(gradients.keys().eq(&names), "every parameter acts");
    let mut size = 0.0;
    for (index, name) in names.iter().enumerate() {
        let original = parameters[name].clone();
        let mut normal = vec![0.0_f32; original.len()];
        Stream::new(1, Purpose::Init, 0, index as u32).fill_normal(0, &mut normal);
        let length = normal.iter().map(|z| z * z).sum::<f32>().sqrt();
        let direction: Vec<f64> = normal.iter().map(|z| f64::from(z / length)).collect();
        let pairs = gradients[name].iter().zip(&direction);
        let exact: f64 = pairs.map(|(g, d)| g * d).sum();
        let mut at = |step: f64| {
            parameters.insert(name.clone(), moved(&original, &direction, step));
            loss(&model, &parameters, &batch)
        };
        const STEP: f64 = 1e-4;
        let mut across = |step: f64| at(step) - at(-step);
        let difference = (8.0 * across(STEP) - across(2.0 * STEP)) / (12.0 * STEP);
        parameters.insert(name.clone(), original);
        // The loss is of order 1 and known to 1e-15, so a difference to 1e-11; the
        // two steps together leave no third derivative, and of the fifth a
        // thirtieth times 1e-16.
        let limit = 2e-9 + 1e-7 * exact.abs();
        assert!(
            (difference - exact).abs() < limit,
            "{name}: {difference} by differences, {exact} by backward"
        );
        size += exact.abs();
    }
    assert!(size > 0.1, "gradients of size {size}");
}

#[test]
fn every_parameter_of_bert_can_be_trained() {
    check_gradients(&ModelFolder::of("bert"), Head::Classes(3));
    let folder = ModelFolder::of("bert");
    folder.rewrite(|tensors| tensors.retain(|name, _| !name.starts_with("classifier.")));
    check_gradients(&folder, Head::Value);
}

#[test]
fn every_parameter_of_llama_can_be_trained() {
    let folder = ModelFolder::of("llama");
    check_gradients(&folder, Head::Tokens);
    check_gradients(&folder, Head::Classes(4));
}

/// The Llama fixture with a bias in every linear layer of its blocks, and what
/// else `tests/llama_biases/make.py` has written.
fn llama_with_biases() -> (ModelFolder, RawTensors) {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/llama_biases/biases.safetensors"
    );
    let file = read_raw(Path::new(path));
    let mut biases = file.clone();
    biases.retain(|name, _| name.ends_with(".bias"));
    // Seven layers in each of two blocks.
    assert_eq!(biases.len(), 14);
    let folder = ModelFolder::of("llama");
    folder
        .set("attention_bias", json!(true))
        .set("mlp_bias", json!(true));
    folder.rewrite(|tensors| tensors.extend(biases));
    (folder, file)
}

#[test]
fn biases_of_llama_are_added_as_transformers_does() {
    let (folder, file) = llama_with_biases();
    let ids: Vec<usize> = file["input_ids"]
        .bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|id| i64::from_le_bytes(*id) as usize)
        .collect();
    let model = folder.open();
    let batch = collate_causal(&[&ids], 0);
    let logits = model.evaluate(&folder.parameters(), &Adapters::new(), &batch);
    let (expected, _) = file["logits"].bytes.as_chunks::<8>();
    assert_eq!(logits.len(), expected.len());
    for (found, expected) in logits.iter().zip(expected) {
        let expected = f64::from_le_bytes(*expected);
        // RMS norm and rotary angles of the reference are in single precision.
        assert!((found - expected).abs() < 3e-6, "{found}, not {expected}");
    }
    check_gradients(&folder, Head::Tokens);

    for (field, left_out) in [("attention_bias", ".self_attn."), ("mlp_bias", ".mlp.")] {
        let (folder, _) = llama_with_biases();
        folder.set(field, json!(false));
        let error = folder.weights_error(Head::Tokens);
        assert!(
            error.contains(left_out) && error.contains(".bias"),
            "{error}"
        );
        folder.rewrite(|tensors| {
            tensors.retain(|name, _| !(name.contains(left_out) && name.ends_with(".bias")));
        });
        let parameters = folder.parameters();
        let biases = parameters.keys().filter(|name| name.ends_with(".bias"));
        assert!(biases.count() > 0);
    }
}

#[test]
fn every_parameter_of_qwen_and_gemma_can_be_trained() {
    for family in ["qwen2", "qwen3", "gemma3"] {
        let folder = ModelFolder::of(family);
        check_gradients(&folder, Head::Tokens);
        check_gradients(&folder, Head::Classes(3));
    }
}

#[test]
fn every_parameter_of_roberta_can_be_trained() {
    let folder = ModelFolder::of("roberta");
    check_gradients(&folder, Head::Classes(3));
    folder.rewrite(|tensors| tensors.retain(|name, _| !name.starts_with("classifier.")));
    check_gradients(&folder, Head::Value);
    folder.rewrite(|tensors| {
        let numbers = |count| (0..count).map(|i| (i as f32).sin() / 4.0).collect();
        let mut add = |name: &str, shape: &[usize]| {
            let numbers: Vec<f32> = numbers(shape.iter().product());
            tensors.insert(format!("lm_head.{name}"), raw_f32(shape, &numbers));
        };
        add("dense.weight", &[32, 32]);
        add("dense.bias", &[32]);
        add("layer_norm.weight", &[32]);
        add("layer_norm.bias", &[32]);
        add("bias", &[97]);
    });
    check_gradients(&folder, Head::Tokens);
}

#[test]
fn every_parameter_of_gpt2_can_be_trained() {
    for head in [Head::Tokens, Head::Classes(3), Head::Value] {
        check_gradients(&ModelFolder::of("gpt2"), head);
    }
}

#[test]
fn every_parameter_of_t5_can_be_trained() {
    check_gradients(&ModelFolder::of("t5"), Head::Tokens);
    check_gradients(&ModelFolder::of("t5_gated"), Head::Tokens);
    let folder = ModelFolder::of("t5_gated");
    add_head(&folder);
    check_gradients(&folder, Head::Tokens);
}

/// Gives a T5 file a head that is not its embedding.
fn add_head(folder: &ModelFolder) {
    folder.rewrite(|tensors| {
        let mut head = tensors["shared.weight"].clone();
        head.bytes.rotate_left(4);
        tensors.insert("lm_head.weight".to_owned(), head);
    });
}

#[test]
fn a_padded_row_is_what_it_is_alone() {
    for family in FAMILIES {
        let folder = ModelFolder::of(family);
        let (model, parameters) = (folder.open(), folder.parameters());
        let both = batch(&model);
        let mut alone = collate_causal(&[&[8, 3, 1]], 0);
        alone.decoder = both.decoder.as_ref().map(|_| DecoderInput {
            shape: [1, 2],
            ids: vec![0, 10],
        });
        let none = Adapters::new();
        let logits = |batch| model.evaluate(&parameters, &none, batch);
        let (both, alone) = (logits(&both), logits(&alone));
        let width = both.shape()[1];
        let (rows_before, rows) = match family {
            "bert" | "roberta" => (1, 1),
            "t5" | "t5_gated" => (3, 2),
            _ => (5, 3),
        };
        let part = both.iter().skip(rows_before * width).take(rows * width);
        assert_eq!(alone.len(), rows * width);
        for (x, y) in part.zip(&alone) {
            // A sum over more keys may be grouped in another way.
            assert!((x - y).abs() < 1e-12, "{family}: {x} and {y}");
        }
    }
}

#[test]
fn t5_says_by_two_fields_and_the_file_which_head_it_has() {
    let yes = Some(json!(true));
    let no = Some(json!(false));
    // tie_word_embeddings, scale_decoder_outputs, whether the file holds a
    // head; then whether the model has its own head, and the scale.
    let cases = [
        (&None, &None, false, false, true),
        (&yes, &None, false, false, true),
        (&yes, &yes, false, false, true),
        (&no, &None, true, true, false),
        (&no, &yes, true, true, true),
        (&yes, &no, false, false, false),
        (&yes, &no, true, true, false),
        (&None, &no, true, true, false),
    ];
    for (tied, scaled, holds, own_head, scale) in cases {
        let folder = ModelFolder::of("t5_gated");
        folder.configure(|fields| {
            fields.insert("tie_word_embeddings".to_owned(), json!(tied));
            fields.insert("scale_decoder_outputs".to_owned(), json!(scaled));
        });
        if holds {
            add_head(&folder);
        }
        let model = folder.open();
        let Body::T5(config) = &model.body else {
            panic!("{model:?}")
        };
        assert_eq!(config.tie_word_embeddings, !own_head);
        assert_eq!(config.scale_decoder_outputs, scale);
        let parameters = folder.parameters();
        assert_eq!(parameters.contains_key("lm_head.weight"), own_head);

        // What is written says the same.
        let stored = stored_tensors(&model, &parameters);
        std::fs::write(folder.weights(), to_safetensors(&stored, Precision::F32)).unwrap();
        std::fs::write(folder.file("config.json"), model.config_json()).unwrap();
        assert_eq!(folder.open(), model);
        assert!(folder.parameters() == parameters);
    }
    let folder = ModelFolder::of("t5_gated");
    folder.set("tie_word_embeddings", json!(false));
    let error = folder.weights_error(Head::Tokens);
    assert!(error.contains("lm_head.weight"), "{error}");
}

//! What `config.json` says and what it must not say, and the gradients of
//! every parameter of every family.

use std::path::Path;

use crate::model_folder::{ModelFolder, RawTensors, raw_f32, read_raw};
use crate::weights::FAMILIES;
use ggpo_autograd::Tape;
use ggpo_model::batch::{Batch, DecoderInput, collate_causal};
use ggpo_model::weights::{load, stored_tensors, to_safetensors};
use ggpo_model::{
    Adapters, Body, ConfigJson, Graph, Head, Model, Parameters, Precision, RopeScaling,
};
use ggpo_tensor::Tensor;
use ggpo_tensor::random::{Purpose, Stream};
use serde_json::{Value, json};

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

#[test]
fn the_head_is_the_one_that_is_named() {
    let open = |family: &str, fields: Value| {
        let folder = ModelFolder::of(family);
        folder.configure(|all| {
            for name in ["id2label", "label2id", "problem_type"] {
                all.remove(name);
            }
            all.extend(fields.as_object().unwrap().clone());
        });
        Model::open(folder.path()).map(|model| model.head)
    };
    let bert = "BertForSequenceClassification";
    let names = json!({"0": "no", "1": "yes", "2": "maybe"});
    for (family, fields, head) in [
        (
            "bert",
            json!({"architectures": ["BertForMaskedLM"]}),
            Head::Tokens,
        ),
        ("bert", json!({"architectures": [bert]}), Head::Classes(2)),
        (
            "bert",
            json!({"architectures": [bert], "id2label": names}),
            Head::Classes(3),
        ),
        (
            "bert",
            json!({"architectures": [bert], "num_labels": 5}),
            Head::Classes(5),
        ),
        (
            "bert",
            json!({"architectures": [bert], "num_labels": 1}),
            Head::Value,
        ),
        (
            "gpt2",
            json!({"architectures": ["GPT2ForSequenceClassification"], "problem_type": "regression", "id2label": {"0": "score"}}),
            Head::Value,
        ),
        (
            "llama",
            json!({"architectures": ["LlamaForSequenceClassification"], "id2label": names, "num_labels": 3}),
            Head::Classes(3),
        ),
        (
            "t5",
            json!({"architectures": ["T5WithLMHeadModel"]}),
            Head::Tokens,
        ),
    ] {
        assert_eq!(open(family, fields.clone()).unwrap(), head, "{fields}");
    }
    for (fields, wanted) in [
        (json!({"architectures": ["BertModel"]}), "BertModel"),
        (
            json!({"architectures": ["GPT2LMHeadModel"]}),
            "GPT2LMHeadModel",
        ),
        (json!({"architectures": null}), "architectures"),
        (json!({"id2label": names, "num_labels": 2}), "num_labels"),
        (json!({"id2label": {"0": "a", "2": "b"}}), "id2label"),
        (json!({"problem_type": "regression"}), "problem_type"),
        (
            json!({"problem_type": "multi_label_classification"}),
            "multi_label_classification",
        ),
    ] {
        let error = open("bert", fields).unwrap_err().to_string();
        assert!(error.contains("config.json"), "{error}");
        assert!(error.contains(wanted), "{error}");
    }
    let folder = ModelFolder::of("t5");
    let error = Model::read(folder.path(), Head::Classes(2)).unwrap_err();
    assert!(error.to_string().contains("t5"), "{error}");
}

#[test]
fn a_description_is_kept_but_for_the_head() {
    let folder = ModelFolder::of("bert");
    let labels = ["no", "yes", "maybe"].map(str::to_owned);
    let id2label = json!({"0": "no", "1": "yes", "2": "maybe"});
    folder.set("id2label", id2label.clone());
    let config = ConfigJson::read(folder.path()).unwrap();
    assert_eq!(config.labels().unwrap(), labels);
    assert_eq!(config.fields()["transformers_version"], json!("5.23.0"));

    let model = folder.open();
    let text = config.text_for(&model, &labels, Precision::F16);
    let mut expected = config.fields().clone();
    expected.insert("dtype".to_owned(), json!("float16"));
    expected.insert(
        "label2id".to_owned(),
        json!({"no": 0, "yes": 1, "maybe": 2}),
    );
    let written: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(written, Value::Object(expected));

    let write = |head| {
        let model = Model::read(folder.path(), head).unwrap();
        let text = config.text_for(&model, &[], Precision::F32);
        std::fs::write(folder.file("config.json"), text).unwrap();
        assert_eq!(folder.open(), model);
        ConfigJson::read(folder.path()).unwrap()
    };
    let classes = write(Head::Classes(2));
    assert_eq!(classes.labels().unwrap(), ["LABEL_0", "LABEL_1"]);
    assert_eq!(write(Head::Value).labels().unwrap(), ["LABEL_0"]);
    assert!(!write(Head::Tokens).fields().contains_key("id2label"));
}

#[test]
fn a_new_description_reads_back() {
    for family in FAMILIES {
        let folder = ModelFolder::of(family);
        let mut model = folder.open();
        if let Body::Llama(config) = &mut model.body {
            config.rope_scaling = Some(RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_position_embeddings: 8192,
            });
            (config.attention_bias, config.mlp_bias) = (true, false);
        }
        std::fs::write(folder.file("config.json"), model.config_json()).unwrap();
        assert_eq!(folder.open(), model);
    }
}

#[test]
fn what_is_not_calculated_here_is_refused_by_name() {
    let cases = [
        ("bert", "model_type", json!("elman"), "gpt2"),
        ("bert", "hidden_act", json!("relu"), "gelu"),
        (
            "bert",
            "position_embedding_type",
            json!("relative_key"),
            "absolute",
        ),
        ("bert", "is_decoder", json!(true), "false"),
        ("bert", "add_cross_attention", json!(true), "false"),
        ("bert", "pruned_heads", json!({"0": [1]}), "{}"),
        ("bert", "tie_word_embeddings", json!(false), "true"),
        ("bert", "num_attention_heads", json!(5), "divisor"),
        ("bert", "hidden_size", json!(0), "above 0"),
        ("bert", "layer_norm_eps", json!("small"), "above 0"),
        ("bert", "quantization_config", json!({"bits": 4}), "bits"),
        ("bert", "rope_theta", json!(10000.0), "known"),
        ("llama", "hidden_act", json!("gelu"), "silu"),
        ("llama", "attention_bias", json!(1), "true or false"),
        ("llama", "mlp_bias", json!("yes"), "true or false"),
        ("llama", "rope_interleaved", json!(true), "false"),
        ("llama", "num_key_value_heads", json!(3), "divisor"),
        ("llama", "head_dim", json!(7), "even"),
        ("llama", "sliding_window", json!(128), "128"),
        ("llama", "type_vocab_size", json!(2), "known"),
        ("qwen2", "use_sliding_window", json!(true), "false"),
        ("qwen2", "use_mrope", json!(true), "false"),
        ("qwen2", "hidden_act", json!("gelu"), "silu"),
        ("qwen2", "num_key_value_heads", Value::Null, "above 0"),
        ("qwen2", "attention_bias", json!(true), "known"),
        (
            "qwen2",
            "layer_types",
            json!(["full_attention", "sliding_attention"]),
            "in every layer",
        ),
        (
            "qwen3",
            "layer_types",
            json!(["full_attention"]),
            "2 layers",
        ),
        ("qwen3", "num_experts", json!(8), "known"),
        ("gemma3", "attn_logit_softcapping", json!(50.0), "null"),
        ("gemma3", "final_logit_softcapping", json!(30.0), "null"),
        (
            "gemma3",
            "use_bidirectional_attention",
            json!(true),
            "false",
        ),
        (
            "gemma3",
            "hidden_activation",
            json!("gelu"),
            "gelu_pytorch_tanh",
        ),
        ("gemma3", "query_pre_attn_scalar", Value::Null, "above 0"),
        ("gemma3", "sliding_window", Value::Null, "above 0"),
        (
            "gemma3",
            "rope_theta",
            json!(5.0),
            "as rope_parameters says",
        ),
        (
            "gemma3",
            "rope_local_base_freq",
            json!(5.0),
            "as rope_parameters says",
        ),
        (
            "gemma3",
            "rope_scaling",
            json!({"rope_type": "linear", "factor": 8.0}),
            "beside rope_parameters",
        ),
        (
            "gemma3",
            "rope_parameters",
            json!({"rope_type": "default", "rope_theta": 1e6}),
            "full_attention",
        ),
        ("roberta", "pad_token_id", json!("one"), "id of a token"),
        (
            "roberta",
            "max_position_embeddings",
            json!(2),
            "more than 2",
        ),
        ("roberta", "hidden_act", json!("relu"), "gelu"),
        ("gpt2", "activation_function", json!("relu"), "gelu_new"),
        (
            "gpt2",
            "scale_attn_by_inverse_layer_idx",
            json!(true),
            "false",
        ),
        ("gpt2", "scale_attn_weights", json!(false), "true"),
        ("gpt2", "reorder_and_upcast_attn", json!(true), "false"),
        ("gpt2", "add_cross_attention", json!(true), "false"),
        ("gpt2", "tie_word_embeddings", json!(false), "true"),
        ("gpt2", "n_head", json!(3), "divisor"),
        ("t5", "feed_forward_proj", json!("gated-silu"), "gated-gelu"),
        ("t5", "dense_act_fn", json!("gelu"), "relu"),
        ("t5", "is_gated_act", json!(true), "false"),
        ("t5", "is_encoder_decoder", json!(false), "true"),
        (
            "t5",
            "relative_attention_num_buckets",
            json!(6),
            "multiple of 4",
        ),
        (
            "t5",
            "relative_attention_max_distance",
            json!(4),
            "more than",
        ),
        ("t5", "scale_decoder_outputs", json!("yes"), "true or false"),
        ("t5_gated", "dense_act_fn", json!("relu"), "gelu_new"),
    ];
    for (family, field, value, wanted) in cases {
        let folder = ModelFolder::of(family);
        folder.set(field, value);
        let error = Model::read(folder.path(), Head::Tokens)
            .unwrap_err()
            .to_string();
        assert!(error.contains("config.json"), "{error}");
        assert!(error.contains(field), "{error}");
        assert!(error.contains(wanted), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let folder = ModelFolder::of("gpt2");
    folder.set("quantization_config", Value::Null);
    assert!(Model::open(folder.path()).is_ok(), "null says nothing");
    std::fs::write(folder.file("config.json"), "[]").unwrap();
    assert!(folder.config_error().contains("JSON object"));
    std::fs::write(folder.file("config.json"), "{").unwrap();
    assert!(folder.config_error().contains("expected a JSON object"));
    std::fs::remove_file(folder.file("config.json")).unwrap();
    assert!(folder.config_error().contains("config.json"));
}

#[test]
fn both_spellings_of_a_description_are_one_model() {
    let linear = json!({"rope_type": "linear", "factor": 8.0});
    for (family, scaled) in [
        ("qwen2", false),
        ("qwen3", true),
        ("gemma3", false),
        ("gemma3", true),
    ] {
        let (newer, older) = (ModelFolder::of(family), ModelFolder::of(family));
        newer.configure(|fields| {
            let rope = &mut fields["rope_parameters"];
            let rope = match family {
                "gemma3" => &mut rope["full_attention"],
                _ => rope,
            };
            if scaled {
                rope["rope_type"] = json!("linear");
                rope["factor"] = json!(8.0);
            }
            if family == "gemma3" {
                fields.insert(
                    "layer_types".to_owned(),
                    json!(["sliding_attention", "sliding_attention"]),
                );
            }
        });
        older.configure(|fields| {
            fields.remove("rope_parameters");
            fields.remove("layer_types");
            fields.insert("rope_theta".to_owned(), json!(1e6));
            if scaled {
                fields.insert("rope_scaling".to_owned(), linear.clone());
            }
            if family == "gemma3" {
                fields.insert("rope_local_base_freq".to_owned(), json!(1e4));
                fields.insert("sliding_window_pattern".to_owned(), json!(6));
            }
        });
        let (newer, older) = (newer.open(), older.open());
        assert_eq!(newer, older);
        // What is written reads back, whichever it was.
        let folder = ModelFolder::of(family);
        std::fs::write(folder.file("config.json"), older.config_json()).unwrap();
        assert_eq!(folder.open(), older);
    }
}

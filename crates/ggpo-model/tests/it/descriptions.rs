//! What `config.json` says, and what of it is refused.

use ggpo_model::{Body, ConfigJson, Head, Model, Precision, RopeScaling};
use serde_json::{Value, json};

use crate::model_folder::ModelFolder;
use crate::weights::FAMILIES;

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

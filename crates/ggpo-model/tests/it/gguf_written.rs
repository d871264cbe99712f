//! Whole models as GGUF files: what is written is read back as the same model.

use std::path::{Path, PathBuf};

use ggpo_lora::peft::{PeftAdapter, Wrapped};
use ggpo_lora::{LoraConfig, MethodConfig};
use ggpo_model::assembled::Assembled;
use ggpo_model::base::{write_model_file, write_model_folder};
use ggpo_model::batch::collate_causal;
use ggpo_model::gguf::{self, Elements, Kinds, Value};
use ggpo_model::merge::Merged;
use ggpo_model::{Adapters, Precision};
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{BlockFormat, Tensor};

/// A small model of every architecture.
const NAMES: [&str; 4] = ["tiny", "qwen2", "qwen3", "gemma3"];
const TEXT: &str = "Call me Ishmael, the 12 whales said.\n\nYou're  here: naïve!";

fn fixture(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/gguf");
    fixtures.join(format!("{name}.gguf"))
}

fn open(path: &Path) -> Assembled {
    Assembled::open(path, None).unwrap()
}

/// Writes a model with its adapters merged.
fn write(out: &Path, base: &Path, model: &Assembled, elements: Elements) -> Kinds {
    let merged = Merged::new(&model.parameters, [(1.0, &model.adapters)]);
    write_model_file(out, base, &model.model, &model.tokenizer, elements, &merged).unwrap()
}

/// A folder made of a model.
fn write_folder(out: &Path, base: &Path, model: &Assembled) {
    let merged = model.merged();
    write_model_folder(out, base, &model.model, &[], &merged, Precision::F32).unwrap();
}

fn logits(model: &Assembled) -> Tensor<f32> {
    let rows = model.model.vocabulary().min(model.tokenizer.vocabulary());
    let ids: Vec<usize> = (0..20).map(|i| (5 + 17 * i + i * i) % rows).collect();
    let batch = collate_causal(&[ids.as_slice()], 0);
    model
        .model
        .evaluate(&model.parameters, &model.adapters, &batch)
}

/// The largest difference, relative to the largest element.
fn distance(found: &Tensor<f32>, expected: &Tensor<f32>) -> f32 {
    assert_eq!(found.shape(), expected.shape());
    let largest = |x: &Tensor<f32>| x.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
    largest(&(found - expected).into_shared()) / largest(expected)
}

fn same_texts(found: &Assembled, expected: &Assembled) {
    let ids = |model: &Assembled| model.tokenizer.encode(TEXT).unwrap();
    assert_eq!(ids(found), ids(expected));
    assert_eq!(found.tokenizer.prefix(), expected.tokenizer.prefix());
    assert_eq!(found.end_ids(), expected.end_ids());
}

/// An adapter of all layers whose B is not 0.
fn adapter(model: &Assembled, seed: u64) -> Adapters<f32> {
    let method = MethodConfig {
        lora: LoraConfig {
            rank: 2,
            ..LoraConfig::default()
        },
        ..MethodConfig::default()
    };
    let mut adapters = Adapters::new();
    for (layer, module) in model.model.block_linears().into_iter().enumerate() {
        let weight = model.parameters.weight(&format!("{module}.weight"));
        let stream = Stream::new(seed, Purpose::Init, 1, layer as u32);
        let mut adapter = method.new_adapter(weight, None, stream).unwrap();
        let b = adapter.factor_mut("lora_B.weight").unwrap();
        let mut numbers = vec![0.0_f32; b.len()];
        Stream::new(seed, Purpose::Init, 2, layer as u32).fill_uniform(0, &mut numbers);
        b.iter_mut()
            .zip(numbers)
            .for_each(|(b, x)| *b = 0.1 * (x - 0.5));
        adapters.insert(module, adapter);
    }
    adapters
}

#[test]
fn a_file_made_of_a_file_says_the_same_and_calculates_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for name in NAMES {
        let (base, out) = (fixture(name), folder.path().join("out.gguf"));
        let model = open(&base);
        // Blocks are smaller than single precision, so they stay as they are.
        let kinds = write(&out, &base, &model, Elements::F32);
        let again = open(&out);
        assert_eq!(
            again.parameters.quantized, model.parameters.quantized,
            "{name}"
        );
        // Gemma's norms are stored with 1 added.
        assert!(distance(&logits(&again), &logits(&model)) < 1e-6, "{name}");
        same_texts(&again, &model);
        let [before, after] = [&base, &out].map(|it| gguf::open::<f32>(it).unwrap());
        assert_eq!(after.chat_template, before.chat_template);
        assert_eq!(after.special_tokens, before.special_tokens);
        let of_one_file = ["general.file_type", "general.quantization_version"];
        for (key, value) in before.metadata.iter() {
            let kept = of_one_file.contains(&key) || after.metadata.get(key) == Some(value);
            assert!(kept || key == "general.alignment", "{key}");
        }
        let tensors: usize = kinds.values().sum();
        assert_eq!(tensors, model.model.specification().len());
    }
}

#[test]
fn a_file_made_of_a_folder_is_the_model_of_the_folder() {
    let work = tempfile::tempdir().unwrap();
    for name in NAMES {
        let base = work.path().join(name);
        write_folder(&base, &fixture(name), &open(&fixture(name)));
        let (model, out) = (open(&base), work.path().join(format!("{name}.gguf")));
        write(&out, &base, &model, Elements::F32);
        let again = open(&out);
        // Numbers of the description are in single precision.
        assert!(distance(&logits(&again), &logits(&model)) < 2e-6, "{name}");
        same_texts(&again, &model);
        let file = gguf::open::<f32>(&out).unwrap();
        let named = Value::Text(name.to_owned());
        assert_eq!(file.metadata.get("general.name"), Some(&named));
        let first = gguf::open::<f32>(&fixture(name)).unwrap();
        assert_eq!(file.chat_template, first.chat_template);
        assert_eq!(file.special_tokens.eos, first.special_tokens.eos, "{name}");
        assert_eq!(file.special_tokens.add_bos, first.special_tokens.add_bos);
    }
}

#[test]
fn every_format_is_as_near_as_its_numbers_are() {
    let work = tempfile::tempdir().unwrap();
    for name in NAMES {
        let base = work.path().join(name);
        write_folder(&base, &fixture(name), &open(&fixture(name)));
        let model = open(&base);
        for (format, bound) in [
            // Of the largest number of a tensor: 2^-11, 2^-8, half of 1/127 and 1/8, and a
            // little for the scale.
            (BlockFormat::F16, 5e-4),
            (BlockFormat::BF16, 4e-3),
            (BlockFormat::Q8_0, 5e-3),
            (BlockFormat::Q4_0, 0.13),
        ] {
            let out = work.path().join(format!("{name}-{format}.gguf"));
            let kinds = write(&out, &base, &model, Elements::Blocks(format));
            let (found, expected) = (open(&out).merged(), model.merged());
            for (tensor, expected) in &expected {
                let far = distance(&found[tensor], expected);
                assert!(far < bound, "{name} {tensor} {format}: {far}");
            }
            assert!(kinds[&format.to_string()] > 10, "{kinds:?}");
            let table = gguf::open::<f32>(&out).unwrap().parameters.quantized;
            let table = table["model.embed_tokens.weight"].format();
            let expected = match format {
                BlockFormat::Q4_0 => BlockFormat::Q8_0,
                format => format,
            };
            assert_eq!(table, expected, "{name}");
        }
    }
}

#[test]
fn adapters_are_merged_and_what_they_leave_alone_stays_in_its_blocks() {
    let work = tempfile::tempdir().unwrap();
    for name in NAMES {
        let base = fixture(name);
        let mut model = open(&base);
        let untouched = logits(&model);
        model.adapters = adapter(&model, 1);
        let adapted = logits(&model);
        assert!(distance(&untouched, &adapted) > 1e-2, "{name}");
        let out = work.path().join(format!("{name}.gguf"));
        write(&out, &base, &model, Elements::F32);
        let again = open(&out);
        assert!(distance(&logits(&again), &adapted) < 1e-5, "{name}");
        let table = "model.embed_tokens.weight";
        assert_eq!(
            again.parameters.quantized.get(table),
            model.parameters.quantized.get(table)
        );
        let layer = "model.layers.0.self_attn.q_proj.weight";
        assert!(!again.parameters.quantized.contains_key(layer));
    }
}

#[test]
fn several_adapters_are_added_with_their_weights() {
    let base = fixture("qwen2");
    let mut model = open(&base);
    let both = [adapter(&model, 1), adapter(&model, 2)];
    let work = tempfile::tempdir().unwrap();
    let folders = ["a", "b"].map(|name| work.path().join(name));
    for (folder, adapters) in folders.iter().zip(&both) {
        let around = Wrapped {
            saved_modules: Default::default(),
            modules_to_save: Vec::new(),
            task_type: "CAUSAL_LM".to_owned(),
            base_model: "qwen2".to_owned(),
            fan_in_fan_out: false,
            steps: 1,
        };
        let method = MethodConfig {
            lora: LoraConfig {
                rank: 2,
                ..LoraConfig::default()
            },
            ..MethodConfig::default()
        };
        PeftAdapter::new(&method, adapters, around)
            .write(folder)
            .unwrap();
    }
    let (opened, adapters) = Assembled::open_several(&base, &folders).unwrap();
    assert_eq!(adapters, both);
    let weights = [0.75, -0.5];
    let merged = Merged::new(&opened.parameters, weights.into_iter().zip(&adapters));
    assert_eq!(merged.layers().len(), model.model.block_linears().len());
    let all = merged.all();
    for (module, first) in &adapters[0] {
        let name = format!("{module}.weight");
        let mut expected = open(&base).merged()[&name].clone();
        for (weight, adapter) in weights.iter().zip([first, &adapters[1][module]]) {
            let [(_, a), (_, b)] = adapter.factors()[..] else {
                panic!("LoRA")
            };
            let (a, b) = (ggpo_tensor::view2(a), ggpo_tensor::view2(b));
            let product = b.dot(&a) * (weight * adapter.scaling());
            expected += &product.into_dyn();
        }
        assert!(distance(&all[&name], &expected) < 1e-6, "{name}");
    }
    // One adapter of weight 1 gives what it gives alone.
    let alone = Merged::new(&opened.parameters, [(1.0, &adapters[0])]).all();
    model.adapters = both[0].clone();
    assert_eq!(alone, model.merged());
}

/// Llama 3.1 and later divide low frequencies, which a file holds as a tensor.
#[test]
fn the_frequencies_of_llama_3_are_written_and_read() {
    let work = tempfile::tempdir().unwrap();
    let base = work.path().join("base");
    let plain = open(&fixture("tiny"));
    write_folder(&base, &fixture("tiny"), &plain);
    let path = base.join("config.json");
    let mut json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    json["rope_theta"] = serde_json::json!(500_000.0);
    json["rope_scaling"] = serde_json::json!({
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
    });
    std::fs::write(&path, json.to_string()).unwrap();
    let model = open(&base);
    let out = work.path().join("out.gguf");
    write(&out, &base, &model, Elements::F32);
    let again = open(&out);
    assert!(distance(&logits(&again), &logits(&model)) < 2e-6);
    let config = |model: &Assembled| -> serde_json::Value {
        serde_json::from_str(&model.model.config_json()).unwrap()
    };
    assert_eq!(
        config(&again)["rope_scaling"],
        config(&model)["rope_scaling"]
    );
    // And once more, of the file.
    let twice = work.path().join("twice.gguf");
    write(&twice, &out, &again, Elements::F32);
    assert_eq!(open(&twice).model, again.model);
}

/// What is wrong with a folder in which a file has other fields.
fn refusal(name: &str, file: &str, change: impl FnOnce(&mut serde_json::Value)) -> String {
    let work = tempfile::tempdir().unwrap();
    let base = work.path().join("base");
    write_folder(&base, &fixture(name), &open(&fixture(name)));
    let path = base.join(file);
    let mut json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(&path, json.to_string()).unwrap();
    let model = open(&base);
    let merged = Merged::new(&model.parameters, []);
    let out = work.path().join("out.gguf");
    let elements = Elements::F32;
    let written = write_model_file(
        &out,
        &base,
        &model.model,
        &model.tokenizer,
        elements,
        &merged,
    );
    assert!(!out.exists());
    written.expect_err("refused").to_string()
}

#[test]
fn what_a_file_cannot_say_is_refused_with_the_way_round() {
    for (name, field, value, expected) in [
        (
            "tiny",
            "rope_scaling",
            serde_json::json!({
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
            }),
            "rope_freqs.weight: expected the divisors of Llama 3.1",
        ),
        (
            "gemma3",
            "query_pre_attn_scalar",
            serde_json::json!(100.0),
            "query_pre_attn_scalar: expected",
        ),
    ] {
        let error = refusal(name, "config.json", |json| json[field] = value);
        assert!(error.contains(expected), "{error}");
        let names_the_way = error.contains("ggpo merge --out");
        assert!(names_the_way || field == "rope_scaling", "{error}");
    }
    let error = refusal("tiny", "tokenizer.json", |json| {
        json["pre_tokenizer"] = serde_json::json!({"type": "Sequence", "pretokenizers": [
            {"type": "Punctuation", "behavior": "Isolated"},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        ]});
    });
    assert!(
        error.contains("one of gpt-2, llama-bpe, qwen2, smollm"),
        "{error}"
    );
    let error = refusal("gemma3", "tokenizer.json", |json| {
        let merges = json["model"]["merges"].as_array_mut().unwrap();
        merges.truncate(merges.len() / 2);
    });
    assert!(
        error.contains("the merges of a SentencePiece model"),
        "{error}"
    );
    let error = refusal("gemma3", "tokenizer.json", |json| {
        json["normalizer"] = serde_json::json!({"type": "Sequence", "normalizers": [
            {"type": "Lowercase"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]});
    });
    assert!(error.contains("also Lowercase"), "{error}");
}

#[test]
fn a_word_piece_has_no_counterpart() {
    let error = refusal("tiny", "tokenizer.json", |json| {
        let vocabulary = json["model"]["vocab"].clone();
        json["model"] = serde_json::json!({
            "type": "WordPiece", "unk_token": "a", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        });
    });
    assert!(error.contains("found WordPiece"), "{error}");
}

//! Files that contradict themselves or each other: one line that names what is wrong,
//! and exit code 1.

use std::collections::BTreeMap;
use std::path::Path;

use ggpo_model::Precision;
use ggpo_model::weights::{read_safetensors, to_safetensors};
use ggpo_tensor::{Tensor, tensor};
use serde_json::{Value, json};

use crate::common::{World, read};
use crate::runner::{refused, succeeds};

pub(crate) const TRAIN: &str = "train --model encoder --train train.tsv --validation validation.tsv \
                     --rank 4 --steps 2 --max-length 24 --out";

pub(crate) fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

pub(crate) fn trained(world: &World) {
    succeeds(world, &words(&format!("{TRAIN} run")));
}

/// The sentence of a command that is refused, which must have all `parts`.
pub(crate) fn refuses(world: &World, command: &str, parts: &[&str]) -> String {
    let sentence = refused(world, &words(command));
    assert_printable(&sentence);
    for part in parts {
        assert!(
            sentence.contains(part),
            "{command}: expected {part:?} in: {sentence}"
        );
    }
    sentence
}

pub(crate) fn assert_printable(sentence: &str) {
    let length = "error: ".len() + sentence.chars().count();
    assert!(length <= 500, "{length}: {sentence}");
    assert!(!sentence.contains(char::is_control), "{sentence:?}");
}

pub(crate) fn change_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&read(path)).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

pub(crate) fn change_tensors(path: &Path, change: impl FnOnce(&mut BTreeMap<String, Tensor<f32>>)) {
    let mut tensors = read_safetensors(path).unwrap();
    change(&mut tensors);
    std::fs::write(path, to_safetensors(&tensors, Precision::F32)).unwrap();
}

#[test]
fn keys_stand_once() {
    let world = World::new();
    trained(&world);
    let again = |name: &str| {
        let path = world.path(name);
        let text = String::from_utf8(read(&path)).unwrap();
        std::fs::write(&path, text.replacen('{', "{\"twice\": 1, \"twice\": 1,", 1)).unwrap();
        text
    };
    for (name, command) in [
        ("encoder/config.json", "inspect encoder"),
        ("encoder/tokenizer.json", "eval --run run test.tsv"),
        ("run/adapter/adapter_config.json", "eval --run run test.tsv"),
        ("run/result.json", "inspect run"),
    ] {
        let before = again(name);
        let file = name.rsplit('/').next().unwrap();
        refuses(&world, command, &[file, "\"twice\" twice"]);
        std::fs::write(world.path(name), before).unwrap();
    }
    let row = r#"{"text": "sun", "label": "warm", "text": "sea"}"#;
    std::fs::write(world.path("rows.jsonl"), row).unwrap();
    refuses(
        &world,
        "eval --run run rows.jsonl",
        &["line 1", "\"text\" twice"],
    );
    for name in [
        "encoder/model.safetensors",
        "run/adapter/adapter_model.safetensors",
    ] {
        let bytes = read(&world.path(name));
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header = String::from_utf8(bytes[8..8 + length].to_vec()).unwrap();
        let header = header.replacen('{', "{\"__metadata__\":{},", 1);
        let length = (header.len() as u64).to_le_bytes();
        let rest = &bytes[bytes.len() - (bytes.len() - 8 - (header.len() - 18))..];
        std::fs::write(
            world.path(name),
            [&length, header.as_bytes(), rest].concat(),
        )
        .unwrap();
        refuses(
            &world,
            "eval --run run test.tsv",
            &["\"__metadata__\" twice"],
        );
        std::fs::write(world.path(name), bytes).unwrap();
    }
    succeeds(&world, &words("eval --run run test.tsv"));
}

/// Tasks against heads, special tokens against embeddings, labels against classes.
#[test]
fn parts_must_fit_together() {
    let world = World::new();
    trained(&world);
    for (command, parts) in [
        (
            "eval --model decoder --task language-modelling --max-length 0 test.txt",
            ["task.max_length", "0"],
        ),
        (
            "eval --model decoder --task language-modelling --max-length 1 test.txt",
            ["task.max_length", "1"],
        ),
        (
            "eval --model decoder --task regression test.tsv",
            ["task.kind", "regression"],
        ),
        (
            "eval --model decoder --task text-to-text test.tsv",
            ["task.kind", "text-to-text"],
        ),
        (
            "predict --model decoder --task regression --out p.tsv test.tsv",
            ["task.kind", "regression"],
        ),
        (
            "predict --model decoder --task classification --out p.tsv test.tsv",
            ["task.kind", "classification"],
        ),
        (
            "eval --model encoder --task language-modelling test.txt",
            ["task.kind", "language-modelling"],
        ),
        (
            "eval --run run --task completion test.tsv",
            ["task.kind", "completion"],
        ),
        (
            "train --model encoder --task language-modelling --train train.txt --validation \
             validation.txt --rank 4 --steps 2 --max-length 24 --out lm",
            ["task.kind", "every position"],
        ),
    ] {
        refuses(&world, command, &parts);
    }
    assert!(!world.path("lm").exists() && !world.path("p.tsv").exists());

    std::fs::write(world.path("run/labels.json"), r#"["a", "b", "c"]"#).unwrap();
    for command in [
        "eval --run run test.tsv",
        "predict --run run --out p.tsv test.tsv",
        "merge --run run --out m",
    ] {
        refuses(&world, command, &["labels.json", "2 classes", "found 3"]);
    }
    std::fs::write(world.path("run/labels.json"), r#"["a", "a"]"#).unwrap();
    refuses(&world, "eval --run run test.tsv", &["labels.json", "twice"]);
}

/// Commands that read a decoder.
const DECODING: [&str; 4] = [
    "eval --model decoder --task language-modelling --max-length 8 test.txt",
    "generate --model decoder --prompt sun",
    "predict --model decoder --task completion --max-length 8 --out p.tsv test.tsv",
    "train --model decoder --task language-modelling --train train.txt --validation \
     validation.txt --rank 4 --steps 2 --max-length 24 --out lm",
];

/// A tokenizer that has another token than the model has a row for.
#[test]
fn a_larger_tokenizer_is_refused() {
    let world = World::new();
    trained(&world);
    let enlarge = |folder: &str| {
        change_json(&world.path(folder).join("tokenizer.json"), |file| {
            let vocab = file["model"]["vocab"].as_object_mut().unwrap();
            let id = vocab.len();
            vocab.insert("another".to_owned(), json!(id));
        });
    };
    enlarge("decoder");
    enlarge("encoder");
    let others = [
        "eval --run run test.tsv",
        "predict --run run --out p.tsv test.tsv",
        "merge --run run --out merged",
    ];
    for command in DECODING.into_iter().chain(others) {
        refuses(
            &world,
            command,
            &["tokenizer.json", "exceeds the embedding"],
        );
    }
    assert!(!world.path("p.tsv").exists() && !world.path("merged").exists());
}

#[test]
fn special_tokens_are_rows_of_the_embedding() {
    for field in ["eos_token_id", "decoder_start_token_id"] {
        let world = World::new();
        change_json(&world.path("decoder/config.json"), |config| {
            config[field] = json!(1_000_000_000);
        });
        let train = "train --model decoder --task language-modelling --train train.txt \
                     --validation validation.txt --rank 4 --steps 2 --max-length 24 --out lm";
        for command in [
            "eval --model decoder --task language-modelling --max-length 8 test.txt",
            "generate --model decoder --prompt sun",
            train,
        ] {
            refuses(&world, command, &["config.json", "embedding", "1000000000"]);
        }
    }
    // Padding, where no token is named so.
    let world = World::new();
    let text = String::from_utf8(read(&world.path("decoder/tokenizer.json"))).unwrap();
    let text = text.replace("[PAD]", "[GAP]");
    std::fs::write(world.path("decoder/tokenizer.json"), text).unwrap();
    change_json(&world.path("decoder/config.json"), |config| {
        config["pad_token_id"] = json!(1_000_000_000);
    });
    for command in DECODING {
        refuses(&world, command, &["config.json", "embedding", "1000000000"]);
    }
    let processors = [
        json!({"type": "BertProcessing", "sep": ["[SEP]", 4_000_000], "cls": ["[CLS]", 2]}),
        json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "x", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"x": {"id": "x", "ids": [4_000_000], "tokens": ["x"]}},
        }),
    ];
    for processor in processors {
        let world = World::new();
        change_json(&world.path("encoder/tokenizer.json"), |file| {
            file["post_processor"] = processor;
        });
        let parts = ["tokenizer.json", "exceeds the embedding", "4000001"];
        refuses(&world, &format!("{TRAIN} out"), &parts);
    }
}

#[test]
fn adapters_must_fit() {
    let world = World::new();
    trained(&world);
    let config = world.path("run/adapter/adapter_config.json");
    let weights = world.path("run/adapter/adapter_model.safetensors");
    let (config_before, weights_before) = (read(&config), read(&weights));
    let all = [
        "eval --run run test.tsv",
        "predict --run run --out p.tsv test.tsv",
        "merge --run run --out m",
    ];
    let restore = || {
        std::fs::write(&config, &config_before).unwrap();
        std::fs::write(&weights, &weights_before).unwrap();
    };
    // A scaling that is infinite in single precision, and one that overflows later.
    for (alpha, part) in [
        (1e300, "lora_alpha"),
        (1e-300, "lora_alpha"),
        (3e38, "finite"),
    ] {
        change_json(&config, |config| config["lora_alpha"] = json!(alpha));
        change_tensors(&weights, |tensors| {
            for tensor in tensors.values_mut() {
                tensor.map_inplace(|x| *x = 1e3);
            }
        });
        for command in all {
            refuses(&world, command, &[part]);
        }
        restore();
    }
    // On a table of embeddings.
    change_json(&config, |config| {
        let modules = config["target_modules"].as_array_mut().unwrap();
        modules.push(json!("bert.embeddings.word_embeddings"));
    });
    change_tensors(&weights, |tensors| {
        let rows = tensors.values().map(|t| t.shape()[0]).max().unwrap();
        let _ = rows;
        let name = "base_model.model.bert.embeddings.word_embeddings";
        let tokens = read_safetensors::<f32>(&world.path("encoder/model.safetensors")).unwrap()
            ["bert.embeddings.word_embeddings.weight"]
            .shape()[0];
        tensors.insert(
            format!("{name}.lora_A.weight"),
            tensor(&[4, 16], vec![0.1; 64]),
        );
        tensors.insert(
            format!("{name}.lora_B.weight"),
            tensor(&[tokens, 4], vec![0.1; 4 * tokens]),
        );
    });
    for command in all {
        refuses(&world, command, &["word_embeddings", "linear layers"]);
    }
    restore();
    // A head without rows or dimensions.
    let name = "base_model.model.classifier.weight";
    for shape in [&[][..], &[0, 16], &[32]] {
        change_tensors(&weights, |tensors| {
            let count = shape.iter().product();
            tensors.insert(name.to_owned(), tensor(shape, vec![0.0; count]));
        });
        for command in all {
            refuses(&world, command, &["classifier.weight", "expected"]);
        }
        restore();
    }
    // Patterns that would each be compiled for every module.
    let pattern = |n: usize, more: &str| {
        json!(
            (0..n)
                .map(|i| (format!("x{i}{more}"), 4))
                .collect::<BTreeMap<_, _>>()
        )
    };
    change_json(&config, |config| {
        config["rank_pattern"] = pattern(20_000, "")
    });
    succeeds(&world, &words("eval --run run test.tsv"));
    change_json(&config, |config| config["rank_pattern"] = pattern(101, "+"));
    refuses(
        &world,
        "eval --run run test.tsv",
        &["rank_pattern", "100 patterns"],
    );
    change_json(&config, |config| {
        config["rank_pattern"] = json!({"a(((": 4})
    });
    refuses(
        &world,
        "eval --run run test.tsv",
        &["a(((", "unclosed group"],
    );
    restore();
    // What was not trained is nowhere.
    change_tensors(&weights, |tensors| {
        tensors.remove("base_model.model.classifier.bias");
    });
    refuses(
        &world,
        "eval --run run test.tsv",
        &["classifier.bias", "found none"],
    );
}

#[test]
fn tokenizers_are_fenced() {
    let world = World::new();
    let path = world.path("encoder/tokenizer.json");
    let before = read(&path);
    let replace = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaaaa"});
    let normalizers = vec![replace; 9];
    for (part, value, found) in [
        (
            "normalizer",
            json!({"type": "Precompiled", "precompiled_charsmap": "/////wAAAAAAAAAAAAAAAAAAAAA="}),
            "map of characters",
        ),
        (
            "normalizer",
            json!({"type": "Sequence", "normalizers": normalizers}),
            "times as long",
        ),
        (
            "pre_tokenizer",
            json!({"type": "FixedLength", "length": 0}),
            "length 0",
        ),
        (
            "model",
            json!({"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "[UNK]"}),
            "expected a tokenizer",
        ),
        (
            "model",
            json!({"type": "Unigram", "unk_id": null, "vocab": [["a", 0.0]], "byte_fallback": false}),
            "expected a tokenizer",
        ),
        (
            "model",
            json!({
                "type": "BPE", "dropout": null, "unk_token": null,
                "continuing_subword_prefix": "a long prefix", "end_of_word_suffix": null,
                "fuse_unk": false, "byte_fallback": false,
                "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]
            }),
            "expected a tokenizer",
        ),
    ] {
        change_json(&path, |file| file[part] = value);
        let command = format!("{TRAIN} out");
        let sentence = refuses(&world, &command, &["tokenizer.json"]);
        assert!(sentence.contains(found), "{part}: {sentence}");
        std::fs::write(&path, &before).unwrap();
    }
    // The unknown token covers the rarest character, but not what is in the data.
    change_json(&path, |file| {
        file["normalizer"] =
            json!({"type": "Replace", "pattern": {"String": "\u{10FFFD}"}, "content": "the"});
        file["pre_tokenizer"] = json!({"type": "Whitespace"});
        file["model"] = json!({"type": "WordLevel", "vocab": {"the": 0}, "unk_token": "[UNK]"});
        file["added_tokens"] = json!([]);
        file["decoder"] = Value::Null;
    });
    refuses(&world, &format!("{TRAIN} out"), &["line", "tokenizer"]);
}

#[cfg(unix)]
#[test]
fn links_out_of_a_model_are_not_copied() {
    use std::os::unix::fs::symlink;
    let world = World::new();
    trained(&world);
    std::fs::write(world.path("secret"), "secret").unwrap();
    symlink(world.path("secret"), world.path("encoder/vocab.txt")).unwrap();
    refuses(
        &world,
        "merge --run run --out merged",
        &["vocab.txt", "outside its folder"],
    );
    assert!(!world.path("merged").exists());
    std::fs::remove_file(world.path("encoder/vocab.txt")).unwrap();
    symlink("tokenizer.json", world.path("encoder/vocab.txt")).unwrap();
    succeeds(&world, &words("merge --run run --out merged"));
}

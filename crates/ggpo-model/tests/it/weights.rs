//! The weights of model folders: every form that is read, and every refusal.

use std::collections::BTreeMap;

use crate::model_folder::{
    ModelFolder, RawTensors, fixture, raw_f32, raw_i64, read_raw, write_raw,
};
use ggpo_model::weights::{load, stored_tensors, to_safetensors};
use ggpo_model::{Head, Model, Precision};
use ggpo_tensor::Tensor;
use half::{bf16, f16};
use safetensors::Dtype;
use serde_json::json;

pub(crate) const FAMILIES: [&str; 9] = [
    "bert", "gemma3", "gpt2", "llama", "qwen2", "qwen3", "roberta", "t5", "t5_gated",
];
/// A tensor of every BERT file.
const DENSE: &str = "bert.encoder.layer.1.output.dense.weight";

/// Removes the prefix of the body's names, and what belongs to a head.
fn without_prefix(tensors: &mut RawTensors, prefix: &str) {
    let all = std::mem::take(tensors).into_iter();
    *tensors = all
        .filter_map(|(name, raw)| Some((name.strip_prefix(prefix)?.to_owned(), raw)))
        .collect();
}

#[test]
fn what_is_written_is_what_was_read() {
    for family in FAMILIES {
        let model = Model::open(&fixture(family)).unwrap();
        let loaded = load::<f32>(&fixture(family), &model).unwrap();
        assert!(loaded.missing.is_empty());
        let stored = stored_tensors(&model, &loaded.parameters);
        let folder = ModelFolder::of(family);
        std::fs::write(folder.weights(), to_safetensors(&stored, Precision::F32)).unwrap();
        let original = read_raw(&fixture(family).join("model.safetensors"));
        assert!(read_raw(&folder.weights()) == original, "{family}");
    }
}

#[test]
fn conv1d_weights_are_turned_round() {
    let stored = read_raw(&fixture("gpt2").join("model.safetensors"));
    let parameters = ModelFolder::of("gpt2").parameters();
    for (name, [inputs, outputs]) in [
        ("transformer.h.0.attn.c_attn.weight", [32, 96]),
        ("transformer.h.1.mlp.c_proj.weight", [128, 32]),
    ] {
        assert_eq!(stored[name].shape, [inputs, outputs]);
        assert_eq!(parameters[name].shape(), [outputs, inputs]);
        let (words, _) = stored[name].bytes.as_chunks::<4>();
        let first_row = words[1];
        let expected = f64::from(f32::from_le_bytes(first_row));
        assert_eq!(parameters[name][[1, 0]], expected);
    }
}

#[test]
fn a_body_stored_without_its_prefix_is_the_same() {
    for (family, prefix) in [
        ("bert", "bert."),
        ("gpt2", "transformer."),
        ("llama", "model."),
        ("qwen2", "model."),
        ("qwen3", "model."),
        ("gemma3", "model."),
        ("roberta", "roberta."),
    ] {
        let with = ModelFolder::of(family).parameters();
        let folder = ModelFolder::of(family);
        folder.rewrite(|tensors| {
            without_prefix(tensors, prefix);
            // Buffers that published files of the families hold.
            let buffers = [
                ("embeddings.position_ids", raw_i64(&[1, 3], &[0, 1, 2])),
                ("h.0.attn.bias", raw_f32(&[1, 1, 1, 1], &[1.0])),
                ("h.1.attn.masked_bias", raw_f32(&[], &[f32::NEG_INFINITY])),
                (
                    "layers.0.self_attn.rotary_emb.inv_freq",
                    raw_f32(&[1], &[1.0]),
                ),
            ];
            let own: &[usize] = match family {
                "bert" | "roberta" => &[0],
                "gpt2" => &[1, 2],
                _ => &[3],
            };
            tensors.extend(own.iter().map(|i| {
                let (name, raw) = &buffers[*i];
                (name.to_string(), raw.clone())
            }));
        });
        let model = Model::read(folder.path(), Head::Classes(2)).unwrap();
        let loaded = load::<f64>(folder.path(), &model).unwrap();
        let body = loaded.parameters.iter();
        for (name, tensor) in body {
            assert!(*tensor == with[name], "{name}");
        }
        let heads = model.head_modules();
        for spec in &loaded.missing {
            let of_head = |head: &String| spec.name.starts_with(head.as_str());
            assert!(heads.iter().any(of_head), "{}", spec.name);
        }
        let expected = model.specification().len();
        assert_eq!(loaded.parameters.len() + loaded.missing.len(), expected);
    }
}

#[test]
fn layer_norm_under_its_first_names_is_the_same() {
    let folder = ModelFolder::of("bert");
    folder.rewrite(|tensors| {
        let all = std::mem::take(tensors).into_iter();
        let old = |name: String| {
            name.replace("LayerNorm.weight", "LayerNorm.gamma")
                .replace("LayerNorm.bias", "LayerNorm.beta")
        };
        *tensors = all.map(|(name, raw)| (old(name), raw)).collect();
        assert!(tensors.contains_key("bert.embeddings.LayerNorm.gamma"));
    });
    assert!(folder.parameters() == ModelFolder::of("bert").parameters());
    let both = "bert.embeddings.LayerNorm.weight";
    folder.rewrite(|tensors| _ = tensors.insert(both.to_owned(), raw_f32(&[32], &[1.0; 32])));
    let error = folder.weights_error(Head::Classes(3));
    assert!(error.contains(both), "{error}");
}

#[test]
fn every_floating_point_kind_is_read() {
    let original = read_raw(&fixture("gpt2").join("model.safetensors"));
    let exact = ModelFolder::of("gpt2").parameters();
    type Encode = fn(f32) -> (f64, Vec<u8>);
    let kinds: [(Dtype, Encode); 3] = [
        (Dtype::F64, |x| {
            (f64::from(x), f64::from(x).to_le_bytes().into())
        }),
        (Dtype::F16, |x| {
            let y = f16::from_f32(x);
            (y.into(), y.to_le_bytes().into())
        }),
        (Dtype::BF16, |x| {
            let y = bf16::from_f32(x);
            (y.into(), y.to_le_bytes().into())
        }),
    ];
    for (dtype, encode) in kinds {
        let folder = ModelFolder::of("gpt2");
        let mut converted = original.clone();
        for raw in converted.values_mut() {
            let (words, _) = raw.bytes.as_chunks::<4>();
            let numbers = words.iter().map(|word| f32::from_le_bytes(*word));
            (raw.dtype, raw.bytes) = (dtype, numbers.flat_map(|x| encode(x).1).collect());
        }
        write_raw(&folder.weights(), &converted);
        for (name, found) in &folder.parameters() {
            let rounded = exact[name].mapv(|x| encode(x as f32).0);
            assert!(found == rounded, "{name} as {dtype}");
        }
    }
}

#[test]
fn weights_are_written_in_every_precision() {
    let folder = ModelFolder::of("llama");
    let exact = folder.parameters();
    type Round = fn(f64) -> f64;
    let cases: [(Precision, Round); 3] = [
        (Precision::F32, |x| x),
        (Precision::F16, |x| f16::from_f32(x as f32).into()),
        (Precision::BF16, |x| bf16::from_f32(x as f32).into()),
    ];
    for (precision, round) in cases {
        std::fs::write(folder.weights(), to_safetensors(&exact, precision)).unwrap();
        let rounded: BTreeMap<String, Tensor<f64>> = exact
            .iter()
            .map(|(name, x)| (name.clone(), x.mapv(round).into_shared()))
            .collect();
        assert!(*folder.parameters() == rounded, "{precision:?}");
    }
}

/// Distributes the tensors over two files with an index, and removes the one.
fn shard(folder: &ModelFolder) -> BTreeMap<String, String> {
    let tensors = read_raw(&folder.weights());
    std::fs::remove_file(folder.weights()).unwrap();
    let mut map = BTreeMap::new();
    for part in 0..2 {
        let file = format!("model-0000{}-of-00002.safetensors", part + 1);
        let own = tensors.iter().enumerate().filter(|(i, _)| i % 2 == part);
        let own: RawTensors = own.map(|(_, (n, raw))| (n.clone(), raw.clone())).collect();
        map.extend(own.keys().map(|name| (name.clone(), file.clone())));
        write_raw(&folder.file(&file), &own);
    }
    write_index(folder, &map);
    map
}

fn write_index(folder: &ModelFolder, map: &BTreeMap<String, String>) {
    let index = json!({"metadata": {"total_size": 1}, "weight_map": map});
    let path = folder.file("model.safetensors.index.json");
    std::fs::write(path, index.to_string()).unwrap();
}

#[test]
fn shards_are_one_model() {
    for family in FAMILIES {
        let folder = ModelFolder::of(family);
        shard(&folder);
        assert!(folder.parameters() == ModelFolder::of(family).parameters());
    }
}

#[test]
fn shards_that_do_not_fit_their_index_are_refused() {
    let (one, two) = (
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    );
    let index = "model.safetensors.index.json";
    let refused = |change: &dyn Fn(&ModelFolder, BTreeMap<String, String>), wanted: &[&str]| {
        let folder = ModelFolder::of("bert");
        let map = shard(&folder);
        change(&folder, map);
        let error = folder.weights_error(Head::Classes(3));
        assert!(wanted.iter().all(|part| error.contains(part)), "{error}");
    };
    refused(
        &|folder, _| std::fs::remove_file(folder.file(two)).unwrap(),
        &[two],
    );
    let wrong = |folder: &ModelFolder, mut map: BTreeMap<String, String>| {
        let file = map.get_mut(DENSE).unwrap();
        *file = if file == one { two } else { one }.to_owned();
        write_index(folder, &map);
    };
    refused(&wrong, &["model-0000", DENSE, "none"]);
    let unlisted = |folder: &ModelFolder, mut map: BTreeMap<String, String>| {
        map.remove(DENSE);
        write_index(folder, &map);
    };
    refused(&unlisted, &["model-0000", DENSE, index]);
    let elsewhere = |folder: &ModelFolder, mut map: BTreeMap<String, String>| {
        map.insert(DENSE.to_owned(), "../other.safetensors".to_owned());
        write_index(folder, &map);
    };
    refused(&elsewhere, &[index, DENSE, "../other.safetensors"]);
    refused(
        &|folder, _| std::fs::write(folder.file(index), "{}").unwrap(),
        &[index, "weight_map"],
    );
    let left_over = |folder: &ModelFolder, mut map: BTreeMap<String, String>| {
        let mut tensors = read_raw(&folder.file(two));
        tensors.insert("surplus".to_owned(), raw_f32(&[1], &[0.0]));
        write_raw(&folder.file(two), &tensors);
        map.insert("surplus".to_owned(), two.to_owned());
        write_index(folder, &map);
    };
    refused(&left_over, &[two, "surplus"]);
}

#[test]
fn files_that_cannot_be_read_are_refused() {
    let refused = |change: &dyn Fn(&ModelFolder), wanted: &[&str]| {
        let folder = ModelFolder::of("bert");
        change(&folder);
        let error = folder.weights_error(Head::Classes(3));
        assert!(wanted.iter().all(|part| error.contains(part)), "{error}");
    };
    let name = "model.safetensors";
    let put = |bytes: &'static [u8]| {
        move |folder: &ModelFolder| std::fs::write(folder.weights(), bytes).unwrap()
    };
    refused(
        &|folder| std::fs::remove_file(folder.weights()).unwrap(),
        &[name, "neither"],
    );
    refused(&put(b""), &[name, "empty"]);
    refused(&put(b"PK"), &[name, "header"]);
    refused(
        &put(b"GGUF and so on for a while"),
        &[name, "safetensors file"],
    );
    let cut = |share: usize| {
        move |folder: &ModelFolder| {
            let bytes = std::fs::read(folder.weights()).unwrap();
            std::fs::write(folder.weights(), &bytes[..bytes.len() / share]).unwrap();
        }
    };
    refused(&cut(2), &[name, "cut off"]);
    refused(&cut(1000), &[name, "header"]);
}

#[test]
fn tensors_that_do_not_fit_are_refused_by_name() {
    let refused = |change: &dyn Fn(&mut RawTensors), wanted: &[&str]| {
        let folder = ModelFolder::of("bert");
        folder.rewrite(change);
        let error = folder.weights_error(Head::Classes(3));
        assert!(error.contains("model.safetensors"), "{error}");
        assert!(wanted.iter().all(|part| error.contains(part)), "{error}");
    };
    let put = |name: &'static str, raw: crate::model_folder::Raw| {
        move |tensors: &mut RawTensors| _ = tensors.insert(name.to_owned(), raw.clone())
    };
    refused(&|tensors| _ = tensors.remove(DENSE), &[DENSE, "none"]);
    refused(&put("surplus", raw_f32(&[1], &[0.0])), &["surplus"]);
    let shape = raw_f32(&[2, 3], &[0.0; 6]);
    refused(&put(DENSE, shape), &[DENSE, "[32, 64]", "[2, 3]"]);
    let whole = raw_i64(&[32, 64], &[1; 32 * 64]);
    refused(&put(DENSE, whole), &[DENSE, "I64"]);
    for (number, text) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let mut numbers = [0.0; 32 * 64];
        numbers[77] = number;
        let raw = raw_f32(&[32, 64], &numbers);
        refused(&put(DENSE, raw), &[DENSE, text]);
    }
    // A body's tensor is not passed over for ending like a head's.
    let odd = "bert.encoder.layer.0.classifier.weight";
    refused(&put(odd, raw_f32(&[1], &[0.0])), &[odd]);
}

#[test]
fn tied_copies_must_be_equal() {
    for (family, original, copies) in [
        (
            "t5",
            "shared.weight",
            &[
                "encoder.embed_tokens.weight",
                "decoder.embed_tokens.weight",
                "lm_head.weight",
            ] as &[&str],
        ),
        ("gpt2", "transformer.wte.weight", &["lm_head.weight"]),
        ("llama", "model.embed_tokens.weight", &["lm_head.weight"]),
        ("gemma3", "model.embed_tokens.weight", &["lm_head.weight"]),
    ] {
        for copy in copies {
            let folder = ModelFolder::of(family);
            folder.set("tie_word_embeddings", json!(true));
            let without = ModelFolder::of(family);
            without.set("tie_word_embeddings", json!(true));
            without.rewrite(|tensors| _ = tensors.remove(*copy));
            folder.rewrite(|tensors| {
                tensors.insert(copy.to_string(), tensors[original].clone());
            });
            assert!(folder.parameters() == without.parameters(), "{copy}");
            folder.rewrite(|tensors| {
                let raw = tensors.get_mut(*copy).unwrap();
                raw.bytes[2] ^= 1;
            });
            let error = folder.weights_error(Head::Tokens);
            assert!(error.contains(copy), "{error}");
            assert!(error.contains(original), "{error}");
        }
    }
}

#[test]
fn another_heads_tensors_are_passed_over() {
    let folder = ModelFolder::of("bert");
    let body = folder.parameters();
    folder.rewrite(|tensors| {
        for name in ["cls.predictions.bias", "cls.seq_relationship.weight"] {
            tensors.insert(name.to_owned(), raw_f32(&[2], &[0.0; 2]));
        }
    });
    assert!(folder.parameters() == body);

    let model = Model::read(&fixture("llama"), Head::Value).unwrap();
    let loaded = load::<f64>(&fixture("llama"), &model).unwrap();
    let missing: Vec<&str> = loaded.missing.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(missing, ["score.weight"]);
    assert!(!loaded.parameters.contains_key("lm_head.weight"));
}

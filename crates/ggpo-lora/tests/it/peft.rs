//! Adapters in the files of the PEFT library.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::normal;
use ggpo_lora::adapter::lora;
use ggpo_lora::peft::{PeftAdapter, PeftConfig};
use ggpo_lora::{Adapter, Lora, LoraError, ScalingRule, Targets};
use ggpo_tensor::{Tensor, flat};
use half::{bf16, f16};
use safetensors::tensor::{TensorView, serialize};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const CONFIG: &str = "adapter_config.json";
pub(crate) const WEIGHTS: &str = "adapter_model.safetensors";

pub(crate) fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(family)
}

pub(crate) fn json_of(folder: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join(CONFIG)).unwrap()).unwrap()
}

/// Tensors of a file: element type, shape, bytes.
pub(crate) type Raw = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

pub(crate) fn tensors_of(folder: &Path) -> Raw {
    let bytes = fs::read(folder.join(WEIGHTS)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .map(|(key, view)| {
            let parts = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            (key.to_owned(), parts)
        })
        .collect()
}

pub(crate) fn write_tensors(folder: &Path, tensors: &Raw) {
    let views = tensors.iter().map(|(key, (dtype, shape, bytes))| {
        (key, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    fs::write(folder.join(WEIGHTS), serialize(views, None).unwrap()).unwrap();
}

/// A copy of the BERT adapter, for the test to spoil.
fn copy() -> TempDir {
    let folder = TempDir::new().unwrap();
    for file in [CONFIG, WEIGHTS] {
        let bytes = fs::read(fixture("bert").join(file)).unwrap();
        fs::write(folder.path().join(file), bytes).unwrap();
    }
    folder
}

fn with_option(field: &str, value: Value) -> TempDir {
    let folder = copy();
    let mut config = json_of(folder.path());
    config[field] = value;
    fs::write(folder.path().join(CONFIG), config.to_string()).unwrap();
    folder
}

fn with_tensors(change: impl FnOnce(&mut Raw)) -> TempDir {
    let folder = copy();
    let mut tensors = tensors_of(folder.path());
    change(&mut tensors);
    write_tensors(folder.path(), &tensors);
    folder
}

fn refusal(folder: &TempDir) -> String {
    PeftAdapter::<f32>::read(folder.path())
        .unwrap_err()
        .to_string()
}

const QUERY: &str = "bert.encoder.layer.0.attention.self.query";

fn key(part: &str) -> String {
    format!("base_model.model.{QUERY}.lora_{part}.weight")
}

#[test]
fn what_peft_wrote_comes_back_with_every_key_and_value() {
    for family in ["bert", "llama", "gpt2"] {
        let source = fixture(family);
        let adapter = PeftAdapter::<f32>::read(&source).unwrap();
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("copy");
        adapter.write(&target).unwrap();
        assert_eq!(json_of(&target), json_of(&source), "{family}");
        assert_eq!(tensors_of(&target), tensors_of(&source), "{family}");
        assert_eq!(PeftAdapter::<f32>::read(&target).unwrap(), adapter);
        // In `f64` as well: every `f32` is one.
        let wide = PeftAdapter::<f64>::read(&source).unwrap();
        let target = folder.path().join("wide");
        wide.write(&target).unwrap();
        assert_eq!(tensors_of(&target), tensors_of(&source), "{family}");
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 2, "no temporary folder is left");
    }
}

#[test]
fn adapters_and_saved_modules_are_found_by_their_names() {
    let adapter = PeftAdapter::<f32>::read(fixture("bert")).unwrap();
    assert_eq!(adapter.adapters.len(), 12);
    let query = &adapter.adapters[QUERY];
    let [a, b] = [lora::A, lora::B].map(|factor| query.factor(factor).unwrap());
    assert_eq!((a.shape(), b.shape()), (&[4, 32][..], &[32, 4][..]));
    assert_eq!((query.scaling(), query.dropout), (2.0, 0.0));
    let saved: Vec<_> = adapter.saved_modules.keys().collect();
    assert_eq!(saved, ["classifier.bias", "classifier.weight"]);
    let gpt2 = PeftAdapter::<f32>::read(fixture("gpt2")).unwrap();
    assert!(gpt2.config.fan_in_fan_out);
    let attention = &gpt2.adapters["transformer.h.0.attn.c_attn"];
    let b = attention.factor(lora::B).unwrap();
    assert_eq!(b.shape(), [96, 4], "B is out x r for Conv1D too");
}

/// Files must carry what PyTorch's loaders look for.
#[test]
fn a_new_adapter_is_written_for_peft() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("adapter");
    let adapter = new_adapter();
    adapter.write(&target).unwrap();
    let config = json_of(&target);
    for (field, value) in [
        ("peft_type", json!("LORA")),
        ("r", json!(2)),
        ("lora_alpha", json!(3)),
        ("lora_dropout", json!(0.1)),
        ("use_rslora", json!(true)),
        ("use_dora", json!(false)),
        ("bias", json!("none")),
        ("target_modules", json!(["mlp.up", "down"])),
        ("modules_to_save", json!(["head"])),
        ("task_type", json!("SEQ_CLS")),
        ("base_model_name_or_path", json!("base")),
        ("fan_in_fan_out", json!(false)),
        ("inference_mode", json!(true)),
        ("init_lora_weights", json!(true)),
        ("rank_pattern", json!({})),
        ("alpha_pattern", json!({})),
    ] {
        assert_eq!(config[field], value, "{field}");
    }
    let bytes = fs::read(target.join(WEIGHTS)).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let expected = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    assert_eq!(metadata.metadata().as_ref(), Some(&expected));
    assert_eq!(PeftAdapter::<f32>::read(&target).unwrap(), adapter);
}

pub(crate) fn random(seed: u64, m: usize, n: usize) -> Tensor<f32> {
    normal(seed, 0, m, n).into_dyn().into_shared()
}

fn new_adapter() -> PeftAdapter<f32> {
    let mut config = PeftConfig::new(
        2,
        3.0,
        ScalingRule::RsLora,
        vec!["mlp.up".into(), "down".into()],
        vec!["head".into()],
        Some("SEQ_CLS".into()),
        "base".into(),
    );
    config.lora_dropout = 0.1;
    let adapter = |seed| {
        let form = Lora {
            a: random(seed, 2, 5),
            b: random(seed + 1, 4, 2),
            scaling: ScalingRule::RsLora.factor(3.0, 2) as f32,
        };
        Adapter::new(form).with_dropout(0.1)
    };
    PeftAdapter {
        config,
        adapters: [
            ("layers.0.mlp.up".into(), adapter(1)),
            ("layers.0.down".into(), adapter(3)),
        ]
        .into(),
        saved_modules: [("model.head.dense.weight".into(), random(5, 3, 3))].into(),
    }
}

#[test]
fn rank_and_alpha_patterns_are_honoured() {
    let folder = with_option("rank_pattern", json!({"layer.0.*query": 2, "unused": 9}));
    let mut config = json_of(folder.path());
    config["alpha_pattern"] = json!({"self.query": 6, "^nothing": 5});
    config["use_rslora"] = json!(true);
    fs::write(folder.path().join(CONFIG), config.to_string()).unwrap();
    assert!(refusal(&folder).contains("should have the shape [2, n], but has [4, 32]"));
    let mut tensors = tensors_of(folder.path());
    tensors.insert(key("A"), (Dtype::F32, vec![2, 32], vec![0; 256]));
    tensors.insert(key("B"), (Dtype::F32, vec![32, 2], vec![0; 256]));
    write_tensors(folder.path(), &tensors);
    let adapter = PeftAdapter::<f64>::read(folder.path()).unwrap();
    assert_eq!(adapter.adapters[QUERY].scaling(), 6.0 / 2.0_f64.sqrt());
    let other = QUERY.replace(".0.", ".1.");
    assert_eq!(adapter.adapters[&other].scaling(), 6.0 / 4.0_f64.sqrt());
    let value = QUERY.replace("query", "value");
    assert_eq!(adapter.adapters[&value].scaling(), 8.0 / 4.0_f64.sqrt());
    let target = folder.path().join("again");
    adapter.write(&target).unwrap();
    assert_eq!(PeftAdapter::<f64>::read(&target).unwrap(), adapter);
    assert_eq!(json_of(&target), config);
}

#[test]
fn options_that_cannot_be_honoured_are_refused_by_name_and_value() {
    for (field, value) in [
        ("peft_type", json!("IA3")),
        ("use_dora", json!("yes")),
        ("bias", json!("all")),
        ("lora_bias", json!(true)),
        ("layer_replication", json!([[0, 1]])),
        ("target_parameters", json!(["experts"])),
        ("trainable_token_indices", json!([1])),
        ("init_lora_weights", json!("pissa_niter_16")),
        ("init_lora_weights", json!("lora_ga")),
        ("init_lora_weights", json!("corda")),
        ("init_lora_weights", json!("eva")),
        ("init_lora_weights", json!("loftq")),
        ("init_lora_weights", json!(3)),
        ("init_r", json!(6)),
        ("use_qalora", json!(true)),
        ("option_of_tomorrow", json!(3)),
        ("r", json!(0)),
        ("r", json!("four")),
        ("lora_alpha", json!(-1)),
        ("lora_dropout", json!(1.5)),
        ("use_rslora", json!("yes")),
        ("target_modules", json!(7)),
        ("modules_to_save", json!("classifier")),
        ("rank_pattern", json!({"query": 0})),
        ("alpha_pattern", json!({"query": "x"})),
    ] {
        let message = refusal(&with_option(field, value.clone()));
        for part in [CONFIG, field, &value.to_string()] {
            assert!(message.contains(part), "{field}: {message}");
        }
    }
}

#[test]
fn options_that_say_nothing_are_fine() {
    for (field, value) in [
        ("option_of_tomorrow", json!(null)),
        ("option_of_tomorrow", json!(false)),
        ("option_of_tomorrow", json!([])),
        ("option_of_tomorrow", json!({})),
        ("exclude_modules", json!(["pooler"])),
        ("init_lora_weights", json!("gaussian")),
        ("init_lora_weights", json!("pissa")),
        ("init_lora_weights", json!("OLoRA")),
        ("auto_mapping", json!({"base_model_class": "Bert"})),
        ("target_modules", json!(null)),
        ("target_modules", json!(".*")),
    ] {
        let folder = with_option(field, value);
        let read = PeftAdapter::<f32>::read(folder.path());
        assert!(read.is_ok(), "{field}: {}", read.unwrap_err());
    }
}

type Change = Box<dyn FnOnce(&mut Raw)>;

#[test]
fn tensors_that_do_not_belong_are_refused_by_name() {
    let cases: [(&str, &str, Change); 8] = [
        ("lora_B", "missing", Box::new(|t| drop(t.remove(&key("B"))))),
        ("lora_A", "missing", Box::new(|t| drop(t.remove(&key("A"))))),
        (
            "lora_A",
            "shape [4, n]",
            Box::new(|t| {
                t.get_mut(&key("A")).unwrap().1 = vec![32, 4];
            }),
        ),
        (
            "lora_A",
            "F64",
            Box::new(|t| {
                t.insert(key("A"), (Dtype::F64, vec![4, 32], vec![0; 1024]));
            }),
        ),
        (
            "lora_A",
            "NaN",
            Box::new(|t| {
                t.get_mut(&key("A")).unwrap().2[..4].copy_from_slice(&f32::NAN.to_le_bytes());
            }),
        ),
        (
            "lora_A",
            "infinity",
            Box::new(|t| {
                t.get_mut(&key("A")).unwrap().2[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
            }),
        ),
        (
            "pooler.weight",
            "modules_to_save",
            Box::new(|t| {
                let key = "base_model.model.pooler.weight".to_owned();
                t.insert(key, (Dtype::F32, vec![1], vec![0; 4]));
            }),
        ),
        (
            "other.lora_A",
            "targets",
            Box::new(move |t| {
                for part in ["A", "B"] {
                    let moved = t[&key(part)].clone();
                    t.insert(format!("base_model.model.other.lora_{part}.weight"), moved);
                }
            }),
        ),
    ];
    for (tensor, word, change) in cases {
        let message = refusal(&with_tensors(change));
        for part in [WEIGHTS, tensor, word] {
            assert!(message.contains(part), "{tensor}, {word}: {message}");
        }
    }
    let without_saved = with_tensors(|t| t.retain(|key, _| key.contains("lora")));
    assert!(refusal(&without_saved).contains("base_model.model.classifier.weight"));
    let empty = with_tensors(|t| t.retain(|key, _| !key.contains("lora")));
    assert!(refusal(&empty).contains("lora_A.weight` is missing"));
}

#[test]
fn half_precision_is_read() {
    let folder = with_tensors(|tensors| {
        for (part, dtype) in [("A", Dtype::F16), ("B", Dtype::BF16)] {
            let entry = tensors.get_mut(&key(part)).unwrap();
            let bytes = match dtype {
                Dtype::F16 => f16::from_f32(1.5).to_le_bytes(),
                _ => bf16::from_f32(-2.5).to_le_bytes(),
            };
            *entry = (dtype, entry.1.clone(), bytes.repeat(128));
        }
    });
    let adapter = PeftAdapter::<f32>::read(folder.path()).unwrap();
    let query = &adapter.adapters[QUERY];
    let [a, b] = [lora::A, lora::B].map(|factor| flat(query.factor(factor).unwrap()));
    assert!(a.iter().all(|&a| a == 1.5));
    assert!(b.iter().all(|&b| b == -2.5));
}

#[test]
fn files_that_are_missing_or_broken_are_named() {
    for file in [CONFIG, WEIGHTS] {
        let folder = copy();
        fs::write(folder.path().join(file), b"{").unwrap();
        let message = refusal(&folder);
        assert!(
            message.contains(file) && message.contains("not a valid"),
            "{message}"
        );
        fs::remove_file(folder.path().join(file)).unwrap();
        assert!(refusal(&folder).contains(file));
    }
    let folder = copy();
    fs::write(folder.path().join(CONFIG), "{}").unwrap();
    assert!(refusal(&folder).contains("`peft_type` is missing"));
}

#[test]
fn a_folder_is_written_whole_or_not_at_all() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("adapter");
    let entries = || fs::read_dir(folder.path()).unwrap().count();

    let mut broken = new_adapter();
    broken
        .adapters
        .get_mut("layers.0.down")
        .unwrap()
        .factor_mut(lora::B)
        .unwrap()
        .view_mut()[[0, 0]] = f32::NAN;
    assert!(matches!(
        broken.write(&target),
        Err(LoraError::NotFinite { .. })
    ));
    assert_eq!(entries(), 0);

    let nowhere = folder.path().join("no/such/folder");
    assert!(matches!(
        new_adapter().write(&nowhere),
        Err(LoraError::Io { .. })
    ));

    fs::create_dir(&target).unwrap();
    let refused = new_adapter().write(&target);
    assert!(matches!(refused, Err(LoraError::Exists { .. })));
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    assert_eq!(entries(), 1);
}

#[test]
fn what_the_configuration_does_not_say_is_not_written() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("adapter");
    let refuse = |change: &dyn Fn(&mut PeftAdapter<f32>), words: [&str; 2]| {
        let mut adapter = new_adapter();
        change(&mut adapter);
        let message = adapter.write(&target).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
        assert!(!target.exists());
    };
    refuse(&|p| p.config.r = 3, ["layers.0.down", "rank"]);
    refuse(&|p| p.config.lora_alpha = 4.0, ["layers.0.down", "scaling"]);
    refuse(
        &|p| p.adapters.get_mut("layers.0.mlp.up").unwrap().dropout = 0.2,
        ["layers.0.mlp.up", "dropout"],
    );
    refuse(
        &|p| p.config.target_modules = Some(Targets::Names(vec!["up".into()])),
        ["layers.0.down", "target_modules"],
    );
    refuse(
        &|p| p.config.modules_to_save = None,
        ["model.head.dense.weight", "modules_to_save"],
    );
}

//! Models, adapters and checkpoints.

use std::cell::RefCell;

use ggpo_lora::method::METHODS;
use ggpo_lora::peft::{PeftAdapter, Wrapped};
use ggpo_model::assembled::Assembled;
use ggpo_model::base::Base;
use ggpo_model::batch::{Batch, DecoderInput, collate_causal};
use ggpo_model::{Adapters, Body, ConfigJson, Head, Model, Parameters, gguf};
use ggpo_train::method::{MethodConfig, Trainable};
use ggpo_train::trainer::{Trainer, TrainerConfig, TrainerState};

use crate::World;
use crate::world::{joined, split};

/// Numbers of a model that a pass is made with.
const SMALL: usize = 1 << 20;

/// One pass over two short sequences.
fn pass(model: &Model, parameters: &Parameters<f32>, adapters: &Adapters<f32>) {
    let (positions, rows) = (model.positions(), model.vocabulary());
    let time = positions.min(4);
    let ids: Vec<usize> = (0..time).map(|t| t % rows).collect();
    let mut batch = collate_causal(&[&ids, &ids[..1]], 0);
    if let Body::T5(_) = model.body {
        batch.decoder = Some(DecoderInput {
            shape: [2, 1],
            ids: vec![0; 2],
        });
    }
    model.evaluate(parameters, adapters, &batch);
}

pub(crate) fn gguf(world: &World, bytes: &[u8]) {
    let path = world.write("fuzzed.gguf", bytes);
    let Ok(found) = gguf::open::<f32>(&path) else {
        return;
    };
    if found.parameters.bytes() > 4 * SMALL {
        return;
    }
    pass(&found.model, &found.parameters, &Adapters::new());
    if let Ok(ids) = found.tokenizer.encode("the sun, 1 2\u{e9}") {
        let _ = found.tokenizer.decode(&ids);
    }
    let _ = Assembled::open(&path, None);
}

pub(crate) fn gguf_seeds(_: &World) -> Vec<Vec<u8>> {
    vec![include_bytes!("../../../fixtures/gguf/tiny.gguf").to_vec()]
}

pub(crate) fn safetensors(world: &World, bytes: &[u8]) {
    world.write(
        "encoder-fuzzed/config.json",
        &world.read("encoder/config.json"),
    );
    world.write("encoder-fuzzed/model.safetensors", bytes);
    if let Ok(base) = Base::open(&world.path("encoder-fuzzed"), None)
        && base.missing.is_empty()
    {
        pass(&base.model, &base.parameters, &Adapters::new());
    }
}

pub(crate) fn safetensors_seeds(world: &World) -> Vec<Vec<u8>> {
    vec![world.read("encoder/model.safetensors")]
}

pub(crate) fn index(world: &World, bytes: &[u8]) {
    if !world.path("sharded/config.json").exists() {
        world.write("sharded/config.json", &world.read("encoder/config.json"));
        world.write(
            "sharded/a.safetensors",
            &world.read("encoder/model.safetensors"),
        );
    }
    world.write("sharded/model.safetensors.index.json", bytes);
    if let Ok(base) = Base::open(&world.path("sharded"), None)
        && base.missing.is_empty()
    {
        pass(&base.model, &base.parameters, &Adapters::new());
    }
}

pub(crate) fn index_seeds(world: &World) -> Vec<Vec<u8>> {
    let names = world.encoder.specification().into_iter();
    let map: serde_json::Map<_, _> = names
        .map(|spec| (spec.name, "a.safetensors".into()))
        .collect();
    let whole = serde_json::json!({"metadata": {}, "weight_map": map});
    vec![
        whole.to_string().into_bytes(),
        br#"{"weight_map": {"a": "../b"}}"#.to_vec(),
    ]
}

pub(crate) fn config(world: &World, bytes: &[u8]) {
    world.write("described/config.json", bytes);
    let folder = world.path("described");
    let Ok(config) = ConfigJson::read(&folder) else {
        return;
    };
    let _ = config.labels();
    let own = config.head().ok();
    for head in own.into_iter().chain([Head::Tokens, Head::Value]) {
        let Ok(model) = config.model(head, false) else {
            continue;
        };
        let sizes = model.specification().into_iter().map(|spec| {
            let sizes = spec.shape.into_iter();
            sizes.fold(1_usize, usize::saturating_mul)
        });
        let total = sizes.fold(0_usize, usize::saturating_add);
        if total <= SMALL / 16 {
            let parameters = model.new_parameters::<f32>(0.02, 1);
            pass(&model, &parameters, &Adapters::new());
        }
    }
}

pub(crate) fn config_seeds(world: &World) -> Vec<Vec<u8>> {
    let t5 = br#"{"model_type": "t5", "architectures": ["T5ForConditionalGeneration"],
        "vocab_size": 8, "d_model": 4, "d_kv": 2, "d_ff": 4, "num_layers": 1, "num_heads": 2,
        "relative_attention_num_buckets": 4, "feed_forward_proj": "gated-gelu"}"#;
    let gpt2 = br#"{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 8,
        "n_positions": 8, "n_embd": 4, "n_layer": 1, "n_head": 2, "layer_norm_epsilon": 1e-5}"#;
    vec![
        world.read("encoder/config.json"),
        world.read("decoder/config.json"),
        t5.to_vec(),
        gpt2.to_vec(),
    ]
}

pub(crate) fn adapter(world: &World, bytes: &[u8]) {
    let (config, weights) = split(bytes);
    world.write("adapter/adapter_config.json", config);
    world.write("adapter/adapter_model.safetensors", weights);
    let folder = world.path("adapter");
    let base = world.path("encoder");
    if let Ok(assembled) = Assembled::open(&base, Some(&folder)) {
        pass(&assembled.model, &assembled.parameters, &assembled.adapters);
        assembled.merged();
    }
}

pub(crate) fn adapter_seeds(world: &World) -> Vec<Vec<u8>> {
    let methods = METHODS.iter().map(|method| method.config());
    let mut seeds = Vec::new();
    for mut method in methods.filter(MethodConfig::has_adapters) {
        (method.lora.rank, method.adalora.init_rank) = (2, 3);
        let Some(trainer) = trainer(world, &method) else {
            continue;
        };
        let heads = trainer.model().head_modules();
        let saved = trainer.parameters().iter();
        let saved = saved.filter(|(name, _)| ggpo_model::is_in(name, &heads));
        let around = Wrapped {
            saved_modules: saved.map(|(name, it)| (name.clone(), it.clone())).collect(),
            modules_to_save: heads.clone(),
            task_type: "SEQ_CLS".to_owned(),
            base_model: "encoder".to_owned(),
            fan_in_fan_out: false,
            steps: 40,
        };
        let folder = world.path("adapter-seed");
        let _ = std::fs::remove_dir_all(&folder);
        let written = PeftAdapter::new(&method, trainer.adapters(), around).write(&folder);
        if written.is_ok() {
            let config = world.read("adapter-seed/adapter_config.json");
            let weights = world.read("adapter-seed/adapter_model.safetensors");
            seeds.push(joined(&config, &weights));
        }
        if seeds.len() == 6 {
            break;
        }
    }
    seeds
}

/// A trainer of a method on the encoder.
fn trainer(world: &World, method: &MethodConfig) -> Option<Trainer<f32>> {
    let parameters = world.encoder.new_parameters(0.02, 7);
    let first = |rows: usize| batch(rows.min(2));
    let trainable = Trainable::new(method, world.encoder.clone(), parameters, 1, first).ok()?;
    let training = TrainerConfig {
        learning_rate: 1e-2,
        steps: 2000,
        schedule: Default::default(),
        clip: Some(1.0),
        adamw: Default::default(),
    };
    Trainer::new(trainable, method, training, 1).ok()
}

fn batch(rows: usize) -> Batch {
    let sequences: Vec<Vec<usize>> = (0..rows).map(|row| vec![2, row + 5, 3]).collect();
    let sequences: Vec<&[usize]> = sequences.iter().map(Vec::as_slice).collect();
    let mut batch = Batch::padded(&sequences, 0);
    batch.targets = (0..rows).map(|row| Some(row % 2)).collect();
    batch
}

/// Methods whose states differ.
const METHODS_RESTORED: [&str; 6] = ["lora", "ggpo", "adalora", "mgpo", "efm", "dora"];

fn of_name(name: &str) -> Option<MethodConfig> {
    let mut method = METHODS.iter().find(|method| method.name == name)?.config();
    (method.lora.rank, method.adalora.init_rank) = (2, 3);
    Some(method)
}

const KIND: &str = "fuzzed";

pub(crate) fn checkpoint(world: &World, bytes: &[u8]) {
    thread_local! {
        static TRAINERS: RefCell<Vec<Option<Trainer<f32>>>> = const { RefCell::new(Vec::new()) };
    }
    let Some((which, payload)) = bytes.split_first() else {
        return;
    };
    let path = world.path("fuzzed.bin");
    std::fs::write(&path, with_header(payload)).expect("writes");
    let state: TrainerState<f32> = match ggpo_train::checkpoint::read(&path, KIND) {
        Ok(state) => state,
        Err(_) => return,
    };
    TRAINERS.with_borrow_mut(|trainers| {
        if trainers.is_empty() {
            let make = |name: &str| of_name(name).and_then(|method| trainer(world, &method));
            *trainers = METHODS_RESTORED.map(make).into_iter().collect();
        }
        let which = usize::from(*which) % trainers.len();
        if let Some(trainer) = &mut trainers[which]
            && trainer.restore(state).is_ok()
        {
            let _ = trainer.step(&[batch(2)]);
        }
    });
}

/// A header whose length and checksum are right.
fn with_header(payload: &[u8]) -> Vec<u8> {
    let mut bytes = b"GGPOCKPT".to_vec();
    bytes.extend(4_u32.to_le_bytes());
    bytes.extend((KIND.len() as u32).to_le_bytes());
    bytes.extend(KIND.as_bytes());
    bytes.extend((payload.len() as u64).to_le_bytes());
    bytes.extend(crc32fast::hash(payload).to_le_bytes());
    bytes.extend(payload);
    bytes
}

pub(crate) fn checkpoint_seeds(world: &World) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (which, name) in METHODS_RESTORED.into_iter().enumerate() {
        let Some(mut trainer) = of_name(name).and_then(|method| trainer(world, &method)) else {
            continue;
        };
        for _ in 0..2 {
            trainer.step(&[batch(2)]).expect("a step");
        }
        let configuration = bincode::config::standard();
        let state = bincode::serde::encode_to_vec(trainer.state(), configuration);
        seeds.push([vec![which as u8], state.expect("encodes")].concat());
    }
    seeds
}

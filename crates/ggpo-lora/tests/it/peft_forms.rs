//! Forms other than LoRA, and starts that change the base, in the files of PEFT.
//!
//! The fixtures were trained and saved by PEFT 0.21.2 with `peers/make_in_peft.py` on the
//! model `fixtures/reference/llama/model`; half of AdaLoRA's triples were given up.

use std::fs;
use std::path::Path;

use crate::common::normal;
use crate::peft::{CONFIG, Raw, fixture, json_of, random, tensors_of, write_tensors};
use ggpo_lora::adapter::adalora::{self, AdaLora, AdaLoraConfig};
use ggpo_lora::adapter::dora::{self, Dora};
use ggpo_lora::adapter::lora;
use ggpo_lora::method::method;
use ggpo_lora::peft::{PeftAdapter, Start, Wrapped};
use ggpo_lora::{Adapter, Adapters, Lora, MethodConfig, olora, pissa};
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{Tensor, tensor};
use ndarray::Array2;
use serde_json::{Value, json};
use tempfile::TempDir;

const UP: &str = "model.layers.0.mlp.up_proj";

fn key(factor: &str) -> String {
    format!("base_model.model.{UP}.{factor}")
}

/// A copy of a fixture with another configuration and other tensors.
fn changed(name: &str, field: Option<(&str, Value)>, change: impl FnOnce(&mut Raw)) -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut config = json_of(&fixture(name));
    if let Some((field, value)) = field {
        config[field] = value;
    }
    fs::write(folder.path().join(CONFIG), config.to_string()).unwrap();
    let mut tensors = tensors_of(&fixture(name));
    change(&mut tensors);
    write_tensors(folder.path(), &tensors);
    folder
}

fn refusal(folder: &TempDir) -> String {
    let error = PeftAdapter::<f32>::read(folder.path()).unwrap_err();
    let sentence = error.to_string();
    assert!(!sentence.contains('\n'), "one sentence: {sentence}");
    sentence
}

#[test]
fn what_peft_wrote_comes_back_with_every_key_and_value() {
    for name in ["dora", "adalora", "pissa"] {
        let adapter = PeftAdapter::<f32>::read(fixture(name)).unwrap();
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("copy");
        adapter.write(&target).unwrap();
        assert_eq!(json_of(&target), json_of(&fixture(name)), "{name}");
        assert_eq!(tensors_of(&target), tensors_of(&fixture(name)), "{name}");
        assert_eq!(PeftAdapter::<f32>::read(&target).unwrap(), adapter);
    }
}

#[test]
fn forms_are_those_that_peft_trained() {
    let adapter = PeftAdapter::<f32>::read(fixture("dora")).unwrap();
    assert_eq!(adapter.config.form.title, "DoRA");
    let up = &adapter.adapters[UP];
    let magnitude = up.factor(dora::MAGNITUDE).unwrap();
    assert_eq!(magnitude.shape(), [up.dim().0]);

    let adapter = PeftAdapter::<f64>::read(fixture("adalora")).unwrap();
    assert_eq!(adapter.config.form.title, "AdaLoRA");
    assert_eq!(adapter.config.start(), None);
    let budget = adapter.config.budget.as_ref().unwrap();
    assert_eq!((budget.settings.init_rank, budget.target_rank), (6, 3));
    assert_eq!(budget.total_step, 8);
    let mut alive = 0;
    for (module, adapter) in &adapter.adapters {
        // The scaling belongs to the rank at the start, whatever is left of it.
        assert_eq!(
            (adapter.rank(), adapter.scaling()),
            (6, 12.0 / (6.0 + 1e-5))
        );
        let e = adapter.factor(adalora::E).unwrap();
        let left: Vec<bool> = e.iter().map(|&e| e != 0.0).collect();
        assert_eq!(left, budget.kept[module], "{module}");
        alive += left.iter().filter(|&&left| left).count();
    }
    assert_eq!(alive, 3 * adapter.adapters.len());

    let adapter = PeftAdapter::<f32>::read(fixture("pissa")).unwrap();
    assert_eq!(adapter.config.start(), Some(Start::Pissa));
    assert!(adapter.adapters.values().all(|it| it.constant().is_none()));
}

#[test]
fn a_start_is_made_again_from_the_base() {
    let weight: Array2<f64> = normal(3, 0, 7, 5);
    for (name, factors) in [
        ("pissa", pissa(weight.view().into(), 2, 1.5).unwrap()),
        ("olora", olora(weight.view().into(), 2).unwrap()),
    ] {
        let folder = TempDir::new().unwrap();
        let one = |form: Lora<f64>| -> Adapters<f64> { [("up".into(), form.into())].into() };
        let trained = Lora {
            a: normal(4, 0, 2, 5).into_dyn().into_shared(),
            b: normal(5, 0, 7, 2).into_dyn().into_shared(),
            scaling: 1.5,
        };
        let mut adapter = PeftAdapter::new(&lora_config(2, 3.0), &one(trained), around());
        let start = json!(name);
        adapter
            .config
            .other
            .insert("init_lora_weights".into(), start);
        let target = folder.path().join("adapter");
        adapter.write(&target).unwrap();
        let read = PeftAdapter::<f64>::read(&target).unwrap();
        let on_base = read.on_bases(|_| weight.view().into()).unwrap();
        let merged = on_base.adapters["up"].merge(weight.view());
        let [a, b] = [lora::A, lora::B].map(|name| {
            let factor = on_base.adapters["up"].factor(name).unwrap();
            factor.view().into_dimensionality::<ndarray::Ix2>().unwrap()
        });
        let expected = &weight + &((b.dot(&a) - factors.b.dot(&factors.a)) * 1.5);
        let difference = (&merged - &expected)
            .iter()
            .fold(0.0_f64, |d, x| d.max(x.abs()));
        assert!(difference < 1e-13, "{name}: {difference}");
        // It is written as it was read.
        on_base.write(folder.path().join("again")).unwrap();
        let again = tensors_of(&folder.path().join("again"));
        assert_eq!(again, tensors_of(&target));
    }
}

fn lora_config(rank: usize, alpha: f64) -> MethodConfig {
    let mut config = MethodConfig::default();
    config.lora.rank = rank;
    config.lora.alpha = alpha;
    config
}

fn around<T>() -> Wrapped<T> {
    Wrapped {
        saved_modules: Default::default(),
        modules_to_save: Vec::new(),
        task_type: "CAUSAL_LM".into(),
        base_model: "base".into(),
        fan_in_fan_out: false,
        steps: 40,
    }
}

/// Adapters of every form that a method starts, as a run would leave them.
#[test]
fn every_method_is_written_and_read_as_the_same_weight() {
    let weight: Array2<f32> = normal(1, 0, 30, 20);
    let gradient: Array2<f32> = normal(1, 1, 30, 20);
    for name in [
        "lora", "rslora", "dora", "adalora", "pissa", "lora-ga", "olora",
    ] {
        let mut config = method(name).unwrap().config();
        config.lora.dropout = 0.1;
        let stream = Stream::new(1, Purpose::Init, 0, 0);
        let mut adapter = config
            .new_adapter(weight.view().into(), Some(gradient.view()), stream)
            .unwrap();
        for (seed, (_, factor)) in adapter.factors_mut().into_iter().enumerate() {
            let step: Tensor<f32> = random(seed as u64, factor.len(), 1);
            let moved = factor.iter().zip(&step).map(|(&f, &z)| f + 0.1 * z);
            *factor = tensor(factor.shape(), moved.collect());
        }
        let adapters: Adapters<f32> = [("up".into(), adapter.clone())].into();
        let written = PeftAdapter::new(&config, &adapters, around());
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("adapter");
        written.write(&target).unwrap();
        let read = PeftAdapter::<f32>::read(&target).unwrap();
        assert_eq!(read.adapters, written.adapters, "{name}");
        let (ours, theirs) = (
            adapter.merge(weight.view()),
            read.adapters["up"].merge(weight.view()),
        );
        let difference = (&ours - &theirs)
            .iter()
            .fold(0.0_f32, |d, x| d.max(x.abs()));
        // One sum of 2r products instead of two of r: a few roundings of numbers of
        // about 10.
        assert!(difference < 1e-5, "{name}: {difference}");
        let config = json_of(&target);
        let (peft_type, use_dora) = match name {
            "adalora" => ("ADALORA", false),
            _ => ("LORA", name == "dora"),
        };
        assert_eq!(config["peft_type"], peft_type, "{name}");
        assert_eq!(config["use_dora"], use_dora, "{name}");
        let rank = if read.adapters["up"].rank() == 16 {
            16
        } else {
            8
        };
        assert_eq!(config["r"], rank, "{name}");
    }
}

#[test]
fn the_budget_of_adalora_is_written_as_peft_does() {
    let mut config = method("adalora").unwrap().config();
    config.adalora = AdaLoraConfig {
        init_rank: 3,
        t_init: 2,
        t_final: 5,
        delta_t: 4,
        ..AdaLoraConfig::default()
    };
    config.lora.rank = 2;
    let scaling = adalora::scaling(config.lora.alpha, 3) as f32;
    let adapter = |e: [f32; 3]| -> Adapter<f32> {
        let form = AdaLora {
            q: random(1, 3, 5),
            p: random(2, 4, 3),
            e: tensor(&[3, 1], e.into()),
            scaling,
        };
        Adapter::new(form)
    };
    let folder = TempDir::new().unwrap();
    let write = |name: &str, adapters: Adapters<f32>| {
        let target = folder.path().join(name);
        let written = PeftAdapter::new(&config, &adapters, around());
        written.write(&target).unwrap();
        let read = PeftAdapter::<f32>::read(&target).unwrap();
        let weight: Array2<f32> = normal(9, 0, 4, 5);
        for (module, adapter) in &adapters {
            let merged = read.adapters[module].merge(weight.view());
            assert_eq!(merged, adapter.merge(weight.view()), "{name}: {module}");
        }
        (json_of(&target), tensors_of(&target))
    };
    let (written, tensors) = write(
        "pruned",
        [
            ("up".into(), adapter([0.5, 0.0, -1.0])),
            ("down".into(), adapter([0.0; 3])),
        ]
        .into(),
    );
    for (field, value) in [
        ("peft_type", json!("ADALORA")),
        ("r", json!(8)),
        ("init_r", json!(3)),
        ("target_r", json!(2)),
        ("tinit", json!(2)),
        ("tfinal", json!(5)),
        ("deltaT", json!(4)),
        ("beta1", json!(0.85)),
        ("beta2", json!(0.85)),
        ("orth_reg_weight", json!(0.5)),
        ("total_step", json!(40)),
        ("lora_alpha", json!(16)),
        ("use_rslora", json!(false)),
        (
            "rank_pattern",
            json!({"up.lora_E": [true, false, true], "down.lora_E": [false, false, false]}),
        ),
    ] {
        assert_eq!(written[field], value, "{field}");
    }
    let shape = |name: &str| tensors[&format!("base_model.model.{name}")].1.clone();
    assert_eq!(shape("up.lora_A"), [2, 5]);
    assert_eq!(shape("up.lora_B"), [4, 2]);
    assert_eq!(shape("up.lora_E"), [2, 1]);
    assert_eq!(shape("down.lora_A"), [0, 5]);

    // Before the first triple is given up all are written.
    let (written, tensors) = write("new", [("up".into(), adapter([0.0; 3]))].into());
    assert_eq!(written["rank_pattern"], Value::Null);
    assert_eq!(tensors["base_model.model.up.lora_A"].1, [3, 5]);
}

type Change = Box<dyn FnOnce(&mut Raw)>;

#[test]
fn files_that_contradict_themselves_are_refused_in_one_sentence() {
    let reshape = |factor: &'static str, shape: &'static [usize]| -> Change {
        Box::new(move |tensors| {
            let tensor = tensors.get_mut(&key(factor)).unwrap();
            let count: usize = shape.iter().product();
            tensor.1 = shape.to_vec();
            tensor.2 = vec![0; 4 * count];
        })
    };
    let remove = |factor: &'static str| -> Change {
        Box::new(move |tensors| drop(tensors.remove(&key(factor))))
    };
    let m = PeftAdapter::<f32>::read(fixture("dora")).unwrap().adapters[UP]
        .dim()
        .0;
    let expected = format!("should have the shape [{m}], but has [3]");
    let cases: [(&str, &str, &str, Change); 5] = [
        (
            "dora",
            dora::MAGNITUDE,
            &expected,
            reshape(dora::MAGNITUDE, &[3]),
        ),
        ("dora", dora::MAGNITUDE, "missing", remove(dora::MAGNITUDE)),
        ("adalora", adalora::E, "missing", remove(adalora::E)),
        ("adalora", adalora::E, "shape", reshape(adalora::E, &[9, 1])),
        ("adalora", adalora::P, "shape", reshape(adalora::P, &[9, 9])),
    ];
    for (name, factor, word, change) in cases {
        let sentence = refusal(&changed(name, None, change));
        assert!(
            sentence.contains(&key(factor)) && sentence.contains(word),
            "{name}, {factor}: {sentence}"
        );
    }
    let cases: [(&str, &str, Value, &str); 9] = [
        ("dora", "use_dora", json!(false), "lora_magnitude_vector"),
        ("dora", "peft_type", json!("ADALORA"), "use_dora"),
        ("adalora", "peft_type", json!("LORA"), "rank_pattern"),
        (
            "adalora",
            "peft_type",
            json!("LOHA"),
            "\"LORA\" or \"ADALORA\"",
        ),
        ("adalora", "use_dora", json!(true), "use_dora"),
        ("adalora", "init_r", json!(0), "init_r"),
        (
            "adalora",
            "rank_pattern",
            json!({"x.lora_E": [true]}),
            "rank_pattern",
        ),
        ("adalora", "rank_pattern", json!({"up": 4}), "rank_pattern"),
        (
            "pissa",
            "init_lora_weights",
            json!("pissa_niter_4"),
            "convert",
        ),
    ];
    for (name, field, value, word) in cases {
        let sentence = refusal(&changed(name, Some((field, value)), |_| {}));
        assert!(sentence.contains(word), "{name}, {field}: {sentence}");
    }
}

#[test]
fn what_the_configuration_does_not_say_is_not_written() {
    let folder = TempDir::new().unwrap();
    let target: &Path = &folder.path().join("adapter");
    let form = Lora::<f32> {
        a: random(1, 2, 5),
        b: random(2, 4, 2),
        scaling: 1.5,
    };
    let adapter = Adapter::from(form.clone());
    let written = |adapter: Adapter<f32>| {
        let adapters: Adapters<f32> = [("up".into(), adapter)].into();
        PeftAdapter::new(&lora_config(2, 3.0), &adapters, around())
    };
    let refused = |adapter: PeftAdapter<f32>, words: [&str; 2]| {
        let sentence = adapter.write(target).unwrap_err().to_string();
        assert!(
            words.iter().all(|word| sentence.contains(word)),
            "{sentence}"
        );
        assert!(!target.exists());
    };
    let mut other = written(adapter.clone());
    let magnitude = tensor(&[4], vec![1.0; 4]);
    let replaced = Adapter::new(Dora::with_magnitude(form, magnitude));
    other.adapters.insert("up".into(), replaced);
    refused(other, ["LoRA", "DoRA"]);
    let mut other = written(adapter.clone());
    let on_base = adapter.on_base([random(3, 4, 1), random(4, 1, 5)]);
    other.adapters.insert("up".into(), on_base);
    refused(other, ["base", "W + U V"]);
}

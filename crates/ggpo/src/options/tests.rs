//! The options against the settings they stand for.

use std::collections::BTreeSet;
use std::fmt::{self, Display};

use ggpo_lora::adapter::adalora::AdaLoraConfig;
use ggpo_lora::lora_plus::LoraPlusConfig;
use ggpo_lora::perturbation::{EfmLoraConfig, MgpoConfig, MsamConfig, SamConfig};
use ggpo_lora::product_decay::ProductDecayConfig;
use ggpo_lora::{GgpoConfig, LoraGaConfig};
use ggpo_train::data::TaskConfig;
use ggpo_train::data::layout::Columns;
use ggpo_train::method::MethodConfig;
use ggpo_train::optimizer::AdamWConfig;
use ggpo_train::run::{Corpora, HeadConfig, RunConfig};
use ggpo_train::schedule::Schedule;
use ggpo_train::trainer::TrainerConfig;
use serde::de::{DeserializeOwned, Deserializer, Visitor};

use super::*;

mod spoken;

/// Reads nothing, but hears which fields a structure asks for.
struct Fields<'a>(&'a mut Vec<&'static str>);

#[derive(Debug)]
struct Heard;

impl Display for Heard {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl std::error::Error for Heard {}

impl serde::de::Error for Heard {
    fn custom<T: Display>(_: T) -> Self {
        Heard
    }
}

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = Heard;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> std::result::Result<V::Value, Heard> {
        self.0.extend(fields);
        Err(Heard)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> std::result::Result<V::Value, Heard> {
        Err(Heard)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes
        byte_buf option unit unit_struct newtype_struct seq tuple tuple_struct map
        enum identifier ignored_any
    }
}

/// Paths of the fields of a structure that stands at `path`.
fn fields<T: DeserializeOwned>(path: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let heard = T::deserialize(Fields(&mut fields));
    assert!(heard.is_err() && !fields.is_empty(), "{path}");
    let at = |field: &&str| [path, field].concat();
    fields.iter().map(at).collect()
}

/// Paths of all settings of a run, heard from the structures that read them.
fn heard() -> BTreeSet<String> {
    let mut all = fields::<RunConfig>("");
    all.extend(fields::<TaskConfig>("task."));
    all.extend(fields::<Columns>("task.columns."));
    all.extend(fields::<MethodConfig>("method."));
    all.extend(fields::<LoraConfig>("method.lora."));
    all.extend(fields::<AdaLoraConfig>("method.adalora."));
    all.extend(fields::<LoraGaConfig>("method.init."));
    all.extend(fields::<GgpoConfig>("method.perturbation."));
    all.extend(fields::<SamConfig>("method.perturbation."));
    all.extend(fields::<MgpoConfig>("method.perturbation."));
    all.extend(fields::<MsamConfig>("method.perturbation."));
    all.extend(fields::<EfmLoraConfig>("method.perturbation."));
    all.extend(fields::<LoraPlusConfig>("method.lora_plus."));
    all.extend(fields::<ProductDecayConfig>("method.product_decay."));
    all.extend(fields::<HeadConfig>("head."));
    all.extend(fields::<TrainerConfig>("training."));
    all.extend(fields::<Schedule>("training.schedule."));
    all.extend(fields::<AdamWConfig>("training.adamw."));
    let all: BTreeSet<String> = all.into_iter().collect();
    let is_table = |path: &String| {
        let table = format!("{path}.");
        let chooses_a_kind = OF_KINDS.contains(&path.as_str());
        !chooses_a_kind && all.iter().any(|path| path.starts_with(&table))
    };
    // What `--method` and `--adapter` say, what only experiments have, and other names of
    // the same.
    let left_out = [
        "method.name",
        "method.adaptation",
        "task.scored_rows",
        "adapter",
    ];
    let aliases =
        ["prompt", "source", "completion", "target"].map(|alias| format!("columns.{alias}"));
    let is_left_out = |path: &String| {
        left_out.contains(&path.as_str()) || aliases.iter().any(|alias| path.ends_with(alias))
    };
    let settings = all
        .iter()
        .filter(|path| !is_table(path) && !is_left_out(path));
    settings.cloned().collect()
}

#[test]
fn every_setting_has_an_option_and_every_option_a_setting() {
    let mut settings = heard();
    settings.insert("epochs".to_owned());
    let options = super::settings().iter().map(|setting| setting.path.clone());
    assert_eq!(options.collect::<BTreeSet<_>>(), settings);
}

#[test]
fn names_are_those_of_the_settings_but_for_the_exceptions() {
    let mut known = BTreeSet::new();
    for setting in super::settings() {
        assert!(known.insert(&setting.option), "--{} twice", setting.option);
        let last = setting.path.rsplit('.').next().unwrap().replace('_', "-");
        let renamed = names::RENAMED.iter().any(|name| name.path == setting.path);
        let prefixed = names::PREFIXED
            .iter()
            .any(|(table, _)| setting.path.starts_with(table));
        assert!(renamed || prefixed || setting.option == last, "{setting:?}");
        assert!(!setting.meanings[0].about.is_empty(), "{}", setting.path);
    }
    let is_there = |path: &str| {
        let mut settings = super::settings().iter();
        settings.any(|setting| match path.ends_with('.') {
            true => setting.path.starts_with(path),
            false => setting.path == path,
        })
    };
    let renamed = names::RENAMED.iter().map(|name| name.path);
    let prefixed = names::PREFIXED.iter().map(|(table, _)| *table);
    for path in renamed.chain(prefixed).chain(names::FIRST).chain(FORM) {
        assert!(
            is_there(path),
            "an exception for {path}, which is no setting"
        );
    }
    assert!(names::NO_OPTIONS.iter().all(|path| !is_there(path)));
}

/// The command line of `ggpo train`, as far as it is about settings.
fn parse(arguments: &[&str]) -> std::result::Result<RunOptions, clap::Error> {
    let command = RunOptions::augment_args(Command::new("train").no_binary_name(true));
    RunOptions::from_arg_matches(&command.try_get_matches_from(arguments)?)
}

/// A description as a file has it.
fn described(text: &str) -> Description {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.toml");
    std::fs::write(&file, text).unwrap();
    Description::read(&file).unwrap()
}

/// A description with options put in.
fn with(text: &str, arguments: &str) -> Result<Description> {
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let options = parse(&arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    let mut description = described(text);
    options.apply(&mut description)?;
    Ok(description)
}

fn method_with(text: &str, arguments: &str) -> MethodConfig {
    let method = with(text, arguments).and_then(|description| description.method());
    method.unwrap_or_else(|error| panic!("{arguments}: {error}"))
}

/// Settings that say nothing unless they are set.
const WITHOUT_DEFAULT: [&str; 19] = [
    "checkpoint_every",
    "evaluate_every",
    "model",
    "patience",
    "task.chat_template",
    "task.columns.label",
    "task.columns.pair",
    "task.columns.text",
    "task.format",
    "task.header",
    "task.labels",
    "task.layout",
    "task.metric",
    "task.template",
    "task.test",
    "task.train",
    "task.train_rows",
    "task.validation",
    "training.steps",
];

#[test]
fn a_default_changes_nothing() {
    let complete = |changes: &[(&str, Value)]| {
        let mut description = Description::default();
        for (path, value) in [("model", "base"), ("task.train", "train.tsv")] {
            description.set(path, value).unwrap();
        }
        for path in ["training.steps", "evaluate_every", "checkpoint_every"] {
            description.set(path, 1).unwrap();
        }
        for (path, value) in changes {
            description.set(path, value.clone()).unwrap();
        }
        description.complete(&Corpora::default()).unwrap()
    };
    let mut without = BTreeSet::new();
    for setting in super::settings() {
        for meaning in &setting.meanings {
            let Some(default) = &meaning.default else {
                without.insert(setting.path.as_str());
                continue;
            };
            let mut changes = Vec::new();
            let part = format!("{}.kind", setting.part());
            if let Some(kind) = &meaning.kind {
                changes.push((part.as_str(), Value::from(kind.as_str())));
            } else if let part @ ("method.lora_plus" | "method.product_decay") = setting.part() {
                changes.push((part, Table::new().into()));
            } else if setting.path == "epochs" {
                // Of no meaning where the steps are given.
                assert_eq!(default.as_integer(), Some(3));
                continue;
            }
            let unset = complete(&changes);
            changes.push((&setting.path, default.clone()));
            assert_eq!(complete(&changes), unset, "{} = {default}", setting.path);
        }
    }
    without.remove("training.clip");
    assert_eq!(without, BTreeSet::from(WITHOUT_DEFAULT));
}

/// The help of an option, short and long.
fn help(option: &str) -> [String; 2] {
    let command = RunOptions::augment_args(Command::new("train"));
    let mut options = command.get_arguments();
    let option = options
        .find(|known| known.get_long() == Some(option))
        .unwrap();
    [option.get_help(), option.get_long_help()].map(|help| help.unwrap().to_string())
}

#[test]
fn the_help_names_kinds_and_defaults() {
    let cases = [
        ("rank", "Rank r: rows of A and columns of B [default: 8]"),
        ("learning-rate", "Highest learning rate [default: 2e-4]"),
        (
            "rho",
            "Radius of the move (sam, mgpo, msam, efm) [default: 0.05, msam: 0.3]",
        ),
        (
            "beta",
            "Weight of the squared gradient norm (ggpo) [default: 0.01]; decay of the mean \
             gradient norm (mgpo) [default: 0.9]",
        ),
        (
            "lora-ga-gamma",
            "The paper's gamma: the factors are divided by its root (lora_ga) [default: 16]",
        ),
    ];
    for (option, expected) in cases {
        assert_eq!(help(option)[0], expected);
    }
    let long = &help("rank")[1];
    assert!(long.ends_with("In a file: method.lora.rank"), "{long}");
    for setting in super::settings() {
        let [short, _] = help(&setting.option);
        assert!(short.len() <= 160, "--{}: {short}", setting.option);
    }
}

#[test]
fn values_of_another_type_are_wrong_usage() {
    let wrong = [
        "--rank=many",
        "--rank=-1",
        "--rank=1.5",
        "--rho=x",
        "--scaling=full",
        "--sign=up",
        "--warmup=soon",
        "--truncate-noise=far",
        "--refresh-every=5000000000",
        "--perturbation=magic",
        "--adapter=",
        "--method=magic",
        "--seed=-1",
        "--noise-per-micro-batch=yes",
        "--gradient=W",
    ];
    for argument in wrong {
        let error = parse(&[argument]).expect_err(argument);
        assert_eq!(error.exit_code(), 2, "{argument}");
    }
    assert!(parse(&["--epochs=2", "--steps=3"]).is_err());
}

#[test]
fn a_name_replaces_a_method_but_not_the_shape_of_its_adapters() {
    let before = "[method]\nadaptation = \"lora\"\nlora = { rank = 4, targets = [\"query\"] }\n\
        perturbation = { sigma = 0.1 }\n";
    let shape = method_with(before, "").lora;
    assert_eq!(shape.rank, 4);
    for method in METHODS {
        let replaced = method_with(before, &format!("--method {}", method.name));
        let expected = MethodConfig {
            lora: LoraConfig {
                scaling: method.config().lora.scaling,
                ..shape.clone()
            },
            ..method.config()
        };
        assert_eq!(replaced, expected, "{}", method.name);
    }
    // The scaling that a method has by its name goes before that of the file.
    let before = "[method]\nlora = { rank = 4, scaling = \"lora\" }\n";
    let replaced = method_with(before, "--method rslora");
    assert_eq!(
        replaced.lora.scaling,
        method("rslora").unwrap().config().lora.scaling
    );
}

#[test]
fn parts_are_put_together() {
    let of = |arguments: &str| method_with("", arguments);
    let dora_sam = of("--method dora --perturbation sam --rho 0.1");
    let sam = SamConfig {
        rho: 0.1,
        ..SamConfig::default()
    };
    let expected = MethodConfig {
        perturbation: Some(ggpo_lora::PerturbationConfig::Sam(sam)),
        ..method("dora").unwrap().config()
    };
    assert_eq!(dora_sam, expected);
    let flat = of("--method flat-lora");
    assert_eq!(
        of("--method flat-lora --perturbation none"),
        of("--method lora")
    );
    assert_eq!(of("--method flat-lora --sigma 0.05"), flat);
    let config = of("--init lora_ga --lora-ga-gamma 4 --lora-plus-lambda 8");
    assert_eq!(config.gradient_rows(), Some(8));
    assert_eq!(config.lora_plus, Some(LoraPlusConfig { lambda: 8.0 }));
    // Of a file, by word or by table.
    for file in [
        "perturbation = \"mgpo\"",
        "perturbation = { kind = \"mgpo\" }",
        "name = \"mgpo\"",
    ] {
        let mgpo = method_with(&format!("[method]\n{file}"), "--mu 0.5");
        assert_eq!(mgpo, of("--perturbation mgpo --mu 0.5"), "{file}");
    }
    let replaced = method_with("[method]\nadaptation = \"lora\"", "--adapter dora");
    assert_eq!(replaced, method("dora").unwrap().config());
}

#[test]
fn a_setting_that_the_kind_of_its_part_does_not_have_is_refused() {
    let cases = [
        (
            "--method ggpo --rho 0.1",
            "--rho: expected --perturbation sam, mgpo, msam or efm, found ggpo",
        ),
        (
            "--rho 0.1",
            "--rho: expected --perturbation sam, mgpo, msam or efm, found none",
        ),
        (
            "--method sam --sigma 0.1",
            "--sigma: expected --perturbation ggpo, found sam",
        ),
        (
            "--perturbation none --sigma 0.1",
            "--sigma: expected --perturbation ggpo, found none",
        ),
        (
            "--lora-ga-gamma 4",
            "--lora-ga-gamma: expected --init lora_ga, found kaiming",
        ),
        (
            "--adalora-t-init 4",
            "--adalora-t-init: expected --adapter adalora, found lora",
        ),
    ];
    for (arguments, sentence) in cases {
        assert_eq!(with("", arguments).unwrap_err().to_string(), sentence);
    }
    // As files of before, in which there was but one perturbation.
    assert_eq!(
        method_with("", "--sigma 0.03"),
        method("ggpo").unwrap().config()
    );
}

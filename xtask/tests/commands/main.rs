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

const METHODS: &str = r#"
[[methods]]
id = "ggpo"
title = "LoRA-GGPO"
method = { name = "ggpo", lora = { rank = 2, alpha = 4.0 } }
[[methods]]
id = "lora"
title = "LoRA"
method = { name = "lora", lora = { rank = 2, alpha = 4.0 } }
"#;

/// Tuned methods on one task.
const COMPARED: &str = r#"
place = 2
title = "Compared"
question = "Which is better?"
kind = "comparison"
claim = "{method} beats {reference}: {task}"
claim_kind = "better"
references = ["lora"]
primary = "matthews"
margin = 0.5
diverged = 0.0

[[tasks]]
id = "classes"
title = "Two classes"
about = "which of two words occurs."
model = "models/encoder"
batch_size = 4
steps = STEPS
schedule = { kind = "cosine", warmup = 0.1 }
data = { kind = "classification", train = "train.tsv", validation = "test.tsv", test = "test.tsv", max_length = 16 }

[grid.quick]
seeds = 3
tuning_seeds = 1
learning_rates = [1e-3, 1e-2]
"#;

/// Ranks of one layer on features.
const PEAK: &str = r#"
place = 1
title = "Over the rank"
question = "Is there a peak?"
kind = "peak"
claim = "{method} lowers the peak of {reference}"
claim_kind = "better"
references = ["lora"]
primary = "loss"
margin = 0.1
diverged = 10.0
alpha_over_rank = 2.0
at = { rank = 2 }

[features]
model = "models/encoder"
rows = { train = 16, validation = 8, test = 8 }
task = { kind = "classification", train = "train.tsv", validation = "test.tsv", test = "test.tsv", max_length = 16 }

[[tasks]]
id = "layer"
title = "One layer"
about = "one layer on features."
model = "{features}"
batch_size = 16
steps = STEPS
schedule = { kind = "cosine" }
head = { fit = "ridge" }
data = { kind = "classification", loss = "least-squares", train = "{features}/train.tsv", validation = "{features}/validation.tsv", test = "{features}/test.tsv", max_length = 1 }

[grid.quick]
seeds = 2
learning_rates = [1e-2]
ranks = [1, 2, 4]
label_noise = [0.0, 0.2]
"#;

/// The course of the loss.
const BUMP: &str = r#"
place = 3
title = "Over the steps"
question = "Is there a bump?"
kind = "bump"
claim = "{method} has a lower bump than {reference}"
claim_kind = "better"
references = ["lora"]
primary = "bump"
margin = 0.1
diverged = 10.0

[[tasks]]
id = "text"
title = "The next token"
about = "what comes next."
model = "models/decoder"
batch_size = 4
steps = STEPS
schedule = { kind = "constant" }
data = { kind = "language-modelling", train = "text.txt", validation = "text.txt", test = "text.txt", max_length = 16 }

[grid.quick]
seeds = 2
learning_rates = [1e-2, 1e-1]
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
        std::fs::create_dir(place.path("experiments")).unwrap();
        for (name, text) in [("compared", COMPARED), ("peak", PEAK), ("bump", BUMP)] {
            let text = (text.to_owned() + METHODS).replace("STEPS", &steps.to_string());
            place.write(&format!("experiments/{name}.toml"), &text);
        }
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

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/reference");

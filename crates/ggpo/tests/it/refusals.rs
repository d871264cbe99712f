//! Bad input to the program: one clear sentence, exit code 1, and nothing left
//! behind.

use std::collections::BTreeMap;

use crate::common::{World, read};
use crate::runner::{self, program, refused, refused_as, succeeds};
use ggpo_model::Precision;
use ggpo_model::weights::{read_safetensors, to_safetensors};
use ggpo_tensor::{Tensor, tensor};

const TRAIN: [&str; 18] = [
    "train",
    "--model",
    "encoder",
    "--train",
    "train.tsv",
    "--validation",
    "validation.tsv",
    "--rank",
    "4",
    "--lr",
    "1e-2",
    "--steps",
    "6",
    "--max-length",
    "24",
    "--method",
    "ggpo",
    "--out",
];

/// The sentence of a training that is refused, which must have all `parts`; the
/// folder of the run must not be there.
fn refuses(world: &World, more: &[&str], parts: &[&str]) {
    let arguments = [&TRAIN[..], &["out"], more].concat();
    let sentence = refused(world, &arguments);
    for part in parts {
        assert!(sentence.contains(part), "expected {part:?} in: {sentence}");
    }
    assert!(!world.path("out").exists(), "a folder is left: {sentence}");
    let files = std::fs::read_dir(world.folder.path()).unwrap();
    let partial = files.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with(".partial")
    });
    assert_eq!(partial.count(), 0, "something half-written is left");
}

/// Changes the encoder's tensors.
fn change_weights(world: &World, change: impl FnOnce(&mut BTreeMap<String, Tensor<f32>>)) {
    let path = world.path("encoder/model.safetensors");
    let mut tensors = read_safetensors(&path).unwrap();
    change(&mut tensors);
    std::fs::write(&path, to_safetensors(&tensors, Precision::F32)).unwrap();
}

const WEIGHT: &str = "bert.encoder.layer.0.output.dense.weight";

#[test]
fn weights_that_are_not_there() {
    let world = World::new();
    std::fs::remove_file(world.path("encoder/model.safetensors")).unwrap();
    refuses(&world, &[], &["encoder", "model.safetensors"]);
}

#[test]
fn empty_weights() {
    let world = World::new();
    std::fs::write(world.path("encoder/model.safetensors"), b"").unwrap();
    refuses(&world, &[], &["model.safetensors", "safetensors file"]);
}

#[test]
fn truncated_weights() {
    let world = World::new();
    let path = world.path("encoder/model.safetensors");
    let bytes = read(&path);
    std::fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
    refuses(&world, &[], &["model.safetensors", "safetensors file"]);
}

#[test]
fn weights_in_another_format() {
    let world = World::new();
    std::fs::write(world.path("encoder/model.safetensors"), "PK".repeat(500)).unwrap();
    refuses(&world, &[], &["model.safetensors", "safetensors file"]);
}

#[test]
fn a_tensor_of_the_wrong_shape() {
    let world = World::new();
    change_weights(&world, |tensors| {
        tensors.insert(WEIGHT.to_owned(), tensor(&[2, 3], vec![0.0; 6]));
    });
    refuses(&world, &[], &[WEIGHT, "[16, 24]", "[2, 3]"]);
}

#[test]
fn a_tensor_of_the_wrong_dtype() {
    let world = World::new();
    let path = world.path("encoder/model.safetensors");
    let bytes = read(&path);
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(bytes[8..8 + length].to_vec()).unwrap();
    // Of the same size per number, so that nothing else is wrong.
    let header = header.replace("\"dtype\":\"F32\"", "\"dtype\":\"I32\"");
    std::fs::write(
        &path,
        [&bytes[..8], header.as_bytes(), &bytes[8 + length..]].concat(),
    )
    .unwrap();
    refuses(&world, &[], &["model.safetensors", "F32", "I32"]);
}

#[test]
fn a_missing_tensor() {
    let world = World::new();
    change_weights(&world, |tensors| {
        tensors.remove(WEIGHT);
    });
    refuses(&world, &[], &[WEIGHT, "found none"]);
}

#[test]
fn a_tensor_too_many() {
    let world = World::new();
    change_weights(&world, |tensors| {
        tensors.insert("surplus".to_owned(), tensor(&[1], vec![0.0]));
    });
    refuses(&world, &[], &["surplus"]);
}

#[test]
fn weights_that_are_not_finite() {
    for bad in [f32::NAN, f32::INFINITY] {
        let world = World::new();
        change_weights(&world, |tensors| {
            tensors.get_mut(WEIGHT).unwrap()[[3, 4]] = bad
        });
        refuses(&world, &[], &[WEIGHT, "finite", &bad.to_string()]);
    }
}

#[test]
fn a_tokenizer_that_knows_more_tokens_than_the_model() {
    let world = World::new();
    let path = world.path("encoder/config.json");
    let config = String::from_utf8(read(&path)).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["vocab_size"] = 200.into();
    std::fs::write(&path, config.to_string()).unwrap();
    change_weights(&world, |tensors| {
        for (name, rows) in tensors.iter_mut() {
            if name.ends_with("word_embeddings.weight") {
                *rows = tensor(&[200, 16], rows.iter().copied().take(3200).collect());
            }
            if name == "cls.predictions.bias" {
                *rows = tensor(&[200], vec![0.0; 200]);
            }
        }
    });
    refuses(
        &world,
        &[],
        &["tokenizer.json", "vocabulary exceeds the embedding", "200"],
    );
}

#[test]
fn an_adapter_of_another_model() {
    let world = World::new();
    succeeds(&world, &[&TRAIN[..], &["run"]].concat());
    let sentence = refused(
        &world,
        &[
            "eval",
            "--model",
            "decoder",
            "--adapter",
            "run/adapter",
            "validation.tsv",
        ],
    );
    assert!(sentence.contains("adapter_model.safetensors"), "{sentence}");
    assert!(sentence.contains("another model"), "{sentence}");
}

#[test]
fn ranks_that_fit_no_layer() {
    let world = World::new();
    refuses(&world, &["--rank", "0"], &["rank", "0"]);
    refuses(&world, &["--rank", "17"], &["rank 17", "16 x 16"]);
}

#[test]
fn settings_that_are_negative_or_no_numbers() {
    for option in ["--alpha", "--sigma", "--beta", "--lr"] {
        for value in ["-1", "nan", "inf"] {
            let world = World::new();
            let field = option
                .trim_start_matches('-')
                .replace("lr", "learning_rate");
            let assignment = format!("{option}={value}");
            refuses(&world, &[&assignment], &[&field]);
        }
    }
}

#[test]
fn targets_that_match_nothing() {
    let world = World::new();
    refuses(
        &world,
        &["--targets", "q_proj,v_proj"],
        &["no module matches", "q_proj"],
    );
    refuses(
        &world,
        &["--targets", ".*nothing.*"],
        &["no module matches", "nothing"],
    );
}

#[test]
fn data_without_rows() {
    let world = World::new();
    std::fs::write(world.path("train.tsv"), "label\ttext\n").unwrap();
    refuses(&world, &[], &["train.tsv", "rows"]);
    std::fs::write(world.path("train.tsv"), "").unwrap();
    refuses(&world, &[], &["train.tsv"]);
}

#[test]
fn data_of_one_class() {
    let world = World::new();
    std::fs::write(
        world.path("train.tsv"),
        "label\ttext\nwarm\tsun\nwarm\tsea\n",
    )
    .unwrap();
    refuses(&world, &[], &["train.tsv", "class"]);
}

#[test]
fn labels_out_of_range() {
    let world = World::new();
    std::fs::write(
        world.path("train.tsv"),
        "label\ttext\nwarm\tsun\nhot\tsea\ncold\tice\n",
    )
    .unwrap();
    let parts = ["train.tsv", "line 3", "hot"];
    refuses(&world, &["--labels", "cold,warm"], &parts);
    std::fs::write(
        world.path("scores.tsv"),
        "sentence1\tsentence2\tscore\na\tb\t3.5\nc\td\t7.5\n",
    )
    .unwrap();
    let options = [
        "--train",
        "scores.tsv",
        "--validation",
        "scores.tsv",
        "--task",
        "regression",
        "--layout",
        "sts-b",
    ];
    refuses(&world, &options, &["scores.tsv", "7.5"]);
}

#[test]
fn text_that_is_no_utf_8() {
    let world = World::new();
    std::fs::write(
        world.path("train.tsv"),
        b"label\ttext\nwarm\tsun\ncold\t\xff\xfe\n",
    )
    .unwrap();
    refuses(&world, &[], &["train.tsv", "line 3", "UTF-8"]);
}

#[test]
fn a_missing_column() {
    let world = World::new();
    refuses(&world, &["--text", "sentence"], &["train.tsv", "sentence"]);
    refuses(&world, &["--text", "9"], &["train.tsv", "9"]);
}

#[test]
fn bad_rows_are_left_out_only_when_asked() {
    let world = World::new();
    let table = String::from_utf8(read(&world.path("train.tsv"))).unwrap() + "warm\t\n";
    std::fs::write(world.path("train.tsv"), table).unwrap();
    refuses(&world, &[], &["train.tsv", "line 50", "empty"]);
    let arguments = [&TRAIN[..], &["out", "--skip-bad-rows"]].concat();
    let output = runner::run(&world, &arguments);
    assert!(output.status.success());
    let notes = String::from_utf8_lossy(&output.stderr);
    assert!(notes.contains("bad rows left out: 1"), "{notes}");
}

#[test]
fn other_labels_in_the_evaluation() {
    let world = World::new();
    std::fs::write(
        world.path("validation.tsv"),
        "label\ttext\nwarm\tsun\nmild\tsea\n",
    )
    .unwrap();
    refuses(&world, &[], &["validation.tsv", "line 3", "mild"]);
    let world = World::new();
    succeeds(&world, &[&TRAIN[..], &["run"]].concat());
    std::fs::write(world.path("other.tsv"), "label\ttext\nmild\tsun\n").unwrap();
    let sentence = refused(&world, &["eval", "--run", "run", "other.tsv"]);
    assert!(
        sentence.contains("other.tsv") && sentence.contains("mild"),
        "{sentence}"
    );
}

#[test]
fn a_folder_that_holds_another_run() {
    let world = World::new();
    succeeds(&world, &[&TRAIN[..], &["taken"]].concat());
    let before = read(&world.path("taken/result.json"));
    for more in [&["--seed", "5"][..], &["--seed", "5", "--resume"]] {
        let sentence = refused(&world, &[&TRAIN[..], &["taken"], more].concat());
        assert!(sentence.contains("another run"), "{sentence}");
    }
    assert_eq!(before, read(&world.path("taken/result.json")));
    // A folder of something else.
    let sentence = refused(&world, &[&TRAIN[..], &["encoder"]].concat());
    assert!(sentence.contains("other files"), "{sentence}");
}

/// A limit on the size of files stands for a disk that is full: writing fails
/// in the same place, with another word for it. Left alone, the limit would end the
/// process by a signal.
#[cfg(unix)]
#[test]
fn a_full_disk() {
    let world = World::new();
    succeeds(&world, &[&TRAIN[..], &["run"]].concat());
    let program = env!("CARGO_BIN_EXE_ggpo");
    let limited = |arguments: &str| {
        let script = format!("ulimit -f 1; exec {program} {arguments}");
        let shell = std::process::Command::new("bash")
            .args(["-c", &script])
            .current_dir(world.folder.path())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&shell.stderr).into_owned();
        assert_eq!(shell.status.code(), Some(1), "{errors}");
        assert!(
            errors.contains("error: ") && errors.contains("too large"),
            "{errors}"
        );
        assert!(!errors.contains("panicked"), "{errors}");
        errors
    };
    let errors = limited("merge --run run --out merged");
    assert!(errors.contains("merged"), "{errors}");
    assert!(!world.path("merged").exists());
    let errors = limited(&format!("{} lost", TRAIN.join(" ")));
    assert!(errors.contains("lost"), "{errors}");
    assert!(!world.path("lost/result.json").exists());
}

#[test]
fn sequences_longer_than_the_model_reads() {
    let world = World::new();
    refuses(&world, &["--max-length", "33"], &["max_length", "32", "33"]);
    let long = "the sun and ".repeat(40);
    let sentence = refused(
        &world,
        &["generate", "--model", "decoder", "--prompt", &long],
    );
    assert!(sentence.contains("32 positions"), "{sentence}");
}

#[test]
fn checkpoints_that_cannot_be_gone_on_from() {
    let world = World::new();
    succeeds(
        &world,
        &[&TRAIN[..], &["run", "--checkpoint-every", "2"]].concat(),
    );
    std::fs::remove_file(world.path("run/result.json")).unwrap();
    let path = world.path("run/checkpoint.bin");
    // Nothing to fall back on.
    std::fs::remove_file(world.path("run/checkpoint.previous.bin")).unwrap();
    let intact = read(&path);
    let mut spoilt = intact.clone();
    spoilt[200] ^= 1;
    let other = [&b"GGPOCKPT\x04\0\0\0\x0b\0\0\0pretraining"[..], &[0; 12]].concat();
    let cases = [
        (spoilt, "checksum"),
        (intact[..100].to_vec(), "bytes after the header"),
        (b"{\"step\": 3}".to_vec(), "another kind of file"),
        (other, "found one of a pretraining"),
    ];
    for (bytes, part) in cases {
        std::fs::write(&path, bytes).unwrap();
        let sentence = refused(&world, &["train", "--out", "run", "--resume"]);
        assert!(
            sentence.contains("checkpoint.bin") && sentence.contains(part),
            "{sentence}"
        );
    }
    std::fs::write(&path, &intact).unwrap();
    succeeds(&world, &["train", "--out", "run", "--resume"]);
}

#[test]
fn a_loss_that_is_lost() {
    let world = World::new();
    let more = [
        "lost",
        "--lr",
        "1e30",
        "--steps",
        "8",
        "--checkpoint-every",
        "1",
    ];
    let sentence = refused(&world, &[&TRAIN[..], &more].concat());
    assert!(sentence.contains("step 1"), "{sentence}");
    assert!(sentence.contains("bert.encoder.layer.0"), "{sentence}");
    assert!(sentence.contains("lost/adapter"), "{sentence}");
    // The best state before, and a checkpoint, are kept.
    let scores = succeeds(
        &world,
        &["eval", "--run", "lost", "validation.tsv", "--json"],
    );
    let loss = runner::json(&scores)["loss"].as_f64().unwrap();
    assert!(loss.is_finite());
    succeeds(&world, &["inspect", "lost/checkpoint.bin"]);
}

#[test]
fn a_level_of_instruction_set_that_is_none() {
    let world = World::new();
    let mut command = program(&world, &["inspect", "train.tsv"]);
    command.env("GGPO_SIMD", "sse9");
    let sentence = refused_as(command);
    assert_eq!(
        sentence,
        "GGPO_SIMD: expected portable, avx2 or avx512, found \"sse9\""
    );
}

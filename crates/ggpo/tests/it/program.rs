//! The program `ggpo` from outside, on tiny models and data.

use crate::common::{World, read};
use crate::runner::{json, refused, run, succeeds};
use ggpo_lora::peft::PeftAdapter;
use ggpo_tensor::simd::{Level, level};

const COMMANDS: [&str; 19] = [
    "train",
    "methods",
    "compare",
    "estimate",
    "features",
    "eval",
    "predict",
    "preview",
    "generate",
    "merge",
    "export",
    "inspect",
    "fetch",
    "sharpness",
    "landscape",
    "audit",
    "bench",
    "completions",
    "man",
];

#[test]
fn an_adapter_has_a_card_without_paths() {
    let world = World::new();
    train(&world, "run", &["--method", "ggpo"]);
    let card = String::from_utf8(read(&world.path("run/adapter/README.md"))).unwrap();
    assert!(
        card.starts_with("---\nbase_model: encoder\nlibrary_name: peft\n"),
        "{card}"
    );
    for part in [
        "train.tsv",
        "accuracy",
        "sigma",
        "AutoModelForSequenceClassification",
    ] {
        assert!(card.contains(part), "{part}: {card}");
    }
    let folder = world.folder.path().display().to_string();
    assert!(!card.contains(&folder), "{card}");
}

/// Trains an adapter of the tiny encoder in the folder `out`.
fn train(world: &World, out: &str, more: &[&str]) -> String {
    let mut arguments = vec![
        "train",
        "--model",
        "encoder",
        "--train",
        "train.tsv",
        "--test",
        "test.tsv",
        "--method",
        "ggpo",
        "--rank",
        "4",
        "--lr",
        "1e-2",
        "--steps",
        "12",
        "--batch-size",
        "8",
        "--max-length",
        "24",
        "--out",
        out,
    ];
    arguments.extend(more);
    succeeds(world, &arguments)
}

#[test]
fn help_has_an_example_for_every_command() {
    let world = World::new();
    for command in COMMANDS {
        let help = succeeds(&world, &[command, "--help"]);
        assert!(help.contains("Example"), "{help}");
        assert!(
            help.contains(&format!("  ggpo {command}"))
                || help.contains(&format!(": ggpo {command}")),
            "{help}"
        );
    }
}

#[test]
fn help_names_the_variable_of_the_environment() {
    let help = succeeds(&World::new(), &["--help"]);
    assert!(help.contains("GGPO_SIMD"), "{help}");
}

#[test]
fn wrong_usage_exits_with_2() {
    let world = World::new();
    let cases: [&[&str]; 7] = [
        &["train"],
        &["bench", "--shape", "huge"],
        &["bench", "--shape", "tiny", "--simd", "sse9"],
        &["train", "--out"],
        &["fly"],
        &["merge", "--out", "x"],
        &["train", "--out", "x", "--method", "magic"],
    ];
    for arguments in cases {
        assert_eq!(
            run(&world, arguments).status.code(),
            Some(2),
            "{arguments:?}"
        );
    }
}

#[test]
fn written_answers_are_counted_if_right() {
    let world = World::new();
    let write = |name: &str, completions: [&str; 2]| {
        let row = |(prompt, completion)| {
            let row = serde_json::json!({"prompt": prompt, "completion": completion});
            format!("{row}\n")
        };
        let rows: String = ["the sun", "the sea"]
            .into_iter()
            .zip(completions)
            .map(row)
            .collect();
        std::fs::write(world.path(name), rows).unwrap();
    };
    write("learnt.jsonl", ["and the rose", "#### 12"]);
    let learnt = "--train learnt.jsonl --validation learnt.jsonl --steps 80 --batch-size 2";
    let more = "--model decoder --task completion --method full --lr 1e-2 --max-length 24";
    let arguments = format!("train --out runs/c {learnt} {more}");
    let arguments: Vec<&str> = arguments.split(' ').collect();
    succeeds(&world, &arguments);

    let eval = |file: &str, more: &[&str]| {
        succeeds(&world, &[&["eval", "--run", "runs/c", file], more].concat())
    };
    let text = eval("learnt.jsonl", &["--exact-match"]);
    assert!(text.starts_with("exact match 1.0000 (2 of 2; 95 % interval 0.3424 to 1.0000)\n"));
    assert!(text.ends_with(&eval("learnt.jsonl", &[])), "{text}");

    // The number counts, not how it is written; of other answers every letter.
    write("other.jsonl", ["and the roses", "Ten and two: #### 12.0"]);
    let exact = [
        "--exact-match",
        "--max-new-tokens",
        "20",
        "--answers",
        "written.jsonl",
        "--json",
    ];
    let scores = json(&eval("other.jsonl", &exact));
    assert_eq!(scores["exact_match"], 0.5);
    let interval = &scores["exact_match_interval"];
    assert!(interval["low"].as_f64() > Some(0.0) && interval["high"].as_f64() < Some(1.0));
    assert!(scores["loss"].is_number());
    let written = String::from_utf8(read(&world.path("written.jsonl"))).unwrap();
    let written: Vec<_> = written.lines().map(json).collect();
    let expected = serde_json::json!({
        "line": 1, "expected": "and the roses", "text": "and the rose", "ended": true,
        "right": false,
    });
    assert_eq!(written[0], expected);
    assert_eq!((&written[1]["right"], written.len()), (&true.into(), 2));
    let cut = eval("learnt.jsonl", &["--exact-match", "--max-new-tokens", "1"]);
    assert!(cut.starts_with("exact match 0.0000"), "{cut}");

    let text = "eval --model decoder --task language-modelling test.txt --exact-match";
    let sentence = refused(&world, &text.split(' ').collect::<Vec<_>>());
    assert!(
        sentence.contains("completion, text-to-text or chat"),
        "{sentence}"
    );
}

#[test]
fn an_adapter_is_trained_evaluated_used_and_merged() {
    let world = World::new();
    let trained = json(&train(&world, "runs/a", &["--json"]));
    assert_eq!(trained["steps"], 12);
    let adapter = PeftAdapter::<f32>::read(world.path("runs/a/adapter")).unwrap();
    assert_eq!(adapter.config.r, 4);
    for file in [
        "config.toml",
        "labels.json",
        "metrics.jsonl",
        "result.json",
        "checkpoint.bin",
    ] {
        assert!(world.path("runs/a").join(file).is_file(), "{file}");
    }
    let events = read(&world.path("runs/a/events.out.tfevents.0.ggpo"));
    assert!(events.windows(10).any(|bytes| bytes == b"train/loss"));

    let scores = json(&succeeds(
        &world,
        &["eval", "--run", "runs/a", "test.tsv", "--json"],
    ));
    assert_eq!(scores["accuracy"], trained["test"]["classes"]["accuracy"]);
    assert_eq!(scores["rows"], 20);

    succeeds(
        &world,
        &[
            "predict",
            "--run",
            "runs/a",
            "test.tsv",
            "--out",
            "predicted.tsv",
        ],
    );
    let predicted = String::from_utf8(read(&world.path("predicted.tsv"))).unwrap();
    let mut lines = predicted.lines();
    assert_eq!(
        lines.next(),
        Some("label\tprobability cold\tprobability warm")
    );
    let right = String::from_utf8(read(&world.path("test.tsv"))).unwrap();
    let right = right.lines().skip(1).zip(lines);
    let hits = right.filter(|(a, b)| a.split('\t').next() == b.split('\t').next());
    let accuracy = hits.count() as f64 / 20.0;
    assert_eq!(scores["accuracy"], accuracy);

    succeeds(&world, &["merge", "--run", "runs/a", "--out", "merged"]);
    let merged = json(&succeeds(
        &world,
        &["eval", "--model", "merged", "test.tsv", "--json"],
    ));
    assert_eq!(merged["accuracy"], scores["accuracy"]);
    let loss = |scores: &serde_json::Value| scores["loss"].as_f64().unwrap();
    // W + s B A is rounded once more.
    assert!((loss(&merged) - loss(&scores)).abs() < 1e-5);
    let sentence = refused(&world, &["merge", "--run", "runs/a", "--out", "merged"]);
    assert!(sentence.contains("merged"), "{sentence}");
}

/// One method of every form, and of every start that changes the base.
#[test]
fn every_form_is_trained_inspected_evaluated_used_and_merged() {
    let world = World::new();
    for (method, form) in [
        ("dora", "DoRA"),
        ("adalora", "AdaLoRA"),
        ("pissa", "LoRA"),
        ("lora-ga", "LoRA"),
        ("olora", "LoRA"),
    ] {
        let run = format!("runs/{method}");
        let trained = json(&train(&world, &run, &["--method", method, "--json"]));
        let facts = json(&succeeds(
            &world,
            &["inspect", &format!("{run}/adapter"), "--json"],
        ));
        assert_eq!(facts["form"], form);
        assert_eq!(facts["adapted layers"], 12);
        assert!(facts["factors"].as_str().unwrap().starts_with("lora_A"));
        let scores = json(&succeeds(
            &world,
            &["eval", "--run", &run, "test.tsv", "--json"],
        ));
        assert_eq!(scores["accuracy"], trained["test"]["classes"]["accuracy"]);
        let predicted = format!("predicted-{method}.tsv");
        succeeds(
            &world,
            &["predict", "--run", &run, "test.tsv", "--out", &predicted],
        );
        let predicted = String::from_utf8(read(&world.path(&predicted))).unwrap();
        assert_eq!(predicted.lines().count(), 21, "{predicted}");
        let merged = format!("merged-{method}");
        succeeds(&world, &["merge", "--run", &run, "--out", &merged]);
        let merged = json(&succeeds(
            &world,
            &["eval", "--model", &merged, "test.tsv", "--json"],
        ));
        let loss = |scores: &serde_json::Value| scores["loss"].as_f64().unwrap();
        // The merged weight is rounded once more.
        assert!((loss(&merged) - loss(&scores)).abs() < 1e-5, "{method}");
    }
}

#[test]
fn options_and_the_file_say_the_same() {
    let world = World::new();
    train(&world, "by-options", &[]);
    let description = "epochs = 2\nmodel = \"encoder\"\nbatch_size = 8\n\
        [task]\ntrain = \"train.tsv\"\ntest = \"test.tsv\"\nmax_length = 24\n\
        [method]\nadaptation = \"lora\"\nlora = { rank = 4 }\n\
        perturbation = { sigma = 0.03, beta = 0.01 }\n\
        [training]\nlearning_rate = 1e-2\n";
    std::fs::write(world.path("run.toml"), description).unwrap();
    succeeds(
        &world,
        &["train", "run.toml", "--steps", "12", "--out", "by-file"],
    );
    let config = |out: &str| read(&world.path(out).join("config.toml"));
    assert_eq!(config("by-options"), config("by-file"));
    let result = |out: &str| read(&world.path(out).join("result.json"));
    assert_eq!(result("by-options"), result("by-file"));
}

#[test]
fn full_fine_tuning_writes_a_model() {
    let world = World::new();
    train(&world, "full", &["--method", "full"]);
    let scores = json(&succeeds(
        &world,
        &["eval", "--run", "full", "test.tsv", "--json"],
    ));
    let model = json(&succeeds(
        &world,
        &["eval", "--model", "full/model", "test.tsv", "--json"],
    ));
    assert_eq!(scores["loss"], model["loss"]);
    let config = json(&String::from_utf8(read(&world.path("full/model/config.json"))).unwrap());
    assert_eq!(config["id2label"]["0"], "cold");
}

#[test]
fn an_unfinished_run_goes_on_with_resume_only() {
    let world = World::new();
    train(&world, "whole", &["--checkpoint-every", "3"]);
    train(&world, "parts", &["--checkpoint-every", "3"]);
    // As if it had been stopped after its last checkpoint.
    std::fs::remove_file(world.path("parts/result.json")).unwrap();
    let sentence = refused(&world, &["train", "parts/config.toml", "--out", "parts"]);
    assert!(sentence.contains("--resume"), "{sentence}");
    succeeds(&world, &["train", "--out", "parts", "--resume"]);
    let result = |out: &str| read(&world.path(out).join("result.json"));
    assert_eq!(result("whole"), result("parts"));
    let metrics = |out: &str| read(&world.path(out).join("metrics.jsonl"));
    assert_eq!(metrics("whole"), metrics("parts"));
    let sentence = refused(
        &world,
        &["train", "whole/config.toml", "--out", "new", "--resume"],
    );
    assert!(sentence.contains("unfinished run"), "{sentence}");
}

#[test]
fn texts_are_generated_and_learnt() {
    let world = World::new();
    let arguments = [
        "generate",
        "--model",
        "decoder",
        "--prompt",
        "the",
        "--max-new-tokens",
        "5",
        "--json",
    ];
    let first = json(&succeeds(&world, &arguments));
    assert_eq!(first["prompt"], "the");
    assert_eq!(first, json(&succeeds(&world, &arguments)));
    std::fs::write(
        world.path("sums.jsonl"),
        "{\"prompt\": \"sun\", \"completion\": \"sea\"}\n{\"prompt\": \"rose\", \"completion\": \"iron\"}\n".repeat(10),
    )
    .unwrap();
    succeeds(
        &world,
        &[
            "train",
            "--model",
            "decoder",
            "--task",
            "completion",
            "--train",
            "sums.jsonl",
            "--method",
            "lora",
            "--lr",
            "1e-2",
            "--epochs",
            "40",
            "--batch-size",
            "6",
            "--max-length",
            "24",
            "--out",
            "sums",
        ],
    );
    succeeds(
        &world,
        &[
            "predict",
            "--run",
            "sums",
            "sums.jsonl",
            "--max-new-tokens",
            "4",
            "--out",
            "answers.tsv",
        ],
    );
    let answers = String::from_utf8(read(&world.path("answers.tsv"))).unwrap();
    assert_eq!(answers.lines().count(), 21);
    assert_eq!(answers.lines().nth(1), Some("sea"), "{answers}");
    assert_eq!(answers.lines().nth(2), Some("iron"), "{answers}");
}

#[test]
fn inspect_says_what_things_are() {
    let world = World::new();
    train(&world, "run", &[]);
    let cases = [
        ("encoder", "model"),
        ("run", "run"),
        ("run/adapter", "adapter"),
        ("run/checkpoint.bin", "checkpoint of a run"),
        ("encoder/model.safetensors", "tensors"),
        ("train.tsv", "table"),
    ];
    for (path, kind) in cases {
        let facts = json(&succeeds(&world, &["inspect", path, "--json"]));
        assert_eq!(facts["kind"], kind, "{path}");
        let text = succeeds(&world, &["inspect", path]);
        assert!(text.contains(kind), "{text}");
    }
}

#[test]
fn steps_are_measured() {
    let world = World::new();
    let bench = ["bench", "--shape=tiny", "--batch=2", "--seq=8", "--steps=2"];
    let lines = succeeds(&world, &[&bench[..], &["--json"]].concat());
    let records: Vec<_> = lines.lines().map(json).collect();
    assert_eq!(records.len(), 2, "{lines}");
    for (record, method) in records.iter().zip(["lora", "ggpo"]) {
        assert_eq!(record["method"], method);
        assert_eq!(record["simd"], level().name());
        let times = ["min", "median", "max"].map(|key| record["step_ms"][key].as_f64().unwrap());
        assert!(times.is_sorted() && times[0] > 0.0, "{times:?}");
        let share = record["flop_rate_of_peak"].as_f64().unwrap();
        assert!(share > 0.0 && share < 1.0, "{share}");
    }
    let table = succeeds(
        &world,
        &[&bench[..], &["--method=ggpo", "--profile"]].concat(),
    );
    for line in [
        "forward      lora_linear",
        "backward     attention",
        "noise        refresh",
    ] {
        assert!(table.contains(line), "{table}");
    }
    for level in Level::available() {
        let table = succeeds(&world, &[&bench[..], &["--simd", level.name()]].concat());
        let line = format!(" threads, {level}; ");
        assert!(table.contains(&line), "{table}");
    }
    let sentence = refused(&world, &["bench", "--shape=tiny", "--steps=0"]);
    assert!(sentence.contains("steps"), "{sentence}");
}

#[test]
fn shells_get_completions_and_pages() {
    let world = World::new();
    let bash = succeeds(&world, &["completions", "bash"]);
    assert!(bash.contains("--learning-rate"), "{bash}");
    succeeds(&world, &["man", "pages"]);
    for command in COMMANDS {
        assert!(
            world
                .path("pages")
                .join(format!("ggpo-{command}.1"))
                .is_file()
        );
    }
}

#[test]
fn adapters_are_trained_on_a_gguf_file() {
    let world = World::new();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/gguf/tiny.gguf");
    let facts = json(&succeeds(&world, &["inspect", model, "--json"]));
    assert_eq!(facts["kind"], "GGUF model");
    let bytes = |name: &str| facts[name].as_u64().unwrap();
    assert!(bytes("bytes in memory") < bytes("bytes in single precision"));
    let train = |method: &str, out: &str| {
        let arguments = [
            "train",
            "--model",
            model,
            "--task",
            "language-modelling",
            "--train",
            "train.txt",
            "--validation",
            "validation.txt",
            "--rank",
            "2",
            "--lr",
            "1e-2",
            "--steps",
            "4",
            "--max-length",
            "12",
            "--method",
            method,
            "--out",
            out,
            "--json",
        ];
        arguments.map(str::to_owned)
    };
    for method in ["ggpo", "dora", "adalora", "pissa", "lora-ga", "olora"] {
        let (run, merged) = (format!("run-{method}"), format!("merged-{method}"));
        let arguments = train(method, &run);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let result = json(&succeeds(&world, &arguments));
        assert_eq!(result["model_bytes"], facts["bytes in memory"]);
        succeeds(&world, &["eval", "--run", &run, "validation.txt"]);
        let options = ["--prompt", "the", "--max-new-tokens", "3"];
        succeeds(
            &world,
            &[&["generate", "--run", &run][..], &options].concat(),
        );
        succeeds(&world, &["merge", "--run", &run, "--out", &merged]);
        let loss = |arguments: &[&str]| {
            let scores = json(&succeeds(&world, arguments));
            scores["loss"].as_f64().unwrap()
        };
        let run = loss(&["eval", "--run", &run, "validation.txt", "--json"]);
        let options = ["--task", "language-modelling", "--max-length", "12"];
        let arguments = [
            &["eval", "--model", &merged, "validation.txt", "--json"][..],
            &options,
        ];
        let merged = loss(&arguments.concat());
        // The merged weight is rounded once more.
        assert!((run - merged).abs() < 1e-4, "{method}: {run} and {merged}");
    }
    let arguments = train("full", "full");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let sentence = refused(&world, &arguments);
    assert!(
        sentence.contains("method.adapter") && sentence.contains("quantised"),
        "{sentence}"
    );
}

//! `ggpo train --adapter DIR`: going on from an adapter.

use crate::common::{World, read};
use crate::runner::{json, refused, run, succeeds};

fn words(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

const DATA: &str = "--train train.tsv --validation validation.tsv --test test.tsv \
    --max-length 24 --batch-size 8 --lr 1e-2 --json";

fn train(world: &World, more: &str) -> serde_json::Value {
    json(&succeeds(
        world,
        &words(&format!("train --model encoder {DATA} {more}")),
    ))
}

/// The scores of a run before its first step.
fn before(world: &World, run: &str) -> serde_json::Value {
    let result =
        json(&String::from_utf8(read(&world.path(&format!("{run}/result.json")))).unwrap());
    assert_eq!(result["evaluations"][0][0], 0);
    result["evaluations"][0][1].clone()
}

#[test]
fn a_run_begins_where_the_adapter_ends_with_its_settings() {
    let world = World::new();
    for (method, form) in [("ggpo", "lora"), ("dora", "dora")] {
        let shape = "--rank 3 --alpha 5 --scaling rslora --targets query,value --lora-dropout 0.1";
        let first = format!("runs/{method}");
        let trained = train(
            &world,
            &format!("--method {method} {shape} --steps 8 --out {first}"),
        );
        let second = format!("runs/{method}-more");
        let going_on = format!("--adapter {first}/adapter --seed 9 --steps 4 --out {second}");
        train(&world, &going_on);
        // The head that was trained with the adapter is there, too.
        assert_eq!(before(&world, &second), trained["validation"]);
        let config =
            String::from_utf8(read(&world.path(&format!("{second}/config.toml")))).unwrap();
        for expected in [
            &format!("adapter = \"{first}/adapter\""),
            &format!("adapter = \"{form}\""),
            "rank = 3",
            "alpha = 5.0",
            "scaling = \"rslora\"",
            "dropout = 0.1",
        ] {
            assert!(config.contains(expected), "{expected}: {config}");
        }
        let targets = config
            .lines()
            .filter(|line| line.contains("self.query") || line.contains("self.value"));
        assert_eq!(targets.count(), 4, "{config}");
        let facts = json(&succeeds(
            &world,
            &words(&format!("inspect {second}/adapter --json")),
        ));
        assert_eq!(facts["adapted layers"], 4);
        // It can be gone on from again, and the same in a file.
        let third = format!("runs/{method}-file");
        let text = format!(
            "seed = 9\nmodel = \"encoder\"\nadapter = \"{first}/adapter\"\nbatch_size = 8\n\
             [task]\ntrain = \"train.tsv\"\nvalidation = \"validation.tsv\"\ntest = \"test.tsv\"\n\
             max_length = 24\n[training]\nsteps = 4\nlearning_rate = 1e-2\n"
        );
        std::fs::write(world.path("more.toml"), text).unwrap();
        succeeds(&world, &words(&format!("train more.toml --out {third}")));
        let weights =
            |run: &str| read(&world.path(&format!("{run}/adapter/adapter_model.safetensors")));
        assert_eq!(weights(&third), weights(&second));
    }
}

#[test]
fn what_contradicts_the_adapter_is_refused() {
    let world = World::new();
    train(
        &world,
        "--rank 3 --targets query,value --steps 2 --out runs/a",
    );
    train(&world, "--method adalora --steps 30 --out runs/ada");
    let attempt = |more: &str| {
        let command = format!("train --model encoder {DATA} --steps 2 --out runs/x {more}");
        let error = refused(&world, &words(&command));
        assert!(!world.path("runs/x").exists(), "{error}");
        error
    };
    for (more, expected) in [
        (
            "--rank 4",
            "method.lora.rank: expected 3, as the adapter in runs/a/adapter has, found 4",
        ),
        ("--alpha 2", "method.lora.alpha: expected 16.0"),
        ("--scaling rslora", "method.lora.scaling: expected \"lora\""),
        ("--method rslora", "method.lora.scaling: expected \"lora\""),
        ("--method dora", "method.adapter: expected \"lora\""),
        (
            "--method pissa",
            "method.init: expected nothing beside an adapter",
        ),
        ("--targets query", "value besides; leave --targets out"),
        (
            "--targets all-linear",
            "which the targets choose, found none; leave --targets out",
        ),
    ] {
        let error = attempt(&format!("--adapter runs/a/adapter {more}"));
        assert!(error.contains(expected), "{more}: {error}");
    }
    let error = attempt("--adapter runs/ada/adapter");
    assert!(
        error.contains("adapter_config.json: expected LoRA or DoRA"),
        "{error}"
    );
    let error = attempt("--adapter runs/none/adapter");
    assert!(error.contains("runs/none/adapter"), "{error}");
    // Neither a form nor a folder.
    let output = run(
        &world,
        &words("train --model encoder --train train.tsv --adapter lroa --out x"),
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("dora"), "{said}");
}

#[test]
fn an_adapter_of_another_model_or_task_is_refused() {
    let world = World::new();
    train(&world, "--steps 2 --out runs/a");
    let data = "--train train.txt --validation validation.txt --task language-modelling";
    let command = format!(
        "train --model decoder {data} --max-length 24 --steps 2 --adapter runs/a/adapter --out x"
    );
    let error = refused(&world, &words(&command));
    assert!(error.contains("runs/a/adapter"), "{error}");
    let table = String::from_utf8(read(&world.path("train.tsv"))).unwrap();
    let third = table + "tepid\tthe rain\ntepid\tthe rain and the snow\n";
    std::fs::write(world.path("three.tsv"), third).unwrap();
    let command = "train --model encoder --train three.tsv --max-length 24 --steps 2 \
        --adapter runs/a/adapter --out x";
    let error = refused(&world, &words(command));
    assert!(
        error.contains("classifier") && error.contains("expected shape"),
        "{error}"
    );
}

#[test]
fn a_run_that_goes_on_is_not_resumed_with_another_adapter() {
    let world = World::new();
    train(&world, "--steps 2 --out runs/a");
    train(&world, "--steps 2 --seed 5 --out runs/b");
    let more = "--adapter runs/a/adapter --steps 4 --checkpoint-every 2 --out runs/more";
    train(&world, more);
    std::fs::remove_file(world.path("runs/more/result.json")).unwrap();
    let file = "adapter/adapter_model.safetensors";
    std::fs::copy(
        world.path(&format!("runs/b/{file}")),
        world.path(&format!("runs/a/{file}")),
    )
    .unwrap();
    let error = refused(&world, &words("train --out runs/more --resume"));
    assert!(
        error.contains("expected the file that the run began with"),
        "{error}"
    );
}

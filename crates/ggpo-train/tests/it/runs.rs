//! What a run promises: the same bits however it is run, nothing lost, nothing
//! changed that should not be.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::common::{World, every_method, full, lora, named, read};
use ggpo_lora::peft::PeftAdapter;
use ggpo_lora::{
    GgpoConfig, GgpoForm, GradientEstimate, NoiseGradient, NoiseKind, PerturbationConfig,
};
use ggpo_model::weights::load;
use ggpo_model::{Head, Model};
use ggpo_train::method::{AdapterKind, MethodConfig, Trainable};
use ggpo_train::run::{Corpora, Keep, RESULT, RunConfig, RunResult, Task, run};
use ggpo_train::trainer::Trainer;
use proptest::prelude::*;

fn ggpo() -> GgpoConfig {
    GgpoConfig {
        sigma: 0.1,
        beta: 1.0,
        ..GgpoConfig::default()
    }
}

/// Every kind of noise.
fn perturbations() -> Vec<Option<GgpoConfig>> {
    vec![
        None,
        Some(ggpo()),
        Some(GgpoConfig::flat_lora(0.1)),
        Some(GgpoConfig::isotropic()),
        Some(GgpoConfig {
            noise: NoiseKind::Truncated(2.0),
            refresh_every: 5,
            ..ggpo()
        }),
        Some(GgpoConfig {
            gradient: GradientEstimate::Exact,
            ..ggpo()
        }),
        Some(GgpoConfig {
            form: GgpoForm::SdScripts,
            sigma: 0.01,
            beta: 1e-4,
            ..ggpo()
        }),
        Some(GgpoConfig {
            per_micro_batch: true,
            ..ggpo()
        }),
        Some(GgpoConfig {
            noise_gradient: NoiseGradient::Reparameterised,
            ..ggpo()
        }),
    ]
}

/// Every method of the table, every kind of noise, and parts put together.
fn methods() -> Vec<MethodConfig> {
    let mut methods = every_method();
    methods.extend(perturbations().into_iter().map(lora));
    let noise = PerturbationConfig::Ggpo(ggpo());
    for form in ["dora", "adalora", "pissa", "lora-ga", "olora", "lora-plus"] {
        for perturbation in [noise, named("sam").perturbation.expect("SAM")] {
            methods.push(MethodConfig {
                perturbation: Some(perturbation),
                ..named(form)
            });
        }
    }
    methods.push(MethodConfig {
        init: named("pissa").init,
        perturbation: named("mgpo-merged").perturbation,
        ..named("lora")
    });
    methods.push(MethodConfig {
        init: named("pissa").init,
        ..named("dora")
    });
    methods
}

fn finish(config: &RunConfig, folder: &std::path::Path) -> RunResult {
    run(config, folder, Keep::Weights, &mut |_| {}).unwrap()
}

#[test]
fn a_run_that_is_stopped_goes_on_to_the_same_bits() {
    let world = World::new();
    let mut configs: Vec<RunConfig> = methods()
        .into_iter()
        .map(|method| world.classification(method))
        .collect();
    configs.push(world.language_modelling(lora(Some(ggpo()))));
    for (index, mut config) in configs.into_iter().enumerate() {
        config.micro_batches = 2;
        let (whole, parts) = (
            world.path(&format!("whole-{index}")),
            world.path(&format!("parts-{index}")),
        );
        let expected = finish(&config, &whole);
        for stop in [2, 7, 11] {
            let stopped = catch_unwind(AssertUnwindSafe(|| {
                run(&config, &parts, Keep::Weights, &mut |report| {
                    assert_ne!(report.step, stop, "stopped on purpose");
                })
            }));
            if let Ok(result) = stopped {
                panic!("method {index} was to be stopped at {stop}: {result:?}");
            }
        }
        assert_eq!(finish(&config, &parts), expected);
        for file in [RESULT, "metrics.jsonl", "config.toml"] {
            assert_eq!(read(&parts.join(file)), read(&whole.join(file)), "{file}");
        }
    }
}

#[test]
fn a_run_has_the_same_bits_for_any_number_of_threads() {
    let world = World::new();
    for (index, method) in methods().into_iter().enumerate() {
        let config = world.language_modelling(method);
        let results = [1, 2, 7].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let folder = world.path(&format!("threads-{threads}-{index}"));
            pool.build().unwrap().install(|| finish(&config, &folder));
            read(&folder.join(RESULT))
        });
        assert_eq!(results[0], results[1]);
        assert_eq!(results[0], results[2]);
    }
}

#[test]
fn a_finished_run_is_not_done_again() {
    let world = World::new();
    let config = world.classification(lora(None));
    let folder = world.path("run");
    let first = finish(&config, &folder);
    let again = run(&config, &folder, Keep::Weights, &mut |_| panic!("a step"));
    assert_eq!(again.unwrap(), first);
}

/// The same perturbation with no strength.
fn without_strength(perturbation: PerturbationConfig) -> PerturbationConfig {
    match perturbation {
        PerturbationConfig::Ggpo(config) => PerturbationConfig::Ggpo(GgpoConfig {
            sigma: 0.0,
            ..config
        }),
        PerturbationConfig::Sam(mut config) => {
            config.rho = 0.0;
            PerturbationConfig::Sam(config)
        }
        PerturbationConfig::Mgpo(mut config) => {
            config.rho = 0.0;
            PerturbationConfig::Mgpo(config)
        }
        PerturbationConfig::Msam(mut config) => {
            config.rho = 0.0;
            PerturbationConfig::Msam(config)
        }
        PerturbationConfig::Efm(mut config) => {
            config.rho = 0.0;
            PerturbationConfig::Efm(config)
        }
    }
}

#[test]
fn a_perturbation_of_no_strength_is_none_bit_for_bit() {
    let world = World::new();
    let perturbed = methods();
    let perturbed = perturbed
        .iter()
        .filter(|method| method.perturbation.is_some());
    for (index, method) in perturbed.enumerate() {
        let losses = |name: &str, perturbation| {
            let config = world.classification(MethodConfig {
                perturbation,
                ..method.clone()
            });
            let result = finish(&config, &world.path(&format!("{name}-{index}")));
            (result.losses, result.test)
        };
        let none = losses("none", None);
        let still = losses("still", method.perturbation.map(without_strength));
        assert_eq!(none, still, "method {index}: {method:?}");
        let acting = losses("acting", method.perturbation);
        assert_ne!(none.0, acting.0, "method {index}: {method:?}");
    }
}

#[test]
fn every_method_learns_the_task() {
    let world = World::new();
    let noisy = perturbations().into_iter().map(lora);
    for (index, method) in every_method().into_iter().chain(noisy).enumerate() {
        let mut config = world.classification(method);
        config.training.steps = 120;
        if let Some(lora_plus) = &config.method.lora_plus {
            // The rate of B, at which the others learn.
            config.training.learning_rate /= lora_plus.lambda.sqrt();
        }
        if config.method.adapter == AdapterKind::Adalora {
            // Its factors start near 0: it needs longer.
            config.training.learning_rate *= 2.0;
            config.training.steps = 240;
        }
        let result = finish(&config, &world.path(&format!("learn-{index}")));
        let accuracy = result.test.unwrap().classes.unwrap().accuracy;
        assert!(accuracy > 0.9, "method {index}: accuracy {accuracy}");
    }
}

/// A trainer at the start of a run, as the run makes it.
fn trainer(config: &RunConfig, task: &Task) -> Trainer<f32> {
    let model = ggpo_model::Model::read(&config.model, task.head()).unwrap();
    let loaded = load::<f32>(&config.model, &model).unwrap();
    let mut parameters = loaded.parameters;
    for spec in &loaded.missing {
        parameters.insert(
            spec.name.clone(),
            model.new_parameter(spec, 0.02, config.seed),
        );
    }
    let first_rows = |rows| task.first_rows(config, rows);
    let trainable =
        Trainable::new(&config.method, model, parameters, config.seed, first_rows).unwrap();
    Trainer::new(
        trainable,
        &config.method,
        config.training.clone(),
        config.seed,
    )
    .unwrap()
}

fn steps(config: &RunConfig) -> Trainer<f32> {
    let task = Task::open(config, &Corpora::default()).unwrap();
    let mut trainer = trainer(config, &task);
    for batch in task.epoch(config, 0) {
        trainer.step(&batch).unwrap();
    }
    trainer
}

#[test]
fn the_base_weights_keep_their_bits_with_every_method() {
    let world = World::new();
    for method in methods().into_iter().filter(MethodConfig::has_adapters) {
        let config = world.classification(method);
        let trainer = steps(&config);
        let base = load::<f32>(&config.model, trainer.model()).unwrap();
        let mut changed = 0;
        for (name, after) in trainer.parameters() {
            match base.parameters.get(name) {
                Some(before) => assert_eq!(before, after, "{name}"),
                None => changed += 1,
            }
        }
        assert_eq!(changed, 4, "the pooler's and the classifier's parameters");
        let moved = |adapter: &ggpo_lora::Adapter<f32>| {
            let mut factors = adapter.factors().into_iter();
            factors.any(|(_, factor)| factor.iter().any(|x| *x != 0.0))
        };
        assert!(trainer.adapters().values().all(moved));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    /// Micro-batches change the order of additions only: the losses of four
    /// steps agree to a thousand roundings of single precision, amplified by
    /// AdamW, which divides small gradients by their own size.
    #[test]
    fn micro_batches_only_split_the_work(micro_batches in 2..8usize, noisy: bool) {
        let world = World::new();
        let config = world.classification(lora(noisy.then(ggpo)));
        let split = RunConfig { micro_batches, ..config.clone() };
        let losses = |config: &RunConfig| {
            let task = Task::open(config, &Corpora::default()).unwrap();
            let mut trainer = trainer(config, &task);
            let batches = task.epoch(config, 0);
            let batches = batches.iter().take(4);
            batches.map(|b| trainer.step(b).unwrap().loss).collect::<Vec<f64>>()
        };
        for (whole, split) in losses(&config).into_iter().zip(losses(&split)) {
            prop_assert!((whole - split).abs() < 1e-4 * whole.abs(), "{whole} and {split}");
        }
    }
}

#[test]
fn a_run_whose_loss_is_lost_says_at_which_step() {
    let world = World::new();
    let mut config = world.classification(lora(None));
    config.training.learning_rate = 1e30;
    config.training.clip = None;
    let result = finish(&config, &world.path("lost"));
    assert!(result.diverged_at.is_some());
    assert!(
        result.test.unwrap().loss.is_finite(),
        "the best state is kept"
    );
}

#[test]
fn the_saved_adapter_is_the_best_one() {
    let world = World::new();
    let config = world.classification(lora(Some(ggpo())));
    let folder = world.path("adapter-run");
    finish(&config, &folder);
    let adapter = PeftAdapter::<f32>::read(folder.join("adapter")).unwrap();
    assert_eq!(adapter.adapters.len(), 12);
    assert_eq!(adapter.saved_modules.len(), 4);
    assert_eq!(adapter.config.r, 4);
    assert!(adapter.adapters.values().all(|a| a.scaling() == 4.0));
}

#[test]
fn wrong_labels_and_fewer_rows_are_drawn_by_the_seed() {
    let world = World::new();
    let mut config = world.classification(lora(None));
    let classes = |config: &RunConfig| -> Vec<Option<usize>> {
        let task = Task::open(config, &Corpora::default()).unwrap();
        let batches = task.train_as_seen.iter();
        batches.flat_map(|batch| batch.targets.clone()).collect()
    };
    let clean = classes(&config);
    config.task.label_noise = 0.25;
    let noisy = classes(&config);
    let wrong = clean.iter().zip(&noisy).filter(|(a, b)| a != b).count();
    assert_eq!(wrong, 12, "a quarter of 48 rows");
    assert_eq!(noisy, classes(&config), "the same seed, the same labels");
    config.task.train_rows = Some(10);
    assert_eq!(classes(&config).len(), 10);
}

/// Runs what must be refused and returns the sentence.
fn refusal(config: &RunConfig, folder: &std::path::Path) -> String {
    let error = run(config, folder, Keep::Weights, &mut |_| {}).unwrap_err();
    let text = error.to_string();
    assert!(!text.contains('\n'), "one sentence: {text}");
    text
}

#[test]
fn a_model_trained_in_full_is_a_folder_to_open() {
    let world = World::new();
    let folder = world.path("full");
    let result = finish(&world.classification(full()), &folder);
    let folder = folder.join("model");
    let model = Model::open(&folder).unwrap();
    assert_eq!(model.head, Head::Classes(2));
    let loaded = load::<f32>(&folder, &model).unwrap();
    assert!(loaded.missing.is_empty());
    let trained: usize = loaded.parameters.values().map(|x| x.len()).sum();
    assert_eq!(trained, result.trained_parameters);
    assert_eq!(
        read(&folder.join("tokenizer.json")),
        read(&world.path("encoder/tokenizer.json"))
    );
    // The same folder is the base of another run.
    let mut config = world.classification(lora(None));
    config.model = folder;
    let again = finish(&config, &world.path("again"));
    assert_eq!(again.evaluations[0].1.loss, result.validation.loss);
}

#[test]
fn another_runs_folder_is_refused() {
    let world = World::new();
    let config = world.classification(lora(None));
    finish(&config, &world.path("mine"));
    let other = RunConfig { seed: 4, ..config };
    let text = refusal(&other, &world.path("mine"));
    assert!(
        text.contains("config.toml") && text.contains("another run"),
        "{text}"
    );
}

#[test]
fn a_spoilt_checkpoint_is_refused() {
    let world = World::new();
    let config = world.classification(lora(None));
    let folder = world.path("spoilt");
    finish(&config, &folder);
    std::fs::remove_file(folder.join(RESULT)).unwrap();
    std::fs::remove_file(folder.join("checkpoint.previous.bin")).unwrap();
    let path = folder.join("checkpoint.bin");
    let mut bytes = read(&path);
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let text = refusal(&config, &folder);
    assert!(
        text.contains("checkpoint.bin") && text.contains("checksum"),
        "{text}"
    );
}

#[test]
fn settings_that_cannot_be_used_are_refused_by_name() {
    let world = World::new();
    let base = world.classification(lora(Some(ggpo())));
    let change = |f: fn(&mut RunConfig)| {
        let mut config = base.clone();
        f(&mut config);
        config
    };
    fn noise(method: &mut MethodConfig) -> &mut GgpoConfig {
        match &mut method.perturbation {
            Some(PerturbationConfig::Ggpo(noise)) => noise,
            other => panic!("expected noise, found {other:?}"),
        }
    }
    let cases: [(RunConfig, &str); 10] = [
        (
            change(|c| c.training.learning_rate = f64::NAN),
            "learning_rate",
        ),
        (change(|c| c.training.learning_rate = -1.0), "learning_rate"),
        (change(|c| c.training.steps = 0), "steps"),
        (change(|c| c.batch_size = 0), "batch_size"),
        (change(|c| c.task.label_noise = 1.5), "label_noise"),
        (change(|c| c.task.max_length = 1000), "max_length"),
        (change(|c| c.method.lora.rank = 0), "rank"),
        (change(|c| c.method.lora.rank = 17), "rank"),
        (
            change(|c| noise(&mut c.method).sigma = f64::INFINITY),
            "sigma",
        ),
        (change(|c| noise(&mut c.method).beta = -1.0), "beta"),
    ];
    for (index, (config, field)) in cases.into_iter().enumerate() {
        let text = refusal(&config, &world.path(&format!("bad-{index}")));
        assert!(text.contains(field), "{field}: {text}");
    }
    let full_with_noise = MethodConfig {
        perturbation: Some(PerturbationConfig::Ggpo(ggpo())),
        ..full()
    };
    let text = refusal(&world.classification(full_with_noise), &world.path("bad"));
    assert!(text.contains("perturbation"), "{text}");
}

#[test]
fn files_that_cannot_be_used_are_refused_by_name() {
    let world = World::new();
    let config = world.classification(lora(None));
    let weights = config.model.join("model.safetensors");
    let intact = read(&weights);
    let check = |index: u32, wanted: &[&str]| {
        let text = refusal(&config, &world.path(&format!("file-{index}")));
        assert!(wanted.iter().all(|part| text.contains(part)), "{text}");
    };
    std::fs::write(&weights, &intact[..intact.len() / 2]).unwrap();
    check(0, &["model.safetensors", "safetensors file"]);
    std::fs::write(&weights, b"").unwrap();
    check(1, &["model.safetensors"]);

    let tensors = || -> std::collections::BTreeMap<String, ggpo_tensor::Tensor<f32>> {
        std::fs::write(&weights, &intact).unwrap();
        ggpo_model::weights::read_safetensors(&weights).unwrap()
    };
    let write = |tensors: &std::collections::BTreeMap<String, ggpo_tensor::Tensor<f32>>| {
        let precision = ggpo_model::Precision::F32;
        std::fs::write(
            &weights,
            ggpo_model::weights::to_safetensors(tensors, precision),
        )
        .unwrap();
    };
    let name = "bert.encoder.layer.1.output.dense.weight";
    let mut missing = tensors();
    missing.remove(name);
    write(&missing);
    check(2, &[name, "none"]);
    let mut reshaped = tensors();
    reshaped.insert(name.to_owned(), ggpo_tensor::tensor(&[2, 3], vec![0.0; 6]));
    write(&reshaped);
    check(3, &[name, "[16, 24]", "[2, 3]"]);
    let mut infinite = tensors();
    infinite.get_mut(name).unwrap()[[0, 0]] = f32::NAN;
    write(&infinite);
    check(4, &[name, "NaN"]);
    let mut more = tensors();
    more.insert("surplus".to_owned(), ggpo_tensor::tensor(&[1], vec![0.0]));
    write(&more);
    check(5, &["surplus"]);
    tensors();

    let path = config.model.join("config.json");
    let text = String::from_utf8(read(&path)).unwrap();
    std::fs::write(&path, text.replace("\"bert\"", "\"elman\"")).unwrap();
    check(6, &["config.json", "model_type", "elman"]);
    std::fs::write(&path, text.replace("\"gelu\"", "\"mish\"")).unwrap();
    check(7, &["config.json", "hidden_act", "mish"]);
    std::fs::write(&path, &text).unwrap();

    std::fs::write(world.path("train.tsv"), "label\ttext\n").unwrap();
    check(8, &["train.tsv"]);
    std::fs::write(world.path("train.tsv"), "label\ttext\nwarm\tsun\n").unwrap();
    check(9, &["train.tsv", "class"]);
}

#[test]
fn a_training_without_progress_ends_early() {
    let world = World::new();
    let mut config = world.language_modelling(lora(None));
    (config.evaluate_every, config.patience) = (1, Some(2));
    // Too small to change a bit.
    config.training.learning_rate = 1e-30;
    let result = finish(&config, &world.path("patient"));
    assert_eq!((result.losses.len(), result.best_step), (2, 0));
    assert_eq!(result.evaluations.len(), 3);
    config.patience = None;
    assert_eq!(finish(&config, &world.path("endless")).losses.len(), 12);
    config.patience = Some(0);
    let error = config.validate().unwrap_err().to_string();
    assert_eq!(error, "patience: expected at least 1, found 0");
}

/// The rows make up the scores; they are kept in place of the weights, in the same order by
/// every run, and without a test there are none.
#[test]
fn test_rows_make_up_the_test_scores() {
    let world = World::new();
    let mut blind = world.classification(lora(None));
    blind.task.test = None;
    let result = run(&blind, &world.path("blind"), Keep::Records, &mut |_| {}).unwrap();
    assert_eq!(result.last_test_rows, None);
    for config in [
        world.classification(lora(None)),
        world.language_modelling(lora(None)),
    ] {
        let folder = world.path(config.task.kind.name());
        let result = run(&config, &folder, Keep::Records, &mut |_| {}).unwrap();
        let scores = result.last_test.clone().unwrap();
        let rows = result.last_test_rows.clone().unwrap();
        assert_eq!(rows.losses.len(), rows.targets.len());
        assert!(rows.losses.len() > 1, "{rows:?}");
        let loss: f64 = rows.losses.iter().map(|&loss| f64::from(loss)).sum();
        let targets: f64 = rows.targets.iter().map(|&it| f64::from(it)).sum();
        assert!((loss / targets - scores.loss).abs() < 1e-5 * scores.loss);
        match scores.classes {
            Some(classes) => {
                assert!(rows.targets.iter().all(|&targets| targets == 1));
                let right = rows.right.iter().filter(|right| **right).count();
                assert_eq!(right as f64 / targets, classes.accuracy);
            }
            None => assert!(rows.right.is_empty() && targets > rows.losses.len() as f64),
        }
        // What is read again is the same.
        assert_eq!(
            run(&config, &folder, Keep::Records, &mut |_| {}).unwrap(),
            result
        );
        let kept = finish(&config, &world.path("kept"));
        assert_eq!(kept.last_test_rows, None);
        assert_eq!(kept.last_test, result.last_test);
        std::fs::remove_dir_all(world.path("kept")).unwrap();
    }
}

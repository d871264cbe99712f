//! One layer on features: a model like any other.

use ggpo_model::Head;
use ggpo_model::base::{self, Base};
use ggpo_tensor::flat;
use ggpo_train::features::{FeaturesConfig, SplitRows, write_features};
use ggpo_train::run::{ClassLoss, HeadConfig, HeadFit, Keep, RunConfig, assemble, run};

use crate::common::{World, lora, read};

const ROWS: SplitRows = SplitRows {
    train: 20,
    validation: 6,
    test: 8,
};

fn features(world: &World) -> FeaturesConfig {
    let run = world.classification(lora(None));
    FeaturesConfig {
        model: run.model,
        task: run.task,
        rows: ROWS,
        seed: 5,
    }
}

/// A run on the features of a world, with a head that is fitted once.
fn layer_run(world: &World) -> RunConfig {
    let folder = world.path("features");
    let written = write_features(&features(world), &folder).unwrap();
    assert_eq!(written.rows, [20, 6, 8]);
    let mut config = world.classification(lora(None));
    config.model = folder.clone();
    config.task.train = folder.join("train.tsv");
    config.task.validation = Some(folder.join("validation.tsv"));
    config.task.test = Some(folder.join("test.tsv"));
    config.task.max_length = 1;
    config.task.loss = ClassLoss::LeastSquares;
    config.head = HeadConfig {
        fit: HeadFit::Ridge,
        penalty: 0.5,
    };
    config.batch_size = 20;
    config.training.steps = 40;
    config.evaluate_every = 40;
    config
}

#[test]
fn features_are_standardised_and_the_same_every_time() {
    let world = World::new();
    let folder = world.path("features");
    write_features(&features(&world), &folder).unwrap();
    let again = world.path("again");
    write_features(&features(&world), &again).unwrap();
    for file in [
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "train.tsv",
        "test.tsv",
    ] {
        assert_eq!(read(&folder.join(file)), read(&again.join(file)), "{file}");
    }
    let base = Base::open(&folder, Some(Head::Classes(2))).unwrap();
    let table = &base.parameters["features.weight"];
    let (rows, width) = (table.shape()[0], table.shape()[1]);
    // A row more, of zeros, for a text that is no number of a row.
    assert_eq!(rows, 20 + 6 + 8 + 1);
    assert!(flat(table)[(rows - 1) * width..].iter().all(|x| *x == 0.0));
    for column in 0..width {
        let of_train = (0..20).map(|row| f64::from(table[[row, column]]));
        let values: Vec<f64> = of_train.collect();
        let mean = values.iter().sum::<f64>() / 20.0;
        let square = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 19.0;
        // Stored in f32.
        assert!(mean.abs() < 1e-6, "{mean}");
        assert!((square - 1.0).abs() < 1e-5 || square == 0.0, "{square}");
    }
    let tokenizer = base::tokenizer(&folder).unwrap();
    assert_eq!(tokenizer.encode("17").unwrap(), [17]);
    assert_eq!(tokenizer.encode("no row").unwrap(), [34]);
}

/// A head that is fitted once solves the normal equations of the ridge, and stays.
#[test]
fn a_fitted_head_is_the_ridge_solution_and_stays_as_it_is() {
    let world = World::new();
    let config = layer_run(&world);
    let folder = world.path("run");
    let result = run(&config, &folder, Keep::Weights, &mut |_| {}).unwrap();
    let (first, last) = (result.losses[0], result.losses[result.losses.len() - 1]);
    assert!(last < first, "{first} {last}");
    // A and B of one layer of width 16, and no head.
    let (_, trained) = assemble(&folder).unwrap();
    let width = trained.parameters["layer.weight"].shape()[0];
    assert_eq!(
        result.trained_parameters,
        2 * width * config.method.lora.rank
    );

    let base = Base::open(&config.model, Some(Head::Classes(2))).unwrap();
    let head = &trained.parameters["score.weight"];
    let (table, layer) = (
        &base.parameters["features.weight"],
        &base.parameters["layer.weight"],
    );
    let text = String::from_utf8(read(&config.task.train)).unwrap();
    let mut slope = vec![0.0_f64; 2 * width];
    for line in text.lines().skip(1) {
        let (row, label) = line.split_once('\t').unwrap();
        let row: usize = row.parse().unwrap();
        let labels = &trained.labels;
        let class = labels.iter().position(|it| it == label).unwrap();
        let state: Vec<f64> = (0..width)
            .map(|i| {
                (0..width)
                    .map(|j| f64::from(layer[[i, j]] * table[[row, j]]))
                    .sum::<f64>()
            })
            .map(f64::tanh)
            .collect();
        for c in 0..2 {
            let target = if c == class { 0.5 } else { -0.5 };
            let output: f64 = (0..width).map(|i| f64::from(head[[c, i]]) * state[i]).sum();
            for i in 0..width {
                slope[c * width + i] += (output - target) * state[i];
            }
        }
    }
    for c in 0..2 {
        for i in 0..width {
            let total = slope[c * width + i] + 0.5 * f64::from(head[[c, i]]);
            // The states are of f32, and stand twenty times in a sum.
            assert!(total.abs() < 1e-4, "{total}");
        }
    }
}

/// The squared distance from the centred indicators, summed over the classes.
#[test]
fn least_squares_of_a_head_of_zeros_is_the_norm_of_the_indicators() {
    let world = World::new();
    let mut config = layer_run(&world);
    // So large a penalty leaves no head to speak of.
    config.head.penalty = 1e12;
    let result = run(&config, &world.path("run"), Keep::Records, &mut |_| {}).unwrap();
    let (_, start) = &result.evaluations[0];
    assert!((start.loss - 0.5).abs() < 1e-6, "{}", start.loss);
}

#[test]
fn a_head_of_two_layers_cannot_be_fitted_once() {
    let world = World::new();
    let mut config = world.classification(lora(None));
    config.head.fit = HeadFit::Ridge;
    let error = run(&config, &world.path("run"), Keep::Records, &mut |_| {}).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("head.fit: expected trained, unless"),
        "{error}"
    );
    config.head.penalty = 0.0;
    assert!(
        config
            .validate()
            .unwrap_err()
            .to_string()
            .contains("head.penalty")
    );
}

/// Rows that are set aside for a test are the same for every seed and trained on by none.
#[test]
fn rows_set_aside_for_a_test_do_not_depend_on_the_seed() {
    let world = World::new();
    let mut config = world.classification(lora(None));
    config.task.test = None;
    config.task.test_share = 0.25;
    let losses: Vec<f64> = [1, 2]
        .into_iter()
        .map(|seed| {
            config.seed = seed;
            // No step of any size: the score of the base on the same rows, but for the
            // new head.
            let task = ggpo_train::run::Task::open(&config, &Default::default()).unwrap();
            let test = task.test.as_ref().unwrap();
            test.iter().map(|batch| batch.tokens() as f64).sum()
        })
        .collect();
    assert_eq!(losses[0], losses[1]);
    config.task.test_share = 1.5;
    assert!(
        config
            .validate()
            .unwrap_err()
            .to_string()
            .contains("task.test_share")
    );
}

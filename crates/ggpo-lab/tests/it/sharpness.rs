//! Sharpness of tiny transformers, against differences and Hessians formed in full.

use std::collections::BTreeMap;

use ggpo_lab::sharpness::{
    Estimate, Factors, LandscapeConfig, MergedWeights, Objective, SharpnessConfig, SharpnessError,
    Space, Subject, extremes, hessian_by_differences, hessian_product_by_differences, landscape,
    measure, noise_sharpness,
};
use ggpo_model::batch::{Batch, collate_causal};
use ggpo_model::{Adapters, BertConfig, Body, Head, LlamaConfig, Model, Parameters};
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{BlockFormat, QuantizedMatrix};
use ggpo_train::method::MethodConfig;

use crate::common::{full, named};
use ggpo_train::method::Trainable;

/// A model with a method's adapters, whose factors are no longer those of the start.
struct Trained {
    model: Model,
    parameters: Parameters<f32>,
    adapters: Adapters<f32>,
    batches: Vec<Batch>,
}

fn encoder() -> Model {
    Model {
        body: Body::Bert(BertConfig {
            vocab_size: 20,
            hidden_size: 8,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            intermediate_size: 8,
            max_position_embeddings: 8,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
        }),
        head: Head::Classes(3),
    }
}

fn decoder(width: usize) -> Model {
    Model {
        body: Body::Llama(LlamaConfig {
            vocab_size: 20,
            hidden_size: width,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            num_key_value_heads: 1,
            head_dim: width / 2,
            intermediate_size: width,
            max_position_embeddings: 8,
            rms_norm_eps: 1e-6,
            rope_theta: 1e4,
            rope_scaling: None,
            tie_word_embeddings: true,
            attention_bias: false,
            mlp_bias: false,
        }),
        head: Head::Tokens,
    }
}

/// Two batches with different numbers of answers.
fn batches(model: &Model) -> Vec<Batch> {
    let sequences: [&[usize]; 3] = [&[1, 5, 7, 2], &[3, 9], &[4, 4, 11]];
    let batch = |rows: &[&[usize]]| match model.head {
        Head::Tokens => collate_causal(rows, 0),
        _ => Batch {
            targets: (0..rows.len())
                .map(|row| Some((row + rows.len()) % 3))
                .collect(),
            ..Batch::padded(rows, 0)
        },
    };
    vec![batch(&sequences[..2]), batch(&sequences[2..])]
}

fn trained(model: Model, mut method: MethodConfig, rank: usize) -> Trained {
    method.lora.rank = rank;
    method.adalora.init_rank = rank;
    // Large weights: what is curved shows.
    let parameters = model.new_parameters::<f32>(0.4, 3);
    let batches = batches(&model);
    let first = batches[0].clone();
    let start = Trainable::new(&method, model.clone(), parameters, 1, |_| first).unwrap();
    let mut adapters = start.adapters;
    for (layer, adapter) in (0..).zip(adapters.values_mut()) {
        for (place, (_, factor)) in adapter.factors_mut().into_iter().enumerate() {
            let stream = Stream::new(2, Purpose::Data, place as u32, layer);
            for (index, x) in (0..).zip(factor.iter_mut()) {
                *x += 0.2 * stream.normal(index);
            }
        }
    }
    Trained {
        model,
        parameters: start.parameters,
        adapters,
        batches,
    }
}

impl Trained {
    fn subject(&self) -> Subject<'_, f64> {
        let Trained {
            model,
            parameters,
            adapters,
            batches,
        } = self;
        Subject::new(model, parameters, adapters, batches).unwrap()
    }
}

fn direction(length: usize) -> Vec<f64> {
    let stream = Stream::new(4, Purpose::Data, 0, 0);
    let elements = (0..length as u64).map(|i| stream.normal(i).into());
    elements.collect()
}

/// The gradient against differences of losses along a direction, and the product
/// of the Hessian with it against differences of gradients. Differences of step 1e-5
/// along a direction of length 1 have errors of 1e-10 times third derivatives, which
/// are large in so small a model, and of rounding, 1e-10.
fn check(name: &str, objective: &impl Objective<f64>) {
    let point = objective.point();
    let v = direction(point.len());
    let length = v.iter().map(|v| v * v).sum::<f64>().sqrt();
    let at = |step: f64| {
        let moved = point.iter().zip(&v).map(|(x, v)| x + step * v / length);
        objective.loss(&moved.collect::<Vec<_>>())
    };
    let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
    let gradient = objective.gradient(point);
    let found: f64 = gradient.iter().zip(&v).map(|(g, v)| g * v / length).sum();
    assert!((found - slope).abs() < 1e-6, "{name}: {found} or {slope}");

    let found = objective.hessian_product(&v);
    let differences = hessian_product_by_differences(objective, &v, 1e-5);
    let largest = differences.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    assert!(largest > 1e-3, "{name}: no curvature");
    for (place, (found, difference)) in found.iter().zip(&differences).enumerate() {
        let error = (found - difference).abs();
        assert!(
            error < 1e-5 * largest,
            "{name}, {place}: {found} or {difference}"
        );
    }
}

#[test]
fn products_agree_with_differences_for_every_form_and_start() {
    for model in [encoder(), decoder(8)] {
        for method in ["lora", "dora", "adalora", "pissa"] {
            let trained = trained(model.clone(), named(method), 2);
            let subject = trained.subject();
            check(
                &format!("{method}, merged"),
                &MergedWeights::new(&subject).unwrap(),
            );
            check(
                &format!("{method}, factors"),
                &Factors::new(&subject).unwrap(),
            );
        }
    }
}

#[test]
fn products_are_those_of_a_hessian_formed_in_full() {
    let trained = trained(encoder(), named("lora"), 1);
    let subject = trained.subject();
    let factors = Factors::new(&subject).unwrap();
    let hessian = hessian_by_differences(&factors, 1e-5);
    let d = hessian.len();
    for axis in 0..d {
        let mut v = vec![0.0; d];
        v[axis] = 1.0;
        let column = factors.hessian_product(&v);
        for (i, row) in hessian.iter().enumerate() {
            let (found, difference) = (column[i], row[axis]);
            let close = (found - difference).abs() < 1e-5 * difference.abs().max(1.0);
            assert!(close, "{i}, {axis}: {found} or {difference}");
        }
    }
    let found = extremes(&factors, &SharpnessConfig::default().power, 1).unwrap();
    let largest = found.largest;
    assert!(largest.converged);
    // The trace of a power of the matrix is at least that of its largest eigenvalue.
    let squares: f64 = hessian.iter().flatten().map(|h| h * h).sum();
    assert!(largest.value > 0.0 && largest.value <= squares.sqrt());
}

/// Few samples.
fn quick() -> SharpnessConfig {
    let mut config = SharpnessConfig {
        trace_samples: 3,
        ..SharpnessConfig::default()
    };
    config.power.iterations = 12;
    (config.density.steps, config.density.runs) = (5, 1);
    (config.noise.draws, config.noise.samples) = (2, 2);
    config
}

#[test]
fn everything_is_measured_with_the_same_bits_on_any_threads() {
    let Trained {
        model,
        parameters,
        adapters,
        batches,
    } = trained(encoder(), named("ggpo"), 2);
    let measured = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let work = || measure(&model, &parameters, &adapters, &batches, &quick()).unwrap();
        pool.unwrap().install(work)
    };
    let found = measured(1);
    assert_eq!(found, measured(3));
    let text = serde_json::to_string(&found).unwrap();
    assert_eq!(found, serde_json::from_str(&text).unwrap());
}

#[test]
fn the_mean_loss_under_noise_is_what_the_hessian_predicts() {
    let trained = trained(decoder(8), named("lora"), 2);
    let subject = trained.subject();
    let weights = MergedWeights::new(&subject).unwrap();
    let mut config = SharpnessConfig::default().noise;
    (config.draws, config.samples) = (60, 60);
    let found = noise_sharpness(&subject, Some(&weights), &config, 5).unwrap();
    let predicted = found.predicted.unwrap();
    let error = |estimate: Estimate| estimate.standard_error.unwrap();
    // Fourth order is sigma^2 = 1e-3 times as large; 10 % leave room for it.
    let tolerance = 4.0 * (error(predicted) + error(found.rise)) + 0.1 * predicted.value.abs();
    let apart = (found.rise.value - predicted.value).abs();
    assert!(apart < tolerance, "{found:?}");
    assert!(
        error(found.rise) < 0.3 * found.rise.value.abs(),
        "{found:?}"
    );

    config.ggpo.sigma = 0.0;
    let none = noise_sharpness(&subject, Some(&weights), &config, 5).unwrap();
    assert_eq!(none.rise.value, 0.0);
}

#[test]
fn a_model_without_adapters_has_merged_weights_alone() {
    let Trained {
        model,
        parameters,
        batches,
        ..
    } = trained(encoder(), full(), 2);
    let none = Adapters::new();
    let found = measure(&model, &parameters, &none, &batches, &quick()).unwrap();
    // Four layers of attention and two beside it.
    assert_eq!(found.merged.unwrap().dimension, 6 * 64);
    assert!(found.factors.is_none());
    let asked = SharpnessConfig {
        space: Some(Space::Factors),
        ..quick()
    };
    let refused = measure(&model, &parameters, &none, &batches, &asked);
    assert!(matches!(refused, Err(SharpnessError::NoFactors)));
    let refused = measure(&model, &parameters, &none, &[], &quick());
    assert!(matches!(refused, Err(SharpnessError::NoTargets)));
}

#[test]
fn a_quantised_base_has_factors_alone() {
    let mut trained = trained(decoder(32), named("lora"), 2);
    let in_blocks = |(name, weight): (&String, &[usize])| {
        let bytes = (0..weight[0] * weight[1] / 32).flat_map(|block| {
            // The scale 2^-8 as a half, then 32 signed bytes.
            let numbers = (0..32).map(move |i| (block * 71 + i * 37) as u8);
            0x1c00_u16.to_le_bytes().into_iter().chain(numbers)
        });
        let format = BlockFormat::Q8_0;
        let matrix = QuantizedMatrix::new(format, weight[0], weight[1], bytes.collect::<Vec<u8>>());
        (name.clone(), matrix.unwrap())
    };
    let linears = trained.model.block_linears();
    let names: Vec<String> = linears.iter().map(|it| format!("{it}.weight")).collect();
    let dense = trained.parameters.iter();
    let dense = dense.filter(|(name, _)| names.contains(name));
    let blocks: BTreeMap<_, _> = dense
        .map(|(name, x)| in_blocks((name, x.shape())))
        .collect();
    trained
        .parameters
        .retain(|name, _| !blocks.contains_key(name));
    trained.parameters.quantized = blocks;

    let subject = trained.subject();
    check("quantised", &Factors::new(&subject).unwrap());
    assert!(matches!(
        MergedWeights::new(&subject),
        Err(SharpnessError::Quantized { .. })
    ));
    let config = SharpnessConfig {
        space: Some(Space::Factors),
        ..quick()
    };
    let Trained {
        model,
        parameters,
        adapters,
        batches,
    } = &trained;
    let found = measure(model, parameters, adapters, batches, &config).unwrap();
    assert!(found.merged.is_none() && found.noise.predicted.is_none());
    assert!(found.noise.rise.value.is_finite());
}

#[test]
fn a_landscape_has_the_loss_in_its_middle() {
    let Trained {
        model,
        parameters,
        adapters,
        batches,
    } = trained(encoder(), named("dora"), 2);
    for space in [Space::Merged, Space::Factors] {
        let config = LandscapeConfig {
            space,
            curves: 2,
            points: 5,
            surface: 3,
            reach: 0.5,
            ..LandscapeConfig::default()
        };
        let found = landscape(&model, &parameters, &adapters, &batches, &config).unwrap();
        assert_eq!(found.steps, [-0.5, -0.25, 0.0, 0.25, 0.5]);
        let surface = found.surface.as_ref().unwrap();
        assert_eq!(found.curves[1].losses[2], Some(found.loss));
        assert_eq!(surface.losses[1][1], Some(found.loss));
        // The surface's first direction is that of the first curve.
        assert_eq!(surface.losses[1][2], found.curves[0].losses[4]);
        assert_eq!(surface.losses[2][1], found.curves[1].losses[4]);
        let table = found.surface_csv().unwrap();
        assert!(table.starts_with("x,y,loss\n-0.5,-0.5,"), "{table}");
        assert_eq!(found.curves_csv().lines().count(), 6);
    }
    let config = LandscapeConfig {
        points: 4,
        ..LandscapeConfig::default()
    };
    let refused = landscape(&model, &parameters, &adapters, &batches, &config);
    let refused = refused.unwrap_err().to_string();
    assert_eq!(
        refused,
        "points: expected an odd number of at least 3, found 4"
    );
}

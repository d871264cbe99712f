//! The steps, and what is noted of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use ggpo_autograd::Tape;
use ggpo_lora::{
    AdaptedLayers, Adapters, GgpoConfig, GradientEstimate, adapter_gradient_row_norms_squared,
    merged_row_norms_squared, parameter_name, row_norms_squared,
};
use ggpo_model::batch::Batch;
use ggpo_model::{ActingWeights, Graph, Head, LayerPerturbation, Parameters, acting_weights};
use ggpo_tensor::parallel::in_pool;
use ggpo_tensor::{RowPerturbation, Tensor, WeightView, flat, view2};
use ggpo_train::trainer::{LayerGradients, Layers, StepReport, Trainer};

use super::curvature::{Point, curvature};
use super::document::{
    Audit, Document, Element, LayerFacts, LayerRecord, Logits, RunFacts, Slices, StepRecord,
    numbers, rows_of, to_json,
};
use super::error::setting;
use super::layers::{Gradients, digest, noise_test, rows, total, update};
use super::readings::Others;
use super::trace::{
    Drawn, Inputs, LayerTrace, Pass, Place, Readings, State, bias_of, gradients_of, mgpo_of,
    weights_of,
};
use super::{AuditConfig, Result};

/// Merged weights of all layers together up to which every element can be followed.
const WHOLE: usize = 1 << 11;

/// Records the steps of `trainer` on these batches, one entry for each step; `twin` is
/// the same training without noise.
pub(super) fn record(
    config: &AuditConfig,
    noise: &GgpoConfig,
    [trainer, twin]: [&mut Trainer<f32>; 2],
    batches: &[Vec<Batch>],
    on_step: &mut dyn FnMut(&StepRecord),
) -> Result<Audit> {
    trainer.observe();
    let mut recorder = Recorder::new(config, noise, trainer)?;
    for batch in batches {
        let record = recorder.step(trainer, twin, batch)?;
        on_step(&record);
        recorder.steps.push(record);
    }
    Ok(recorder.finish(trainer))
}

struct Recorder<'a> {
    config: &'a AuditConfig,
    noise: &'a GgpoConfig,
    others: Others,
    element: Element,
    place: Place,
    /// Numbers of the layers that are followed.
    followed: Vec<usize>,
    facts: Vec<LayerFacts>,
    /// `||W_i||^2` of every layer.
    base_squared: Vec<Vec<f32>>,
    /// The gradients of the step before.
    previous: LayerGradients<f32>,
    steps: Vec<StepRecord>,
    traces: Vec<LayerTrace>,
}

/// A model as it stands before a step.
struct Before {
    parameters: Parameters<f32>,
    adapters: Adapters<f32>,
    acting: ActingWeights<f32>,
    /// Digests of the weights of the adapted layers.
    weights: Vec<String>,
    /// Digests of all that must not change.
    frozen: BTreeMap<String, String>,
    /// `||W'_i||^2` and `||G_i||^2` of every layer.
    squares: Vec<[Vec<f32>; 2]>,
}

impl<'a> Recorder<'a> {
    fn new(config: &'a AuditConfig, noise: &'a GgpoConfig, trainer: &Trainer<f32>) -> Result<Self> {
        let names: Vec<&String> = trainer.adapters().keys().collect();
        let weights = || names.iter().map(|name| weight(trainer.parameters(), name));
        let base_squared: Vec<Vec<f32>> = weights().map(row_norms_squared).collect();
        let layer = match &config.layer {
            None => 0,
            Some(asked) => names
                .iter()
                .position(|name| *name == asked)
                .ok_or_else(|| {
                    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
                    setting("--layer", format!("one of {}", names.join(", ")), asked)
                })?,
        };
        let dims: Vec<(usize, usize)> = weights().map(|weight| weight.dim()).collect();
        let place = |field, asked: Option<usize>, usual: usize, count: usize| match asked {
            None => Ok(usual.min(count - 1)),
            Some(place) if place < count => Ok(place),
            Some(place) => Err(setting(field, format!("a number below {count}"), place)),
        };
        let (m, n) = dims[layer];
        let element = Element {
            step: 1.min(config.run.training.steps as usize - 1),
            layer,
            row: place("--row", config.row, 3, m)?,
            column: place("--column", config.column, 5, n)?,
        };
        let place = Place {
            whole: dims.iter().map(|(m, n)| m * n).sum::<usize>() <= WHOLE,
            row: element.row,
            column: element.column,
        };
        let facts = names.iter().zip(&dims).zip(&base_squared);
        let facts = facts.map(|((name, &(rows, columns)), squares)| LayerFacts {
            name: (*name).clone(),
            rows,
            columns,
            mean_norm: squares.iter().map(|s| f64::from(s.sqrt())).sum::<f64>() / rows as f64,
        });
        let mut recorder = Recorder {
            others: Others::new(noise, config.run.seed, config.run.training.steps)?,
            followed: match place.whole {
                true => (0..names.len()).collect(),
                false => vec![layer],
            },
            facts: facts.collect(),
            config,
            noise,
            element,
            place,
            base_squared,
            previous: LayerGradients::default(),
            steps: Vec::new(),
            traces: Vec::new(),
        };
        recorder.traces = recorder
            .followed
            .iter()
            .map(|&layer| recorder.trace(trainer, layer))
            .collect();
        Ok(recorder)
    }

    /// The trace of a layer before any step.
    fn trace(&self, trainer: &Trainer<f32>, layer: usize) -> LayerTrace {
        let parameters = trainer.parameters();
        let weight = weight(parameters, &self.facts[layer].name);
        let kept = match self.place.whole {
            true => (0..weight.nrows()).collect(),
            false => vec![self.place.row],
        };
        let rows = weight.rows(&kept);
        LayerTrace {
            layer,
            weight_bits: digest(rows.view().into()),
            weight: match self.place.whole {
                true => Slices::Whole(rows_of(rows.view())),
                false => Slices::Part {
                    row: numbers(rows.row(0)),
                    column: Vec::new(),
                },
            },
            bias: bias_of(parameters, &self.facts[layer].name),
            states: Vec::new(),
            passes: Vec::new(),
        }
    }

    /// `||W'_i||^2` and `||G_i||^2` of a layer, as the perturbation has them.
    fn squares(&self, layers: &Layers<'_, f32>, index: usize) -> [Vec<f32>; 2] {
        let layer = layers.layer(index);
        let gradient = match (self.noise.gradient, layer.grad_merged) {
            (GradientEstimate::Adapters, _) => adapter_gradient_row_norms_squared(&layer),
            (GradientEstimate::Exact, Some(exact)) => row_norms_squared(exact),
            _ => vec![0.0; layer.weight.nrows()],
        };
        [
            merged_row_norms_squared(&self.base_squared[index], &layer),
            gradient,
        ]
    }

    /// Notes the state of the layers, and lets the other methods begin a step.
    fn begin(&mut self, trainer: &Trainer<f32>, step: u32) -> Before {
        let (parameters, adapters) = (trainer.parameters().clone(), trainer.adapters().clone());
        let acting = acting_weights(&parameters, &adapters);
        let layers = Layers {
            parameters: &parameters,
            adapters: &adapters,
            acting: &acting,
            gradients: &self.previous,
            optimizer: Some(trainer.optimizer()),
        };
        let squares: Vec<_> = (0..layers.count())
            .map(|index| self.squares(&layers, index))
            .collect();
        for (trace, &layer) in self.traces.iter_mut().zip(&self.followed) {
            let state = State::of(&layers, layer, squares[layer].clone(), self.place);
            trace.states.push(state);
        }
        self.others.begin(step, &layers);
        let digests = |names: &mut dyn Iterator<Item = &String>| -> Vec<String> {
            names
                .map(|name| digest(weight(&parameters, name)))
                .collect()
        };
        Before {
            weights: digests(&mut adapters.keys()),
            frozen: frozen(&parameters, &trainer.trained_tensors()),
            squares,
            parameters,
            adapters,
            acting,
        }
    }

    fn step(
        &mut self,
        trainer: &mut Trainer<f32>,
        twin: &mut Trainer<f32>,
        batch: &[Batch],
    ) -> Result<StepRecord> {
        let step = trainer.steps_done();
        let before = self.begin(trainer, step);
        twin.restore(trainer.state())?;
        let without = twin.step(batch)?;
        let report = trainer.step(batch)?;
        let noises = noises(trainer, before.adapters.len());
        let deviations: Vec<Vec<f32>> = noises
            .iter()
            .zip(&self.facts)
            .map(|(noise, facts)| deviations(noise.as_deref(), facts.rows))
            .collect();
        let point = Point {
            model: trainer.model(),
            parameters: &before.parameters,
            adapters: &before.adapters,
            batches: batch,
        };
        let curvature = curvature(&point, &deviations, (self.config.run.seed, step))?;
        self.pass(trainer, &before, &noises, &deviations, step);
        let layers = self.layers(trainer, twin, &before, &noises, &deviations);
        let now = frozen(trainer.parameters(), &trainer.trained_tensors());
        let StepReport {
            loss,
            gradient_norm,
            learning_rate,
            tokens,
            ..
        } = report;
        Ok(StepRecord {
            step,
            tokens,
            sigma_factor: self
                .noise
                .schedule
                .factor(step, self.config.run.training.steps),
            loss,
            logits: logits(&point, &before.acting, &noises),
            loss_without: without.loss,
            gradient_norm,
            gradient_norm_without: without.gradient_norm,
            learning_rate,
            curvature,
            frozen: now.len(),
            unchanged: now == before.frozen
                && layers.iter().all(|it| it.weight_before == it.weight_after),
            layers,
        })
    }

    /// Notes the pass of the followed layers.
    fn pass(
        &mut self,
        trainer: &Trainer<f32>,
        before: &Before,
        noises: &[Option<Arc<dyn RowPerturbation<f32>>>],
        deviations: &[Vec<f32>],
        step: u32,
    ) {
        let observed = trainer.observed().expect("the steps are observed");
        let layers = before.layers(&observed.gradients);
        for (trace, &index) in self.traces.iter_mut().zip(&self.followed) {
            let (name, view) = (layers.module(index), layers.layer(index));
            let dim = view.weight.dim();
            let drawn = Drawn::of((self.config.run.seed, step, index), dim, self.place);
            let keep = self.place.keep(true, false);
            let [eps, low_rank, merged, noisy] = weights_of(
                &before.acting[name],
                view.weight.reborrow(),
                noises[index].as_deref(),
                keep,
            );
            let (grad_a, grad_b, gradient) = gradients_of(&layers, index, self.place);
            let [sd_scripts, flat_lora] = self.others.deviations(index);
            let found = self.others.mgpo(&layers, index);
            let [mgpo, mgpo_merged] = mgpo_of(&found, self.place);
            trace.passes.push(Pass {
                deviation: deviations[index].clone(),
                key: drawn.key,
                first_block: drawn.first_block,
                words: drawn.words,
                z: drawn.z,
                eps,
                low_rank,
                merged,
                noisy,
                inputs: Inputs::of(&observed.layers[name], view.a, view.b, self.place),
                grad_a,
                grad_b,
                gradient,
                readings: Readings {
                    sd_scripts,
                    flat_lora,
                    mgpo,
                    mgpo_merged,
                },
            });
        }
        self.others.end(&layers);
        self.previous = observed.gradients.clone();
    }

    /// What is measured of all layers.
    fn layers(
        &self,
        trainer: &Trainer<f32>,
        twin: &Trainer<f32>,
        before: &Before,
        noises: &[Option<Arc<dyn RowPerturbation<f32>>>],
        deviations: &[Vec<f32>],
    ) -> Vec<LayerRecord> {
        let observed = trainer.observed().expect("the steps are observed");
        let layers = before.layers(&observed.gradients);
        let of_layer = |index: usize| {
            let name = layers.module(index);
            let view = layers.layer(index);
            let gradients = Gradients::of(&layers, index);
            let by_adapters = total(&gradients.by_adapters);
            let exact = gradients.exact.as_deref().map(total);
            let factors = |adapters: &Adapters<f32>| {
                let both = adapters[name].factors();
                [both[0].1.clone(), both[1].1.clone()]
            };
            let weights = &before.squares[index][0];
            LayerRecord {
                layer: name.to_owned(),
                shape: view.weight.dim().into(),
                weight_norm: weights.iter().map(|&s| f64::from(s)).sum::<f64>().sqrt(),
                gradient_by_adapters: by_adapters,
                gradient_exact: exact,
                ratio: exact
                    .filter(|exact| *exact > 0.0)
                    .map(|exact| by_adapters / exact),
                rank_correlation: gradients.rank_correlation(),
                gradient_share: trainer.noise_statistics()[index].gradient_share,
                noise: noises[index].as_deref().and_then(|noise| {
                    noise_test(&before.acting[name], view.weight.reborrow(), noise)
                }),
                weight_before: before.weights[index].clone(),
                weight_after: digest(weight(trainer.parameters(), name)),
                update: update(
                    &factors(&before.adapters),
                    &factors(trainer.adapters()),
                    &factors(twin.adapters()),
                    view.scaling,
                ),
                rows: Some(rows(weights, gradients, &deviations[index])),
            }
        };
        (0..layers.count()).map(of_layer).collect()
    }

    /// Puts all of it together, with the state after the last step.
    fn finish(mut self, trainer: &Trainer<f32>) -> Audit {
        let steps = self.config.run.training.steps;
        self.begin(trainer, steps);
        let run = &self.config.run;
        let scaling = run.method.lora.factor() as f32;
        let factor = |name: &str| run.method.learning_rate_factor(name, &[]);
        Audit {
            document: Document {
                format: "ggpo audit 1",
                run: RunFacts {
                    model: self.config.model.clone(),
                    data: self.config.data.clone(),
                    version: env!("CARGO_PKG_VERSION"),
                    seed: run.seed.to_string(),
                    steps,
                    rank: run.method.lora.rank,
                    scaling,
                    sigma: self.noise.sigma,
                    beta: self.noise.beta,
                    gradient: to_json(&self.noise.gradient),
                    schedule: to_json(&self.noise.schedule),
                    clip: run.training.clip,
                    adamw: to_json(&run.training.adamw),
                    rate_factors: ["layer.lora_A.weight", "layer.lora_B.weight"].map(factor),
                },
                layers: self.facts,
                element: self.element,
                whole: self.place.whole,
                steps: self.steps,
                traces: self.traces,
            },
        }
    }
}

impl Before {
    /// The layers with these gradients.
    fn layers<'s>(&'s self, gradients: &'s LayerGradients<f32>) -> Layers<'s, f32> {
        Layers {
            parameters: &self.parameters,
            adapters: &self.adapters,
            acting: &self.acting,
            gradients,
            optimizer: None,
        }
    }
}

/// The weight of a module.
fn weight<'a>(parameters: &'a Parameters<f32>, module: &str) -> WeightView<'a, f32> {
    parameters.weight(&parameter_name(module, "weight"))
}

/// The noise of every layer in the step that was done.
fn noises(trainer: &Trainer<f32>, count: usize) -> Vec<Option<Arc<dyn RowPerturbation<f32>>>> {
    let perturbation = trainer.perturbation();
    let of_layer = |layer| perturbation.and_then(|it| it.noise(layer, 0));
    (0..count).map(of_layer).collect()
}

/// Rows of a step whose logits are written.
const LOGIT_ROWS: usize = 32;

/// The logits of a classification at `W' + eps`, by the forward pass of the step.
fn logits(
    point: &Point<'_>,
    acting: &ActingWeights<f32>,
    noises: &[Option<Arc<dyn RowPerturbation<f32>>>],
) -> Option<Logits> {
    let batch = &point.batches[0];
    let classes = matches!(point.model.head, Head::Classes(_)) && batch.values.is_empty();
    let targets: Vec<usize> = batch.targets.iter().flatten().copied().collect();
    let usual = classes && targets.len() == batch.targets.len() && targets.len() <= LOGIT_ROWS;
    usual.then(|| {
        let perturbed = noises.iter().map(|noise| LayerPerturbation {
            noise: noise.clone(),
            low_rank: None,
        });
        let rows = in_pool(|| {
            let graph = Graph::for_evaluation(Tape::new(), point.parameters, point.adapters)
                .with_acting(acting)
                .perturbed(perturbed.collect());
            rows_of(view2(point.model.logits(&graph, batch).value()))
        });
        Logits { rows, targets }
    })
}

fn deviations(noise: Option<&dyn RowPerturbation<f32>>, rows: usize) -> Vec<f32> {
    let known = noise.and_then(|noise| noise.row_deviations());
    known.map_or_else(|| vec![0.0; rows], <[f32]>::to_vec)
}

/// Digests of the bits of all parameters that are not trained.
fn frozen(
    parameters: &Parameters<f32>,
    trained: &BTreeMap<String, Tensor<f32>>,
) -> BTreeMap<String, String> {
    let dense = parameters
        .iter()
        .filter(|(name, _)| !trained.contains_key(*name));
    let dense = dense.map(|(name, tensor)| {
        let flat = flat(tensor);
        let row = ndarray::ArrayView2::from_shape((1, flat.len()), flat).expect("one row");
        (name.clone(), digest(row.into()))
    });
    let quantized = parameters.quantized.iter();
    let quantized = quantized.map(|(name, matrix)| (name.clone(), digest(matrix.into())));
    dense.chain(quantized).collect()
}

//! The steps, and what is noted of each.

use ggpo_lora::{
    AdaptedLayers, Adapters, GgpoConfig, GradientEstimate, adapter_gradient_row_norms_squared,
    merged_row_norms_squared, row_norms_squared,
};
use ggpo_model::acting_weights;
use ggpo_model::batch::Batch;
use ggpo_train::trainer::{LayerGradients, Layers, StepReport, Trainer};

use super::before::{Before, frozen, weight};
use super::curvature::{Point, curvature};
use super::document::{Audit, Document, LayerRecord, RunFacts, StepRecord, to_json};
use super::drawn::Drawn;
use super::followed::Followed;
use super::layers::{Gradients, digest, noise_test, rows, total, update};
use super::noise::StepNoise;
use super::readings::Others;
use super::trace::{Inputs, LayerTrace, Pass, Readings, State, gradients_of, mgpo_of, weights_of};
use super::{AuditConfig, Result};

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
    followed: Followed,
    /// `||W_i||^2` of every layer.
    base_squared: Vec<Vec<f32>>,
    /// The gradients of the step before.
    previous: LayerGradients<f32>,
    steps: Vec<StepRecord>,
    traces: Vec<LayerTrace>,
}

impl<'a> Recorder<'a> {
    fn new(config: &'a AuditConfig, noise: &'a GgpoConfig, trainer: &Trainer<f32>) -> Result<Self> {
        let names = trainer.adapters().keys();
        let base_squared: Vec<Vec<f32>> = names
            .map(|name| row_norms_squared(weight(trainer.parameters(), name)))
            .collect();
        let followed = Followed::new(config, trainer, &base_squared)?;
        Ok(Recorder {
            others: Others::new(noise, config.run.seed, config.run.training.steps)?,
            traces: followed.traces(trainer),
            followed,
            config,
            noise,
            base_squared,
            previous: LayerGradients::default(),
            steps: Vec::new(),
        })
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
        let place = self.followed.place;
        for trace in &mut self.traces {
            let squares = squares[trace.layer].clone();
            trace
                .states
                .push(State::of(&layers, trace.layer, squares, place));
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
        let noise = StepNoise::of(trainer, &self.followed.facts);
        let point = Point {
            model: trainer.model(),
            parameters: &before.parameters,
            adapters: &before.adapters,
            batches: batch,
        };
        let curvature = curvature(&point, &noise.deviations, (self.config.run.seed, step))?;
        self.pass(trainer, &before, &noise, step);
        let layers = self.layers([trainer, twin], &before, &noise);
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
            logits: noise.logits(&point, &before.acting),
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
    fn pass(&mut self, trainer: &Trainer<f32>, before: &Before, noise: &StepNoise, step: u32) {
        let observed = trainer.observed().expect("the steps are observed");
        let layers = before.layers(&observed.gradients);
        let place = self.followed.place;
        for trace in &mut self.traces {
            let index = trace.layer;
            let (name, view) = (layers.module(index), layers.layer(index));
            let dim = view.weight.dim();
            let drawn = Drawn::of((self.config.run.seed, step, index), dim, place);
            let keep = place.keep(true, false);
            let [eps, low_rank, merged, noisy] = weights_of(
                &before.acting[name],
                view.weight.reborrow(),
                noise.layer(index),
                keep,
            );
            let (grad_a, grad_b, gradient) = gradients_of(&layers, index, place);
            let [sd_scripts, flat_lora] = self.others.deviations(index);
            let found = self.others.mgpo(&layers, index);
            let [mgpo, mgpo_merged] = mgpo_of(&found, place);
            trace.passes.push(Pass {
                deviation: noise.deviations[index].clone(),
                key: drawn.key,
                first_block: drawn.first_block,
                words: drawn.words,
                z: drawn.z,
                eps,
                low_rank,
                merged,
                noisy,
                inputs: Inputs::of(&observed.layers[name], view.a, view.b, place),
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
        [trainer, twin]: [&Trainer<f32>; 2],
        before: &Before,
        noise: &StepNoise,
    ) -> Vec<LayerRecord> {
        let observed = trainer.observed().expect("the steps are observed");
        let layers = before.layers(&observed.gradients);
        let of_layer = |index: usize| {
            let (name, view) = (layers.module(index), layers.layer(index));
            let gradients = Gradients::of(&layers, index);
            let by_adapters = total(&gradients.by_adapters);
            let exact = gradients.exact.as_deref().map(total);
            let factors = |adapters: &Adapters<f32>| {
                let both = adapters[name].factors();
                [both[0].1.clone(), both[1].1.clone()]
            };
            let squares = &before.squares[index][0];
            LayerRecord {
                layer: name.to_owned(),
                shape: view.weight.dim().into(),
                weight_norm: squares.iter().map(|&s| f64::from(s)).sum::<f64>().sqrt(),
                gradient_by_adapters: by_adapters,
                gradient_exact: exact,
                ratio: exact
                    .filter(|it| *it > 0.0)
                    .map(|exact| by_adapters / exact),
                rank_correlation: gradients.rank_correlation(),
                gradient_share: trainer.noise_statistics()[index].gradient_share,
                noise: noise.layer(index).and_then(|noise| {
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
                rows: Some(rows(squares, gradients, &noise.deviations[index])),
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
                layers: self.followed.facts,
                element: self.followed.element,
                whole: self.followed.place.whole,
                steps: self.steps,
                traces: self.traces,
            },
        }
    }
}

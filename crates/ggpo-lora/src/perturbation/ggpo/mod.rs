//! The weight perturbation of LoRA-GGPO.

mod config;
mod gaussian;
mod rows;

use std::sync::Arc;

use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{RowPerturbation, Scalar};
use ndarray::parallel::prelude::*;

pub use config::{
    GgpoConfig, GgpoForm, GradientEstimate, NoiseGradient, NoiseKind, NoisePlace, NoiseSpread,
    SigmaSchedule, WeightTerm,
};
pub use gaussian::GaussianRows;

use super::{Perturbation, Reads, gradients, norm};
use crate::{AdaptedLayers, Adapter, Adapters, LayerView, LoraError, NoiseStatistics, State};
use rows::{Deviations, RowScales};

/// What is known of the noise of one layer.
#[derive(Clone, Debug)]
struct LayerNoise<T> {
    /// Input dimension n.
    columns: usize,
    /// Deviations at the schedule's factor 1, length m.
    base_std: Vec<T>,
    /// Deviations at the current step, length m.
    row_std: Arc<[T]>,
    /// `1 / ( ||W'_i||^2 + beta ||G_i||^2 )` for noise that follows the weight.
    weight_factors: Option<Arc<[T]>>,
}

impl<T: Scalar> LayerNoise<T> {
    /// Before the first step that uses it.
    fn new(base_std: Vec<T>) -> Self {
        LayerNoise {
            columns: 0,
            row_std: base_std.clone().into(),
            base_std,
            weight_factors: None,
        }
    }
}

/// Draws one fresh `eps` for every adapted layer at every step:
///
/// `eps_ij ~ N(0, v_i)`, `v_i = (sigma^2 / n) * ( ||W'_i||^2 + beta * ||G_i||^2 )` (eq. 6, 8).
///
/// The acting weight is what the noise is on: with magnitudes (DoRA), `||W'_i||` is
/// the magnitude of row i, and G the gradient of the row with it.
#[derive(Clone, Debug)]
pub struct Ggpo<T> {
    config: GgpoConfig,
    seed: u64,
    total_steps: u32,
    step: u32,
    /// The factor of the schedule at the current step; 0 before the first.
    factor: f64,
    /// What the formula needs of W, which does not change in a run.
    scales: Vec<RowScales<T>>,
    layers: Vec<LayerNoise<T>>,
    statistics: Vec<NoiseStatistics>,
    /// For noise on the gradients: those at the weights themselves, of the factors of
    /// each layer, from the first pass of a step on.
    plain: Option<Vec<Vec<Vec<T>>>>,
}

impl<T: Scalar> Ggpo<T> {
    /// A perturbation for a run of `total_steps` optimiser steps.
    ///
    /// # Errors
    /// [`LoraError::Config`] as [`GgpoConfig::validate`] says, and if the
    /// schedule is a ramp over 0 steps.
    pub fn new(config: GgpoConfig, seed: u64, total_steps: u32) -> Result<Self, LoraError> {
        config.validate()?;
        if config.schedule == SigmaSchedule::CosineRamp && total_steps == 0 {
            let expected = "at least 1 for a schedule that ramps up";
            return Err(LoraError::config("total_steps", expected, total_steps));
        }
        Ok(Ggpo {
            config,
            seed,
            total_steps,
            step: 0,
            factor: 0.0,
            scales: Vec::new(),
            layers: Vec::new(),
            statistics: Vec::new(),
            plain: None,
        })
    }

    /// The options.
    pub fn config(&self) -> &GgpoConfig {
        &self.config
    }

    /// Whether there is no noise at this step.
    fn is_silent(&self) -> bool {
        self.config.sigma == 0.0 || self.factor == 0.0
    }

    fn refresh(&mut self, layers: &dyn AdaptedLayers<T>) {
        let count = layers.count();
        if self.scales.is_empty() {
            self.scales = (0..count)
                .map(|index| {
                    let stream = Stream::new(self.seed, Purpose::Sampling, 0, index as u32);
                    RowScales::new(&self.config, layers.layer(index).weight, stream)
                })
                .collect();
        }
        assert_eq!(count, self.scales.len(), "the number of layers changed");
        let views: Vec<LayerView<'_, T>> = (0..count).map(|index| layers.layer(index)).collect();
        // Step 0 of the sampling stream samples rows.
        let deal = |layer| Stream::new(self.seed, Purpose::Sampling, self.step + 1, layer as u32);
        let scales = self.scales.par_iter().zip(&views).enumerate();
        let refreshed = scales
            .map(|(index, (scales, layer))| scales.deviations(&self.config, layer, deal(index)));
        let refreshed: Vec<Deviations<T>> = refreshed.collect();
        let known = !self.layers.is_empty();
        if known {
            assert_eq!(count, self.layers.len(), "the number of layers changed");
        }
        self.statistics.clear();
        for (index, found) in refreshed.into_iter().enumerate() {
            if known {
                // In place: what lives from step to step keeps its place in memory,
                // and what a step needs finds the same room as before.
                self.layers[index].base_std.copy_from_slice(&found.row_std);
            } else {
                self.layers.push(LayerNoise::new(found.row_std));
            }
            self.layers[index].weight_factors = found.weight_factors.map(Arc::from);
            self.statistics.push(found.statistics);
        }
    }

    /// Standard deviations of the rows of `layer` at the current step, length m
    /// (of the gaussian, before truncation).
    ///
    /// # Panics
    /// If `layer` is not below the number of layers.
    pub fn row_std(&self, layer: usize) -> &[T] {
        &self.layers[layer].row_std
    }

    /// Memory held, in bytes: a few numbers for each row of each layer.
    pub fn bytes(&self) -> usize {
        let kept: usize = self.scales.iter().map(RowScales::len).sum();
        let rows: usize = self.layers.iter().map(|layer| layer.base_std.len()).sum();
        (kept + 2 * rows) * size_of::<T>()
    }
}

impl<T: Scalar> Perturbation<T> for Ggpo<T> {
    /// The deviations of the rows are made from the layers as they are now if a
    /// refresh is due or nothing is known yet.
    ///
    /// `||W_i||^2` is computed at the first refresh and kept, so the base
    /// weights must not change in a run.
    ///
    /// # Panics
    /// If the shapes of a layer do not fit each other, or the number of layers
    /// or rows is not the one of the steps before or of the restored state; if
    /// the exact gradient is asked for and a layer has adapter gradients but
    /// not this one.
    fn begin_step(&mut self, step: u32, layers: &dyn AdaptedLayers<T>) {
        self.step = step;
        self.plain = None;
        self.factor = self.config.schedule.factor(step, self.total_steps);
        if self.layers.is_empty() || step.is_multiple_of(self.config.refresh_every) {
            self.refresh(layers);
        }
        let count = layers.count();
        assert_eq!(count, self.layers.len(), "the number of layers changed");
        let factor = T::from_f64(self.factor);
        for (index, noise) in self.layers.iter_mut().enumerate() {
            let (rows, columns) = layers.layer(index).weight.dim();
            assert_eq!(rows, noise.base_std.len(), "rows of layer {index} changed");
            noise.columns = columns;
            let row_std = Arc::make_mut(&mut noise.row_std);
            for (std, &base) in row_std.iter_mut().zip(&noise.base_std) {
                *std = factor * base;
            }
            self.statistics[index].row_std = rows::mean(&noise.row_std);
        }
    }

    /// None if sigma or the schedule's factor is 0 or no step has begun.
    /// `micro_batch` matters with `per_micro_batch` only.
    ///
    /// # Panics
    /// If `layer` is not below the number of layers.
    fn noise(&self, layer: usize, micro_batch: u32) -> Option<Arc<dyn RowPerturbation<T>>> {
        let first_of_two = self.config.acts_on == NoisePlace::Gradients && self.plain.is_none();
        if first_of_two || self.is_silent() {
            return None;
        }
        let known = &self.layers[layer];
        let stream = Stream::new(self.seed, Purpose::Perturbation, self.step, layer as u32);
        let draw = if self.config.per_micro_batch {
            micro_batch
        } else {
            0
        };
        let row_std = Arc::clone(&known.row_std);
        let noise = GaussianRows::new(stream, draw, known.columns, row_std, self.config.noise)
            .following(known.weight_factors.clone());
        Some(Arc::new(match self.config.form {
            GgpoForm::Paper => noise,
            GgpoForm::SdScripts => noise.detached(),
        }))
    }

    fn ascend(&mut self, layers: &dyn AdaptedLayers<T>) -> bool {
        if self.config.acts_on == NoisePlace::Weights || self.is_silent() {
            return false;
        }
        let factors: Vec<_> = (0..layers.count())
            .map(|index| layers.factors(index))
            .collect();
        let copy = |layer: Vec<&[T]>| layer.into_iter().map(<[T]>::to_vec).collect();
        self.plain = Some(gradients(&factors).into_iter().map(copy).collect());
        true
    }

    /// `g + ||g' - g|| z / ||z||` for each factor, g its gradient at the weights
    /// themselves and g' that with the noise on them.
    fn settle(&self, layer: usize, factor: usize, gradient: &mut [T]) {
        let Some(plain) = &self.plain else { return };
        let plain = &plain[layer][factor];
        let by: Vec<T> = gradient.iter().zip(plain).map(|(&g, &p)| g - p).collect();
        let step = Stream::new(self.seed, Purpose::GradientNoise, self.step, layer as u32);
        let mut normal = vec![0.0_f32; plain.len()];
        step.fill_normal((factor as u64) << 40, &mut normal);
        let normal: Vec<T> = normal.iter().map(|&z| T::from_f64(f64::from(z))).collect();
        let factor = T::from_f64(match norm([normal.as_slice()]) {
            0.0 => 0.0,
            length => norm([by.as_slice()]) / length,
        });
        for ((g, &plain), &z) in gradient.iter_mut().zip(plain).zip(&normal) {
            *g = plain + factor * z;
        }
    }

    fn reads(&self) -> Reads {
        // Without noise, or without a gradient term in it, no gradient matters.
        Reads {
            layers: self.config.gradient != GradientEstimate::None,
            exact: self.config.gradient == GradientEstimate::Exact,
            ..Reads::default()
        }
    }

    fn statistics(&self) -> &[NoiseStatistics] {
        &self.statistics
    }

    fn state(&self) -> State {
        let rows = self.layers.iter().map(|layer| layer.base_std.as_slice());
        State {
            statistics: self.statistics.clone(),
            ..State::default().with(ROW_STD, rows)
        }
    }

    fn restore(&mut self, mut state: State) -> Result<(), LoraError> {
        let error = |reason| Err(LoraError::State { reason });
        let row_std: Vec<Vec<T>> = state.take(ROW_STD)?;
        let statistics = std::mem::take(&mut state.statistics);
        state.finish()?;
        let (layers, summaries) = (row_std.len(), statistics.len());
        if layers != summaries {
            return error(format!("it has {layers} layers but {summaries} summaries"));
        }
        for (layer, row_std) in row_std.iter().enumerate() {
            if let Some(row) = row_std.iter().position(|std| *std < T::ZERO) {
                let std = row_std[row];
                return error(format!(
                    "the deviation of row {row} of layer {layer} is {std}"
                ));
            }
        }
        self.layers = row_std.into_iter().map(LayerNoise::new).collect();
        self.statistics = statistics;
        self.scales.clear();
        self.factor = 0.0;
        Ok(())
    }

    fn fits(&self, adapters: &Adapters<T>) -> bool {
        let rows = |(layer, adapter): (&LayerNoise<T>, &Adapter<T>)| {
            layer.base_std.len() == adapter.dim().0
        };
        self.layers.is_empty()
            || self.layers.len() == adapters.len()
                && self.layers.iter().zip(adapters.values()).all(rows)
    }
}

/// The name of the deviations in the state: at the schedule's factor 1, of the last
/// refresh.
const ROW_STD: &str = "row_std";

//! What an audit has found, as it is written.

use serde::Serialize;
use serde_json::Value;

use super::trace::LayerTrace;
use super::{listing, page};
use crate::sharpness::Estimate;

/// What an audit has found.
#[derive(Debug, Clone)]
pub struct Audit {
    /// All of it, as the page has it.
    pub document: Document,
}

impl Audit {
    /// Lines of JSON: for every step one of the kind `step` and one of the kind `layer`
    /// for each adapted layer, in their order.
    pub fn jsonl(&self) -> String {
        let mut text = String::new();
        for step in &self.document.steps {
            let number = step.step;
            let bare = StepRecord {
                layers: Vec::new(),
                ..step.clone()
            };
            text += &Line::Step(&bare).written();
            for record in &step.layers {
                let step = number;
                text += &Line::Layer { step, record }.written();
            }
        }
        text
    }

    /// One page that needs nothing else.
    pub fn html(&self) -> String {
        page::html(&self.document, &listing::listings())
    }
}

/// A line of `audit.jsonl`.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line<'a> {
    Step(&'a StepRecord),
    Layer {
        step: u32,
        #[serde(flatten)]
        record: &'a LayerRecord,
    },
}

impl Line<'_> {
    fn written(&self) -> String {
        text(self) + "\n"
    }
}

/// The JSON text of a value that has one, with the fewest digits that give its numbers
/// back.
pub(super) fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("numbers and names have a JSON form")
}

/// The JSON form of a value that has one.
pub(super) fn to_json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("numbers and names have a JSON form")
}

/// The numbers of the page.
#[derive(Debug, Clone, Serialize)]
pub struct Document {
    /// Name and version of this form.
    pub format: &'static str,
    /// The run.
    pub run: RunFacts,
    /// The adapted layers in their order.
    pub layers: Vec<LayerFacts>,
    /// The element that is followed.
    pub element: Element,
    /// Whether every element can be followed, and not the one alone.
    pub whole: bool,
    /// What was measured of every step.
    pub steps: Vec<StepRecord>,
    /// What the followed layers were made of.
    pub traces: Vec<LayerTrace>,
}

/// What a run is.
#[derive(Debug, Clone, Serialize)]
pub struct RunFacts {
    /// Where the model comes from.
    pub model: String,
    /// Where the texts come from.
    pub data: String,
    /// Version of the program.
    pub version: &'static str,
    /// Seed of everything random, in digits: it may have more than a double holds.
    pub seed: String,
    /// Steps of the run.
    pub steps: u32,
    /// Rank r.
    pub rank: usize,
    /// The scaling s.
    pub scaling: f32,
    /// sigma of the noise.
    pub sigma: f64,
    /// beta of the noise.
    pub beta: f64,
    /// Where the gradient norm comes from: `adapters`, `exact` or `none`.
    pub gradient: Value,
    /// Course of sigma: `constant` or `cosine_ramp`.
    pub schedule: Value,
    /// Largest norm of all gradients together, if they are clipped.
    pub clip: Option<f64>,
    /// Settings of AdamW.
    pub adamw: Value,
    /// Factors on the learning rate of A and of B.
    pub rate_factors: [f64; 2],
}

/// A layer.
#[derive(Debug, Clone, Serialize)]
pub struct LayerFacts {
    /// Its name.
    pub name: String,
    /// Outputs m.
    pub rows: usize,
    /// Inputs n.
    pub columns: usize,
    /// The mean of `||W_i||` over the rows.
    pub mean_norm: f64,
}

/// Place of an element.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Element {
    /// Number of the step, from 0, with which the page begins.
    pub step: usize,
    /// Number of the layer, from 0.
    pub layer: usize,
    /// Row i, from 0.
    pub row: usize,
    /// Column j, from 0.
    pub column: usize,
}

/// What was measured of a step.
#[derive(Debug, Clone, Serialize)]
pub struct StepRecord {
    /// Number of the step, from 0.
    pub step: u32,
    /// Tokens read.
    pub tokens: usize,
    /// The factor of the schedule on sigma.
    pub sigma_factor: f64,
    /// The loss at `W' + eps`, where the gradient was taken.
    pub loss: f64,
    /// The logits behind it and the right classes, of a classification of few rows.
    pub logits: Option<Logits>,
    /// The loss of the same step at `W'`.
    pub loss_without: f64,
    /// Norm of all gradients together, before clipping.
    pub gradient_norm: f64,
    /// The same of the step without noise.
    pub gradient_norm_without: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// What the second order of the loss says of the noise.
    pub curvature: Curvature,
    /// Tensors that must not change, and whether none of their bits did.
    pub frozen: usize,
    /// Whether all of these have the bits they had before the step.
    pub unchanged: bool,
    /// The layers in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerRecord>,
}

/// What the loss of a classification is made of.
#[derive(Debug, Clone, Serialize)]
pub struct Logits {
    /// One row for each text.
    pub rows: Vec<Vec<f32>>,
    /// The class of each text.
    pub targets: Vec<usize>,
}

/// The loss around W' in double precision, against its second order.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Curvature {
    /// Why it was not calculated.
    Skipped(String),
    /// What was found.
    Found {
        /// `L(W' + eps) - L(W')` for the noise of this step.
        rise: f64,
        /// `<G, eps>`, G the gradient at W'.
        first: f64,
        /// `(1/2) eps . H eps`.
        second: f64,
        /// The mean of `L(W' + eps) - L(W')` over fresh draws of the same deviations, in
        /// pairs of opposite sign.
        mean_rise: Estimate,
        /// `(1/2) sum over i of v_i tr H_ii`; without a standard error it is exact.
        expected: Estimate,
        /// The part of each layer in it, if it is exact.
        by_layer: Option<Vec<f64>>,
    },
}

/// What was measured of a layer in a step. Norms are those of all rows together.
#[derive(Debug, Clone, Serialize)]
pub struct LayerRecord {
    /// Name of the layer.
    pub layer: String,
    /// Outputs m and inputs n.
    pub shape: [usize; 2],
    /// `||W'||`, by Gram products.
    pub weight_norm: f64,
    /// Norm of this step's gradient by the adapters, `s ( B dA + dB A )`.
    pub gradient_by_adapters: f64,
    /// Norm of this step's gradient of W'; none for a quantised weight.
    pub gradient_exact: Option<f64>,
    /// The former over the latter.
    pub ratio: Option<f64>,
    /// Spearman's correlation of the two over the rows.
    pub rank_correlation: Option<f64>,
    /// Part of the gradient term in the sum of all v_i.
    pub gradient_share: f64,
    /// The noise that was added, against its variance; none without noise.
    pub noise: Option<NoiseTest>,
    /// SHA-256 of the bits of W before the step.
    pub weight_before: String,
    /// The same after the step.
    pub weight_after: String,
    /// What the step did to `s B A`.
    pub update: Update,
    /// Row by row; for machines alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<Rows>,
}

/// Norms and deviations of the rows of a layer.
#[derive(Debug, Clone, Serialize)]
pub struct Rows {
    /// `||W'_i||`.
    pub weight: Vec<f32>,
    /// `||G_i||` by the adapters, of this step.
    pub gradient_by_adapters: Vec<f32>,
    /// `||G_i||` exactly, of this step.
    pub gradient_exact: Option<Vec<f32>>,
    /// `sqrt(v_i)`.
    pub deviation: Vec<f32>,
}

/// The noise that was added to a weight against the distribution that it is drawn from:
/// `sum of eps_ij^2 / v_i` has a chi-square distribution if eps is what it should be.
#[derive(Debug, Clone, Serialize)]
pub struct NoiseTest {
    /// The mean of all v_i.
    pub theoretical: f64,
    /// The mean of eps_ij^2, eps being what the sum `W' + eps` differs by from W'.
    pub empirical: f64,
    /// `sum of eps_ij^2 / v_i`.
    pub chi_square: f64,
    /// Elements of rows with noise: degrees of freedom.
    pub degrees: usize,
    /// Probability of a sum at least as far out, on either side.
    pub p: f64,
}

/// What a step did to `s B A`, and what it would have done without noise.
#[derive(Debug, Clone, Serialize)]
pub struct Update {
    /// Norm of the change.
    pub norm: f64,
    /// The same without noise.
    pub norm_without: f64,
    /// Cosine of the angle between the two; none if one is 0.
    pub cosine: Option<f64>,
}

//! The numbers that an element of a weight goes through, from step to step.

use std::collections::BTreeMap;

use ggpo_lora::adapter::lora::{A, B};
use ggpo_lora::{Acting, AdaptedLayers, parameter_name};
use ggpo_tensor::{ActingWeight, RowPerturbation, Tensor, WeightView, flat, view2};
use ggpo_train::trainer::{LayerTrace as Traced, Layers};
use ndarray::{Array2, ArrayView2};
use serde::Serialize;

use super::readings::Mgpo;
use super::slices::{Keep, Slices, numbers, rows_of};

/// What a layer was made of in every step: a state before the first step and after each,
/// and the passes between them.
#[derive(Debug, Clone, Serialize)]
pub struct LayerTrace {
    /// Number of the layer.
    pub layer: usize,
    /// W, m x n; without a whole trace its row i.
    pub weight: Slices,
    /// SHA-256 of the bits of that row, or of the rows one after the other.
    pub weight_bits: String,
    /// The bias, length m, if there is one.
    pub bias: Option<Vec<f32>>,
    /// One more than there are steps.
    pub states: Vec<State>,
    /// One for each step.
    pub passes: Vec<Pass>,
}

/// A layer between two steps.
#[derive(Debug, Clone, Serialize)]
pub struct State {
    /// A, r x n.
    pub a: Vec<Vec<f32>>,
    /// B, m x r; without a whole trace its row i.
    pub b: Slices,
    /// AdamW's running means of dA, r x n, and of its square; none at the start. Without
    /// a whole trace their column j.
    pub moments_a: Option<[Slices; 2]>,
    /// The same of dB, m x r; without a whole trace its row i.
    pub moments_b: Option<[Slices; 2]>,
    /// `||W'_i||^2`, length m.
    pub weight_squared: Vec<f32>,
    /// `||G_i||^2` by the estimate in use, length m, of the step before.
    pub gradient_squared: Vec<f32>,
}

/// What happened in a step.
#[derive(Debug, Clone, Serialize)]
pub struct Pass {
    /// `sqrt(v_i)`, length m; zeros where there is no noise.
    pub deviation: Vec<f32>,
    /// Key of the generator.
    pub key: [u32; 2],
    /// Number of the first block in `words`.
    pub first_block: u64,
    /// The words of blocks that follow each other: those of all elements, or of the one.
    pub words: Vec<[u32; 4]>,
    /// z, m x n.
    pub z: Slices,
    /// eps, m x n.
    pub eps: Slices,
    /// `s B A`, m x n, as a product makes it.
    pub low_rank: Slices,
    /// `W' = W + s B A`, m x n.
    pub merged: Slices,
    /// `W' + eps`, m x n: the weight that acts.
    pub noisy: Slices,
    /// What the layer read and gave.
    pub inputs: Inputs,
    /// dA, r x n.
    pub grad_a: Vec<Vec<f32>>,
    /// dB, m x r; without a whole trace its row i.
    pub grad_b: Slices,
    /// G, the gradient of W', m x n; none for a quantised weight.
    pub gradient: Option<Slices>,
    /// The same element under other methods.
    pub readings: Readings,
}

/// What a layer read and gave, a row for each of T tokens.
#[derive(Debug, Clone, Serialize)]
pub struct Inputs {
    /// Number of the token whose product is followed.
    pub token: usize,
    /// Its input, length n.
    pub x: Vec<f32>,
    /// Its output, length m.
    pub y: Vec<f32>,
    /// All inputs, T x n.
    pub xs: Slices,
    /// All gradients of outputs, T x m.
    pub dys: Slices,
    /// `dy B`, T x r, and `x A^T`, T x r, where not all of x and dy are kept.
    pub through: Option<[Vec<Vec<f64>>; 2]>,
    /// The same of absolute values, from which the bounds on rounding are made.
    pub through_absolute: Option<[Vec<Vec<f64>>; 2]>,
}

/// What other methods would do at this step, each calculated by its own code.
#[derive(Debug, Clone, Serialize)]
pub struct Readings {
    /// Deviations of the rows in the form of sd-scripts, length m.
    pub sd_scripts: Vec<f32>,
    /// Deviations of the rows by Flat-LoRA, length m.
    pub flat_lora: Vec<f32>,
    /// Moves of A (r x n) and B (m x r) by LoRA-MGPO; none at the first step.
    pub mgpo: Option<[Slices; 2]>,
    /// Moves U (m x 2r) and V (2r x n) of W' by the trainer of its authors.
    pub mgpo_merged: Option<[Slices; 2]>,
}

/// Which element is followed in a layer, and whether all are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) whole: bool,
    pub(super) row: usize,
    pub(super) column: usize,
}

impl Place {
    /// What is kept of a matrix: as far as they are wanted, row i and column j.
    pub(super) fn keep(self, row: bool, column: bool) -> Keep {
        match self.whole {
            true => Keep::Whole,
            false => Keep::Part(row.then_some(self.row), column.then_some(self.column)),
        }
    }

    /// The same of a matrix whose row k belongs to the element.
    pub(super) fn keep_at(self, row: Option<usize>, column: Option<usize>) -> Keep {
        match self.whole {
            true => Keep::Whole,
            false => Keep::Part(row, column),
        }
    }
}

impl State {
    /// The layer of that number as the perturbation sees it before a step.
    pub(super) fn of(
        layers: &Layers<'_, f32>,
        index: usize,
        [weight_squared, gradient_squared]: [Vec<f32>; 2],
        place: Place,
    ) -> Self {
        let module = layers.module(index);
        let layer = layers.layer(index);
        let moments = |factor: &str, like: ArrayView2<'_, f32>, keep: Keep| {
            let name = parameter_name(module, factor);
            let optimizer = layers.optimizer?;
            let slices = |moment: &[f32]| {
                let matrix = ArrayView2::from_shape(like.dim(), moment);
                Slices::of(matrix.expect("a moment for each element"), keep)
            };
            Some([
                slices(optimizer.momentum(&name)?),
                slices(optimizer.second_moment(&name)?),
            ])
        };
        State {
            moments_a: moments(A, layer.a, place.keep(false, true)),
            moments_b: moments(B, layer.b, place.keep(true, false)),
            a: rows_of(layer.a),
            b: Slices::of(layer.b, place.keep(true, false)),
            weight_squared,
            gradient_squared,
        }
    }
}

/// `eps`, `s B A`, `W + s B A` and `W + s B A + eps` of a layer, each as a product makes
/// it, m x n.
pub(super) fn weights_of<'a>(
    acting: &'a Acting<f32>,
    weight: WeightView<'a, f32>,
    noise: Option<&'a dyn RowPerturbation<f32>>,
    keep: Keep,
) -> [Slices; 4] {
    let (m, n) = weight.dim();
    let zero = || WeightView::Zero(m, n);
    let merged = acting.direction(weight);
    let noise_alone = ActingWeight {
        noise,
        ..zero().into()
    };
    let parts = [
        noise_alone,
        acting.direction(zero()),
        merged,
        ActingWeight { noise, ..merged },
    ];
    parts.map(|part| Slices::of(part.to_dense().view(), keep))
}

impl Inputs {
    /// Those of a layer whose factors were `a` (r x n) and `b` (m x r). The token that is
    /// followed is the first that the element's input is not 0 at.
    pub(super) fn of(
        traced: &Traced<f32>,
        a: ArrayView2<'_, f32>,
        b: ArrayView2<'_, f32>,
        place: Place,
    ) -> Self {
        let x = view2(&traced.x);
        let y = view2(&traced.y);
        let none = Tensor::zeros(traced.y.raw_dim());
        let dy = view2(traced.dy.as_ref().unwrap_or(&none));
        let column = x.column(place.column);
        let token = column.iter().position(|&x| x != 0.0).unwrap_or(0);
        let products = |change: fn(f64) -> f64| {
            let wide = |matrix: ArrayView2<'_, f32>| matrix.mapv(|x| change(x.into()));
            let rows =
                |product: Array2<f64>| product.outer_iter().map(|row| row.to_vec()).collect();
            let part = [wide(dy).dot(&wide(b)), wide(x).dot(&wide(a).t())];
            part.map(rows)
        };
        let part = !place.whole;
        Inputs {
            token,
            x: numbers(x.row(token)),
            y: numbers(y.row(token)),
            xs: Slices::of(x, place.keep_at(None, Some(place.column))),
            dys: Slices::of(dy, place.keep_at(None, Some(place.row))),
            through: part.then(|| products(|x| x)),
            through_absolute: part.then(|| products(f64::abs)),
        }
    }
}

/// The moves of LoRA-MGPO as far as the element needs them.
pub(super) fn mgpo_of(found: &Mgpo, place: Place) -> [Option<[Slices; 2]>; 2] {
    let slices = |[left, right]: [ArrayView2<'_, f32>; 2]| {
        [
            Slices::of(left, place.keep_at(Some(place.row), None)),
            Slices::of(right, place.keep_at(None, Some(place.column))),
        ]
    };
    let factors = found.factors.as_ref().map(|[a, b]| {
        let [b, a] = slices([b.view(), a.view()]);
        [a, b]
    });
    let merged = found.merged.as_ref();
    [
        factors,
        merged.map(|by| slices([by.up.view(), by.down.view()])),
    ]
}

/// The gradients of a layer in a step, from those of all.
pub(super) fn gradients_of(
    layers: &Layers<'_, f32>,
    index: usize,
    place: Place,
) -> (Vec<Vec<f32>>, Slices, Option<Slices>) {
    let layer = layers.layer(index);
    let (grad_a, grad_b) = (layer.grad_a, layer.grad_b);
    let (grad_a, grad_b) = grad_a.zip(grad_b).expect("gradients of a step");
    let exact = layer.grad_merged;
    (
        rows_of(grad_a),
        Slices::of(grad_b, place.keep(true, false)),
        exact.map(|exact| Slices::of(exact, place.keep(true, false))),
    )
}

/// The bias of a module, if it has one.
pub(super) fn bias_of(
    parameters: &BTreeMap<String, Tensor<f32>>,
    module: &str,
) -> Option<Vec<f32>> {
    let bias = parameters.get(&parameter_name(module, "bias"))?;
    Some(flat(bias).to_vec())
}

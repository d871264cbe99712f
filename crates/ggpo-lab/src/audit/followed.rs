//! What is followed: one element of one layer, or all that there are.

use ggpo_tensor::WeightView;
use ggpo_train::trainer::Trainer;

use super::before::weight;
use super::document::{Element, LayerFacts};
use super::error::setting;
use super::layers::digest;
use super::slices::Slices;
use super::trace::{LayerTrace, Place, bias_of};
use super::{AuditConfig, Result};

/// Merged weights of all layers together up to which every element can be followed.
const WHOLE: usize = 1 << 11;
/// The place that is followed where nothing else is said, if there is such a place.
const USUAL: [usize; 2] = [3, 5];
/// Names of layers that an error lists.
const LISTED: usize = 12;

/// The element, and the layers whose numbers are kept.
pub(super) struct Followed {
    pub(super) element: Element,
    pub(super) place: Place,
    /// What all adapted layers are.
    pub(super) facts: Vec<LayerFacts>,
}

impl Followed {
    /// What `config` asks for. `base_squared` holds `||W_i||^2` of every layer.
    pub(super) fn new(
        config: &AuditConfig,
        trainer: &Trainer<f32>,
        base_squared: &[Vec<f32>],
    ) -> Result<Self> {
        let layers = trainer.adapters().iter().zip(base_squared);
        let facts: Vec<LayerFacts> = layers
            .map(|((name, adapter), squares)| {
                let (rows, columns) = adapter.dim();
                let norms = squares.iter().map(|s| f64::from(s.sqrt()));
                LayerFacts {
                    name: name.clone(),
                    rows,
                    columns,
                    mean_norm: norms.sum::<f64>() / rows as f64,
                }
            })
            .collect();
        let layer = layer(&facts, config.layer.as_deref())?;
        let LayerFacts { rows, columns, .. } = facts[layer];
        let element = Element {
            step: 1.min(config.run.training.steps as usize - 1),
            layer,
            row: place("--row", config.row, USUAL[0], rows)?,
            column: place("--column", config.column, USUAL[1], columns)?,
        };
        let place = Place {
            whole: facts.iter().map(|it| it.rows * it.columns).sum::<usize>() <= WHOLE,
            row: element.row,
            column: element.column,
        };
        Ok(Followed {
            element,
            place,
            facts,
        })
    }

    /// The traces of the followed layers before any step.
    pub(super) fn traces(&self, trainer: &Trainer<f32>) -> Vec<LayerTrace> {
        let layers = match self.place.whole {
            true => 0..self.facts.len(),
            false => self.element.layer..self.element.layer + 1,
        };
        layers.map(|layer| self.trace(trainer, layer)).collect()
    }

    fn trace(&self, trainer: &Trainer<f32>, layer: usize) -> LayerTrace {
        let (parameters, name) = (trainer.parameters(), &self.facts[layer].name);
        let weight: WeightView<'_, f32> = weight(parameters, name);
        let rows = match self.place.whole {
            true => weight.rows(&(0..weight.nrows()).collect::<Vec<_>>()),
            false => weight.rows(&[self.place.row]),
        };
        LayerTrace {
            layer,
            weight_bits: digest(rows.view().into()),
            weight: Slices::of_rows(rows.view(), self.place.whole),
            bias: bias_of(parameters, name),
            states: Vec::new(),
            passes: Vec::new(),
        }
    }
}

/// The number of the layer that is asked for.
fn layer(facts: &[LayerFacts], asked: Option<&str>) -> Result<usize> {
    let Some(asked) = asked else { return Ok(0) };
    let found = facts.iter().position(|facts| facts.name == asked);
    found.ok_or_else(|| {
        let names: Vec<&str> = facts.iter().map(|facts| facts.name.as_str()).collect();
        let listed = names[..names.len().min(LISTED)].join(", ");
        let more = match names.len().saturating_sub(LISTED) {
            0 => String::new(),
            more => format!(" and {more} others"),
        };
        setting("--layer", format!("one of {listed}{more}"), asked)
    })
}

/// The row or column that is asked for, of this number of them.
fn place(field: &str, asked: Option<usize>, usual: usize, count: usize) -> Result<usize> {
    match asked {
        None => Ok(usual.min(count - 1)),
        Some(place) if place < count => Ok(place),
        Some(place) => Err(setting(field, format!("a number below {count}"), place)),
    }
}

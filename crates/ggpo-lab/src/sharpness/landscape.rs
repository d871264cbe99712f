//! The loss along random directions, in one dimension and in two.

use ggpo_model::batch::Batch;
use ggpo_model::{Adapters, Model, Parameters};
use ggpo_tensor::Scalar;
use ggpo_tensor::parallel::in_pool;
use serde::{Deserialize, Serialize};

use super::error::{Result, setting};
use super::objective::Objective;
use super::settings::Space;
use super::vector::{Probe, add, norm, normal, sum};
use super::{Factors, MergedWeights, Subject};

/// Settings of [`landscape`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LandscapeConfig {
    /// What the directions come from.
    pub seed: u64,
    /// The space.
    pub space: Space,
    /// The largest step: with 1, every row moves by its own length.
    pub reach: f64,
    /// Curves, each along a direction of its own.
    pub curves: usize,
    /// Points of a curve.
    pub points: usize,
    /// Points of the surface along each of its two directions, those of the first two
    /// curves; 0 for no surface.
    pub surface: usize,
}

impl Default for LandscapeConfig {
    fn default() -> Self {
        LandscapeConfig {
            seed: 0,
            space: Space::Merged,
            reach: 1.0,
            curves: 3,
            points: 41,
            surface: 15,
        }
    }
}

impl LandscapeConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn validate(&self) -> Result<()> {
        if !(self.reach.is_finite() && self.reach > 0.0) {
            return Err(setting("reach", "a finite number above 0", self.reach));
        }
        if self.curves == 0 {
            return Err(setting("curves", "at least 1", self.curves));
        }
        // An odd number has the point itself in its middle.
        if self.points < 3 || self.points.is_multiple_of(2) {
            return Err(setting(
                "points",
                "an odd number of at least 3",
                self.points,
            ));
        }
        if self.surface != 0 && (self.surface < 3 || self.surface.is_multiple_of(2)) {
            let expected = "0, or an odd number of at least 3";
            return Err(setting("surface", expected, self.surface));
        }
        Ok(())
    }
}

/// The loss around a point. Numbers that are not finite are null in JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Landscape {
    /// The settings.
    pub config: LandscapeConfig,
    /// Numbers that move.
    pub dimension: usize,
    /// Answers that the loss is the mean over.
    pub targets: usize,
    /// Loss at the point.
    pub loss: f64,
    /// Steps of the curves, from -reach to reach.
    pub steps: Vec<f64>,
    /// The curves.
    pub curves: Vec<Curve>,
    /// The surface, if it was asked for.
    pub surface: Option<Surface>,
}

/// The loss along one direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The loss at every step.
    pub losses: Vec<Option<f64>>,
}

/// The loss over two directions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Surface {
    /// Steps along either direction, from -reach to reach.
    pub steps: Vec<f64>,
    /// The loss in rows: one row for every step along the second direction, in it one
    /// number for every step along the first.
    pub losses: Vec<Vec<Option<f64>>>,
}

/// The loss around a model, as [`landscape_of`] has it.
///
/// # Errors
/// If a setting cannot be used, there is no answer in the batches, or the merged
/// weights of a quantised base or the factors of a model without an adapter are asked
/// for.
pub fn landscape(
    model: &Model,
    parameters: &Parameters<f32>,
    adapters: &Adapters<f32>,
    batches: &[Batch],
    config: &LandscapeConfig,
) -> Result<Landscape> {
    config.validate()?;
    in_pool(|| {
        let subject = Subject::<f64>::new(model, parameters, adapters, batches)?;
        let targets = subject.targets();
        match config.space {
            Space::Merged => landscape_of(&MergedWeights::new(&subject)?, targets, config),
            Space::Factors => landscape_of(&Factors::new(&subject)?, targets, config),
        }
    })
}

/// The loss `L(w + x d1 + y d2)` around the point w of a function, along directions
/// that are normal numbers with every row scaled to the length of the row of w
/// (filter normalisation, Li and others 2018). Directions are not made orthogonal: in
/// many dimensions they nearly are.
///
/// # Errors
/// If a setting cannot be used.
pub fn landscape_of<T: Scalar>(
    objective: &impl Objective<T>,
    targets: usize,
    config: &LandscapeConfig,
) -> Result<Landscape> {
    config.validate()?;
    let point = objective.point();
    let loss = |x: &[T]| Some(objective.loss(x)).filter(|loss| loss.is_finite());
    let steps = steps(config.reach, config.points);
    let curve = |index: usize| {
        let along = direction(objective, config.seed, index);
        let losses = steps.iter().map(|&x| loss(&sum(point, x, &along)));
        Curve {
            losses: losses.collect(),
        }
    };
    let surface = || {
        let [one, other] = [0, 1].map(|index| direction(objective, config.seed, index));
        let steps = self::steps(config.reach, config.surface);
        let row = |&y: &f64| {
            let beside = sum(point, y, &other);
            let at = |&x: &f64| {
                let mut moved = beside.clone();
                add(&mut moved, x, &one);
                loss(&moved)
            };
            steps.iter().map(at).collect()
        };
        let losses = steps.iter().map(row).collect();
        Surface { losses, steps }
    };
    Ok(Landscape {
        dimension: point.len(),
        targets,
        loss: objective.loss(point),
        curves: (0..config.curves).map(curve).collect(),
        surface: (config.surface > 0).then(surface),
        steps,
        config: config.clone(),
    })
}

/// An odd number of steps from -reach to reach, 0 among them.
fn steps(reach: f64, count: usize) -> Vec<f64> {
    let half = (count / 2) as i32;
    let step = |index: i32| reach * f64::from(index) / f64::from(half);
    (-half..=half).map(step).collect()
}

/// A random direction, row by row as long as the point.
fn direction<T: Scalar>(objective: &impl Objective<T>, seed: u64, index: usize) -> Vec<T> {
    let point = objective.point();
    let mut all: Vec<T> = normal(seed, Probe::Landscape, index, point.len());
    let widths = objective.blocks().iter();
    let widths = widths.flat_map(|block| std::iter::repeat_n(block.columns, block.rows));
    let (mut rest, mut of_point) = (all.as_mut_slice(), point);
    for width in widths {
        let (row, after) = rest.split_at_mut(width);
        let (own, after_own) = of_point.split_at(width);
        let length = norm(row);
        let factor = if length == 0.0 {
            0.0
        } else {
            norm(own) / length
        };
        let factor = T::from_f64(factor);
        row.iter_mut().for_each(|d| *d *= factor);
        (rest, of_point) = (after, after_own);
    }
    all
}

impl Landscape {
    /// The curves as CSV: `x`, and one column of losses for each curve. A loss that is
    /// not finite is an empty field.
    pub fn curves_csv(&self) -> String {
        let names = (1..=self.curves.len()).map(|index| format!(",loss_{index}"));
        let mut table = format!("x{}\n", names.collect::<String>());
        for (place, step) in self.steps.iter().enumerate() {
            let losses = self.curves.iter().map(|curve| field(curve.losses[place]));
            table += &format!("{step}{}\n", losses.collect::<String>());
        }
        table
    }

    /// The surface as CSV: `x`, `y`, `loss`. None without a surface.
    pub fn surface_csv(&self) -> Option<String> {
        let Surface { steps, losses } = self.surface.as_ref()?;
        let mut table = "x,y,loss\n".to_owned();
        for (y, row) in steps.iter().zip(losses) {
            for (x, &loss) in steps.iter().zip(row) {
                table += &format!("{x},{y}{}\n", field(loss));
            }
        }
        Some(table)
    }
}

/// A field of a table after another.
fn field(loss: Option<f64>) -> String {
    loss.map_or(",".to_owned(), |loss| format!(",{loss}"))
}

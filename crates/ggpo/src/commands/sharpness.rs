//! `ggpo sharpness`.

use std::fmt::Write;

use anyhow::Result;
use clap::Args;
use ggpo_lab::sharpness::{
    Eigenvalue, Estimate, Sharpness, SharpnessConfig, Space, SpaceSharpness, measure,
};

use crate::loss::{self, LossOptions};
use crate::output::print_json;
use crate::say_part;

/// Arguments of `ggpo sharpness`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ggpo sharpness --run runs/ggpo
  ggpo sharpness --run runs/ggpo --data test.tsv --rows 200 --sigma 0.1 --json
  ggpo sharpness --model models/encoder --adapter runs/lora/adapter --data train.tsv --space factors")]
pub(crate) struct SharpnessCommand {
    #[command(flatten)]
    loss: LossOptions,
    /// Measure in this space alone: that of the merged weights of all adapted layers,
    /// which needs dense weights, or that of the adapter's factors
    #[arg(long, value_parser = loss::space())]
    space: Option<Space>,
    /// Radius of the ball in which the loss rises
    #[arg(long, default_value_t = 0.05)]
    rho: f64,
    /// sigma of the noise [default: that of the run, or 0.03]
    #[arg(long)]
    sigma: Option<f64>,
    /// beta of the noise [default: that of the run, or 0.01]
    #[arg(long)]
    beta: Option<f64>,
    /// Random vectors of a trace, and pairs of draws of the noise
    #[arg(long, value_name = "N", default_value_t = 32)]
    samples: usize,
    /// Steps of Lanczos, by which the density of eigenvalues is found
    #[arg(long, value_name = "N", default_value_t = 24)]
    lanczos: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl SharpnessCommand {
    pub(crate) fn execute(&self) -> Result<()> {
        let mut config = SharpnessConfig {
            seed: self.loss.seed,
            space: self.space,
            rho: self.rho,
            trace_samples: self.samples,
            ..SharpnessConfig::default()
        };
        config.density.steps = self.lanczos;
        (config.noise.draws, config.noise.samples) = (self.samples, self.samples);
        config.validate()?;
        let (opened, batches) = self.loss.open()?;
        let noise = &mut config.noise.ggpo;
        *noise = opened.noise().unwrap_or(*noise);
        noise.sigma = self.sigma.unwrap_or(noise.sigma);
        noise.beta = self.beta.unwrap_or(noise.beta);
        let model = &opened.assembled;
        let (parameters, adapters) = (&model.parameters, &model.adapters);
        let found = measure(&model.model, parameters, adapters, &batches, &config)?;
        if self.json {
            return print_json(&found);
        }
        say_part!("{}", table(&found));
        Ok(())
    }
}

/// The results as a table with one column for each space.
fn table(found: &Sharpness) -> String {
    let spaces = [
        ("merged weights", &found.merged),
        ("factors", &found.factors),
    ];
    let spaces: Vec<(&str, &SpaceSharpness)> = spaces
        .into_iter()
        .filter_map(|(name, space)| Some((name, space.as_ref()?)))
        .collect();
    let mut text = format!(
        "loss {} over {} answers\n\n",
        number(found.loss),
        found.targets
    );
    let mut line = |title: &str, fields: Vec<String>| {
        text += &format!("{title:40}");
        fields
            .iter()
            .for_each(|field| text += &format!("  {field:>22}"));
        text += "\n";
    };
    let of = |field: &dyn Fn(&SpaceSharpness) -> String| -> Vec<String> {
        spaces.iter().map(|(_, space)| field(space)).collect()
    };
    line(
        "",
        spaces.iter().map(|(name, _)| (*name).to_owned()).collect(),
    );
    line("numbers that move", of(&|it| it.dimension.to_string()));
    line(
        "norm of the gradient",
        of(&|it| number(it.ascent.gradient_norm)),
    );
    let rho = spaces.first().map_or(0.0, |(_, space)| space.ascent.rho);
    let title = format!("rise of the loss in a ball of radius {rho}");
    line(&title, of(&|it| number(it.ascent.rise)));
    line(
        "largest eigenvalue",
        of(&|it| eigenvalue(it.eigenvalues.largest)),
    );
    line(
        "eigenvalue of largest magnitude",
        of(&|it| eigenvalue(it.eigenvalues.dominant)),
    );
    line("trace", of(&|it| estimate(it.trace)));
    let ends = |it: &SpaceSharpness| {
        let (low, high) = it.density.ends();
        format!("{} to {}", number(low), number(high))
    };
    line("range of the density", of(&ends));
    line(
        "share of eigenvalues below 0",
        of(&|it| number(it.density.negative())),
    );

    let noise = &found.noise;
    let predicted = noise.predicted.map_or(String::new(), |predicted| {
        format!("; {} is predicted from the Hessian", estimate(predicted))
    });
    let _ = write!(
        text,
        "\nunder noise of sigma {}, beta {} the mean loss rises by {}{predicted}\n\
         share of the gradient term in the noise: {}\n",
        noise.sigma,
        noise.beta,
        estimate(noise.rise),
        number(noise.gradient_share),
    );
    if of(&|it| it.eigenvalues.largest.converged.to_string()).contains(&"false".to_owned()) {
        text += "* still changing when the iteration ended\n";
    }
    text
}

fn eigenvalue(found: Eigenvalue) -> String {
    let mark = if found.converged { "" } else { " *" };
    format!("{}{mark}", number(found.value))
}

fn estimate(found: Estimate) -> String {
    let error = found
        .standard_error
        .map(|error| format!(" ± {}", number(error)));
    format!("{}{}", number(found.value), error.unwrap_or_default())
}

/// Four digits.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        1e-3..1e5 => {
            let before = value.abs().log10().floor() as i32;
            format!("{value:.*}", (3 - before).max(0) as usize)
        }
        _ => format!("{value:.3e}"),
    }
}

//! `ggpo landscape`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use ggpo_files::write_folder_atomically;
use ggpo_lab::sharpness::{LandscapeConfig, Space, figures, landscape};
use ggpo_train::Error;
use serde_json::json;

use crate::loss::{self, LossOptions};
use crate::output::print_json;
use crate::say;

/// Arguments of `ggpo landscape`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ggpo landscape --run runs/ggpo --out landscapes/ggpo
  ggpo landscape --run runs/ggpo --data test.tsv --reach 0.5 --surface 0 --out landscapes/test
  ggpo landscape --model models/encoder --adapter runs/lora/adapter --data train.tsv --out landscapes/lora")]
pub(crate) struct LandscapeCommand {
    #[command(flatten)]
    loss: LossOptions,
    /// Folder to write: landscape.json, curves.csv, surface.csv, curves.svg
    /// and surface.svg
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The space: that of the merged weights of all adapted layers, which needs dense
    /// weights, or that of the adapter's factors
    #[arg(long, default_value = "merged", value_parser = loss::space())]
    space: Space,
    /// Largest step; at 1 every row of a weight moves by its own length
    #[arg(long, default_value_t = 1.0)]
    reach: f64,
    /// Curves, each along a random direction of its own
    #[arg(long, value_name = "N", default_value_t = 3)]
    curves: usize,
    /// Points of a curve, an odd number
    #[arg(long, value_name = "N", default_value_t = 41)]
    points: usize,
    /// Points of the surface along each of its two directions, an odd number; 0 for
    /// none
    #[arg(long, value_name = "N", default_value_t = 15)]
    surface: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl LandscapeCommand {
    pub(crate) fn execute(&self) -> Result<()> {
        let config = LandscapeConfig {
            seed: self.loss.seed,
            space: self.space,
            reach: self.reach,
            curves: self.curves,
            points: self.points,
            surface: self.surface,
        };
        config.validate()?;
        let out = &self.out;
        if std::fs::symlink_metadata(out).is_ok() {
            bail!(
                "{}: expected a new folder, found something there",
                out.display()
            );
        }
        let (opened, batches) = self.loss.open()?;
        let model = &opened.assembled;
        let (parameters, adapters) = (&model.parameters, &model.adapters);
        let found = landscape(&model.model, parameters, adapters, &batches, &config)?;
        let text = serde_json::to_string_pretty(&found)?;
        let (curves, surface) = (found.curves_csv(), found.surface_csv());
        let drawn = figures(&found);
        let drawn: Vec<_> = drawn
            .iter()
            .map(|it| (it.file_name(), it.to_svg()))
            .collect();
        let mut files = vec![
            ("landscape.json", text.as_bytes()),
            ("curves.csv", curves.as_bytes()),
        ];
        let drawn = drawn.iter();
        files.extend(drawn.map(|(name, svg)| (name.as_str(), svg.as_bytes())));
        files.extend(
            surface
                .as_ref()
                .map(|table| ("surface.csv", table.as_bytes())),
        );
        write_folder_atomically(out, &files).map_err(|cause| Error::io(out, cause))?;
        let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
        if self.json {
            return print_json(&json!({"out": out, "files": names, "loss": found.loss}));
        }
        let names = names.join(", ");
        say!(
            "loss {:.4} in the middle; {}: {names}",
            found.loss,
            out.display()
        );
        Ok(())
    }
}

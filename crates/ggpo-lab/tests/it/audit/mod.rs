//! Audits of training: what is recorded, and the page.

mod browser;
mod records;
mod reference;

use ggpo_lab::audit::{Audit, AuditConfig, audit, describe_tiny_model};
use ggpo_train::run::{Corpora, Description, RunConfig};

use crate::common::{World, named};

/// The run on the built-in model, in a folder that must live as long.
fn tiny(folder: &tempfile::TempDir, settings: &[(&str, toml::Value)]) -> RunConfig {
    let mut description = Description::default();
    description.set("method.name", "ggpo").expect("a field");
    description.set("training.steps", 3).expect("a field");
    for (field, value) in settings {
        description.set(field, value.clone()).expect("a field");
    }
    describe_tiny_model(folder.path(), &mut description).expect("a model");
    let complete = description.complete(&Corpora::default());
    complete.expect("a complete description")
}

fn config(run: RunConfig) -> AuditConfig {
    AuditConfig {
        run,
        model: "a model".to_owned(),
        data: "texts".to_owned(),
        layer: None,
        row: None,
        column: None,
    }
}

/// An audit of the built-in model.
fn tiny_audit(settings: &[(&str, toml::Value)]) -> Audit {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = tiny(&folder, settings);
    audit(&config(run), &mut |_| {}).expect("an audit")
}

/// An audit of a model that is not shown whole, with clipping and a course of the
/// learning rate.
fn larger_audit() -> Audit {
    let world = World::new();
    let mut run = world.classification(named("ggpo"));
    run.training.steps = 3;
    audit(&config(run), &mut |_| {}).expect("an audit")
}

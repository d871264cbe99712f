//! Going on from an adapter: what it says of itself holds where the run says nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ggpo_lora::method::{AdapterKind, InitConfig};
use ggpo_lora::peft::{PeftAdapter, PeftConfig};
use ggpo_lora::{LoraConfig, ScalingRule};
use ggpo_model::Parameters;
use toml::Value;

use super::description::Description;
use crate::method::{MethodConfig, Trainable};
use crate::{Error, Result};

/// The files of an adapter that a run reads.
pub(super) fn files(folder: &Path) -> [PathBuf; 2] {
    ["adapter_config.json", "adapter_model.safetensors"].map(|name| folder.join(name))
}

/// Puts form, rank, scaling, dropout and targets of the adapter into a description that
/// says nothing of them.
///
/// # Errors
/// If the adapter cannot be read or gone on from, or the description says otherwise of its
/// form, rank or scaling.
pub(super) fn complete(description: &mut Description, folder: &Path) -> Result<()> {
    let adapter = PeftConfig::read(folder)?;
    let kind = kind(&adapter).map_err(|found| {
        let expected = "LoRA or DoRA of one rank on the model's own weights, to go on from";
        let [path, _] = files(folder);
        Error::file(path, format!("expected {expected}, found {found}"))
    })?;
    let said = description.method()?;
    if said.init != InitConfig::Kaiming {
        let expected = "nothing beside an adapter to go on from, which is the start";
        return Err(Error::config("method.init", expected, "another start"));
    }
    let usual = MethodConfig::default();
    let scaling = |rule: ScalingRule| match rule {
        ScalingRule::Lora => "lora",
        ScalingRule::RsLora => "rslora",
    };
    let own = LoraConfig {
        rank: adapter.r,
        alpha: adapter.lora_alpha,
        scaling: adapter.scaling_rule(),
        ..said.lora.clone()
    };
    let values = |config: &LoraConfig, kind: AdapterKind| {
        [
            ("method.adapter", name(kind).into()),
            ("method.lora.rank", Value::Integer(config.rank as i64)),
            ("method.lora.alpha", Value::Float(config.alpha)),
            ("method.lora.scaling", scaling(config.scaling).into()),
        ]
    };
    let found = values(&said.lora, said.adapter);
    let defaults = values(&usual.lora, usual.adapter);
    for (((path, own), (_, found)), (_, default)) in
        values(&own, kind).into_iter().zip(found).zip(defaults)
    {
        // The name of a method says something, too.
        let is_said = description.get(path).is_some() || found != default;
        if is_said && found != own {
            let expected = format!("{own}, as the adapter in {} has", folder.display());
            return Err(Error::config(path, expected, found));
        }
        description.set(path, own)?;
    }
    if description.get("method.lora.dropout").is_none() {
        let dropout: f64 = adapter.lora_dropout.to_string().parse().unwrap_or_default();
        description.set("method.lora.dropout", dropout)?;
    }
    if description.get("method.lora.targets").is_none()
        && let Some(targets) = &adapter.target_modules
    {
        let targets = Value::try_from(targets).expect("targets have a TOML form");
        description.set("method.lora.targets", targets)?;
    }
    Ok(())
}

/// The form of an adapter that can be gone on from, or what it has that cannot.
fn kind(adapter: &PeftConfig) -> std::result::Result<AdapterKind, String> {
    if adapter.budget.is_some() {
        return Err(format!("{}, whose ranks were given up", adapter.form.title));
    }
    if let Some(start) = adapter.start() {
        return Err(format!("one on a base that {} has changed", start.title()));
    }
    if !adapter.rank_pattern.is_empty() || !adapter.alpha_pattern.is_empty() {
        return Err("rank_pattern or alpha_pattern".to_owned());
    }
    Ok(match adapter.form.use_dora {
        true => AdapterKind::Dora,
        false => AdapterKind::Lora,
    })
}

fn name(kind: AdapterKind) -> &'static str {
    match kind {
        AdapterKind::Full => "full",
        AdapterKind::Lora => "lora",
        AdapterKind::Dora => "dora",
        AdapterKind::Adalora => "adalora",
    }
}

/// Puts the modules that were trained whole with the adapter in the place of the model's.
///
/// # Errors
/// If the model has none of the name and shape.
pub(super) fn put_modules(
    parameters: &mut Parameters<f32>,
    adapter: &PeftAdapter<f32>,
    folder: &Path,
) -> Result<()> {
    let [_, path] = files(folder);
    for (name, value) in &adapter.saved_modules {
        let expected = match parameters.get_mut(name) {
            Some(own) if own.shape() == value.shape() => {
                *own = value.clone();
                continue;
            }
            Some(own) => format!("shape {:?}, as the model and the data ask for", own.shape()),
            None => "a part of the model".to_owned(),
        };
        let problem = format!(
            "{name}: expected {expected}, found shape {:?}",
            value.shape()
        );
        return Err(Error::file(path, problem));
    }
    Ok(())
}

/// Puts the adapters in the place of new ones.
///
/// # Errors
/// If they are of other modules, or of another shape.
pub(super) fn put_adapters(
    trainable: &mut Trainable<f32>,
    adapter: PeftAdapter<f32>,
    folder: &Path,
) -> Result<()> {
    let [_, path] = files(folder);
    let wrong = |problem: String| Err(Error::file(&path, problem));
    let chosen: BTreeSet<&String> = trainable.adapters.keys().collect();
    let there: BTreeSet<&String> = adapter.adapters.keys().collect();
    if let Some(module) = chosen.difference(&there).next() {
        return wrong(format!(
            "expected an adapter of {module}, which the targets choose, found none; leave --targets \
             out"
        ));
    }
    if let Some(module) = there.difference(&chosen).next() {
        return wrong(format!(
            "expected adapters of the modules that the targets choose, found one of {module} \
             besides; leave --targets out, or is it an adapter of another model?"
        ));
    }
    for (module, read) in adapter.adapters {
        let Some(new) = trainable.adapters.get_mut(&module) else {
            continue;
        };
        let shape = |(m, n): (usize, usize), rank| format!("{m} x {n} and rank {rank}");
        let expected = shape(new.dim(), new.rank());
        let found = shape(read.dim(), read.rank());
        if expected != found {
            return wrong(format!(
                "{module}: expected an adapter of {expected}, found one of {found}; is it an \
                 adapter of another model?"
            ));
        }
        let dropout = new.dropout;
        *new = read.with_dropout(dropout);
    }
    Ok(())
}

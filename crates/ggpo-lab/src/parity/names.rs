//! The names of parameters in the reference, which are PEFT's.

use super::reference::Reference;

const PREFIX: &str = "base_model.model.";

/// The key of a value of an adapted layer.
pub(super) fn layer_key(module: &str, what: &str) -> String {
    format!("ggpo.{PREFIX}{module}.{what}")
}

/// The kind of a trained parameter, as the table calls it.
pub(super) fn parameter_kind(name: &str) -> &'static str {
    match name {
        _ if name.ends_with(".lora_A.weight") => "lora_A",
        _ if name.ends_with(".lora_B.weight") => "lora_B",
        _ => "modules_to_save",
    }
}

/// The key of a parameter of ours: A and B belong to the adapter `default`, as
/// do the modules that are saved whole, unless the plain name is there.
pub(super) fn parameter_key(reference: &Reference, prefix: &str, name: &str) -> String {
    let adapted = name
        .replace(".lora_A.weight", ".lora_A.default.weight")
        .replace(".lora_B.weight", ".lora_B.default.weight");
    let plain = format!("{prefix}{PREFIX}{adapted}");
    match name.rsplit_once('.') {
        Some((module, parameter)) if adapted == name && !reference.has(&plain) => {
            format!("{prefix}{PREFIX}{module}.modules_to_save.default.{parameter}")
        }
        _ => plain,
    }
}

/// The module whose A is stored under this key.
pub(super) fn module_of_a(key: &str) -> Option<&str> {
    key.strip_prefix(PREFIX)?
        .strip_suffix(".lora_A.default.weight")
}

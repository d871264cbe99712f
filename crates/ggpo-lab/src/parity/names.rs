//! The names of parameters in the reference, which are PEFT's.

use super::reference::Reference;

/// What stands before the name of a module.
pub(super) const PREFIX: &str = "base_model.model.";

/// What the names of trained factors begin with, after the module.
const FACTOR: &str = ".lora_";

/// The names of A, after the module; the second is AdaLoRA's.
const A: [&str; 2] = [".lora_A.default.weight", ".lora_A.default"];

/// The key of a value of an adapted layer.
pub(super) fn layer_key(module: &str, what: &str) -> String {
    format!("ggpo.{PREFIX}{module}.{what}")
}

/// The kind of a trained parameter, as the table calls it.
pub(super) fn parameter_kind(name: &str) -> &str {
    let factor = name.rfind(FACTOR).map(|dot| &name[dot + 1..]);
    let kind = factor.and_then(|factor| factor.split('.').next());
    kind.unwrap_or("modules_to_save")
}

/// The key of a parameter of ours: factors belong to the adapter `default`, as do the
/// modules that are saved whole, unless the plain name is there.
pub(super) fn parameter_key(reference: &Reference, prefix: &str, name: &str) -> String {
    let plain = format!("{prefix}{PREFIX}{name}");
    if name.contains(FACTOR) {
        // DoRA's m is a module in PEFT and has a weight, AdaLoRA's matrices have none.
        let (factor, suffix) = match plain.strip_suffix(".weight") {
            Some(factor) => (factor, ".weight"),
            None => (plain.as_str(), ""),
        };
        let key = format!("{factor}.default{suffix}");
        return match reference.has(&key) || !suffix.is_empty() {
            true => key,
            false => format!("{key}.weight"),
        };
    }
    if reference.has(&plain) {
        return plain;
    }
    // Of a module that is saved whole, parts may be modules themselves.
    let saved = name.match_indices('.').map(|(dot, _)| {
        let (module, parameter) = (&name[..dot], &name[dot + 1..]);
        format!("{prefix}{PREFIX}{module}.modules_to_save.default.{parameter}")
    });
    let saved: Vec<String> = saved.collect();
    let mut found = saved.iter().rev().filter(|key| reference.has(key));
    found.next().or(saved.last()).cloned().unwrap_or(plain)
}

/// The module whose A is stored under this key, and the key of its B.
pub(super) fn module_of_a(key: &str) -> Option<(&str, String)> {
    let name = key.strip_prefix(PREFIX)?;
    A.iter().find_map(|a| {
        let module = name.strip_suffix(a)?;
        let b = a.replace("lora_A", "lora_B");
        Some((module, format!("{PREFIX}{module}{b}")))
    })
}

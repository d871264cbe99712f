//! The forms of LoRA: another adapter on a family's model.

use ggpo_lora::{Adapter, ScalingRule};
use ggpo_model::{Adapters, Number, lora_a, lora_b};
use ggpo_train::Result;

use super::family::{Family, Noise, check_fit};
use super::family_of;
use super::names::parameter_key;
use super::reference::Reference;
use super::section::Section;

/// Compares rsLoRA: an adapter whose scaling is `alpha / sqrt(r)`.
pub(super) fn check_rs_lora<T: Number>(
    section: &mut Section<'_>,
    families: &[Family<T>],
    file: &mut Reference,
) -> Result<()> {
    let family = family_of(families, file, "logits", |family, module, [a, b]| {
        check_fit(&family.parameters, module, a, b).is_ok()
    })?;
    let (rank, alpha) = (file.count("r")? as usize, file.setting("alpha")?);
    let scaling = T::from_f64(ScalingRule::RsLora.factor(alpha, rank));
    let mut adapters = Adapters::new();
    let modules: Vec<String> = file.adapted_modules().into_keys().collect();
    for module in modules {
        let mut take = |name: String| file.take_as(&parameter_key(file, "", &name));
        let (a, b) = (take(lora_a(&module))?, take(lora_b(&module))?);
        let adapter = Adapter {
            a,
            b,
            scaling,
            dropout: 0.0,
        };
        if adapter.rank() != rank {
            let found = adapter.rank();
            return Err(file.error(format!("{module}: expected rank {rank}, found {found}")));
        }
        adapters.insert(module, adapter);
    }
    let pass = family.pass(&family.parameters, &adapters, Noise::new(), Vec::new())?;
    section.outputs(file, "", &pass)?;
    section.gradients(file, "grad.", &pass)
}

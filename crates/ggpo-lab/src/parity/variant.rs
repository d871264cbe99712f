//! The forms of LoRA: another adapter on a family's model.

use ggpo_lora::adapter::lora;
use ggpo_lora::{Adapter, Adapters, Lora, ScalingRule, parameter_name};
use ggpo_model::Number;
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
    let family = family_of(
        families,
        file,
        "logits",
        |family, module, [a, b]| matches!((a, b), ([_, n], [m, _]) if check_fit(&family.parameters, module, (*m, *n)).is_ok()),
    )?;
    let (rank, alpha) = (file.count("r")? as usize, file.setting("alpha")?);
    let scaling = T::from_f64(ScalingRule::RsLora.factor(alpha, rank));
    let mut adapters = Adapters::new();
    let modules: Vec<String> = file.adapted_modules().into_keys().collect();
    for module in modules {
        let mut take = |factor| {
            let key = parameter_key(file, "", &parameter_name(&module, factor));
            file.take_as(&key)
        };
        let (a, b) = (take(lora::A)?, take(lora::B)?);
        let adapter = Adapter::new(Lora { a, b, scaling });
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

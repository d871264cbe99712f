//! One pass with another adapter on a family's model.

use ggpo_lora::MethodConfig;
use ggpo_train::Result;
use ggpo_train::trainer::Real;

use super::family::{Family, Noise};
use super::family_of;
use super::reference::Reference;
use super::section::Section;
use super::start;

/// Compares logits, loss and gradients of a form of adapter, whose factors the file has.
pub(super) fn check_pass<T: Real>(
    section: &mut Section<'_>,
    families: &[Family<T>],
    file: &mut Reference,
    method: &MethodConfig,
) -> Result<()> {
    let modules = file.adapted_modules()?;
    let family = family_of(families, file, "logits", &modules)?;
    let adapters = start::adapters(section, family, file, method, &modules, Some(""))?;
    let pass = family.pass(&family.parameters, &adapters, Noise::new(), Vec::new())?;
    section.outputs(file, "", &pass)?;
    section.gradients(file, "grad.", &pass)
}

//! Some steps of AdamW on `sum (w - target)^2`.

use ggpo_lora::MethodConfig;
use ggpo_tensor::{Tensor, flat};
use ggpo_train::Result;
use ggpo_train::optimizer::{AdamW, AdamWConfig};
use ggpo_train::trainer::Real;

use super::Arithmetic;
use super::family::Family;
use super::reference::Reference;
use super::section::Section;

/// Learning rate of the reference.
const LEARNING_RATE: f64 = 1e-2;
/// Weight decay of the reference; the rest are the defaults.
const WEIGHT_DECAY: f64 = 0.1;

/// Compares the parameter after every step: `w1`, `w2`, ... from `w0`.
pub(super) fn check_adamw<T: Real>(
    section: &mut Section<'_>,
    _: &[Family<T>],
    file: &mut Reference,
    _: &MethodConfig,
) -> Result<()> {
    let target: Tensor<T> = file.take_as("target")?;
    let mut w: Tensor<T> = file.take_as("w0")?;
    if w.shape() != target.shape() {
        let (expected, found) = (target.shape(), w.shape());
        return Err(file.error(format!("w0: expected shape {expected:?}, found {found:?}")));
    }
    let config = AdamWConfig {
        weight_decay: WEIGHT_DECAY,
        ..AdamWConfig::default()
    };
    let mut optimizer = AdamW::new(config);
    let mut quantity = section.quantity("steps", Arithmetic::outputs);
    for step in 1.. {
        let key = format!("w{step}");
        if step > 1 && !file.has(&key) {
            break;
        }
        let two = T::from_f64(2.0);
        let pairs = flat(&w).iter().zip(flat(&target));
        let gradient: Vec<T> = pairs.map(|(&w, &target)| two * (w - target)).collect();
        optimizer.begin_step();
        let elements = w.as_slice_mut().expect("standard layout");
        optimizer.update("w", elements, &gradient, LEARNING_RATE);
        quantity.compare(file, &key, &w)?;
    }
    section.push(quantity);
    Ok(())
}

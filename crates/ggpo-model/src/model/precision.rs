//! How precisely the numbers of a model are stored.

use half::{bf16, f16};

/// The precision of stored weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point (IEEE half).
    F16,
    /// 16-bit floating point with the exponents of 32-bit (bfloat16).
    BF16,
}

impl Precision {
    /// The name that `config.json` has for it.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "float32",
            Precision::F16 => "float16",
            Precision::BF16 => "bfloat16",
        }
    }

    /// Whether a number, rounded to this precision, is still a finite one.
    pub(crate) fn holds(self, number: f64) -> bool {
        match self {
            Precision::F32 => (number as f32).is_finite(),
            Precision::F16 => f16::from_f64(number).is_finite(),
            Precision::BF16 => bf16::from_f64(number).is_finite(),
        }
    }
}

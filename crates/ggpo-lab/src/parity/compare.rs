//! Errors of values against the reference, gathered by quantity.

use ggpo_tensor::{Scalar, Tensor};
use ggpo_train::Result;

use super::ComparedQuantity;
use super::reference::Reference;

/// A magnitude below this share of the largest one of the same quantity is not
/// a value but the rounding of a sum that is 0: the reference was calculated
/// with roundings of 1e-16.
const ROUNDING: f64 = 1e-12;

/// One quantity, of one or many values.
#[derive(Debug)]
pub(super) struct Quantity {
    name: String,
    tolerance: f64,
    values: Vec<Value>,
}

/// The error of one value.
#[derive(Debug)]
struct Value {
    key: String,
    /// Largest difference.
    error: f64,
    /// Largest magnitude in the reference.
    magnitude: f64,
}

impl Quantity {
    pub(super) fn new(name: impl Into<String>, tolerance: f64) -> Self {
        Quantity {
            name: name.into(),
            tolerance,
            values: Vec::new(),
        }
    }

    /// Holds a value against the one that the reference has under `key`.
    ///
    /// # Errors
    /// If the reference has none, or one of another shape.
    pub(super) fn compare<T: Scalar>(
        &mut self,
        reference: &mut Reference,
        key: &str,
        found: &Tensor<T>,
    ) -> Result<()> {
        let expected = reference.take(key)?;
        if expected.shape() != found.shape() {
            let (expected, found) = (found.shape(), expected.shape());
            return Err(reference.error(format!(
                "{key}: expected shape {expected:?}, found {found:?}"
            )));
        }
        self.compare_with(key, &expected, found);
        Ok(())
    }

    /// Holds a value against one of the same shape that was taken from under `key`.
    pub(super) fn compare_with<T: Scalar>(
        &mut self,
        key: &str,
        expected: &Tensor<f64>,
        found: &Tensor<T>,
    ) {
        let pairs = found.iter().zip(expected);
        self.values.push(Value {
            key: key.to_owned(),
            error: largest(pairs.map(|(found, expected)| found.value() - expected)),
            magnitude: largest(expected.iter().copied()),
        });
    }

    /// The row of the worst value; none if nothing was compared.
    pub(super) fn row(self, family: &str) -> Option<ComparedQuantity> {
        let largest_magnitude = largest(self.values.iter().map(|value| value.magnitude));
        let relative = |value: &Value| {
            if value.error == 0.0 {
                0.0
            } else if value.magnitude > ROUNDING * largest_magnitude {
                value.error / value.magnitude
            } else {
                value.error / largest_magnitude
            }
        };
        // A positive NaN is the largest number in the total order.
        let worst = self
            .values
            .iter()
            .map(|value| (relative(value).abs(), &value.key))
            .max_by(|(a, key_a), (b, key_b)| a.total_cmp(b).then(key_b.cmp(key_a)))?;
        Some(ComparedQuantity {
            family: family.to_owned(),
            quantity: self.name,
            worst_key: worst.1.clone(),
            absolute: largest(self.values.iter().map(|value| value.error)),
            relative: worst.0,
            tolerance: self.tolerance,
        })
    }
}

/// The largest magnitude, 0 of none; NaN if there is one.
fn largest(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers
        .map(f64::abs)
        .fold(0.0, |x, y| if x >= y || x.is_nan() { x } else { y })
}

#[cfg(test)]
mod tests {
    use ggpo_tensor::tensor;

    use super::*;
    use ggpo_model::Precision;
    use ggpo_model::weights::to_safetensors;

    /// The row of `found` against `expected`, values named a, b, c.
    fn row(found: &[&[f64]], expected: &[&[f64]]) -> ComparedQuantity {
        let named = |values: &[&[f64]]| {
            let name = |index| char::from(b'a' + index as u8).to_string();
            let value = |value: &&[f64]| tensor(&[value.len()], value.to_vec());
            let values = values.iter().enumerate();
            values.map(|(i, x)| (name(i), value(x))).collect()
        };
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("case.safetensors");
        std::fs::write(&path, to_safetensors(&named(expected), Precision::F32)).expect("writable");
        let mut reference = Reference::read(&path).expect("just written");
        let mut quantity = Quantity::new("q", 0.1);
        let found: std::collections::BTreeMap<String, Tensor<f64>> = named(found);
        for (key, value) in &found {
            quantity.compare(&mut reference, key, value).expect("there");
        }
        reference.finish().expect("all taken");
        quantity.row("f").expect("something was compared")
    }

    #[test]
    fn the_worst_value_is_named() {
        let row = row(
            &[&[1.0, 2.5], &[100.0, 101.0], &[4.0]],
            &[&[1.0, 2.0], &[100.0, 100.0], &[4.0]],
        );
        assert_eq!(
            (row.worst_key.as_str(), row.relative, row.absolute),
            ("a", 0.25, 1.0)
        );
        assert!(!row.is_within());
    }

    #[test]
    fn what_is_not_a_number_is_the_worst() {
        for found in [[f64::NAN, 3.0], [3.0, f64::NAN]] {
            let row = row(&[&[9.0], &found, &[9.0]], &[&[1.0], &[3.0, 3.0], &[1.0]]);
            assert!(row.relative.is_nan() && row.absolute.is_nan());
            assert!(row.worst_key == "b" && !row.is_within());
        }
    }

    /// A value that is 0 but for rounding has no magnitude of its own.
    #[test]
    fn rounding_is_measured_by_the_other_values() {
        let rounded = row(&[&[2.0], &[1e-7]], &[&[2.0], &[3e-17]]);
        assert!((rounded.relative - 5e-8).abs() < 1e-15);
        let small = row(&[&[2.0], &[2e-7]], &[&[2.0], &[1e-7]]);
        assert!((small.relative - 1.0).abs() < 1e-6 && small.worst_key == "b");
        assert_eq!(row(&[&[0.0]], &[&[0.0]]).relative, 0.0);
        assert_eq!(row(&[&[1e-30]], &[&[0.0]]).relative, f64::INFINITY);
    }
}

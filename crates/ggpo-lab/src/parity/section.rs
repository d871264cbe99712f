//! One section of the table: a family, or a file.

use std::collections::BTreeMap;

use ggpo_tensor::{Scalar, Tensor};
use ggpo_train::Result;

use super::compare::Quantity;
use super::family::Pass;
use super::names::{parameter_key, parameter_kind};
use super::reference::Reference;
use super::{Arithmetic, ComparedQuantity};

/// Where the rows of one family or file go.
pub(super) struct Section<'r> {
    pub(super) name: String,
    pub(super) arithmetic: Arithmetic,
    pub(super) rows: &'r mut Vec<ComparedQuantity>,
}

impl Section<'_> {
    pub(super) fn push(&mut self, quantity: Quantity) {
        self.rows.extend(quantity.row(&self.name));
    }

    /// A quantity of which nothing has been compared yet.
    pub(super) fn quantity(
        &self,
        name: impl Into<String>,
        tolerance: fn(Arithmetic) -> f64,
    ) -> Quantity {
        Quantity::new(name, tolerance(self.arithmetic))
    }

    /// Compares a value that is a quantity of its own.
    pub(super) fn value<T: Scalar>(
        &mut self,
        reference: &mut Reference,
        key: &str,
        found: &Tensor<T>,
        tolerance: fn(Arithmetic) -> f64,
    ) -> Result<()> {
        let mut quantity = self.quantity(key, tolerance);
        quantity.compare(reference, key, found)?;
        self.push(quantity);
        Ok(())
    }

    /// Compares logits and loss, whose keys begin with `prefix`.
    pub(super) fn outputs<T: Scalar>(
        &mut self,
        reference: &mut Reference,
        prefix: &str,
        pass: &Pass<T>,
    ) -> Result<()> {
        let outputs = Arithmetic::outputs;
        self.value(reference, &format!("{prefix}logits"), &pass.logits, outputs)?;
        self.value(reference, &format!("{prefix}loss"), &pass.loss, outputs)
    }

    /// Compares gradients, kind by kind.
    pub(super) fn gradients<T: Scalar>(
        &mut self,
        reference: &mut Reference,
        prefix: &str,
        pass: &Pass<T>,
    ) -> Result<()> {
        self.parameters(reference, prefix, &pass.gradients, Arithmetic::gradients)
    }

    /// Compares what is known by the names of parameters, kind by kind;
    /// `prefix` stands before the name.
    pub(super) fn parameters<T: Scalar>(
        &mut self,
        reference: &mut Reference,
        prefix: &str,
        found: &BTreeMap<String, Tensor<T>>,
        tolerance: fn(Arithmetic) -> f64,
    ) -> Result<()> {
        let mut kinds: BTreeMap<&str, Quantity> = BTreeMap::new();
        for (name, value) in found {
            let kind = parameter_kind(name);
            let quantity = kinds.entry(kind).or_insert_with(|| {
                let label = format!("{} {kind}", prefix.trim_end_matches('.'));
                self.quantity(label.trim_start(), tolerance)
            });
            let key = parameter_key(reference, prefix, name);
            quantity.compare(reference, &key, value)?;
        }
        for quantity in kinds.into_values() {
            self.push(quantity);
        }
        Ok(())
    }
}

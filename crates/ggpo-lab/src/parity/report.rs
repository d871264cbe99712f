//! What a comparison found.

use std::fmt;

use ggpo_train::Error;
use serde::Serialize;

/// One quantity of one folder or file, held against the reference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedQuantity {
    /// The family's folder, or the file without its extension, for example
    /// `bert` or `trajectories/lora_adamw`.
    pub family: String,
    /// What was compared, for example `lora.loss` or `grad lora_A`.
    pub quantity: String,
    /// The value with the largest relative error, by its key in the file.
    pub worst_key: String,
    /// The largest difference of two numbers, in the quantity's own unit.
    pub absolute: f64,
    /// The largest difference within one value, over the largest magnitude of
    /// that value in the reference.
    pub relative: f64,
    /// What `relative` may be.
    pub tolerance: f64,
}

impl ComparedQuantity {
    /// Whether the error is within the tolerance; NaN is not.
    pub fn is_within(&self) -> bool {
        self.relative <= self.tolerance
    }
}

/// Something that is not compared here, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The folder, or the file without its extension.
    pub family: String,
    /// One sentence or less.
    pub text: String,
}

/// Everything that a comparison found.
///
/// Displayed, it is a table with one section per family and the
/// [summary](Report::summary) as last line.
#[derive(Debug, Default)]
pub struct Report {
    /// The quantities, family by family.
    pub rows: Vec<ComparedQuantity>,
    /// What was not compared.
    pub notes: Vec<Note>,
    /// What could not be compared: a file or a value that is missing or of
    /// another form, or a value that nothing is held against.
    pub errors: Vec<Error>,
}

impl Report {
    /// The rows whose error exceeds the tolerance.
    pub fn exceeding(&self) -> impl Iterator<Item = &ComparedQuantity> {
        self.rows.iter().filter(|row| !row.is_within())
    }

    /// Whether everything was compared and every error is within its tolerance.
    pub fn agrees(&self) -> bool {
        self.errors.is_empty() && self.exceeding().next().is_none()
    }

    /// One line: how many quantities are within their tolerance.
    pub fn summary(&self) -> String {
        let (exceeding, all) = (self.exceeding().count(), self.rows.len());
        match (exceeding, self.errors.len()) {
            (0, 0) => format!("all {all} quantities within tolerance"),
            (_, 0) => format!("{exceeding} of {all} quantities exceed their tolerance"),
            (_, errors) => format!(
                "{exceeding} of {all} quantities exceed their tolerance, and not everything could be compared (errors: {errors})"
            ),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width =
            |cell: fn(&ComparedQuantity) -> &str| self.rows.iter().map(|row| cell(row).len()).max();
        let quantities = width(|row| &row.quantity).unwrap_or(0);
        for family in self.rows.chunk_by(|a, b| a.family == b.family) {
            writeln!(f, "{}", family[0].family)?;
            writeln!(
                f,
                "  {:quantities$}  absolute  relative  tolerance  worst",
                "quantity"
            )?;
            for row in family {
                let mark = if row.is_within() { "" } else { "  EXCEEDS" };
                writeln!(
                    f,
                    "  {:quantities$}  {:>8}  {:>8}  {:>9}  {}{mark}",
                    row.quantity,
                    format!("{:.1e}", row.absolute),
                    format!("{:.1e}", row.relative),
                    format!("{:e}", row.tolerance),
                    row.worst_key,
                )?;
            }
            writeln!(f)?;
        }
        for note in &self.notes {
            writeln!(f, "{}: {}", note.family, note.text)?;
        }
        if !self.notes.is_empty() {
            writeln!(f)?;
        }
        writeln!(f, "{}", self.summary())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(quantity: &str, relative: f64) -> ComparedQuantity {
        ComparedQuantity {
            family: "bert".to_owned(),
            quantity: quantity.to_owned(),
            worst_key: quantity.to_owned(),
            absolute: 2.0 * relative,
            relative,
            tolerance: 1e-4,
        }
    }

    #[test]
    fn a_table_ends_with_the_summary() {
        let mut report = Report {
            rows: vec![row("base.logits", 2e-7), row("loss", 1e-4)],
            ..Report::default()
        };
        let expected = "\
bert
  quantity     absolute  relative  tolerance  worst
  base.logits    4.0e-7    2.0e-7       1e-4  base.logits
  loss           2.0e-4    1.0e-4       1e-4  loss

all 2 quantities within tolerance
";
        assert_eq!(report.to_string(), expected);
        assert!(report.agrees());
        report.rows[1].relative = f64::NAN;
        let text = report.to_string();
        assert!(text.contains("loss  EXCEEDS\n"), "{text}");
        assert!(text.ends_with("\n1 of 2 quantities exceed their tolerance\n"));
        assert!(!report.agrees());
    }

    #[test]
    fn an_error_is_no_agreement() {
        let report = Report {
            rows: vec![row("loss", 0.0)],
            errors: vec![Error::file("case.safetensors", "expected more")],
            ..Report::default()
        };
        assert!(!report.agrees());
        let summary = "0 of 1 quantities exceed their tolerance, \
                       and not everything could be compared (errors: 1)";
        assert_eq!(report.summary(), summary);
    }
}

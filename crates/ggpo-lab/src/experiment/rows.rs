//! What single test rows lost, in as few letters as a line of a record should have.

use ggpo_train::evaluation::RowScores;
use serde::{Deserialize, Serialize};

use super::description::Experiment;
use super::kinds::Kind;
use super::primary::Primary;

/// The measure of every test row after the last step, in an order that is the same in all
/// runs of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Letters", into = "Letters")]
pub enum Rows {
    /// Whether its class was predicted right.
    Right(Vec<bool>),
    /// Its loss, summed over its targets, and how many these are.
    Losses(Vec<f32>, Vec<u32>),
}

/// The same as text: bits of a byte from the lowest, numbers in little endian, bytes as two
/// hexadecimal digits each.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Letters {
    Right {
        rows: usize,
        bits: String,
    },
    Losses {
        sums: String,
        /// None if every row has one target.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        targets: Option<String>,
    },
}

impl Rows {
    /// What an experiment needs of them: the rows that its measure is the mean of, where
    /// it compares methods on a task. None where the measure is no mean of rows.
    pub(super) fn of(experiment: &Experiment, rows: RowScores) -> Option<Self> {
        if !matches!(experiment.kind, Kind::Comparison | Kind::Dose) {
            return None;
        }
        match experiment.primary {
            Primary::Accuracy => Some(Rows::Right(rows.right)),
            Primary::Loss => Some(Rows::Losses(rows.losses, rows.targets)),
            _ => None,
        }
    }

    /// The measure of every row times its weight, and its weight; none if these are the
    /// rows of another measure.
    pub(super) fn measured(&self, primary: Primary) -> Option<(Vec<f64>, Vec<f64>)> {
        match (self, primary) {
            (Rows::Right(right), Primary::Accuracy) => {
                let percent = right
                    .iter()
                    .map(|&right| 100.0 * f64::from(u8::from(right)));
                Some((percent.collect(), vec![1.0; right.len()]))
            }
            (Rows::Losses(sums, targets), Primary::Loss) => Some((
                sums.iter().map(|&sum| sum.into()).collect(),
                targets.iter().map(|&targets| targets.into()).collect(),
            )),
            _ => None,
        }
    }
}

impl From<Rows> for Letters {
    fn from(rows: Rows) -> Self {
        match rows {
            Rows::Right(right) => {
                let byte = |bits: &[bool]| {
                    let bits = bits.iter().enumerate();
                    bits.fold(0, |byte, (place, &bit)| byte | u8::from(bit) << place)
                };
                Letters::Right {
                    rows: right.len(),
                    bits: letters(right.chunks(8).map(byte)),
                }
            }
            Rows::Losses(sums, targets) => Letters::Losses {
                sums: letters(sums.iter().flat_map(|sum| sum.to_le_bytes())),
                targets: (targets.iter().any(|&targets| targets != 1))
                    .then(|| letters(targets.iter().flat_map(|it| it.to_le_bytes()))),
            },
        }
    }
}

impl TryFrom<Letters> for Rows {
    type Error = String;

    fn try_from(text: Letters) -> Result<Self, String> {
        match text {
            Letters::Right { rows, bits } => {
                let bytes = bytes(&bits)?;
                if bytes.len() != rows.div_ceil(8) {
                    let found = bytes.len();
                    return Err(format!(
                        "expected the bits of {rows} rows, found {found} bytes"
                    ));
                }
                let bit = |row: usize| bytes[row / 8] >> (row % 8) & 1 == 1;
                Ok(Rows::Right((0..rows).map(bit).collect()))
            }
            Letters::Losses { sums, targets } => {
                let sums: Vec<f32> = words(&sums)?.into_iter().map(f32::from_le_bytes).collect();
                let targets = match targets {
                    None => vec![1; sums.len()],
                    Some(targets) => words(&targets)?
                        .into_iter()
                        .map(u32::from_le_bytes)
                        .collect(),
                };
                if targets.len() != sums.len() {
                    let (found, rows) = (targets.len(), sums.len());
                    return Err(format!(
                        "expected the targets of {rows} rows, found {found}"
                    ));
                }
                Ok(Rows::Losses(sums, targets))
            }
        }
    }
}

fn letters(bytes: impl Iterator<Item = u8>) -> String {
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(letters: &str) -> Result<Vec<u8>, String> {
    let digit = |letter: &u8| {
        let digit = char::from(*letter).to_digit(16);
        digit.ok_or_else(|| format!("expected hexadecimal digits, found {letters:?}"))
    };
    let (pairs, rest) = letters.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return Err("expected an even number of digits, found an odd one".to_owned());
    }
    pairs
        .iter()
        .map(|[high, low]| Ok((16 * digit(high)? + digit(low)?) as u8))
        .collect()
}

fn words(letters: &str) -> Result<Vec<[u8; 4]>, String> {
    let bytes = bytes(letters)?;
    let (words, rest) = bytes.as_chunks::<4>();
    match rest {
        [] => Ok(words.to_vec()),
        _ => Err("expected numbers of 4 bytes, found a part of one".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Rows, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_by_hand() {
        let mut right = vec![true, false, true, true, false, false, false, false];
        right.push(true);
        let rows = Rows::Right(right);
        let text = serde_json::to_string(&rows).expect("plain data");
        assert_eq!(text, r#"{"right":{"rows":9,"bits":"0d01"}}"#);
        assert_eq!(read(&text), Ok(rows));
        let rows = Rows::Losses(vec![1.0, -0.5], vec![1, 1]);
        let text = serde_json::to_string(&rows).expect("plain data");
        assert_eq!(text, r#"{"losses":{"sums":"0000803f000000bf"}}"#);
        assert_eq!(read(&text), Ok(rows));
        let rows = Rows::Losses(vec![1.0], vec![300]);
        let text = serde_json::to_string(&rows).expect("plain data");
        assert_eq!(
            text,
            r#"{"losses":{"sums":"0000803f","targets":"2c010000"}}"#
        );
        assert_eq!(read(&text), Ok(rows));
    }

    #[test]
    fn other_letters_are_refused() {
        for (text, said) in [
            (r#"{"right":{"rows":9,"bits":"0d"}}"#, "the bits of 9 rows"),
            (r#"{"right":{"rows":8,"bits":"0g"}}"#, "hexadecimal digits"),
            (r#"{"right":{"rows":8,"bits":"0"}}"#, "even number"),
            (r#"{"losses":{"sums":"0000"}}"#, "4 bytes"),
            (
                r#"{"losses":{"sums":"0000803f","targets":""}}"#,
                "the targets of 1 rows",
            ),
        ] {
            let found = read(text).expect_err("other letters");
            assert!(found.contains(said), "{found}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            right in prop::collection::vec(any::<bool>(), 0..40),
            losses in prop::collection::vec((-9.0..9.0f32, 1..999u32), 0..9),
        ) {
            let (sums, targets) = losses.into_iter().unzip();
            for rows in [Rows::Right(right), Rows::Losses(sums, targets)] {
                let text = serde_json::to_string(&rows).expect("plain data");
                prop_assert_eq!(read(&text), Ok(rows));
            }
        }
    }
}

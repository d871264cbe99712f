//! The course of a loss.

use serde::{Deserialize, Serialize};

/// The exponential moving average: beginning at the first value, each next is
/// `smoothing` times the value plus `1 - smoothing` times the one before.
///
/// # Panics
/// If `smoothing` is not in (0, 1].
pub fn smooth(values: &[f64], smoothing: f64) -> Vec<f64> {
    assert!(
        smoothing > 0.0 && smoothing <= 1.0,
        "smoothing is in (0, 1], not {smoothing}"
    );
    let mut average = values.first().copied().unwrap_or(0.0);
    let next = |&value: &f64| {
        average = smoothing * value + (1.0 - smoothing) * average;
        average
    };
    values.iter().map(next).collect()
}

/// How far a training loss rose again after it had fallen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bump {
    /// The largest rise of the smoothed loss above its lowest value before.
    pub height: f64,
    /// Steps from that lowest value until the loss is below it again, or else
    /// to the last step.
    pub length: usize,
    /// Whether the loss came below that lowest value again.
    pub recovered: bool,
}

/// The highest bump in a course of finite losses, smoothed by [`smooth`]; of
/// equally high ones the first. A loss that never rises has height and length 0.
///
/// # Panics
/// If `smoothing` is not in (0, 1].
pub fn bump(losses: &[f64], smoothing: f64) -> Bump {
    let smoothed = smooth(losses, smoothing);
    let (mut lowest, mut start, mut height) = (0, 0, 0.0);
    for (t, &loss) in smoothed.iter().enumerate() {
        if loss < smoothed[lowest] {
            lowest = t;
        }
        if loss - smoothed[lowest] > height {
            (start, height) = (lowest, loss - smoothed[lowest]);
        }
    }
    if height == 0.0 {
        return Bump {
            height,
            length: 0,
            recovered: true,
        };
    }
    let after = &smoothed[start..];
    let below = after.iter().position(|&loss| loss < after[0]);
    Bump {
        height,
        length: below.unwrap_or(after.len() - 1),
        recovered: below.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn smoothing_by_hand() {
        assert_eq!(smooth(&[4.0, 0.0, 2.0], 0.5), [4.0, 2.0, 2.0]);
        assert_eq!(smooth(&[4.0, 0.0, 2.0], 1.0), [4.0, 0.0, 2.0]);
        assert!(smooth(&[], 0.5).is_empty());
    }

    #[test]
    fn bumps_by_hand() {
        let bump_of = |losses: &[f64]| {
            let Bump {
                height,
                length,
                recovered,
            } = bump(losses, 1.0);
            (height, length, recovered)
        };
        // A small bump, then a larger one from step 4 until step 8.
        let losses = [5.0, 4.0, 4.5, 3.5, 3.0, 4.0, 5.0, 3.0, 2.0, 2.5];
        assert_eq!(bump_of(&losses), (2.0, 4, true));
        assert_eq!(bump_of(&losses[..7]), (2.0, 2, false));
        assert_eq!(bump_of(&[3.0, 2.0, 2.0, 1.0]), (0.0, 0, true));
        assert_eq!(bump_of(&[]), (0.0, 0, true));
    }

    proptest! {
        #[test]
        fn a_bump_is_the_largest_rise(
            losses in prop::collection::vec(0.0..10.0f64, 0..40),
            smoothing in 0.05..=1.0f64,
        ) {
            let smoothed = smooth(&losses, smoothing);
            let pairs = (0..smoothed.len()).flat_map(|t| (0..t).map(move |s| (s, t)));
            let rises = pairs.map(|(s, t)| smoothed[t] - smoothed[s]);
            let found = bump(&losses, smoothing);
            prop_assert_eq!(found.height, rises.fold(0.0, f64::max));
            prop_assert!(found.length < losses.len().max(1));
        }
    }
}

//! What a handful of numbers are like.

use ggpo_train::metrics::all_equal;

/// The mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The sample standard deviation, with n - 1 in the denominator; `None` of fewer
/// than two values.
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// The quantile at `share`, from 0 (smallest) to 1 (largest), on the line
/// between the two nearest values; `None` of nothing.
///
/// # Panics
/// If `share` is not from 0 to 1.
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile_of_sorted(&sorted, share)
}

pub(super) fn quantile_of_sorted(sorted: &[f64], share: f64) -> Option<f64> {
    assert!((0.0..=1.0).contains(&share), "a share is from 0 to 1");
    let place = share * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    if below == above {
        return Some(below);
    }
    Some(below + place.fract() * (above - below))
}

/// The median; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// Cohen's d of paired differences: their mean over their standard deviation;
/// `None` of fewer than two, or if they are all the same.
pub fn cohens_d(differences: &[f64]) -> Option<f64> {
    if all_equal(differences) {
        return None;
    }
    Some(mean(differences)? / standard_deviation(differences)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_by_hand() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(mean(&values), Some(2.5));
        assert_eq!(standard_deviation(&values), Some((5.0f64 / 3.0).sqrt()));
        assert_eq!(median(&values), Some(2.5));
        assert_eq!(median(&values[..3]), Some(3.0));
        assert_eq!(quantile(&values, 0.0), Some(1.0));
        assert_eq!(quantile(&values, 0.25), Some(1.75));
        assert_eq!(quantile(&values, 1.0), Some(4.0));
        assert_eq!(standard_deviation(&[1.0]), None);
        assert_eq!((mean(&[]), median(&[])), (None, None));
        assert_eq!(cohens_d(&[1.0, 2.0, 3.0]), Some(2.0));
        assert_eq!(cohens_d(&[0.1; 3]), None);
    }
}

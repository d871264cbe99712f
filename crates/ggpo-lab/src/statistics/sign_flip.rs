//! The exact test of paired differences.

use ggpo_tensor::random::{Purpose, Stream};

/// Most pairs of the exact test.
pub const MOST_PAIRS: usize = 40;

/// Sums may differ by the rounding of their terms and yet be equal: by this share
/// of the sum of the terms' sizes.
const ROUNDING: f64 = 1e-12;

/// The exact two-sided p-value of paired differences under the hypothesis that
/// their signs are a matter of chance: the share of the 2^n choices of signs
/// that bring the sum as far from 0 as it is, or farther (Fisher 1935). It cannot
/// be below [`smallest_sign_flip_p`], so with five pairs never below 0.0625.
///
/// The sums of each half of the differences are sorted, and pairs of them counted
/// in one pass: 2^20 steps for 40 pairs. Sums that are equal up to rounding count
/// as equally far.
///
/// `None` of nothing, of more than [`MOST_PAIRS`] pairs, and if a difference is
/// not finite.
pub fn sign_flip_p_value(differences: &[f64]) -> Option<f64> {
    let threshold = threshold(differences)?;
    if differences.len() > MOST_PAIRS {
        return None;
    }
    if threshold <= 0.0 {
        return Some(1.0);
    }
    let (first, second) = differences.split_at(differences.len() / 2);
    let (first, second) = (signed_sums(first), signed_sums(second));
    // How many of the second sums reach the threshold grows with the first sum.
    let mut reaching = 0;
    let mut count = 0_u64;
    for sum in &first {
        while reaching < second.len() && sum + second[second.len() - 1 - reaching] >= threshold {
            reaching += 1;
        }
        count += reaching as u64;
    }
    // A choice and its opposite are equally far from 0, on different sides.
    Some(2.0 * count as f64 / 2_f64.powi(differences.len() as i32))
}

/// The two-sided p-value of [`sign_flip_p_value`] for any number of pairs, with
/// `draws` random choices of signs in the place of all: `(1 + c) / (1 + draws)` if c
/// of them are as far, which holds its level for every number of draws (Phipson
/// and Smyth 2010). The same differences and seed give the same p.
///
/// `None` of nothing, and if a difference is not finite.
pub fn sampled_sign_flip_p_value(differences: &[f64], draws: u32, seed: u64) -> Option<f64> {
    let threshold = threshold(differences)?;
    let stream = Stream::new(seed, Purpose::Bootstrap, 1, 0);
    let mut words = vec![0; differences.len().div_ceil(32)];
    let mut count = 0_u32;
    for draw in 0..draws {
        stream.fill_bits(u64::from(draw) * words.len() as u64, &mut words);
        let signed = differences.chunks(32).zip(&words).map(|(part, &word)| {
            let terms = part.iter().enumerate();
            terms
                .map(|(i, x)| if word >> i & 1 == 1 { -x } else { *x })
                .sum::<f64>()
        });
        count += u32::from(signed.sum::<f64>().abs() >= threshold);
    }
    Some((1.0 + f64::from(count)) / (1.0 + f64::from(draws)))
}

/// The smallest p that the exact test of `pairs` pairs can give: `2 / 2^pairs`, and
/// 1 for none.
pub fn smallest_sign_flip_p(pairs: usize) -> f64 {
    let pairs = i32::try_from(pairs).unwrap_or(i32::MAX);
    (2.0 * 0.5_f64.powi(pairs)).min(1.0)
}

/// How far from 0 a sum must be to be as far as that of the differences.
fn threshold(differences: &[f64]) -> Option<f64> {
    let size = differences.iter().map(|x| x.abs()).sum::<f64>();
    let sum = differences.iter().sum::<f64>().abs();
    (!differences.is_empty() && size.is_finite()).then_some(sum - ROUNDING * size)
}

/// The sums of all choices of signs, in rising order: length 2^n.
fn signed_sums(values: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0];
    for value in values {
        // Each sum less and plus the value's size: two sorted lists, merged.
        let size = value.abs();
        let mut merged = Vec::with_capacity(2 * sums.len());
        let mut lower = sums.iter().map(|sum| sum - size).peekable();
        for upper in sums.iter().map(|sum| sum + size) {
            while let Some(next) = lower.next_if(|next| *next <= upper) {
                merged.push(next);
            }
            merged.push(upper);
        }
        sums = merged;
    }
    sums
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The share of all choices, each tried out.
    fn by_trying(differences: &[f64]) -> f64 {
        let threshold = threshold(differences).expect("finite");
        let choices = 1_u32 << differences.len();
        let sum = |choice: u32| {
            let terms = differences.iter().enumerate();
            let signed = terms.map(|(i, x)| if choice >> i & 1 == 1 { -x } else { *x });
            signed.sum::<f64>()
        };
        let as_far = (0..choices).filter(|&choice| sum(choice).abs() >= threshold);
        as_far.count() as f64 / f64::from(choices)
    }

    #[test]
    fn exact_p_values_by_hand() {
        // Only the choices all plus and all minus are as far.
        assert_eq!(
            sign_flip_p_value(&[0.1, 0.2, 0.3, 0.4, 0.5]),
            Some(2.0 / 32.0)
        );
        // The 8 sums are 6, 4, 2, 0, 0, -2, -4, -6.
        assert_eq!(sign_flip_p_value(&[1.0, 2.0, 3.0]), Some(0.25));
        assert_eq!(sign_flip_p_value(&[-1.0, 2.0, 3.0]), Some(0.5));
        assert_eq!(sign_flip_p_value(&[0.0, 0.0]), Some(1.0));
        // 0.1 + 0.2 and 0.3 are equal here, though not in binary.
        assert_eq!(sign_flip_p_value(&[0.1, 0.2, -0.3]), Some(1.0));
        assert_eq!(sign_flip_p_value(&[]), None);
        assert_eq!(sign_flip_p_value(&[1.0; MOST_PAIRS + 1]), None);
        assert_eq!(sign_flip_p_value(&[1.0, f64::NAN]), None);
        assert_eq!(sign_flip_p_value(&[1.0, f64::INFINITY]), None);
    }

    /// Of 40 ones the sum is `40 - 2 k` with k minus signs: a binomial law.
    #[test]
    fn forty_pairs_follow_the_binomial_law() {
        let mut differences = [1.0; 40];
        assert_eq!(
            sign_flip_p_value(&differences),
            Some(smallest_sign_flip_p(40))
        );
        differences[..12].fill(-1.0);
        // scipy.stats.binomtest(12, 40).pvalue
        let found = sign_flip_p_value(&differences).expect("few pairs");
        assert!((found - 0.01658900337497471).abs() < 1e-12, "{found}");
    }

    #[test]
    fn drawn_signs_come_near_the_exact_p() {
        let differences: Vec<f64> = (0..30).map(|i| f64::from(i % 7) - 2.2).collect();
        let exact = sign_flip_p_value(&differences).expect("few pairs");
        let drawn = sampled_sign_flip_p_value(&differences, 20_000, 5).expect("numbers");
        // Five standard errors.
        let error = (exact * (1.0 - exact) / 20_000.0).sqrt();
        assert!((drawn - exact).abs() < 5.0 * error, "{drawn} {exact}");
        assert_eq!(sampled_sign_flip_p_value(&[1.0; 90], 999, 0), Some(0.001));
        assert_eq!(sampled_sign_flip_p_value(&[0.0; 90], 999, 0), Some(1.0));
        assert_eq!(sampled_sign_flip_p_value(&[], 999, 0), None);
    }

    #[test]
    fn smallest_p_by_hand() {
        assert_eq!([0, 1, 5].map(smallest_sign_flip_p), [1.0, 1.0, 0.0625]);
        assert_eq!(smallest_sign_flip_p(usize::MAX), 0.0);
    }

    proptest! {
        #[test]
        fn half_sums_count_as_all_sums(
            differences in prop::collection::vec(-2.0..2.0f64, 1..12),
        ) {
            prop_assert_eq!(sign_flip_p_value(&differences), Some(by_trying(&differences)));
        }

        #[test]
        fn ties_are_counted_as_far(differences in prop::collection::vec(-4i32..5, 1..12)) {
            let tenths: Vec<f64> = differences.iter().map(|&x| f64::from(x) / 10.0).collect();
            let whole: Vec<f64> = differences.iter().map(|&x| f64::from(x)).collect();
            prop_assert_eq!(sign_flip_p_value(&tenths), Some(by_trying(&whole)));
        }

        #[test]
        fn p_values_ignore_the_sign_and_the_scale(
            differences in prop::collection::vec(-9i32..10, 1..9),
        ) {
            let times = |factor: f64| {
                differences.iter().map(|&x| factor * f64::from(x)).collect::<Vec<_>>()
            };
            let p = sign_flip_p_value(&times(1.0)).expect("few pairs");
            prop_assert!((smallest_sign_flip_p(differences.len())..=1.0).contains(&p));
            prop_assert_eq!(sign_flip_p_value(&times(-0.1)), Some(p));
        }
    }
}

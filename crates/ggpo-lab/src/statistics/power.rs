//! How many pairs are needed to see an effect.
//!
//! The t statistic of n paired differences of mean d and standard deviation s is
//! `(Z + d sqrt(n) / s) / S`, with Z a standard normal number and S the root of a
//! chi-squared number of n - 1 degrees of freedom over these. Given S, the chance
//! that a test rejects is a normal probability; the power is its mean over S, by
//! Simpson's rule. It is exact but for rounding where the differences are normal.

use statrs::distribution::{ContinuousCDF, Normal};
use statrs::function::gamma::ln_gamma;

use super::student;

/// The share of experiments that should see the effect.
const POWER: f64 = 0.8;
/// Most pairs that a number of them is sought among.
const MOST: usize = 1_000_000;
/// Intervals of Simpson's rule, an even number.
const PANELS: u32 = 400;

/// The power of the two-sided paired t test at `alpha`: the chance that it rejects
/// with `pairs` differences of mean `effect` and standard deviation `spread`, both
/// in the same unit. NaN of fewer than two pairs, a spread that is not positive
/// and an alpha that is not inside (0, 1).
pub fn difference_power(pairs: usize, effect: f64, spread: f64, alpha: f64) -> f64 {
    let setting = Setting::new(pairs, effect, spread, alpha / 2.0);
    setting.map_or(f64::NAN, |Setting { degrees, far, t }| {
        let (low, high) = range(degrees);
        mean_over_chi(degrees, low, high, |s| {
            cumulative(far - t * s) + cumulative(-far - t * s)
        })
    })
}

/// The power of the two one-sided t tests at `alpha` (see
/// [`equivalent`](super::equivalent)) where the true difference is 0: the chance
/// that `pairs` differences of standard deviation `spread` are found equivalent
/// within `margin`. NaN as for [`difference_power`].
pub fn equivalence_power(pairs: usize, margin: f64, spread: f64, alpha: f64) -> f64 {
    let setting = Setting::new(pairs, margin, spread, alpha);
    setting.map_or(f64::NAN, |Setting { degrees, far, t }| {
        let (low, high) = range(degrees);
        // Above it the interval is wider than the margins.
        let high = high.min((far / t).max(0.0).ln());
        mean_over_chi(degrees, low, high, |s| 2.0 * cumulative(far - t * s) - 1.0)
    })
}

/// The power of the one-sided t test at `alpha` of a mean of at most `-margin`
/// where the true difference is 0: the chance that `pairs` differences of standard
/// deviation `spread` show that the method is no worse. NaN as for
/// [`difference_power`].
pub fn no_worse_power(pairs: usize, margin: f64, spread: f64, alpha: f64) -> f64 {
    let setting = Setting::new(pairs, margin, spread, alpha);
    setting.map_or(f64::NAN, |Setting { degrees, far, t }| {
        let (low, high) = range(degrees);
        mean_over_chi(degrees, low, high, |s| cumulative(far - t * s))
    })
}

/// Pairs for 80 % power of the two-sided paired t test at `alpha`, by
/// [`difference_power`]; `None` if that takes more than a million, or there is no
/// such number because the effect or the spread is not positive and finite.
pub fn pairs_for_difference(effect: f64, spread: f64, alpha: f64) -> Option<usize> {
    fewest(effect, spread, |pairs| {
        difference_power(pairs, effect, spread, alpha)
    })
}

/// Pairs for 80 % power to find differences equivalent within `margin`, by
/// [`equivalence_power`]; `None` as for [`pairs_for_difference`].
pub fn pairs_for_equivalence(margin: f64, spread: f64, alpha: f64) -> Option<usize> {
    fewest(margin, spread, |pairs| {
        equivalence_power(pairs, margin, spread, alpha)
    })
}

/// Pairs for 80 % power to show that a method is no worse by `margin`, by
/// [`no_worse_power`]; `None` as for [`pairs_for_difference`].
pub fn pairs_for_no_worse(margin: f64, spread: f64, alpha: f64) -> Option<usize> {
    fewest(margin, spread, |pairs| {
        no_worse_power(pairs, margin, spread, alpha)
    })
}

/// The smallest number of pairs whose power is at least [`POWER`]. The power rises
/// with the pairs.
fn fewest(effect: f64, spread: f64, power: impl Fn(usize) -> f64) -> Option<usize> {
    let positive = |x: f64| x > 0.0 && x.is_finite();
    if !positive(effect) || !positive(spread) {
        return None;
    }
    let enough = |pairs: usize| power(pairs) >= POWER;
    // A little below the number for a known spread at 0.05.
    let mut above = (6.0 * (spread / effect).powi(2)).clamp(2.0, MOST as f64) as usize;
    let mut below = 1;
    while !enough(above) {
        if above == MOST {
            return None;
        }
        below = above;
        above = (above + above / 4 + 1).min(MOST);
    }
    while above - below > 1 {
        let middle = below + (above - below) / 2;
        match enough(middle) {
            true => above = middle,
            false => below = middle,
        }
    }
    Some(above)
}

/// What the power depends on.
struct Setting {
    /// Degrees of freedom, n - 1.
    degrees: f64,
    /// The mean of the numerator of t, `effect sqrt(n) / spread`.
    far: f64,
    /// The limit of the test.
    t: f64,
}

impl Setting {
    /// With t the quantile at `1 - tail`.
    fn new(pairs: usize, effect: f64, spread: f64, tail: f64) -> Option<Self> {
        let degrees = pairs as f64 - 1.0;
        let t = -student::quantile(tail, degrees)?;
        (spread > 0.0).then(|| Setting {
            degrees,
            far: effect * (pairs as f64).sqrt() / spread,
            t,
        })
    }
}

/// Where the density of `u = ln S`, `C exp(degrees (u - exp(2 u) / 2))`, is above
/// `exp(-28)` of its largest value, at u = 0.
fn range(degrees: f64) -> (f64, f64) {
    // u - exp(2 u) / 2 + 1 / 2 is at most u + 1 / 2, -u^2 / 3 from -1 to 0, and
    // -u^2 from 0 on.
    let low = match degrees >= 84.0 {
        true => -(84.0 / degrees).sqrt(),
        false => -(28.0 / degrees + 0.5),
    };
    (low, (28.0 / degrees).sqrt())
}

/// The integral of f(S) over the law of S, for u from `low` to `high`, by Simpson's
/// rule; 0 if the range is empty.
fn mean_over_chi(degrees: f64, low: f64, high: f64, f: impl Fn(f64) -> f64) -> f64 {
    if high.is_nan() || low >= high {
        return 0.0;
    }
    let half = degrees / 2.0;
    let scale = std::f64::consts::LN_2 + half * half.ln() - ln_gamma(half);
    let step = (high - low) / f64::from(PANELS);
    let weighted = |i: u32| {
        let weight = match i {
            0 | PANELS => 1.0,
            _ if i % 2 == 1 => 4.0,
            _ => 2.0,
        };
        let u = low + f64::from(i) * step;
        let s = u.exp();
        weight * (scale + degrees * u - half * s * s).exp() * f(s)
    };
    (0..=PANELS).map(weighted).sum::<f64>() * step / 3.0
}

/// The distribution function of N(0, 1).
fn cumulative(x: f64) -> f64 {
    Normal::standard().cdf(x)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn powers_are_those_of_scipy() {
        // scipy.stats.nct: sf(t, n - 1, d sqrt(n) / s) + cdf(-t, ...).
        for (pairs, effect, alpha, expected) in [
            (2, 1.0, 0.05, 0.09280915505633597),
            (4, 2.0, 0.00625, 0.21527583793472446),
            (10, 1.0, 0.05, 0.8030968566327218),
            (17, 1.0, 0.00625, 0.8156889081932881),
            (34, 0.5, 0.05, 0.8077775012792738),
            (324, 0.2, 0.00625, 0.8008824544450056),
            (50, 0.0, 0.05, 0.04999999999999996),
        ] {
            let found = difference_power(pairs, effect, 1.0, alpha);
            assert!(
                (found - expected).abs() < 1e-7,
                "{pairs} {effect} {alpha}: {found} instead of {expected}"
            );
        }
    }

    /// Of the two-sided test at 0.05 and at 0.05 / 8, and of equivalence.
    #[test]
    fn pairs_for_eighty_percent() {
        let table = [
            (0.2, [[6, 10, 6], [4, 6, 4], [3, 4, 3]]),
            (0.5, [[24, 40, 26], [10, 17, 11], [5, 7, 4]]),
            (0.75, [[52, 84, 55], [20, 33, 21], [7, 11, 7]]),
            (1.0, [[90, 146, 97], [34, 55, 36], [10, 17, 11]]),
            (1.5, [[199, 324, 216], [73, 119, 79], [20, 33, 21]]),
        ];
        for (spread, row) in table {
            for (effect, expected) in [0.3, 0.5, 1.0].into_iter().zip(row) {
                let found = [
                    pairs_for_difference(effect, spread, 0.05),
                    pairs_for_difference(effect, spread, 0.05 / 8.0),
                    pairs_for_equivalence(effect, spread, 0.05),
                ];
                assert_eq!(
                    found,
                    expected.map(Some),
                    "spread {spread}, effect {effect}"
                );
            }
        }
    }

    #[test]
    fn what_has_no_number_of_pairs() {
        for (effect, spread) in [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0), (f64::NAN, 1.0)] {
            assert_eq!(pairs_for_difference(effect, spread, 0.05), None);
        }
        assert_eq!(pairs_for_no_worse(1e-4, 1.0, 0.05), None);
        assert_eq!(pairs_for_difference(1.0, 1.0, 0.0), None);
        assert!(difference_power(1, 1.0, 1.0, 0.05).is_nan());
        assert!(equivalence_power(9, 1.0, f64::NAN, 0.05).is_nan());
        // Large numbers follow the normal law: (1.95996 + 0.84162)^2 / 0.01^2.
        let many = pairs_for_difference(0.01, 1.0, 0.05).expect("below a million");
        assert!((78_488..78_495).contains(&many), "{many}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn under_no_effect_the_power_is_alpha(pairs in 2..200_usize, alpha in 0.001..0.2f64) {
            let found = difference_power(pairs, 0.0, 1.0, alpha);
            prop_assert!((found - alpha).abs() < 1e-7, "{found} at {alpha}");
        }

        /// Equivalence only from some power on: with two or three pairs the spread
        /// itself may come out small.
        #[test]
        fn more_pairs_are_more_power(pairs in 2..60_usize, effect in 0.01..2.0f64) {
            type Power = fn(usize, f64, f64, f64) -> f64;
            let powers: [(Power, f64); 3] = [
                (difference_power, 0.0),
                (no_worse_power, 0.0),
                (equivalence_power, 0.5),
            ];
            for (power, from) in powers {
                let [fewer, more] = [pairs, pairs + 1].map(|n| power(n, effect, 1.0, 0.05));
                prop_assert!((0.0..=1.0 + 1e-7).contains(&more));
                prop_assert!(fewer < from || fewer <= more + 1e-7, "{fewer} {more}");
            }
        }
    }
}

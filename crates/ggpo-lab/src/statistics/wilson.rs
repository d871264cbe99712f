//! The interval of a share.

use super::Interval;

/// The 95 % interval of a share of which `successes` of `count` were seen, by
/// Wilson's score (1927): all p with `|s/n - p| <= z sqrt(p (1 - p) / n)`.
/// Unlike the normal interval it never leaves [0, 1] and is not a point where
/// all or none succeed. `None` of nothing.
pub fn wilson_interval(successes: usize, count: usize) -> Option<Interval> {
    /// The 97.5 % quantile of the normal distribution.
    const Z: f64 = 1.959_963_984_540_054;
    let (n, share) = (count as f64, successes as f64 / count as f64);
    let scale = 1.0 + Z * Z / n;
    let centre = (share + Z * Z / (2.0 * n)) / scale;
    let reach = Z / scale * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    (count > 0).then(|| Interval {
        low: (centre - reach).max(0.0),
        high: (centre + reach).min(1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_intervals_are_those_of_the_definition() {
        let near = |found: f64, expected: f64| (found - expected).abs() < 1e-4;
        // Newcombe (1998), table I: 81 of 263 and 15 of 148.
        for (successes, count, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let interval = wilson_interval(successes, count).unwrap();
            assert!(
                near(interval.low, low) && near(interval.high, high),
                "{successes} of {count}: {interval:?}"
            );
        }
        let (none, all) = (wilson_interval(0, 7), wilson_interval(7, 7));
        let (none, all) = (none.unwrap(), all.unwrap());
        assert!(none.low >= 0.0 && all.high <= 1.0);
        assert!(near(none.low, 0.0) && near(all.high, 1.0));
        assert!(near(none.high, 1.0 - all.low));
        assert_eq!(wilson_interval(0, 0), None);
    }
}

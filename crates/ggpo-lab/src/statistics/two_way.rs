//! Other seeds and other test items.

use ggpo_tensor::random::{Purpose, Stream};
use rayon::prelude::*;

use super::summary::quantile_of_sorted;
use super::{Interval, student};

/// Samples drawn for an interval.
const RESAMPLES: usize = 10_000;

/// The 97.5 % quantile of the normal distribution.
const NORMAL: f64 = 1.959_963_984_540_054;

/// The 95 % interval of a mean difference for other seeds *and* other test items, where
/// [`t_interval`](super::t_interval) takes the items for all there are.
///
/// `rows` has one row for each seed and one column for each item: the difference that the
/// item makes, summed over its targets, of which there are `weights`; what is estimated is
/// the sum of all over `rows.len()` times the sum of the weights. Rows (seeds) and columns
/// (items) are drawn again, each with replacement and each on its own (Owen 2007, "The
/// pigeonhole bootstrap"), 10,000 times. The percentiles of these samples are too narrow
/// for a handful of rows or columns, so their distances from the estimate are stretched by
///
/// ```text
/// sqrt((v_s c(S)^2 + v_i c(I)^2) / (v_s + v_i))    c(n) = t(n - 1) / 1.96 sqrt(n / (n - 1))
/// ```
///
/// with `v_s` and `v_i` the variances that rows and columns alone bring in and t the 97.5 %
/// quantile (Hesterberg 2015 does so one way). Where only rows or only columns differ, and
/// normally, this is the t interval of these. An effect of seed and item together counts
/// up to three times, so the interval is rather too wide there.
///
/// The same table and seed give the same interval, for any number of threads. `None` of
/// fewer than two rows or columns, of rows whose length is not that of the weights, of what
/// is not finite, and if the weights are not positive.
pub fn two_way_interval(rows: &[Vec<f64>], weights: &[f64], seed: u64) -> Option<Interval> {
    resampled(rows, weights, seed, RESAMPLES)
}

fn resampled(rows: &[Vec<f64>], weights: &[f64], seed: u64, resamples: usize) -> Option<Interval> {
    let (seeds, items) = (rows.len(), weights.len());
    let whole = rows.iter().all(|row| row.len() == items);
    let finite = rows.iter().flatten().chain(weights).all(|x| x.is_finite());
    if seeds < 2 || items < 2 || !whole || !finite || weights.iter().any(|&w| w <= 0.0) {
        return None;
    }
    let weight: f64 = weights.iter().sum();
    let of_seeds: Vec<f64> = rows
        .iter()
        .map(|row| row.iter().sum::<f64>() / weight)
        .collect();
    let estimate = of_seeds.iter().sum::<f64>() / seeds as f64;
    let of_seeds: f64 = of_seeds.iter().map(|x| (x - estimate).powi(2)).sum();
    let of_items = weights.iter().enumerate().map(|(item, w)| {
        let sum: f64 = rows.iter().map(|row| row[item]).sum();
        (sum / seeds as f64 - w * estimate).powi(2)
    });
    let of_seeds = of_seeds / (seeds * seeds) as f64;
    let of_items = of_items.sum::<f64>() / weight.powi(2);
    let stretch = match of_seeds + of_items {
        0.0 => 0.0,
        both => {
            let parts = of_seeds * small(seeds)?.powi(2) + of_items * small(items)?.powi(2);
            (parts / both).sqrt()
        }
    };
    let mut means = means(rows, weights, seed, resamples);
    means.sort_by(f64::total_cmp);
    let end = |share| Some(estimate + stretch * (quantile_of_sorted(&means, share)? - estimate));
    Some(Interval {
        low: end(0.025)?,
        high: end(0.975)?,
    })
}

/// By how much the percentiles of samples of so few are too narrow.
fn small(count: usize) -> Option<f64> {
    let degrees = count as f64 - 1.0;
    let t = student::quantile(0.975, degrees)?;
    Some(t / NORMAL * (count as f64 / degrees).sqrt())
}

/// The estimate of every sample of rows and columns.
fn means(rows: &[Vec<f64>], weights: &[f64], seed: u64, resamples: usize) -> Vec<f64> {
    let (seeds, items) = (rows.len(), weights.len());
    let of_seeds = Stream::new(seed, Purpose::Bootstrap, 2, 0);
    let of_items = Stream::new(seed, Purpose::Bootstrap, 2, 1);
    let resample = |(words, sums): &mut (Vec<u32>, Vec<f64>), sample: usize| {
        // How often every row is drawn, and the weighted sum of the rows.
        let mut drawn = vec![0.0; seeds];
        for draw in 0..seeds {
            let draw = (sample * seeds + draw) as u64;
            drawn[of_seeds.below(draw, seeds as u64) as usize] += 1.0;
        }
        sums.fill(0.0);
        for (row, &times) in rows.iter().zip(&drawn).filter(|(_, times)| **times > 0.0) {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += times * x;
            }
        }
        of_items.fill_bits((sample * items) as u64, words);
        let (mut sum, mut weight) = (0.0, 0.0);
        for &word in words.iter() {
            // Off by less than items / 2^32 from equal chances.
            let item = ((u64::from(word) * items as u64) >> 32) as usize;
            sum += sums[item];
            weight += weights[item];
        }
        sum / (weight * seeds as f64)
    };
    (0..resamples)
        .into_par_iter()
        .map_init(|| (vec![0; items], vec![0.0; items]), resample)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::t_interval;

    fn normals(number: u32, count: u64) -> Vec<f64> {
        let stream = Stream::new(number.into(), Purpose::Data, 0, 0);
        (0..count).map(|i| f64::from(stream.normal(i))).collect()
    }

    /// `d = a_s + b_i + c e_si`.
    fn table(a: &[f64], b: &[f64], c: f64, e: &[f64]) -> Vec<Vec<f64>> {
        let row = |(a, e): (&f64, &[f64])| b.iter().zip(e).map(|(b, e)| a + b + c * e).collect();
        a.iter().zip(e.chunks(b.len())).map(row).collect()
    }

    fn near(found: Interval, expected: Interval, share: f64) {
        let width = expected.high - expected.low;
        let off = [found.low - expected.low, found.high - expected.high];
        assert!(
            off.iter().all(|off| off.abs() <= share * width),
            "{found:?} {expected:?}"
        );
    }

    /// What does not vary one way is the t interval the other way: of few numbers where they
    /// lie evenly around their mean, of many normal ones as they come.
    #[test]
    fn a_table_that_varies_one_way_has_the_t_interval() {
        let even: Vec<f64> = (0..12).map(|i| 0.3 + f64::from(i) / 5.5).collect();
        for (values, share) in [(even, 0.04), (normals(8, 200), 0.03)] {
            let expected = t_interval(&values, 0.95).expect("values");
            let items = vec![values.clone(); 5];
            let found = two_way_interval(&items, &vec![1.0; values.len()], 2);
            near(found.expect("a table"), expected, share);
            let seeds: Vec<Vec<f64>> = values.iter().map(|&x| vec![x; 7]).collect();
            let found = two_way_interval(&seeds, &[1.0; 7], 2).expect("a table");
            near(found, expected, share);
            // The same of items that weigh differently, and all say the same.
            let weights = [1.0, 3.0, 2.0, 0.5];
            let weighed = |x: &f64| weights.iter().map(|w| w * x).collect();
            let seeds: Vec<Vec<f64>> = values.iter().map(weighed).collect();
            let found = two_way_interval(&seeds, &weights, 2).expect("a table");
            near(found, expected, share);
        }
    }

    /// The mean of `a_s + b_i` varies by both: its variance is the sum.
    #[test]
    fn a_table_that_varies_both_ways_adds_the_variances() {
        let (a, b) = (normals(9, 30), normals(10, 60));
        let found = two_way_interval(&table(&a, &b, 0.0, &[0.0; 1800]), &[1.0; 60], 1);
        let width = |interval: Option<Interval>| interval.map(|i| i.high - i.low).expect("data");
        let expected = width(t_interval(&a, 0.95)).hypot(width(t_interval(&b, 0.95)));
        assert!((width(found) / expected - 1.0).abs() < 0.04, "{found:?}");
    }

    /// 8 seeds and 40 items, a mean of 0, other items than those at hand: the two-way
    /// interval holds in about 95 of 100 tables, that of the seeds in far fewer.
    #[test]
    fn it_covers_what_the_t_interval_does_not() {
        const TABLES: u32 = 400;
        let (mut two_way, mut one_way) = (0, 0);
        for number in 0..TABLES {
            let drawn = normals(100 + number, 8 + 40 + 320);
            let (a, rest) = drawn.split_at(8);
            let (b, e) = rest.split_at(40);
            // Variances 1 / 8, 9 / 40 and 1 / 320 of the mean.
            let b: Vec<f64> = b.iter().map(|b| 3.0 * b).collect();
            let rows = table(a, &b, 1.0, e);
            let found = resampled(&rows, &[1.0; 40], 3, 1_000).expect("a table");
            two_way += u32::from(found.low <= 0.0 && 0.0 <= found.high);
            let mean = |row: &Vec<f64>| row.iter().sum::<f64>() / 40.0;
            let means: Vec<f64> = rows.iter().map(mean).collect();
            let found = t_interval(&means, 0.95).expect("values");
            one_way += u32::from(found.low <= 0.0 && 0.0 <= found.high);
        }
        let share = |count: u32| f64::from(count) / f64::from(TABLES);
        assert!((0.93..0.995).contains(&share(two_way)), "{two_way}");
        assert!(share(one_way) < 0.86, "{one_way}");
    }

    #[test]
    fn what_has_no_interval() {
        let rows = vec![vec![1.0, 2.0], vec![3.0, 5.0]];
        let weights = [1.0, 1.0];
        assert!(two_way_interval(&rows, &weights, 0).is_some());
        assert_eq!(two_way_interval(&rows[..1], &weights, 0), None);
        assert_eq!(two_way_interval(&rows, &weights[..1], 0), None);
        assert_eq!(two_way_interval(&rows, &[1.0, 0.0], 0), None);
        assert_eq!(two_way_interval(&[vec![1.0], vec![2.0]], &[1.0], 0), None);
        assert_eq!(two_way_interval(&[], &[], 0), None);
        let not_finite = [vec![1.0, f64::NAN], vec![1.0, 2.0]];
        assert_eq!(two_way_interval(&not_finite, &weights, 0), None);
        let zero = Interval {
            low: 0.0,
            high: 0.0,
        };
        let same = vec![vec![0.0; 3]; 4];
        assert_eq!(two_way_interval(&same, &[1.0; 3], 0), Some(zero));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Powers of two change no digit; the sign turns the ends around.
        #[test]
        fn the_unit_and_the_side_do_not_matter(
            rows in (2..6usize, 2..9usize).prop_flat_map(|(seeds, items)| {
                prop::collection::vec(prop::collection::vec(-2.0..2.0f64, items), seeds)
            }),
            seed: u64,
            exponent in -9..9_i32,
        ) {
            let weights = vec![1.0; rows[0].len()];
            let times = |factor: f64| -> Interval {
                let row = |row: &Vec<f64>| row.iter().map(|x| factor * x).collect();
                let rows: Vec<Vec<f64>> = rows.iter().map(row).collect();
                resampled(&rows, &weights, seed, 200).expect("a table")
            };
            let scale = 2.0_f64.powi(exponent);
            let (once, scaled, turned) = (times(1.0), times(scale), times(-1.0));
            prop_assert_eq!([scaled.low, scaled.high], [scale * once.low, scale * once.high]);
            prop_assert!((turned.low + once.high).abs() < 1e-12);
            prop_assert!((turned.high + once.low).abs() < 1e-12);
            prop_assert!(once.low <= once.high);
            prop_assert_eq!(once, times(1.0));
        }
    }
}

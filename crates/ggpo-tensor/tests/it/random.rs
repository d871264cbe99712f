//! The contract of the counter-based random numbers.
//!
//! Seeds are fixed, so every statistical test is deterministic. Its tolerance
//! still says how often a right generator with another seed would fail it.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use ggpo_tensor::random::{Purpose, Stream, philox4x32};
use proptest::prelude::*;

const PURPOSES: [Purpose; 10] = [
    Purpose::Perturbation,
    Purpose::Dropout,
    Purpose::Init,
    Purpose::Shuffle,
    Purpose::Masking,
    Purpose::LabelNoise,
    Purpose::Bootstrap,
    Purpose::Probe,
    Purpose::Sampling,
    Purpose::Data,
];

fn stream(seed: u64) -> Stream {
    Stream::new(seed, Purpose::Perturbation, 3, 1)
}

fn normals(stream: Stream, count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    stream.fill_normal(0, &mut values);
    values
}

/// Φ, the distribution function of N(0, 1).
fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z * FRAC_1_SQRT_2)
}

/// Asserts that a Kolmogorov-Smirnov test does not reject at p = 1e-4.
fn assert_distributed(mut sample: Vec<f32>, cdf: impl Fn(f64) -> f64) {
    sample.sort_by(f32::total_cmp);
    let n = sample.len() as f64;
    let distance = sample.iter().enumerate().fold(0f64, |worst, (i, &z)| {
        let p = cdf(f64::from(z));
        worst.max(p - i as f64 / n).max((i + 1) as f64 / n - p)
    });
    // Asymptotic critical value √(ln(2/p)/2), p = 1e-4.
    let critical = ((2e4f64).ln() / 2.0).sqrt();
    assert!(distance * n.sqrt() < critical, "distance {distance}");
}

/// Asserts that χ² of these counts against equal expectations is below its
/// mean plus six standard deviations (`2 √(dof/2) = √(2 dof)` each).
fn assert_even(counts: &[u64]) {
    let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    let chi_square: f64 = counts
        .iter()
        .map(|&count| (count as f64 - expected).powi(2) / expected)
        .sum();
    let freedom = (counts.len() - 1) as f64;
    assert!(
        chi_square < freedom + 6.0 * (2.0 * freedom).sqrt(),
        "{chi_square}"
    );
}

#[test]
fn philox_gives_the_published_known_answers() {
    // Salmon et al., file kat_vectors of the Random123 distribution: counter, key,
    // and the words after seven and after ten rounds.
    let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
    for (counter, key, seven, ten) in [
        (
            [0; 4],
            [0; 2],
            [0x5f6f_b709, 0x0d89_3f64, 0x4f12_1f81, 0x4f73_0a48],
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8],
        ),
        (
            [!0; 4],
            [!0; 2],
            [0x5207_ddc2, 0x4516_5e59, 0x4d8e_e751, 0x8c52_f662],
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
        ),
        (
            pi,
            [0xa409_3822, 0x299f_31d0],
            [0x4dfc_caba, 0x190a_87f0, 0xc473_62ba, 0xb6b5_242a],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ] {
        assert_eq!(philox4x32::<7>(counter, key), seven);
        assert_eq!(philox4x32::<10>(counter, key), ten);
    }
}

#[test]
fn values_never_change_from_one_version_to_the_next() {
    // Recorded when layout, rounds and transform were fixed; a change breaks every
    // stored run.
    let stream = Stream::new(42, Purpose::Init, 7, 3);
    let bits = [0, 1, 16, 1 << 40].map(|index| stream.bits(index));
    assert_eq!(bits, [0x1834_9e6b, 0x2d2b_ea77, 0x6cb5_c596, 0x66b1_14c0]);
    let normals = [0, 1, 16, 1 << 40].map(|index| stream.normal(index));
    assert_eq!(
        normals,
        [1.433_885_3, 1.443_244_8, 1.129_101_4, -0.140_985_74]
    );
    assert_eq!(
        [0, 1].map(|index| stream.below(index, 1_000_000)),
        [834_862, 959_631]
    );
    let noise = Stream::new(42, Purpose::Perturbation, 7, 3);
    let bits = [0, 1, 16, 1 << 40].map(|index| noise.bits(index));
    assert_eq!(bits, [0xabe2_7233, 0x0e5a_5e0d, 0x2a01_16a3, 0x4724_bc97]);
    let normals = [0, 1, 16, 1 << 40].map(|index| noise.normal(index));
    assert_eq!(normals, [0.23356688, -0.5169756, -0.8860736, -0.21785185]);
}

proptest! {
    #[test]
    fn any_range_alone_equals_that_part_of_a_longer_one(
        seed: u64,
        base in prop_oneof![Just(0u64), Just(u64::MAX - 200), any::<u64>()],
        skip in 0usize..300,
        length in 0usize..300,
    ) {
        let stream = stream(seed);
        let start = base.wrapping_add(skip as u64);
        let part = skip..skip + length;

        let (mut long, mut short) = ([0; 600], vec![0; length]);
        stream.fill_bits(base, &mut long);
        stream.fill_bits(start, &mut short);
        prop_assert_eq!(&short, &long[part.clone()]);

        let kinds: [fn(&Stream, u64, &mut [f32]); 3] = [
            Stream::fill_uniform,
            Stream::fill_normal,
            |stream, start, out| stream.fill_truncated_normal(start, 1.5, out),
        ];
        for fill in kinds {
            let (mut long, mut short) = ([0.0; 600], vec![0.0; length]);
            fill(&stream, base, &mut long);
            fill(&stream, start, &mut short);
            prop_assert_eq!(&short, &long[part.clone()]);
        }
    }

    #[test]
    fn single_elements_equal_those_of_a_filled_range(seed: u64, start: u64) {
        let stream = stream(seed);
        let (mut bits, mut uniforms, mut normals) = ([0; 70], [0.0; 70], [0.0; 70]);
        stream.fill_bits(start, &mut bits);
        stream.fill_uniform(start, &mut uniforms);
        stream.fill_normal(start, &mut normals);
        for i in 0..70 {
            let index = start.wrapping_add(i as u64);
            prop_assert_eq!(stream.bits(index), bits[i]);
            let below_one = 1.0 - f32::EPSILON / 2.0;
            prop_assert_eq!((stream.uniform(index) as f32).min(below_one), uniforms[i]);
            prop_assert_eq!(stream.normal(index).to_bits(), normals[i].to_bits());
        }
    }

    #[test]
    fn integers_stay_below_their_bound(seed: u64, index: u64, bound in 1u64..) {
        prop_assert!(stream(seed).below(index, bound) < bound);
    }

    #[test]
    fn a_shuffle_is_a_permutation(seed: u64, length in 0usize..200) {
        let mut items: Vec<usize> = (0..length).collect();
        stream(seed).shuffle(&mut items);
        items.sort_unstable();
        prop_assert!(items.into_iter().eq(0..length));
    }
}

#[test]
fn uniform_numbers_lie_strictly_between_zero_and_one() {
    let mut values = vec![0.0; 1 << 20];
    stream(1).fill_uniform(0, &mut values);
    assert!(values.iter().all(|u| 0.0 < *u && *u < 1.0));
    values.truncate(100_000);
    assert_distributed(values, |u| u);
}

#[test]
fn normals_have_the_moments_of_the_standard_normal_distribution() {
    let values = normals(stream(2), 2_000_000);
    let n = values.len() as f64;
    // E z^k, and Var z^k = E z^2k - (E z^k)^2; five standard errors, which a
    // right generator exceeds once in 1.7 million.
    for (power, mean, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
        let sum: f64 = values.iter().map(|z| f64::from(*z).powi(power)).sum();
        let error = (sum / n - mean).abs();
        assert!(
            error < 5.0 * f64::sqrt(variance / n),
            "moment {power}: {error}"
        );
    }
}

#[test]
fn normals_follow_the_normal_distribution() {
    for seed in 0..8 {
        assert_distributed(normals(stream(seed), 100_000), normal_cdf);
    }
}

#[test]
fn neighbouring_streams_are_uncorrelated_at_every_small_shift() {
    const COUNT: usize = 1 << 17;
    let here = Stream::new(9, Purpose::Probe, 5, 6);
    let mut others = vec![
        Stream::new(8, Purpose::Probe, 5, 6),
        Stream::new(10, Purpose::Probe, 5, 6),
        Stream::new(9 | 1 << 32, Purpose::Probe, 5, 6),
        Stream::new(9, Purpose::Probe, 4, 6),
        Stream::new(9, Purpose::Probe, 6, 6),
        Stream::new(9, Purpose::Probe, 6, 5),
        Stream::new(9, Purpose::Probe, 5, 5),
        Stream::new(9, Purpose::Probe, 5, 7),
    ];
    others.extend(PURPOSES.map(|purpose| Stream::new(9, purpose, 5, 6)));
    let x = normals(here, COUNT + 64);
    for other in others {
        let y = normals(other, COUNT + 64);
        // Small shifts of elements, of words of a block, and of whole chunks.
        for shift in (-4..=4).chain([-64, -48, -32, -16, 16, 32, 48, 64i64]) {
            if other == here && shift == 0 {
                continue;
            }
            let (i, j) = (shift.max(0) as usize, (-shift).max(0) as usize);
            let pairs = x[i..].iter().zip(&y[j..]).take(COUNT);
            let sum: f64 = pairs.map(|(a, b)| f64::from(a * b)).sum();
            // A product of independent normals has variance 1.
            let correlation = sum / COUNT as f64;
            assert!(
                correlation.abs() < 5.0 / (COUNT as f64).sqrt(),
                "{other:?} by {shift}"
            );
        }
    }
}

#[test]
fn different_names_give_different_streams() {
    let mut first_words = std::collections::HashSet::new();
    let mut names = 0;
    for seed in 0..8 {
        for purpose in PURPOSES {
            for (step, layer) in (0..8).flat_map(|step| (0..8).map(move |layer| (step, layer))) {
                let stream = Stream::new(seed, purpose, step, layer);
                first_words.insert([0, 16, 32, 48].map(|index| stream.bits(index)));
                names += 1;
            }
        }
    }
    assert_eq!(first_words.len(), names);
}

#[test]
fn truncated_normals_keep_their_bound_variance_and_distribution() {
    for limit in [0.1f32, 0.5, 1.0, 2.0, 3.0] {
        let mut values = vec![0.0; 100_000];
        stream(4).fill_truncated_normal(0, limit, &mut values);
        assert!(values.iter().all(|z| z.abs() <= limit));

        let c = f64::from(limit);
        let (tail, mass) = (normal_cdf(-c), 1.0 - 2.0 * normal_cdf(-c));
        let density = (-0.5 * c * c).exp() / (2.0 * PI).sqrt();
        // Moments by parts: m₂ = 1 - 2 c φ(c)/mass, m₄ = 3 m₂ - 2 c³ φ(c)/mass.
        let second = 1.0 - 2.0 * c * density / mass;
        let fourth = 3.0 * second - 2.0 * c.powi(3) * density / mass;
        let n = values.len() as f64;
        let sum: f64 = values.iter().map(|z| f64::from(*z).powi(2)).sum();
        // Five standard errors of a mean of squares.
        let tolerance = 5.0 * ((fourth - second * second) / n).sqrt();
        assert!((sum / n - second).abs() < tolerance, "limit {limit}");

        assert_distributed(values, |z| (normal_cdf(z) - tail) / mass);
    }
}

#[test]
fn an_infinite_limit_leaves_the_normal_distribution_whole() {
    let mut values = vec![0.0; 100_000];
    stream(5).fill_truncated_normal(0, f32::INFINITY, &mut values);
    assert_distributed(values, normal_cdf);
}

#[test]
fn a_limit_that_is_not_positive_is_refused() {
    for limit in [0.0, -1.0, f32::NAN] {
        let attempt = || stream(0).fill_truncated_normal(0, limit, &mut [0.0]);
        assert!(std::panic::catch_unwind(attempt).is_err(), "{limit}");
    }
}

#[test]
fn integers_below_a_bound_are_even() {
    let stream = stream(6);
    for bound in [2, 3, 10, 1000] {
        let mut counts = vec![0; bound as usize];
        for index in 0..100_000 {
            counts[stream.below(index, bound) as usize] += 1;
        }
        assert_even(&counts);
    }
    // A bound that is no power of two and needs all 64 bits: halves as often.
    let bound = 3 << 62;
    let mut counts = [0; 3];
    for index in 0..100_000 {
        counts[(stream.below(index, bound) >> 62) as usize] += 1;
    }
    assert_even(&counts);
}

#[test]
fn a_shuffle_brings_every_item_to_every_place_equally_often() {
    const LENGTH: usize = 12;
    let mut counts = [0; LENGTH * LENGTH];
    for step in 0..30_000 {
        let mut items: [usize; LENGTH] = std::array::from_fn(|i| i);
        Stream::new(7, Purpose::Shuffle, step, 0).shuffle(&mut items);
        for (place, item) in items.into_iter().enumerate() {
            counts[place * LENGTH + item] += 1;
        }
    }
    // Rows and columns sum to the number of shuffles, so fewer cells than
    // assumed are free and the bound is the looser for it.
    assert_even(&counts);
}

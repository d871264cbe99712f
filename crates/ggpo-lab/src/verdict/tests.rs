//! Every branch by hand, the laws of the rule, and how often it errs.

use ggpo_tensor::random::{Purpose, Stream};
use proptest::prelude::*;

use super::*;

fn claim(kind: ClaimKind, margin: f64, differences: &[f64]) -> Claim {
    Claim {
        kind,
        margin,
        references: vec![("lora".into(), differences.to_vec())],
        tests_in_table: 1,
        precondition: Ok(()),
    }
}

/// Twelve differences of this mean, at most `reach` from it.
fn around(mean: f64, reach: f64) -> Vec<f64> {
    (0..12)
        .map(|i| mean + reach * (f64::from(i) - 5.5) / 5.5)
        .collect()
}

fn word(kind: ClaimKind, mean: f64, reach: f64) -> &'static str {
    judge(&claim(kind, 0.5, &around(mean, reach)))
        .verdict
        .word()
}

/// With reach 0.3 the standard deviation is 0.1967, and the intervals reach 0.125
/// and 0.102 from the mean.
#[test]
fn every_branch_of_better() {
    use ClaimKind::Better;
    assert_eq!(word(Better, 0.3, 0.3), "equivalent");
    assert_eq!(word(Better, -0.3, 0.3), "equivalent");
    assert_eq!(word(Better, 0.42, 0.3), "supported");
    assert_eq!(word(Better, 5.0, 0.3), "supported");
    assert_eq!(word(Better, -0.45, 0.3), "contradicted, worse");
    // 1.25 and 1.02.
    assert_eq!(word(Better, -1.0, 3.0), "contradicted");
    assert_eq!(word(Better, 0.0, 3.0), "undecided");
    assert_eq!(word(Better, 1.0, 3.0), "undecided");
    assert_eq!(word(Better, 1.4, 3.0), "supported");
}

#[test]
fn every_branch_of_no_worse() {
    use ClaimKind::NoWorse;
    assert_eq!(word(NoWorse, 0.3, 0.3), "supported");
    assert_eq!(word(NoWorse, 5.0, 3.0), "supported");
    assert_eq!(word(NoWorse, -0.39, 0.3), "supported");
    assert_eq!(word(NoWorse, -0.42, 0.3), "undecided");
    assert_eq!(word(NoWorse, -0.7, 0.3), "contradicted, worse");
    assert_eq!(word(NoWorse, -0.5, 3.0), "undecided");
}

#[test]
fn what_is_not_testable() {
    let good = claim(ClaimKind::Better, 0.5, &around(1.0, 0.3));
    let reason = |change: fn(&mut Claim)| {
        let mut claim = good.clone();
        change(&mut claim);
        judge(&claim).verdict.to_string()
    };
    assert_eq!(reason(|_| ()), "supported");
    assert_eq!(
        reason(|claim| claim.precondition = Err("the share of the gradient is 1e-6".into())),
        "not testable: the share of the gradient is 1e-6"
    );
    assert_eq!(
        reason(|claim| claim.margin = 0.0),
        "not testable: the margin is 0, not positive"
    );
    assert_eq!(
        reason(|claim| claim.references.clear()),
        "not testable: there is no reference to compare with"
    );
    assert_eq!(
        reason(|claim| claim.references[0].1.truncate(5)),
        "not testable: against lora the smallest p that 5 pairs can have after Holm's \
         correction over 1 is 0.062, above 0.05; 6 pairs are needed"
    );
    let infinite: fn(&mut Claim) = |claim| claim.references[0].1[3] = f64::NEG_INFINITY;
    assert!(reason(infinite).starts_with("not testable: a difference to lora is not finite"));
    // 12 pairs are too few for 103 tests; 8 for 8.
    assert!(reason(|claim| claim.tests_in_table = 103).contains("13 pairs are needed"));
    assert_eq!(plan_is_testable(6, 1), Ok(()));
    assert_eq!(plan_is_testable(9, 8), Ok(()));
    assert!(plan_is_testable(8, 8).is_err() && plan_is_testable(0, 0).is_err());
    assert!(plan_is_testable(70, usize::MAX).is_ok());
}

/// The t interval lies above 0, but one large difference of the other sign keeps p
/// above 0.05 in a table.
#[test]
fn the_correction_can_keep_a_claim_from_support() {
    let mut differences = vec![1.0; 9];
    differences[0] = -0.4;
    let mut claim = claim(ClaimKind::Better, 0.5, &differences);
    assert_eq!(judge(&claim).verdict, Verdict::Supported);
    claim.tests_in_table = 8;
    let found = judge(&claim);
    assert!(found.interval_95.is_some_and(|interval| interval.low > 0.0));
    assert_eq!(
        (found.p, found.p_holm),
        (Some(4.0 / 512.0), Some(32.0 / 512.0))
    );
    assert_eq!(found.verdict.word(), "undecided");
    // In the table, another claim with a smaller p is the first step.
    let other = Claim {
        references: vec![("lora".into(), around(2.0, 0.1))],
        ..claim.clone()
    };
    let found = judge_table(&[claim, other]);
    let p_holm: Vec<_> = found.iter().map(|found| found.p_holm).collect();
    assert_eq!(p_holm, [Some(28.0 / 512.0), Some(16.0 / 4096.0)]);
    assert_eq!(found[1].verdict, Verdict::Supported);
}

#[test]
fn the_hardest_reference_decides() {
    let mut claim = claim(ClaimKind::Better, 0.5, &around(2.0, 0.3));
    claim.references.push(("noise".into(), around(-1.0, 0.3)));
    claim.references.push(("clipping".into(), around(1.0, 0.3)));
    let found = judge(&claim);
    assert_eq!(found.reference.as_deref(), Some("noise"));
    assert_eq!(found.verdict, Verdict::Contradicted { worse: true });
    assert!((found.mean.expect("pairs") + 1.0).abs() < 1e-12);
    assert_eq!(found.pairs, 12);
    // Too few pairs with any reference are too few.
    claim.references[2].1.truncate(3);
    assert_eq!(judge(&claim).verdict.word(), "not testable");
}

#[test]
fn pairs_that_are_needed() {
    let needed = |kind, tests_in_table| {
        let mut claim = claim(kind, 0.5, &[]);
        // Spread 1.
        let scale = (11.0 / 12.0_f64).sqrt();
        let signs = (0..12).map(|i| if i % 2 == 0 { scale } else { -scale });
        claim.references[0].1 = signs.collect();
        claim.tests_in_table = tests_in_table;
        judge(&claim).verdict
    };
    // The table of `pairs_for_difference`; of one side, 27 (statsmodels).
    for (kind, tests, pairs) in [
        (ClaimKind::Better, 1, 34),
        (ClaimKind::Better, 8, 55),
        (ClaimKind::NoWorse, 8, 27),
    ] {
        let expected = Verdict::Undecided {
            pairs_needed: Some(pairs),
        };
        assert_eq!(needed(kind, tests), expected);
    }
    let words = needed(ClaimKind::Better, 1).to_string();
    assert_eq!(words, "undecided: 34 pairs needed");
    let never = Verdict::Undecided { pairs_needed: None };
    assert_eq!(
        never.to_string(),
        "undecided: more than a million pairs needed"
    );
}

#[test]
fn the_look_at_ten() {
    let ten = |mean, reach| around(mean, reach)[1..11].to_vec();
    let look = |differences: &[f64]| interim_look(differences, 0.5);
    assert_eq!(look(&ten(1.0, 0.5)), Some(Interim::Clear));
    assert_eq!(look(&ten(-1.0, 0.5)), Some(Interim::Clear));
    assert_eq!(look(&ten(0.1, 0.3)), Some(Interim::Equivalent));
    assert_eq!(look(&ten(0.5, 1.0)), Some(Interim::Continue));
    assert_eq!(look(&around(1.0, 0.5)), None);
    assert_eq!(look(&[f64::NAN; 10]), None);
}

#[test]
fn judgements_are_kept_in_files() {
    let mut claims = vec![claim(ClaimKind::NoWorse, 0.5, &around(0.1, 0.3)); 2];
    claims[1].precondition = Err("no peak".into());
    let text = serde_json::to_string(&claims).expect("plain data");
    let read: Vec<Claim> = serde_json::from_str(&text).expect("as written");
    assert_eq!(read, claims);
    let found = judge_table(&claims);
    let text = serde_json::to_string(&found).expect("plain data");
    let read: Vec<Judgement> = serde_json::from_str(&text).expect("as written");
    assert_eq!(read, found);
}

/// Many pairs are judged by drawn signs, to the same end.
#[test]
fn more_pairs_than_can_be_counted() {
    let many: Vec<f64> = (0..60).map(|i| 0.8 + 0.5 * f64::from(i % 5 - 2)).collect();
    let found = judge(&claim(ClaimKind::Better, 0.5, &many));
    assert_eq!(found.p, Some(1e-5));
    assert_eq!(found.verdict, Verdict::Supported);
}

/// The differences of 12 seeds without an effect, of a table of 4 methods: at most
/// 5 in 100 tables may hold a method that is "supported". The t interval's upper
/// half alone errs in 2.5 % of single comparisons, and so does the corrected test
/// in at most 2.5 % of tables; with 1,000 tables the share is known to 0.5 points.
#[test]
fn support_without_an_effect_is_rare() {
    const TABLES: u32 = 1_000;
    let mut false_tables = 0;
    for table in 0..TABLES {
        let stream = Stream::new(17, Purpose::Data, table, 0);
        let mut normals = [0.0_f32; 48];
        stream.fill_normal(0, &mut normals);
        // The margin is small against the spread, or nothing is left to decide.
        let claims = normals.chunks(12).map(|normals| {
            let differences: Vec<f64> = normals.iter().map(|&z| f64::from(z)).collect();
            claim(ClaimKind::Better, 0.1, &differences)
        });
        let claims: Vec<Claim> = claims.collect();
        let found = judge_table(&claims);
        let any = found
            .iter()
            .any(|found| found.verdict == Verdict::Supported);
        false_tables += u32::from(any);
    }
    let share = f64::from(false_tables) / f64::from(TABLES);
    assert!((0.01..0.05).contains(&share), "{share}");
}

fn kinds() -> impl Strategy<Value = ClaimKind> {
    prop_oneof![Just(ClaimKind::Better), Just(ClaimKind::NoWorse)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_constant_moves_the_difference_and_its_intervals(
        differences in prop::collection::vec(-2.0..2.0f64, 6..16),
        constant in -3.0..3.0f64,
        kind in kinds(),
    ) {
        let moved: Vec<f64> = differences.iter().map(|x| x + constant).collect();
        let before = judge(&claim(kind, 0.5, &differences));
        let after = judge(&claim(kind, 0.5, &moved));
        let near = |found: f64, expected: f64| (found - expected).abs() < 1e-9;
        let mean = |found: &Judgement| found.mean.expect("pairs");
        prop_assert!(near(mean(&after), mean(&before) + constant));
        let intervals = |found: &Judgement| [found.interval_95, found.interval_90];
        for (after, before) in intervals(&after).into_iter().zip(intervals(&before)) {
            let (after, before) = (after.expect("pairs"), before.expect("pairs"));
            prop_assert!(near(after.low, before.low + constant));
            prop_assert!(near(after.high, before.high + constant));
        }
    }

    /// What supports a claim to be better by the margin cannot exclude it, and a
    /// method is not both better and worse.
    #[test]
    fn supported_and_contradicted_exclude_each_other(
        differences in prop::collection::vec(-2.0..2.0f64, 6..16),
        margin in 0.01..2.0f64,
    ) {
        let found = |kind, sign: f64| {
            let signed: Vec<f64> = differences.iter().map(|x| sign * x).collect();
            judge(&claim(kind, margin, &signed))
        };
        let better = found(ClaimKind::Better, 1.0);
        let no_worse = found(ClaimKind::NoWorse, 1.0);
        let other_better = found(ClaimKind::Better, -1.0).verdict;
        let [wide, narrow] = [better.interval_95, better.interval_90].map(|i| i.expect("pairs"));
        prop_assert!(wide.low <= narrow.low && narrow.high <= wide.high);
        let worse = Verdict::Contradicted { worse: true };
        match better.verdict {
            Verdict::Supported => {
                prop_assert!(wide.low > 0.0);
                prop_assert_ne!(&other_better, &Verdict::Supported);
                prop_assert_eq!(&no_worse.verdict, &Verdict::Supported);
            }
            Verdict::Equivalent => {
                prop_assert_eq!(&other_better, &Verdict::Equivalent);
                prop_assert_eq!(&no_worse.verdict, &Verdict::Supported);
            }
            Verdict::Contradicted { .. } => {
                prop_assert!(wide.high < margin && wide.low <= 0.0);
            }
            _ => (),
        }
        if no_worse.verdict == worse {
            prop_assert_eq!(&better.verdict, &worse);
        }
    }

    /// Powers of two change no digit.
    #[test]
    fn the_unit_does_not_matter(
        differences in prop::collection::vec(-2.0..2.0f64, 6..16),
        exponent in -20..20_i32,
        kind in kinds(),
    ) {
        let scale = 2.0_f64.powi(exponent);
        let scaled: Vec<f64> = differences.iter().map(|x| scale * x).collect();
        let before = judge(&claim(kind, 0.5, &differences));
        let after = judge(&claim(kind, 0.5 * scale, &scaled));
        prop_assert_eq!(before.verdict, after.verdict);
        prop_assert_eq!(before.p, after.p);
    }

    /// Multiples of 1/8 are summed without rounding in any order.
    #[test]
    fn the_order_of_pairs_does_not_matter(
        differences in prop::collection::vec(-16..17_i32, 6..42),
        seed: u64,
        kind in kinds(),
    ) {
        let mut eighths: Vec<f64> = differences.iter().map(|&x| f64::from(x) / 8.0).collect();
        let before = judge(&claim(kind, 0.5, &eighths));
        Stream::new(seed, Purpose::Shuffle, 0, 0).shuffle(&mut eighths);
        let after = judge(&claim(kind, 0.5, &eighths));
        prop_assert_eq!(before.verdict, after.verdict);
        prop_assert_eq!(before.p_holm, after.p_holm);
    }
}

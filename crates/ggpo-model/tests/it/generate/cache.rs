//! What is read with a cache has the logits of the whole.

use ggpo_autograd::Tape;
use ggpo_model::batch::{Batch, collate_causal};
use ggpo_model::{Graph, KeyValueCache, Number};
use ggpo_tensor::view2;
use proptest::prelude::*;

use super::{FAMILIES, Loaded, fixture, last_row, random, relative_error, small_body, tokens};

/// What a decoder reads, how much of it at first, and what an encoder reads.
#[derive(Debug, Clone)]
struct Row {
    ids: Vec<usize>,
    cut: usize,
    source: Vec<usize>,
}

/// Reads every sequence by itself up to its cut, and then all together token by
/// token, comparing with the whole sequence read at once.
fn check_cache<T: Number>(loaded: &Loaded<T>, rows: &[Row], tolerance: f64) {
    let mut caches = Vec::new();
    for Row { ids, cut, source } in rows {
        let mut cache = [KeyValueCache::default()];
        let logits = loaded.next(&[source], &[&ids[..*cut]], &mut cache);
        let expected = last_row(&loaded.whole(source, &ids[..*cut]));
        assert!(relative_error(&last_row(&logits), &expected) <= tolerance);
        assert_eq!(cache[0].positions(), *cut);
        caches.extend(cache);
    }
    let steps = rows.iter().map(|row| row.ids.len() - row.cut).min();
    let nothing = vec![&[][..]; rows.len()];
    for step in 0..steps.unwrap_or(0) {
        let next: Vec<&[usize]> = rows
            .iter()
            .map(|row| &row.ids[row.cut + step..][..1])
            .collect();
        let logits = loaded.next(&nothing, &next, &mut caches);
        for (Row { ids, cut, source }, found) in rows.iter().zip(view2(&logits).rows()) {
            let expected = last_row(&loaded.whole(source, &ids[..=cut + step]));
            let found: Vec<f64> = found.iter().map(|x| x.value()).collect();
            let error = relative_error(&found, &expected);
            assert!(error <= tolerance, "step {step}: {error:e}");
        }
    }
}

/// Sums of the same numbers, in an order that may differ only where masked keys
/// add zeros: some roundings of 1e-16.
const F64: f64 = 1e-12;
/// The same roundings of 6e-8, through a few layers.
const F32: f64 = 1e-5;

#[test]
fn a_cache_changes_no_logits_of_the_fixtures() {
    let ids: Vec<usize> = (0..20).map(|t| (7 * t * t + 3 * t + 5) % 89).collect();
    let row = |first: usize, cut, source: usize| Row {
        ids: ids[first..first + 12].to_vec(),
        cut,
        source: ids[source..].to_vec(),
    };
    let rows = [row(0, 1, 11), row(2, 4, 3), row(1, 2, 19)];
    for family in FAMILIES {
        check_cache(&fixture::<f64>(family), &rows, F64);
        check_cache(&fixture::<f32>(family), &rows, F32);
    }
}

fn row() -> impl Strategy<Value = Row> {
    (tokens(2..20), any::<usize>(), tokens(1..12)).prop_map(|(ids, cut, source)| Row {
        cut: 1 + cut % (ids.len() - 1),
        ids,
        source,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_cache_changes_no_logits(
        body in small_body(), rows in prop::collection::vec(row(), 1..4), seed: u64,
    ) {
        check_cache(&random::<f64>(body, seed), &rows, F64);
    }

    /// Several tokens at once after others, as a prompt read in parts.
    #[test]
    fn parts_of_any_length_follow_each_other(
        body in small_body(), source in tokens(1..12),
        parts in prop::collection::vec(tokens(1..5), 1..5), seed: u64,
    ) {
        let loaded = random::<f64>(body, seed);
        let mut cache = [KeyValueCache::default()];
        let mut read = Vec::new();
        for part in &parts {
            read.extend_from_slice(part);
            let unread = if read.len() == part.len() { &source[..] } else { &[] };
            let found = last_row(&loaded.next(&[unread], &[part], &mut cache));
            let error = relative_error(&found, &last_row(&loaded.whole(&source, &read)));
            prop_assert!(error <= F64, "{error:e}");
        }
    }
}

#[test]
fn chosen_positions_have_the_logits_of_the_whole() {
    let loaded = fixture::<f32>("llama");
    let batch: Batch = collate_causal(&[&[5, 6, 7], &[8, 9]], 0);
    let graph = || Graph::for_evaluation(Tape::new(), &loaded.parameters, &loaded.adapters);
    let all = loaded.model.logits(&graph(), &batch);
    let chosen = loaded.model.logits_at(&graph(), &batch, &[4, 2]);
    let (all, chosen) = (view2(all.value()), view2(chosen.value()));
    assert_eq!(chosen.nrows(), 2);
    assert_eq!(chosen.row(0), all.row(4));
    assert_eq!(chosen.row(1), all.row(2));
}

//! Which keys a query sees.

use ndarray::Array2;

use crate::Scalar;

/// Which keys a query may look at.
#[derive(Debug, Clone, Default)]
pub struct AttentionMask {
    /// Query i sees keys up to `i + keys - queries` only: the queries are the
    /// last positions of the keys.
    pub causal: bool,
    /// Batch x keys: false where a key is padding. `None` keeps all.
    pub keys: Option<Array2<bool>>,
}

/// What the queries of one batch row see of its keys.
pub(super) struct Visible {
    queries: usize,
    keys: usize,
    causal: bool,
    /// From here on all keys are padding.
    length: usize,
    /// Which of the keys before are none, unless all.
    kept: Option<Vec<bool>>,
}

impl AttentionMask {
    pub(super) fn visible(&self, batch: usize, queries: usize, keys: usize) -> Visible {
        let kept = self.keys.as_ref().map(|mask| {
            let row = mask.row(batch);
            let length = row
                .iter()
                .rposition(|kept| *kept)
                .map_or(0, |last| last + 1);
            row.iter().copied().take(length).collect::<Vec<bool>>()
        });
        Visible {
            queries,
            keys,
            causal: self.causal,
            length: kept.as_ref().map_or(keys, Vec::len),
            kept: kept.filter(|kept| kept.contains(&false)),
        }
    }
}

impl Visible {
    /// Number of leading keys that hold all that the query sees; never fewer than
    /// for the query before.
    #[inline(always)]
    pub(super) fn keys_of(&self, query: usize) -> usize {
        let past = if self.causal {
            (query + 1 + self.keys).saturating_sub(self.queries)
        } else {
            self.keys
        };
        past.min(self.length)
    }

    /// How many of the `width` keys from number `first` on the query sees.
    #[inline(always)]
    pub(super) fn keys_from(&self, query: usize, first: usize, width: usize) -> usize {
        self.keys_of(query).saturating_sub(first).min(width)
    }

    /// Sets the scores of padding among the keys from number `first` on to minus
    /// infinity.
    #[inline(always)]
    pub(super) fn hide<T: Scalar>(&self, first: usize, scores: &mut [T]) {
        let Some(kept) = &self.kept else { return };
        let lowest = T::from_f64(f64::NEG_INFINITY);
        for (score, &kept) in scores.iter_mut().zip(&kept[first..]) {
            *score = if kept { *score } else { lowest };
        }
    }
}

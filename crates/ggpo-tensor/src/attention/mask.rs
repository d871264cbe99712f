//! Which keys a query sees.

use ndarray::Array2;

use crate::Scalar;

/// Which keys a query may look at.
#[derive(Debug, Clone, Default)]
pub struct AttentionMask {
    /// Query i sees keys up to `i + keys - queries` only: the queries are the
    /// last positions of the keys.
    pub causal: bool,
    /// Of the keys that a causal mask leaves, a query sees only this many, the last
    /// ones. `None` leaves all.
    pub window: Option<usize>,
    /// Batch x keys: false where a key is padding. `None` keeps all.
    pub keys: Option<Array2<bool>>,
}

/// What the queries of one batch row see of its keys.
pub(super) struct Visible {
    queries: usize,
    keys: usize,
    causal: bool,
    window: usize,
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
            window: self.window.filter(|_| self.causal).unwrap_or(usize::MAX),
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
        self.past(query).min(self.length)
    }

    /// Number of the first key that the query sees; none before it for a later query.
    #[inline(always)]
    pub(super) fn first_of(&self, query: usize) -> usize {
        self.past(query).saturating_sub(self.window)
    }

    /// Number of leading keys that the causal mask leaves.
    #[inline(always)]
    fn past(&self, query: usize) -> usize {
        match self.causal {
            true => (query + 1 + self.keys).saturating_sub(self.queries),
            false => self.keys,
        }
    }

    /// How many of the `width` keys from number `first` on the query sees.
    #[inline(always)]
    pub(super) fn keys_from(&self, query: usize, first: usize, width: usize) -> usize {
        self.keys_of(query).saturating_sub(first).min(width)
    }

    /// Sets the scores of keys before the query's window and of padding, among the keys
    /// from number `first` on, to minus infinity.
    #[inline(always)]
    pub(super) fn hide<T: Scalar>(&self, query: usize, first: usize, scores: &mut [T]) {
        let lowest = T::from_f64(f64::NEG_INFINITY);
        let before = self.first_of(query).saturating_sub(first).min(scores.len());
        scores[..before].fill(lowest);
        let Some(kept) = &self.kept else { return };
        for (score, &kept) in scores.iter_mut().zip(&kept[first..]) {
            *score = if kept { *score } else { lowest };
        }
    }
}

//! Keys and values that a decoder has calculated, kept while it generates.

use std::collections::BTreeMap;

use ggpo_tensor::Scalar;
use ggpo_tensor::attention::KeysAndValues;
use ndarray::ArrayView3;

/// The keys and values of one sequence, by attention layer, at all positions
/// that a decoder has read.
///
/// With it, reading one more token costs one position. A [`Graph`](super::Graph)
/// takes one per row of its batch, so rows may have read different numbers of
/// positions and nothing is padded.
#[derive(Debug, Clone)]
pub struct KeyValueCache<T> {
    layers: BTreeMap<String, Stored<T>>,
}

/// Keys and values of one layer, each positions x heads x channels, and whether
/// they are of the decoder's own positions rather than of an encoder's.
///
/// A vector that grows doubles its room, so appending position by position
/// copies each number about once in all.
#[derive(Debug, Clone)]
struct Stored<T> {
    own: bool,
    heads: usize,
    channels: usize,
    keys: Vec<T>,
    values: Vec<T>,
}

impl<T> Stored<T> {
    fn positions(&self) -> usize {
        self.keys.len() / (self.heads * self.channels)
    }

    fn views(&self) -> KeysAndValues<'_, T> {
        let shape = (self.positions(), self.heads, self.channels);
        [&self.keys, &self.values]
            .map(|x| ArrayView3::from_shape(shape, x).expect("whole positions are appended"))
    }
}

impl<T> Default for KeyValueCache<T> {
    fn default() -> Self {
        KeyValueCache {
            layers: BTreeMap::new(),
        }
    }
}

impl<T: Scalar> KeyValueCache<T> {
    /// Number of positions that the decoder has read.
    pub fn positions(&self) -> usize {
        let mut layers = self.layers.values();
        layers.find(|layer| layer.own).map_or(0, Stored::positions)
    }

    /// Adds the keys and values (time x heads x channels) of the next positions
    /// to a layer, and returns those of all its positions. `own` tells the
    /// decoder's positions from those of an encoder.
    ///
    /// # Panics
    /// If heads or channels are not those of the layer, or there are none.
    pub(super) fn append(
        &mut self,
        layer: &str,
        own: bool,
        [keys, values]: KeysAndValues<'_, T>,
    ) -> KeysAndValues<'_, T> {
        let (_, heads, channels) = keys.dim();
        assert!(heads * channels > 0, "{layer}: keys of no channels");
        let new = || Stored {
            own,
            heads,
            channels,
            keys: Vec::new(),
            values: Vec::new(),
        };
        let stored = self.layers.entry(layer.to_owned()).or_insert_with(new);
        let found = [(heads, channels), (values.dim().1, values.dim().2)];
        assert_eq!(found, [(stored.heads, stored.channels); 2], "{layer}");
        stored.keys.extend(keys.iter());
        stored.values.extend(values.iter());
        stored.views()
    }
}

//! The random numbers behind a layer's noise.

use ggpo_tensor::random::{Purpose, Stream};
use ndarray::Array2;

use super::slices::Slices;
use super::trace::Place;

/// The random numbers of a layer's noise.
pub(super) struct Drawn {
    pub(super) key: [u32; 2],
    pub(super) first_block: u64,
    pub(super) words: Vec<[u32; 4]>,
    pub(super) z: Slices,
}

impl Drawn {
    /// Those of step `step` and layer `layer`, whose weight is m x n.
    pub(super) fn of(
        (seed, step, layer): (u64, u32, usize),
        (m, n): (usize, usize),
        place: Place,
    ) -> Self {
        let stream = Stream::new(seed, Purpose::Perturbation, step, layer as u32);
        let mut z = vec![0.0; m * n];
        stream.fill_normal(0, &mut z);
        let z = Array2::from_shape_vec((m, n), z).expect("m x n");
        let block = |index: u64| u64::from(stream.counter(index)[0]);
        let element = (place.row * n + place.column) as u64;
        let (first_block, count) = match place.whole {
            true => (0, (m * n).div_ceil(CHUNK) * CHUNK / 4),
            false => (block(element), 1),
        };
        let words = (first_block..first_block + count as u64).map(|block| {
            // Block 16 c + lane has the elements 64 c + 16 w + lane.
            let first = block / LANES * CHUNK as u64 + block % LANES;
            [0, 1, 2, 3].map(|word| stream.bits(first + LANES * word))
        });
        Drawn {
            key: stream.key(),
            first_block,
            words: words.collect(),
            z: Slices::of(z.view(), place.keep(true, false)),
        }
    }
}

/// Elements of a chunk of a stream, and blocks of one.
const CHUNK: usize = 64;
const LANES: u64 = 16;

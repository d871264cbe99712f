//! Rotary position embedding in the half-split layout.
//!
//! Channel c is paired with channel `c + channels / 2`; the pair at position t
//! is turned by the angle `t / theta^(2 c / channels)`.

use crate::parallel::update_rows;
use crate::raw::dispatch::{self, Kernel};
use crate::{Scalar, Tensor};

/// The rotation angles of every position: `angles[t * half + c]`, in radians.
#[derive(Debug, Clone)]
pub struct RotaryTable {
    half: usize,
    /// Sine and cosine per position and pair.
    turns: Vec<[f64; 2]>,
}

impl RotaryTable {
    /// Angles for positions `0..positions` of heads with an even number of
    /// `channels`, turning with the inverse frequencies `1 / theta^(2 c / channels)`.
    ///
    /// # Panics
    /// If `channels` is odd.
    pub fn new(positions: usize, channels: usize, theta: f64) -> Self {
        Self::with_frequencies(positions, &inverse_frequencies(channels, theta))
    }

    /// Angles for positions `0..positions`: pair c turns by `frequencies[c]`
    /// radians per position. Heads have twice as many channels.
    pub fn with_frequencies(positions: usize, frequencies: &[f64]) -> Self {
        let half = frequencies.len();
        let mut turns = Vec::with_capacity(positions * half);
        for position in 0..positions {
            for frequency in frequencies {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                turns.push([sin, cos]);
            }
        }
        RotaryTable { half, turns }
    }

    /// Number of positions the table reaches.
    pub fn positions(&self) -> usize {
        self.turns.len().checked_div(self.half).unwrap_or(0)
    }

    /// Turns `x` (batch x time x head x channel) forward, or back when `inverse`;
    /// time step t of batch row b stands at position `first[b] + t`.
    ///
    /// # Panics
    /// If the shape is not of four axes with the table's channels, `first` has
    /// another length than the batch, or a position is beyond the table.
    pub fn turn<T: Scalar>(&self, x: Tensor<T>, first: &[usize], inverse: bool) -> Tensor<T> {
        let &[batch, time, heads, channels] = x.shape() else {
            panic!("rotary embedding of shape {:?}", x.shape())
        };
        assert_eq!(channels, 2 * self.half, "rotary embedding: channels");
        assert_eq!(batch, first.len(), "rotary embedding: first positions");
        let end = first.iter().max().map_or(0, |first| first + time);
        assert!(
            end <= self.positions(),
            "position {end} in a rotary table of {}",
            self.positions()
        );
        let sign = if inverse { -1.0 } else { 1.0 };
        update_rows(x, channels.max(1), |first_row, rows| {
            dispatch::run(Turn {
                table: self,
                position: |row| {
                    let step = (first_row + row) / heads;
                    first[step / time] + step % time
                },
                sign,
                rows,
            });
        })
    }
}

/// The frequencies `1 / theta^(2 c / channels)` of the pairs c of channels, in
/// radians per position.
///
/// # Panics
/// If `channels` is odd.
pub fn inverse_frequencies(channels: usize, theta: f64) -> Vec<f64> {
    assert!(
        channels.is_multiple_of(2),
        "{channels} channels cannot be paired"
    );
    (0..channels / 2)
        .map(|pair| theta.powf(-2.0 * pair as f64 / channels as f64))
        .collect()
}

/// Turns some rows, of which row i stands at `position(i)`.
struct Turn<'a, T, P> {
    table: &'a RotaryTable,
    position: P,
    sign: f64,
    rows: &'a mut [T],
}

impl<T: Scalar, P: Fn(usize) -> usize> Kernel for Turn<'_, T, P> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let half = self.table.half;
        // Rounded to `T` once for all heads of a position.
        let (mut sines, mut cosines) = (vec![T::ZERO; half], vec![T::ZERO; half]);
        let mut ready = None;
        for (index, row) in self.rows.chunks_exact_mut((2 * half).max(1)).enumerate() {
            let position = (self.position)(index);
            if ready != Some(position) {
                let turns = &self.table.turns[position * half..][..half];
                for ((to_sin, to_cos), &[sin, cos]) in sines.iter_mut().zip(&mut cosines).zip(turns)
                {
                    (*to_sin, *to_cos) = (T::from_f64(self.sign * sin), T::from_f64(cos));
                }
                ready = Some(position);
            }
            let (low, high) = row.split_at_mut(half);
            let turns = sines.iter().zip(&cosines);
            for ((low, high), (&sin, &cos)) in low.iter_mut().zip(high).zip(turns) {
                (*low, *high) = (*low * cos - *high * sin, *high * cos + *low * sin);
            }
        }
    }
}

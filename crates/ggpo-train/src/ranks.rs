//! The processes that share a training.
//!
//! Every rank holds the whole model and all data, and does everything that a process
//! alone does, but for two things that take most of the time and are shared: the passes
//! of a step's micro-batches, and the batches that are scored. What each of them gave
//! goes to all ranks, and every rank adds it up in the order of the micro-batches, so a
//! training has the same bits for any number of ranks. Noise is a function of its
//! position: ranks agree on it without a message.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The ranks, as one of them sees them.
///
/// An implementation ends all ranks where one fails: nobody waits for one that is gone.
pub trait Ranks: Send + Sync {
    /// Number of this rank, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn count(&self) -> usize;

    /// Gives `own` to all ranks and returns what all of them gave, in their order. All
    /// ranks call it at the same points of their course.
    fn all_gather(&self, own: Vec<u8>) -> Vec<Vec<u8>>;

    /// Whether this rank writes files and speaks to people.
    fn is_first(&self) -> bool {
        self.rank() == 0
    }
}

/// A process that shares with nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Ranks for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn count(&self) -> usize {
        1
    }

    fn all_gather(&self, own: Vec<u8>) -> Vec<Vec<u8>> {
        vec![own]
    }
}

/// What `work` gives for every number below `count`, in their order. Each rank does
/// those numbers that leave its own as the remainder; results travel in the form `S`.
///
/// # Panics
/// If what another rank sent is of another form: it runs another program.
pub fn share<R, S>(ranks: &dyn Ranks, count: usize, mut work: impl FnMut(usize) -> R) -> Vec<R>
where
    R: Into<S>,
    S: Serialize + DeserializeOwned + Into<R>,
{
    if ranks.count() == 1 {
        return (0..count).map(work).collect();
    }
    let own = (ranks.rank()..count).step_by(ranks.count());
    let own: Vec<S> = own.map(|index| work(index).into()).collect();
    let gathered = ranks.all_gather(encoded(&own));
    let mut parts: Vec<_> = gathered
        .iter()
        .map(|bytes| decoded::<Vec<S>>(bytes).into_iter())
        .collect();
    (0..count)
        .map(|index| {
            let part = parts[index % ranks.count()].next();
            part.expect("every rank does its share").into()
        })
        .collect()
}

/// Whether any rank says yes; all get the same answer.
pub fn any(ranks: &dyn Ranks, own: bool) -> bool {
    match ranks.count() {
        1 => own,
        _ => ranks.all_gather(vec![own.into()]).concat().contains(&1),
    }
}

/// Bytes that travel between processes of one program.
fn encoded(value: &impl Serialize) -> Vec<u8> {
    let bytes = bincode::serde::encode_to_vec(value, bincode::config::legacy());
    bytes.expect("plain numbers and names have a binary form")
}

fn decoded<S: DeserializeOwned>(bytes: &[u8]) -> S {
    let value = bincode::serde::decode_from_slice(bytes, bincode::config::legacy());
    value.expect("all ranks run the same program").0
}

//! The processes that share a training, started by `mpirun`.

use std::sync::Arc;

use ggpo_train::ranks::Ranks;

/// The ranks of this training. Without the feature `mpi` a process is alone.
pub(crate) fn ranks() -> anyhow::Result<Arc<dyn Ranks>> {
    #[cfg(feature = "mpi")]
    return world::World::join();
    #[cfg(not(feature = "mpi"))]
    {
        // Several processes in one folder, each of them alone, is never what is meant.
        let started = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"].map(std::env::var);
        let several = |size: String| size.parse::<usize>().is_ok_and(|size| size > 1);
        anyhow::ensure!(
            !started.into_iter().flatten().any(several),
            "expected a program built with the feature mpi under mpirun, found one without; \
             build it with --features mpi"
        );
        Ok(Arc::new(ggpo_train::ranks::Alone))
    }
}

/// Leaves the others, at the end of a program; after an error, which has been printed,
/// it ends all of them.
pub(crate) fn leave(failed: bool) {
    #[cfg(feature = "mpi")]
    world::leave(failed);
    #[cfg(not(feature = "mpi"))]
    let _ = failed;
}

#[cfg(feature = "mpi")]
mod world {
    use std::sync::{Arc, Mutex};

    use anyhow::Context;
    use ggpo_train::ranks::Ranks;
    use mpi::Threading;
    use mpi::datatype::PartitionMut;
    use mpi::environment::Universe;
    use mpi::topology::SimpleCommunicator;
    use mpi::traits::{Communicator, CommunicatorCollectives};

    /// MPI, as long as the program uses it.
    static UNIVERSE: Mutex<Option<Universe>> = Mutex::new(None);

    /// All processes that `mpirun` started.
    pub(super) struct World {
        rank: usize,
        count: usize,
    }

    impl World {
        pub(super) fn join() -> anyhow::Result<Arc<dyn Ranks>> {
            // The passes of a step run on a thread of a pool, one at a time.
            let (universe, granted) = mpi::initialize_with_threading(Threading::Serialized)
                .context("expected MPI not to be in use, found it so")?;
            anyhow::ensure!(
                granted >= Threading::Serialized,
                "expected an MPI that any one thread may call at a time, found {granted:?}"
            );
            let world = universe.world();
            *UNIVERSE.lock().expect("nobody panics with it") = Some(universe);
            Ok(Arc::new(World {
                rank: world.rank() as usize,
                count: world.size() as usize,
            }))
        }
    }

    impl Ranks for World {
        fn rank(&self) -> usize {
            self.rank
        }

        fn count(&self) -> usize {
            self.count
        }

        fn all_gather(&self, own: Vec<u8>) -> Vec<Vec<u8>> {
            let world = SimpleCommunicator::world();
            let mut lengths = vec![0_u64; self.count];
            world.all_gather_into(&(own.len() as u64), &mut lengths[..]);
            let mut all: Vec<Vec<u8>> = lengths.iter().map(|_| Vec::new()).collect();
            let longest = lengths.iter().max().map_or(0, |length| *length as usize);
            // MPI counts and places in `i32`.
            let piece = i32::MAX as usize / self.count;
            for begin in (0..longest).step_by(piece) {
                let part = |length: usize| length.saturating_sub(begin).min(piece);
                let counts: Vec<i32> = lengths
                    .iter()
                    .map(|&length| part(length as usize) as i32)
                    .collect();
                let places: Vec<i32> = counts
                    .iter()
                    .scan(0, |end, count| {
                        let begin = *end;
                        *end += count;
                        Some(begin)
                    })
                    .collect();
                let mut received = vec![0_u8; counts.iter().map(|&count| count as usize).sum()];
                {
                    let mut partition =
                        PartitionMut::new(&mut received[..], counts.clone(), &places[..]);
                    let begin = begin.min(own.len());
                    let sent = &own[begin..begin + part(own.len())];
                    world.all_gather_varcount_into(sent, &mut partition);
                }
                let mut rest = &received[..];
                for (all, count) in all.iter_mut().zip(counts) {
                    let (piece, after) = rest.split_at(count as usize);
                    all.extend_from_slice(piece);
                    rest = after;
                }
            }
            all
        }
    }

    pub(super) fn leave(failed: bool) {
        let universe = UNIVERSE.lock().expect("nobody panics with it").take();
        if let Some(universe) = universe
            && failed
            && universe.world().size() > 1
        {
            universe.world().abort(1);
        }
    }
}

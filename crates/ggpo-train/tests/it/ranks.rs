//! Several ranks train to the bits of one, here as threads of this process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Barrier, Mutex};

use ggpo_train::ranks::{Ranks, any, share};
use ggpo_train::run::{Corpora, Keep, RESULT, RunConfig, RunResult, run, run_shared};

use crate::common::{World, every_method, named, read};

/// A rank that is a thread.
struct Thread {
    rank: usize,
    table: Arc<Table>,
}

/// Where threads leave what they give.
struct Table {
    places: Mutex<Vec<Vec<u8>>>,
    barrier: Barrier,
}

impl Ranks for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.table.places.lock().unwrap().len()
    }

    fn all_gather(&self, own: Vec<u8>) -> Vec<Vec<u8>> {
        self.table.places.lock().unwrap()[self.rank] = own;
        self.table.barrier.wait();
        let all = self.table.places.lock().unwrap().clone();
        // Nobody gives something new before all have read.
        self.table.barrier.wait();
        all
    }
}

/// What `work` gives on each of `count` ranks, each with a pool of one thread.
fn on_ranks<R: Send>(count: usize, work: impl Fn(Arc<dyn Ranks>) -> R + Sync) -> Vec<R> {
    let table = Arc::new(Table {
        places: Mutex::new(vec![Vec::new(); count]),
        barrier: Barrier::new(count),
    });
    std::thread::scope(|scope| {
        let ranks: Vec<_> = (0..count)
            .map(|rank| {
                let table = Arc::clone(&table);
                let work = &work;
                scope.spawn(move || {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
                    pool.unwrap()
                        .install(|| work(Arc::new(Thread { rank, table })))
                })
            })
            .collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

/// The results of all ranks of a run; with `stop`, none after that step.
fn train(
    config: &RunConfig,
    folder: &Path,
    count: usize,
    stop: Option<u32>,
) -> Vec<Option<RunResult>> {
    on_ranks(count, |ranks| {
        let finished = catch_unwind(AssertUnwindSafe(|| {
            let corpora = Corpora::default();
            run_shared(
                config,
                &corpora,
                folder,
                Keep::Weights,
                ranks,
                &mut |report| {
                    assert_ne!(Some(report.step), stop, "stopped on purpose");
                },
            )
            .unwrap()
        }));
        finished.ok()
    })
}

#[test]
fn every_rank_gets_the_results_of_all_in_their_order() {
    for count in 1..5 {
        for items in [0, 1, 3, 7] {
            let expected: Vec<usize> = (0..items).map(|index| index * index).collect();
            let found = on_ranks(count, |ranks| {
                share::<usize, usize>(&*ranks, items, |index| index * index)
            });
            assert!(found.into_iter().all(|found| found == expected));
        }
        let one = on_ranks(count, |ranks| any(&*ranks, ranks.rank() + 1 == count));
        assert_eq!(one, vec![true; count]);
        assert_eq!(
            on_ranks(count, |ranks| any(&*ranks, false)),
            vec![false; count]
        );
    }
}

#[test]
fn a_run_has_the_same_bits_for_any_number_of_ranks() {
    let world = World::new();
    for (index, method) in every_method().into_iter().enumerate() {
        let mut config = world.classification(method);
        config.micro_batches = 4;
        let alone = world.path(&format!("alone-{index}"));
        let expected = run(&config, &alone, Keep::Weights, &mut |_| {}).unwrap();
        for count in [2, 3, 4] {
            let folder = world.path(&format!("ranks-{count}-{index}"));
            let found = train(&config, &folder, count, None);
            assert!(
                found
                    .into_iter()
                    .all(|found| found.as_ref() == Some(&expected))
            );
            for file in [RESULT, "metrics.jsonl", "config.toml", "checkpoint.bin"] {
                assert_eq!(read(&folder.join(file)), read(&alone.join(file)), "{file}");
            }
        }
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks_to_the_same_bits() {
    let world = World::new();
    let mut config = world.language_modelling(named("ggpo"));
    config.micro_batches = 4;
    let alone = world.path("alone");
    let expected = run(&config, &alone, Keep::Weights, &mut |_| {}).unwrap();
    let parts = world.path("parts");
    for (count, stop) in [(3, 4), (1, 7), (4, 10)] {
        let stopped = train(&config, &parts, count, Some(stop));
        assert!(stopped.iter().all(Option::is_none));
    }
    let finished = train(&config, &parts, 2, None);
    assert!(
        finished
            .into_iter()
            .all(|found| found.as_ref() == Some(&expected))
    );
    for file in [RESULT, "metrics.jsonl"] {
        assert_eq!(read(&parts.join(file)), read(&alone.join(file)), "{file}");
    }
}

#[test]
fn more_ranks_than_micro_batches_are_refused() {
    let world = World::new();
    let config = world.classification(named("lora"));
    let folder = world.path("refused");
    let sentences = on_ranks(2, |ranks| {
        let corpora = Corpora::default();
        let refused = run_shared(
            &config,
            &corpora,
            &folder,
            Keep::Weights,
            ranks,
            &mut |_| {},
        );
        refused.unwrap_err().to_string()
    });
    for sentence in sentences {
        assert!(sentence.contains("micro_batches"), "{sentence}");
    }
    assert!(!folder.exists());
}

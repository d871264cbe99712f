//! Nanoseconds per element (criterion's `time` divided by the element count).

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ggpo_tensor::random::{Purpose, Stream};
use std::hint::black_box;

/// Fits in the second-level cache, so the figures are those of the arithmetic.
const ELEMENTS: usize = 1 << 16;

fn fills(criterion: &mut Criterion) {
    let stream = Stream::new(42, Purpose::Perturbation, 1, 2);
    let mut group = criterion.benchmark_group("fill");
    group.throughput(Throughput::Elements(ELEMENTS as u64));
    let mut words = vec![0; ELEMENTS];
    let mut values = vec![0.0; ELEMENTS];
    group.bench_function("bits", |bencher| {
        bencher.iter(|| stream.fill_bits(black_box(0), &mut words));
    });
    group.bench_function("uniform", |bencher| {
        bencher.iter(|| stream.fill_uniform(black_box(0), &mut values));
    });
    group.bench_function("normal", |bencher| {
        bencher.iter(|| stream.fill_normal(black_box(0), &mut values));
    });
    group.bench_function("truncated_normal", |bencher| {
        bencher.iter(|| stream.fill_truncated_normal(black_box(0), 2.0, &mut values));
    });
    group.finish();
}

/// Rows of a matrix start anywhere in a chunk; this is what that costs.
fn short_rows(criterion: &mut Criterion) {
    let stream = Stream::new(42, Purpose::Perturbation, 1, 2);
    let mut group = criterion.benchmark_group("normal_row");
    for length in [64, 384, 1536] {
        let mut row = vec![0.0; length];
        group.throughput(Throughput::Elements(length as u64));
        group.bench_function(BenchmarkId::new("aligned", length), |bencher| {
            bencher.iter(|| stream.fill_normal(black_box(128), &mut row));
        });
        group.bench_function(BenchmarkId::new("unaligned", length), |bencher| {
            bencher.iter(|| stream.fill_normal(black_box(100), &mut row));
        });
    }
    group.finish();
}

criterion_group!(benches, fills, short_rows);
criterion_main!(benches);

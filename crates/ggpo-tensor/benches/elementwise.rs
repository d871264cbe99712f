//! Nanoseconds per element (criterion's `time` divided by the element count),
//! beside the same formulas over the system's functions, one number at a time.
//!
//! Everything runs inside a pool of one thread: handing work over to a pool from
//! outside would cost as much as some of the kernels.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use ggpo_tensor::activation::{gelu_erf, gelu_erf_slope, gelu_tanh, gelu_tanh_slope, silu};
use ggpo_tensor::norm::{layer_statistics, normalise};
use ggpo_tensor::parallel::{map, zip_map};
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::softmax::{log_sum_exp, softmax};
use ggpo_tensor::{Real, Tensor, flat, tensor};
use std::hint::black_box;

/// Rows and row length.
const SHAPE: [usize; 2] = [128, 128];
/// Tokens and channels of a layer norm.
const NORM_SHAPE: [usize; 2] = [128, 768];

fn normal(shape: [usize; 2]) -> Tensor<f32> {
    let mut values = vec![0.0; shape[0] * shape[1]];
    Stream::new(42, Purpose::Perturbation, 1, 2).fill_normal(0, &mut values);
    tensor(&shape, values)
}

/// The same formulas over functions that are called one number at a time.
mod scalar {
    use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

    const TANH_SCALE: f32 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;

    pub(super) fn gelu_erf(x: f32) -> f32 {
        x * (0.5 + 0.5 * libm::erff(x * FRAC_1_SQRT_2))
    }

    pub(super) fn gelu_erf_slope(x: f32) -> f32 {
        let density = (-0.5 * x * x).exp() * (0.5 * TANH_SCALE);
        0.5 + 0.5 * libm::erff(x * FRAC_1_SQRT_2) + x * density
    }

    pub(super) fn gelu_tanh(x: f32) -> f32 {
        0.5 * x * (1.0 + (TANH_SCALE * (x + 0.044_715 * x * x * x)).tanh())
    }

    pub(super) fn gelu_tanh_slope(x: f32) -> f32 {
        let t = (TANH_SCALE * (x + 0.044_715 * x * x * x)).tanh();
        let inner = TANH_SCALE * (1.0 + 3.0 * 0.044_715 * x * x);
        0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner
    }

    pub(super) fn silu(x: f32) -> f32 {
        x / (1.0 + (-x).exp())
    }

    pub(super) fn softmax(row: &mut [f32]) {
        let max = row.iter().copied().fold(f32::MIN, f32::max);
        let mut total = 0.0;
        for x in row.iter_mut() {
            *x = (*x - max).exp();
            total += *x;
        }
        let inverse = 1.0 / total;
        row.iter_mut().for_each(|x| *x *= inverse);
    }

    pub(super) fn log_sum_exp(row: &[f32]) -> f32 {
        let max = row.iter().copied().fold(f32::MIN, f32::max);
        max + row.iter().map(|x| (x - max).exp()).sum::<f32>().ln()
    }

    /// Layer norm as it is when no loop is compiled for wide vectors.
    pub(super) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], out: &mut [f32]) {
        let width = weight.len();
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let mean = lane_sum(x, |x| x) / width as f32;
            let variance = lane_sum(x, |x| (x - mean) * (x - mean)) / width as f32;
            let inverse = 1.0 / (variance + 1e-5).sqrt();
            for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
                *out = (x - mean) * inverse * weight + bias;
            }
        }
    }

    fn lane_sum(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
        let mut lanes = [0.0; 8];
        for chunk in row.chunks_exact(8) {
            for lane in 0..8 {
                lanes[lane] += term(chunk[lane]);
            }
        }
        lanes.iter().sum()
    }
}

fn compare(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    mut vector: impl FnMut() -> Tensor<f32> + Send,
    mut scalar: impl FnMut() -> Tensor<f32> + Send,
) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.expect("one more thread");
    group.bench_function(format!("{name}/vector"), |bencher| {
        pool.install(|| bencher.iter(|| black_box(vector())));
    });
    group.bench_function(format!("{name}/scalar"), |bencher| {
        pool.install(|| bencher.iter(|| black_box(scalar())));
    });
}

/// The elements one by one, into a new tensor as `map` makes it.
fn one_by_one(x: &Tensor<f32>, f: impl Fn(f32) -> f32) -> Tensor<f32> {
    tensor(x.shape(), flat(x).iter().map(|&x| f(x)).collect())
}

fn activations(criterion: &mut Criterion) {
    let x = normal(SHAPE);
    let mut group = criterion.benchmark_group("activation");
    group.throughput(Throughput::Elements(x.len() as u64));
    let g = &mut group;
    compare(g, "exp", || map(&x, Real::exp), || one_by_one(&x, f32::exp));
    compare(
        g,
        "tanh",
        || map(&x, Real::tanh),
        || one_by_one(&x, f32::tanh),
    );
    compare(
        g,
        "erf",
        || map(&x, Real::erf),
        || one_by_one(&x, libm::erff),
    );
    compare(g, "silu", || map(&x, silu), || one_by_one(&x, scalar::silu));
    compare(
        g,
        "gelu_erf",
        || map(&x, gelu_erf),
        || one_by_one(&x, scalar::gelu_erf),
    );
    compare(
        g,
        "gelu_tanh",
        || map(&x, gelu_tanh),
        || one_by_one(&x, scalar::gelu_tanh),
    );
    compare(
        g,
        "gelu_erf_gradient",
        || zip_map(&x, &x, |dy, x| dy * gelu_erf_slope(x)),
        || one_by_one(&x, |x| x * scalar::gelu_erf_slope(x)),
    );
    compare(
        g,
        "gelu_tanh_gradient",
        || zip_map(&x, &x, |dy, x| dy * gelu_tanh_slope(x)),
        || one_by_one(&x, |x| x * scalar::gelu_tanh_slope(x)),
    );
    group.finish();
}

fn rows(criterion: &mut Criterion) {
    let x = normal(SHAPE);
    let width = SHAPE[1];
    let mut group = criterion.benchmark_group("rows_of_128");
    group.throughput(Throughput::Elements(x.len() as u64));
    compare(
        &mut group,
        "softmax",
        || softmax(&x),
        || {
            let mut out = flat(&x).to_vec();
            out.chunks_exact_mut(width).for_each(scalar::softmax);
            tensor(x.shape(), out)
        },
    );
    let of_rows = |f: fn(&[f32]) -> f32| {
        let values: Vec<f32> = flat(&x).chunks_exact(width).map(f).collect();
        tensor(&[values.len()], values)
    };
    compare(
        &mut group,
        "log_sum_exp",
        || of_rows(log_sum_exp),
        || of_rows(scalar::log_sum_exp),
    );
    group.finish();
}

fn layer_norm(criterion: &mut Criterion) {
    let x = normal(NORM_SHAPE);
    let (weight, bias) = (vec![1.5; NORM_SHAPE[1]], vec![0.5; NORM_SHAPE[1]]);
    let mut group = criterion.benchmark_group("rows_of_768");
    group.throughput(Throughput::Elements(x.len() as u64));
    compare(
        &mut group,
        "layer_norm",
        || normalise(&x, &layer_statistics(&x, 1e-5), &weight, Some(&bias)),
        || {
            let mut out = vec![0.0; x.len()];
            scalar::layer_norm(flat(&x), &weight, &bias, &mut out);
            tensor(x.shape(), out)
        },
    );
    group.finish();
}

criterion_group!(benches, activations, rows, layer_norm);
criterion_main!(benches);

//! Floating-point operations per second (criterion's `thrpt`, in elements) of the
//! products of a training step.
//!
//! `layer` is a layer that acts by its weight and a low-rank path, both ways, on
//! all threads, with operands that come from memory. `serial` are the pieces that
//! one thread calculates, beside `matrixmultiply` as `ndarray` calls it.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ggpo_tensor::memory::keep_freed_memory;
use ggpo_tensor::parallel::in_pool;
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{ActingWeight, Addend, LowRank, Products, WeightView};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2};

/// Tokens, inputs and outputs of the layers of two encoders and a decoder.
const LAYERS: [[usize; 3]; 4] = [
    [4096, 384, 384],
    [4096, 384, 1536],
    [4096, 1536, 384],
    [2048, 288, 768],
];
const RANK: usize = 8;
/// Operands in turn, so that none is still in a cache.
const TURNS: usize = 4;

/// One matrix of a product: rows, columns, and whether it is stored transposed.
type Side = (usize, usize, bool);

/// What a head of attention and the low-rank factors multiply.
const SERIAL: [(&str, Side, Side); 8] = [
    ("layer", (1024, 384, false), (384, 384, true)),
    ("x_at", (512, 384, false), (384, 8, true)),
    ("dy_b", (512, 384, false), (384, 8, false)),
    ("gt_x", (8, 512, true), (512, 384, false)),
    ("q_kt", (128, 32, false), (32, 128, true)),
    ("p_v", (128, 128, false), (128, 32, false)),
    ("pt_dy", (128, 128, true), (128, 32, false)),
    ("logits", (256, 288, false), (288, 768, true)),
];

fn normal(rows: usize, columns: usize) -> Array2<f32> {
    let mut values = vec![0.0; rows * columns];
    let key = (rows * columns) as u32;
    Stream::new(42, Purpose::Perturbation, key, 2).fill_normal(0, &mut values);
    Array2::from_shape_vec((rows, columns), values).expect("rows x columns")
}

fn layers(criterion: &mut Criterion) {
    keep_freed_memory();
    let mut group = criterion.benchmark_group("layer");
    for [tokens, inputs, outputs] in LAYERS {
        let [w, b, a] = [(outputs, inputs), (outputs, RANK), (RANK, inputs)];
        let [w, b, a] = [w, b, a].map(|(rows, columns)| normal(rows, columns));
        let acting = ActingWeight {
            low_rank: [
                Some(LowRank {
                    scaling: 2.0,
                    b: b.view(),
                    a: a.view(),
                }),
                None,
            ],
            ..ActingWeight::from(WeightView::Dense(w.view()))
        };
        let mut narrow = [(); TURNS].map(|()| normal(tokens, inputs));
        let mut wide = [(); TURNS].map(|()| normal(tokens, outputs));
        let bias = vec![0.1; outputs];
        let name = format!("{tokens}x{inputs}x{outputs}");
        group.throughput(Throughput::Elements((2 * tokens * inputs * outputs) as u64));
        let mut turn = (0..TURNS).cycle();
        let mut next = || turn.next().expect("a cycle does not end");
        group.bench_function(format!("{name}/forward"), |bencher| {
            bencher.iter(|| {
                let turn = next();
                let (x, y) = (narrow[turn].view(), wide[turn].view_mut());
                in_pool(|| acting.times_transposed(x, Addend::Row(&bias), y));
            });
        });
        group.bench_function(format!("{name}/backward"), |bencher| {
            bencher.iter(|| {
                let turn = next();
                let (y, x) = (wide[turn].view(), narrow[turn].view_mut());
                in_pool(|| acting.times(y, 0.0, x));
            });
        });
    }
    group.finish();
}

fn serial(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("serial");
    let stored = |(rows, columns, transposed): Side| match transposed {
        true => normal(columns, rows),
        false => normal(rows, columns),
    };
    fn side(matrix: &Array2<f32>, transposed: bool) -> ArrayView2<'_, f32> {
        match transposed {
            true => matrix.t(),
            false => matrix.view(),
        }
    }
    for (name, left, right) in SERIAL {
        let (a, b) = (stored(left), stored(right));
        let (a, b) = (side(&a, left.2), side(&b, right.2));
        let mut c = Array2::default((left.0, right.1));
        let work = 2 * left.0 * left.1 * right.1;
        group.throughput(Throughput::Elements(work as u64));
        group.bench_function(format!("{name}/ggpo"), |bencher| {
            bencher.iter(|| f32::gemm_serial(1.0, a, b, 0.0, c.view_mut()));
        });
        group.bench_function(format!("{name}/matrixmultiply"), |bencher| {
            bencher.iter(|| general_mat_mul(1.0, &a, &b, 0.0, &mut c));
        });
    }
    group.finish();
}

criterion_group!(benches, layers, serial);
criterion_main!(benches);

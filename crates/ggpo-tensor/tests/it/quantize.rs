//! Numbers in blocks: how far they may be from what they were.

use std::ops::Range;

use ggpo_tensor::quantized::QuantizedError;
use ggpo_tensor::{BlockFormat, QuantizedMatrix};
use ndarray::{Array2, aview1};
use proptest::prelude::*;

fn quantized(format: BlockFormat, numbers: &[f32]) -> Array2<f32> {
    let row = aview1(numbers).insert_axis(ndarray::Axis(0)).to_owned();
    let matrix = QuantizedMatrix::quantize(format, row.view()).expect("it can be held");
    assert_eq!((matrix.format(), matrix.dim()), (format, row.dim()));
    matrix.dequantize()
}

/// Largest distance of a number of a block from what the block says of it. A half is
/// 2^-11 of itself away from what it stands for, or 2^-25 where it is subnormal.
fn bound(format: BlockFormat, x: f32, block: &[f32]) -> f32 {
    let largest = block.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
    let half = |x: f32| (x.abs() * 2.0_f32.powi(-11)).max(2.0_f32.powi(-25));
    // Of the division and the product, in single precision.
    let rounding = 4.0 * f32::EPSILON * largest;
    rounding
        + match format {
            BlockFormat::F16 => half(x),
            BlockFormat::BF16 => x.abs() * 2.0_f32.powi(-8),
            BlockFormat::Q8_0 => {
                let d = largest / 127.0;
                d / 2.0 + 127.5 * half(d)
            }
            BlockFormat::Q4_0 => {
                let d = largest / 8.0;
                // One of the two signs goes to 8 d, the other to 7 d.
                let nearest = if x.abs() > 7.5 * d { d } else { d / 2.0 };
                nearest + 8.5 * half(d)
            }
            _ => panic!("not written"),
        }
}

/// A row of two blocks of 32 numbers, each block of a magnitude of its own.
fn rows(scales: Range<i32>) -> impl Strategy<Value = Vec<f32>> {
    let block = (scales, prop::array::uniform32(-1.0_f32..=1.0));
    prop::collection::vec(block, 2).prop_map(|blocks| {
        let scaled = |(scale, block): (i32, [f32; 32])| block.map(|x| x * 2.0_f32.powi(scale));
        blocks.into_iter().flat_map(scaled).collect()
    })
}

proptest! {
    #[test]
    fn every_number_is_within_the_bound_of_its_block(row in rows(-30..16)) {
        for format in BlockFormat::WRITTEN {
            let found = quantized(format, &row);
            for (block, found) in row.chunks(32).zip(found.as_slice().unwrap().chunks(32)) {
                for (x, found) in block.iter().zip(found) {
                    let (distance, bound) = ((x - found).abs(), bound(format, *x, block));
                    prop_assert!(distance <= bound, "{format} {x} {found}: {distance} > {bound}");
                }
            }
        }
    }

    #[test]
    fn what_a_block_says_becomes_the_same_block(row in rows(-3..16)) {
        // Where d is a normal half, so that products with it are exact.
        let is_normal = |block: &[f32]| block.iter().any(|x| x.abs() > 0.01);
        prop_assume!(row.chunks(32).all(is_normal));
        for format in BlockFormat::WRITTEN {
            let once = quantized(format, &row);
            let twice = quantized(format, once.as_slice().unwrap());
            prop_assert_eq!(once, twice);
        }
    }
}

#[test]
fn zeros_stay_zeros() {
    for format in BlockFormat::WRITTEN {
        assert_eq!(quantized(format, &[0.0; 32]), Array2::<f32>::zeros((1, 32)));
    }
}

#[test]
fn rows_are_quantised_one_by_one() {
    let numbers = Array2::from_shape_fn((5, 64), |(row, column)| (row * 64 + column) as f32);
    // In another layout, too.
    let turned = numbers.t().as_standard_layout().into_owned();
    for format in BlockFormat::WRITTEN {
        let whole = QuantizedMatrix::quantize(format, numbers.view()).unwrap();
        assert_eq!(
            QuantizedMatrix::quantize(format, turned.t()).unwrap(),
            whole
        );
        for row in 0..5 {
            let alone = numbers.slice(ndarray::s![row..row + 1, ..]);
            let alone = QuantizedMatrix::quantize(format, alone).unwrap();
            assert_eq!(alone, whole.select_rows(&[row]));
        }
    }
    let none = QuantizedMatrix::quantize(BlockFormat::Q8_0, Array2::zeros((0, 32)).view());
    assert_eq!(none.unwrap().dim(), (0, 32));
}

#[test]
fn what_no_block_can_hold_is_refused() {
    let refusal = |format, x: f32| {
        let mut row = Array2::zeros((1, 32));
        row[[0, 7]] = x;
        QuantizedMatrix::quantize(format, row.view())
            .expect_err("refused")
            .to_string()
    };
    for format in BlockFormat::WRITTEN {
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            let expected = format!("expected finite numbers that {format} can hold, found {x}");
            assert_eq!(refusal(format, x), expected);
        }
    }
    assert_eq!(
        refusal(BlockFormat::F16, 70_000.0),
        "expected finite numbers that F16 can hold, found 70000"
    );
    let odd = QuantizedMatrix::quantize(BlockFormat::Q4_0, Array2::zeros((1, 33)).view());
    assert!(matches!(odd, Err(QuantizedError::Columns { .. })));
    assert_eq!(
        refusal(BlockFormat::Q6K, 0.0).split(',').next(),
        Some("Q6_K: expected rows of a multiple of 256 elements")
    );
    let wide = QuantizedMatrix::quantize(BlockFormat::Q6K, Array2::zeros((1, 256)).view());
    assert_eq!(
        wide.expect_err("refused").to_string(),
        "expected F16, BF16, Q4_0, Q8_0, which numbers are made into, found Q6_K"
    );
}

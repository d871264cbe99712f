//! Quantised matrices: against a second, slow reading of the formats, and
//! against the Python package `gguf`.

use ggpo_tensor::quantized::QuantizedError;
use ggpo_tensor::{BlockFormat, QuantizedMatrix};
use ndarray::{Array2, Axis, s};
use proptest::prelude::*;
use safetensors::SafeTensors;

/// A block as one long string of bits: bit 0 is the lowest of the first byte.
struct Bits<'a>(&'a [u8]);

impl Bits<'_> {
    /// `count` bits from bit `at` of byte `byte` on, as a number.
    fn get(&self, byte: usize, at: usize, count: usize) -> u32 {
        let bit = |i: usize| u32::from(self.0[(8 * byte + i) / 8] >> (i % 8) & 1);
        (0..count).map(|i| bit(at + i) << i).sum()
    }

    fn signed(&self, byte: usize) -> f64 {
        let x = f64::from(self.get(byte, 0, 8));
        if x >= 128.0 { x - 256.0 } else { x }
    }

    /// An IEEE half: sign, exponent and fraction taken apart.
    fn half(&self, byte: usize) -> f64 {
        let [fraction, exponent, sign] =
            [(0, 10), (10, 5), (15, 1)].map(|(at, count)| self.get(byte, at, count));
        let magnitude = match exponent {
            0 => f64::from(fraction) * 2.0_f64.powi(-24),
            _ => (1.0 + f64::from(fraction) / 1024.0) * 2.0_f64.powi(exponent as i32 - 15),
        };
        if sign == 1 { -magnitude } else { magnitude }
    }
}

/// Element `i` of a block, in double precision.
fn element(format: BlockFormat, block: &[u8], i: usize) -> f64 {
    let bits = Bits(block);
    // In a group of 32 elements and 16 bytes, the second half is in high bits.
    let nibble = |start: usize| f64::from(bits.get(start + i % 16, 4 * (i / 16), 4));
    match format {
        BlockFormat::F16 => bits.half(0),
        BlockFormat::BF16 => f64::from(f32::from_bits(bits.get(0, 0, 16) << 16)),
        BlockFormat::Q4_0 => bits.half(0) * (nibble(2) - 8.0),
        BlockFormat::Q4_1 => bits.half(0) * nibble(4) + bits.half(2),
        BlockFormat::Q5_0 => {
            let high = 16.0 * f64::from(bits.get(2, i, 1));
            bits.half(0) * (nibble(6) + high - 16.0)
        }
        BlockFormat::Q5_1 => {
            let high = 16.0 * f64::from(bits.get(4, i, 1));
            bits.half(0) * (nibble(8) + high) + bits.half(2)
        }
        BlockFormat::Q8_0 => bits.half(0) * bits.signed(2 + i),
        BlockFormat::Q2K => {
            let q = bits.get(16 + 32 * (i / 128) + i % 32, 2 * (i % 128 / 32), 2);
            let [scale, minimum] = [0, 4].map(|at| f64::from(bits.get(i / 16, at, 4)));
            bits.half(80) * scale * f64::from(q) - bits.half(82) * minimum
        }
        BlockFormat::Q3K => {
            let part = i / 16;
            let low = bits.get(32 + 32 * (i / 128) + i % 32, 2 * (i % 128 / 32), 2);
            let q = f64::from(low + 4 * bits.get(i % 32, i / 32, 1)) - 4.0;
            let low = bits.get(96 + part % 8, 4 * (part / 8), 4);
            let scale = low + 16 * bits.get(104 + part % 4, 2 * (part / 4), 2);
            bits.half(108) * (f64::from(scale) - 32.0) * q
        }
        BlockFormat::Q4K | BlockFormat::Q5K => {
            let part = i / 32;
            let (low, five) = match format {
                BlockFormat::Q5K => (48, bits.get(16 + i % 32, part, 1)),
                _ => (16, 0),
            };
            let low = bits.get(low + 32 * (part / 2) + i % 32, 4 * (part % 2), 4);
            let q = f64::from(low + 16 * five);
            let six = |first: usize, nibble: usize| {
                f64::from(match part {
                    0..4 => bits.get(4 + first + part, 0, 6),
                    _ => {
                        let j = part - 4;
                        bits.get(4 + 8 + j, nibble, 4) + 16 * bits.get(4 + first + j, 6, 2)
                    }
                })
            };
            bits.half(0) * six(0, 0) * q - bits.half(2) * six(4, 4)
        }
        BlockFormat::Q6K => {
            let (half, quarter, place) = (i / 128, i % 128 / 32, i % 32);
            let low = 64 * half + 32 * (quarter % 2) + place;
            let low = bits.get(low, 4 * (quarter / 2), 4);
            let high = bits.get(128 + 32 * half + place, 2 * quarter, 2);
            let q = f64::from(low + 16 * high) - 32.0;
            bits.half(208) * bits.signed(192 + i / 16) * q
        }
    }
}

/// Where a block has its halves, of which random bytes could be NaN.
fn halves(format: BlockFormat) -> &'static [usize] {
    match format {
        BlockFormat::F16 | BlockFormat::BF16 => &[0],
        BlockFormat::Q4_0 | BlockFormat::Q5_0 | BlockFormat::Q8_0 => &[0],
        BlockFormat::Q4_1 | BlockFormat::Q5_1 => &[0, 2],
        BlockFormat::Q4K | BlockFormat::Q5K => &[0, 2],
        BlockFormat::Q2K => &[80, 82],
        BlockFormat::Q3K => &[108],
        BlockFormat::Q6K => &[208],
    }
}

fn any_format() -> impl Strategy<Value = BlockFormat> {
    prop::sample::select(BlockFormat::ALL.to_vec())
}

/// Random blocks of finite numbers, of up to 3 x 3 blocks.
fn any_matrix() -> impl Strategy<Value = (QuantizedMatrix, Vec<u8>)> {
    (any_format(), 0..4_usize, 0..4_usize)
        .prop_flat_map(|(format, rows, blocks)| {
            let count = rows * blocks * format.block_bytes();
            let bytes = prop::collection::vec(any::<u8>(), count);
            (Just(format), Just(rows), Just(blocks), bytes)
        })
        .prop_map(|(format, rows, blocks, mut bytes)| {
            for block in bytes.chunks_mut(format.block_bytes()) {
                for &at in halves(format) {
                    // The largest exponent is left to infinity and NaN.
                    block[at + 1] &= 0b1011_1111;
                }
            }
            let columns = blocks * format.block_elements();
            let matrix = QuantizedMatrix::new(format, rows, columns, bytes.clone()).unwrap();
            (matrix, bytes)
        })
}

proptest! {
    #[test]
    fn elements_are_those_of_the_slow_reading((matrix, bytes) in any_matrix()) {
        let format = matrix.format();
        let (rows, columns) = matrix.dim();
        prop_assert_eq!(matrix.bytes(), bytes.len());
        let (f32s, f64s) = (matrix.dequantize::<f32>(), matrix.dequantize::<f64>());
        prop_assert_eq!(f64s.dim(), (rows, columns));
        prop_assert_eq!(&f32s.mapv(f64::from), &f64s);
        for (i, found) in f64s.iter().enumerate() {
            let elements = format.block_elements();
            let block = &bytes[i / elements * format.block_bytes()..][..format.block_bytes()];
            let expected = element(format, block, i % elements);
            // Three roundings to single precision, of terms as large as the
            // scale times the largest integers.
            let magnitude = halves(format).iter().map(|at| Bits(block).half(*at).abs()).sum::<f64>();
            let bound = match format {
                BlockFormat::F16 | BlockFormat::BF16 => 0.0,
                BlockFormat::Q4_0 | BlockFormat::Q4_1 => 16.0 * magnitude,
                BlockFormat::Q5_0 | BlockFormat::Q5_1 => 32.0 * magnitude,
                BlockFormat::Q8_0 => 128.0 * magnitude,
                BlockFormat::Q2K => 16.0 * 4.0 * magnitude,
                BlockFormat::Q3K => 32.0 * 4.0 * magnitude,
                BlockFormat::Q5K => 64.0 * 32.0 * magnitude,
                BlockFormat::Q4K => 64.0 * 16.0 * magnitude,
                BlockFormat::Q6K => 128.0 * 32.0 * magnitude,
            };
            let bound = 2.0 * f64::from(f32::EPSILON) * bound;
            prop_assert!((found - expected).abs() <= bound, "{format} {i}: {found} {expected}");
        }
    }

    #[test]
    fn panels_and_rows_are_parts_of_the_whole(
        (matrix, _) in any_matrix(), picks in prop::collection::vec(0..1000_usize, 0..6),
    ) {
        let whole: Array2<f32> = matrix.dequantize();
        let (rows, columns) = matrix.dim();
        for first in 0..rows {
            for count in 0..=rows - first {
                let mut panel = Array2::from_elem((count, columns), f32::NAN);
                matrix.dequantize_rows(first, panel.view_mut());
                prop_assert_eq!(panel, whole.slice(s![first..first + count, ..]));
            }
        }
        let picks: Vec<usize> = picks.iter().filter(|_| rows > 0).map(|i| i % rows.max(1)).collect();
        let expected = whole.select(Axis(0), &picks);
        prop_assert_eq!(&matrix.rows::<f32>(&picks), &expected);
        let selected = matrix.select_rows(&picks);
        prop_assert_eq!(selected.dim(), (picks.len(), columns));
        prop_assert_eq!(selected.dequantize::<f32>(), expected);
    }

    #[test]
    fn bytes_that_do_not_fit_are_refused(
        format in any_format(), rows in 0..4_usize, columns in 0..600_usize, bytes in 0..2000_usize,
    ) {
        let found = QuantizedMatrix::new(format, rows, columns, vec![0; bytes]);
        let whole = columns.is_multiple_of(format.block_elements());
        let needed = rows * columns / format.block_elements() * format.block_bytes();
        match found {
            Ok(matrix) => {
                prop_assert!(whole && bytes == needed);
                prop_assert_eq!(matrix.dim(), (rows, columns));
            }
            Err(other @ (QuantizedError::Format { .. } | QuantizedError::Number { .. })) => {
                panic!("{other}")
            }
            Err(QuantizedError::Columns { .. }) => prop_assert!(!whole),
            Err(QuantizedError::Bytes { .. }) => prop_assert!(whole && bytes != needed),
        }
    }
}

#[test]
fn shapes_beyond_any_memory_are_refused() {
    for rows in [usize::MAX, usize::MAX / 2 + 1] {
        for columns in [2, usize::MAX] {
            assert!(QuantizedMatrix::new(BlockFormat::F16, rows, columns, vec![]).is_err());
        }
    }
}

#[test]
fn refusals_name_format_and_shape() {
    let refusal = |columns, bytes: usize| {
        let found = QuantizedMatrix::new(BlockFormat::Q4K, 2, columns, vec![0; bytes]);
        found.unwrap_err().to_string()
    };
    assert_eq!(
        refusal(100, 0),
        "Q4_K: expected rows of a multiple of 256 elements, found 100"
    );
    assert_eq!(
        refusal(256, 200),
        "Q4_K: expected the bytes of 2 x 256 elements, found 200 bytes"
    );
}

#[test]
fn numbers_are_those_of_the_python_package() {
    let bytes = include_bytes!("../fixtures/quantized.safetensors");
    let file = SafeTensors::deserialize(bytes).unwrap();
    for format in BlockFormat::ALL {
        let blocks = file.tensor(&format!("{format}.blocks")).unwrap();
        let values = file.tensor(&format!("{format}.values")).unwrap();
        let [rows, columns] = *values.shape() else {
            panic!("{format}: shape")
        };
        let matrix = QuantizedMatrix::new(format, rows, columns, blocks.data()).unwrap();
        let (words, _) = values.data().as_chunks::<4>();
        let expected = words.iter().map(|word| f32::from_le_bytes(*word));
        let found = matrix.dequantize::<f32>();
        assert_eq!(found.len(), expected.len());
        for (i, (&found, expected)) in found.iter().zip(expected).enumerate() {
            assert_eq!(found, expected, "{format} element {i}");
        }
    }
}

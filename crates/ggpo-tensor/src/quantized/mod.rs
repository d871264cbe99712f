//! Matrices whose rows are blocks of quantised numbers, as GGUF files hold them.
//!
//! A block is a fixed number of consecutive elements of one row: small integers
//! and the scales that turn them back into numbers. A matrix stays in its
//! blocks in memory; [`QuantizedMatrix::dequantize_rows`] makes numbers of a few
//! rows at a time, in memory of the caller.
//!
//! What a block stands for is defined in `f32`, one rounding for each operation
//! of its formula, so an element is the same number in every [`Scalar`].

mod half;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod quantize;

use std::fmt;
use std::sync::Arc;

use ndarray::{Array2, ArrayViewMut2};

use crate::Scalar;
use crate::raw::dispatch::{self, Kernel};

/// The layout of a block, under the names of the GGUF format.
///
/// All numbers are little-endian; F16 and BF16 are blocks of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockFormat {
    /// 16-bit floating point (IEEE half).
    F16,
    /// The upper 16 bits of an `f32`.
    BF16,
    /// 32 elements in 18 bytes: 4 bits each, one scale.
    Q4_0,
    /// 32 elements in 20 bytes: 4 bits each, one scale and one minimum.
    Q4_1,
    /// 32 elements in 22 bytes: 5 bits each, one scale.
    Q5_0,
    /// 32 elements in 24 bytes: 5 bits each, one scale and one minimum.
    Q5_1,
    /// 32 elements in 34 bytes: 8 bits each, one scale.
    Q8_0,
    /// 256 elements in 84 bytes: 2 bits each, a scale and a minimum of 4 bits for
    /// every 16.
    Q2K,
    /// 256 elements in 110 bytes: 3 bits each, a scale of 6 bits for every 16.
    Q3K,
    /// 256 elements in 144 bytes: 4 bits each, a scale and a minimum of 6 bits
    /// for every 32.
    Q4K,
    /// 256 elements in 176 bytes: 5 bits each, a scale and a minimum of 6 bits
    /// for every 32.
    Q5K,
    /// 256 elements in 210 bytes: 6 bits each, a scale of 8 bits for every 16.
    Q6K,
}

impl BlockFormat {
    /// All formats.
    pub const ALL: [Self; 12] = [
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// Elements of a block.
    pub fn block_elements(self) -> usize {
        match self {
            Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F16 | Self::BF16 => half::BYTES,
            Self::Q4_0 => q4_0::BYTES,
            Self::Q4_1 => q4_1::BYTES,
            Self::Q5_0 => q5_0::BYTES,
            Self::Q5_1 => q5_1::BYTES,
            Self::Q8_0 => q8_0::BYTES,
            Self::Q2K => q2_k::BYTES,
            Self::Q3K => q3_k::BYTES,
            Self::Q4K => q4_k::BYTES,
            Self::Q5K => q5_k::BYTES,
            Self::Q6K => q6_k::BYTES,
        }
    }

    /// Bytes of a row of `columns` elements; none if they are not whole blocks
    /// or too many for an address.
    pub fn row_bytes(self, columns: usize) -> Option<usize> {
        let elements = self.block_elements();
        if !columns.is_multiple_of(elements) {
            return None;
        }
        (columns / elements).checked_mul(self.block_bytes())
    }
}

impl fmt::Display for BlockFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        })
    }
}

/// Bytes that are not the blocks of a matrix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantizedError {
    /// Numbers are not made into blocks of the format.
    #[error("expected {}, which numbers are made into, found {format}", quantize::listed(&BlockFormat::WRITTEN))]
    Format {
        /// The format.
        format: BlockFormat,
    },
    /// A number that no block of the format can hold.
    #[error("expected finite numbers that {format} can hold, found {found}")]
    Number {
        /// The format.
        format: BlockFormat,
        /// The number.
        found: String,
    },
    /// A row is not whole blocks.
    #[error("{format}: expected rows of a multiple of {multiple} elements, found {columns}")]
    Columns {
        /// The format.
        format: BlockFormat,
        /// Elements of a block.
        multiple: usize,
        /// Elements of a row.
        columns: usize,
    },
    /// There are more or fewer bytes than the shape has blocks for.
    #[error("{format}: expected the bytes of {rows} x {columns} elements, found {bytes} bytes")]
    Bytes {
        /// The format.
        format: BlockFormat,
        /// Rows asked for.
        rows: usize,
        /// Elements of a row.
        columns: usize,
        /// Bytes given.
        bytes: usize,
    },
}

/// A matrix in blocks, of which only the blocks are in memory; cloning it is free.
#[derive(Clone, PartialEq)]
pub struct QuantizedMatrix {
    format: BlockFormat,
    rows: usize,
    columns: usize,
    blocks: Arc<[u8]>,
}

impl QuantizedMatrix {
    /// A matrix of rows x columns from its blocks, row after row.
    ///
    /// # Errors
    /// If a row is not whole blocks, or the number of bytes is another.
    pub fn new(
        format: BlockFormat,
        rows: usize,
        columns: usize,
        blocks: impl Into<Arc<[u8]>>,
    ) -> Result<Self, QuantizedError> {
        let blocks = blocks.into();
        let row_bytes = format
            .row_bytes(columns)
            .ok_or_else(|| QuantizedError::Columns {
                format,
                multiple: format.block_elements(),
                columns,
            })?;
        if row_bytes.checked_mul(rows) != Some(blocks.len()) {
            return Err(QuantizedError::Bytes {
                format,
                rows,
                columns,
                bytes: blocks.len(),
            });
        }
        Ok(QuantizedMatrix {
            format,
            rows,
            columns,
            blocks,
        })
    }

    /// The layout of the blocks.
    pub fn format(&self) -> BlockFormat {
        self.format
    }

    /// Rows and columns.
    pub fn dim(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// The blocks, row after row.
    pub fn blocks(&self) -> &[u8] {
        &self.blocks
    }

    /// Size of the blocks in memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.blocks.len()
    }

    /// Writes rows `first_row..first_row + panel.nrows()` to `panel`.
    ///
    /// # Panics
    /// If `panel` is not as wide as the matrix, reaches beyond its rows, or is
    /// not in standard layout.
    pub fn dequantize_rows<T: Scalar>(&self, first_row: usize, mut panel: ArrayViewMut2<'_, T>) {
        let (rows, columns) = panel.dim();
        assert_eq!(columns, self.columns, "a panel has the matrix's columns");
        let row_bytes = self.row_bytes();
        let bytes = &self.blocks[first_row * row_bytes..][..rows * row_bytes];
        let out = panel
            .as_slice_mut()
            .expect("a panel is in standard (row-major, contiguous) layout");
        dispatch::run(Dequantize {
            format: self.format,
            bytes,
            out,
        });
    }

    /// The rows of the given indices, in their order: `indices.len()` x columns.
    ///
    /// # Panics
    /// If an index is not below the number of rows.
    pub fn rows<T: Scalar>(&self, indices: &[usize]) -> Array2<T> {
        let mut out = Array2::from_elem((indices.len(), self.columns), T::ZERO);
        for (row, &index) in indices.iter().enumerate() {
            assert!(
                index < self.rows,
                "id {index} in a table of {} rows",
                self.rows
            );
            self.dequantize_rows(index, out.slice_mut(ndarray::s![row..row + 1, ..]));
        }
        out
    }

    /// The whole matrix, rows x columns.
    pub fn dequantize<T: Scalar>(&self) -> Array2<T> {
        let mut out = Array2::from_elem(self.dim(), T::ZERO);
        self.dequantize_rows(0, out.view_mut());
        out
    }

    /// The matrix of the rows of the given indices, in their order and still in
    /// blocks.
    ///
    /// # Panics
    /// If an index is not below the number of rows.
    pub fn select_rows(&self, indices: &[usize]) -> Self {
        let row_bytes = self.row_bytes();
        let mut blocks = Vec::with_capacity(indices.len() * row_bytes);
        for &index in indices {
            blocks.extend_from_slice(&self.blocks[index * row_bytes..][..row_bytes]);
        }
        QuantizedMatrix {
            rows: indices.len(),
            blocks: blocks.into(),
            ..self.clone()
        }
    }

    fn row_bytes(&self) -> usize {
        self.columns / self.format.block_elements() * self.format.block_bytes()
    }
}

/// The shape and the format; not the elements.
impl fmt::Debug for QuantizedMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} x {}", self.format, self.rows, self.columns)
    }
}

/// Blocks to numbers.
struct Dequantize<'a, T> {
    format: BlockFormat,
    bytes: &'a [u8],
    out: &'a mut [T],
}

impl<T: Scalar> Kernel for Dequantize<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { format, bytes, out } = self;
        match format {
            BlockFormat::F16 => each_block(bytes, out, half::dequantize_f16),
            BlockFormat::BF16 => each_block(bytes, out, half::dequantize_bf16),
            BlockFormat::Q4_0 => each_block(bytes, out, q4_0::dequantize),
            BlockFormat::Q4_1 => each_block(bytes, out, q4_1::dequantize),
            BlockFormat::Q5_0 => each_block(bytes, out, q5_0::dequantize),
            BlockFormat::Q5_1 => each_block(bytes, out, q5_1::dequantize),
            BlockFormat::Q8_0 => each_block(bytes, out, q8_0::dequantize),
            BlockFormat::Q2K => each_block(bytes, out, q2_k::dequantize),
            BlockFormat::Q3K => each_block(bytes, out, q3_k::dequantize),
            BlockFormat::Q4K => each_block(bytes, out, q4_k::dequantize),
            BlockFormat::Q5K => each_block(bytes, out, q5_k::dequantize),
            BlockFormat::Q6K => each_block(bytes, out, q6_k::dequantize),
        }
    }
}

#[inline(always)]
fn each_block<T, const BYTES: usize, const ELEMENTS: usize>(
    bytes: &[u8],
    out: &mut [T],
    dequantize: impl Fn(&[u8; BYTES], &mut [T; ELEMENTS]),
) {
    let (blocks, _) = bytes.as_chunks::<BYTES>();
    let (out, _) = out.as_chunks_mut::<ELEMENTS>();
    for (block, out) in blocks.iter().zip(out) {
        dequantize(block, out);
    }
}

/// An element as the caller's number. For `f32` it is the element itself.
#[inline(always)]
fn number<T: Scalar>(x: f32) -> T {
    T::from_f64(f64::from(x))
}

//! Rows of a table by index, and the reverse.

use crate::{Scalar, Tensor, flat, tensor};

/// Gathers rows: `out[i] = table[ids[i]]`; `table` is rows x width, the result
/// has `ids.len()` rows.
///
/// # Panics
/// If an id is not below the number of rows.
pub fn gather<T: Scalar>(table: &Tensor<T>, ids: &[usize]) -> Tensor<T> {
    let (rows, width) = (table.shape()[0], table.shape()[1]);
    let source = flat(table);
    let mut out = Vec::with_capacity(ids.len() * width);
    for &id in ids {
        assert!(id < rows, "id {id} in a table of {rows} rows");
        out.extend_from_slice(&source[id * width..][..width]);
    }
    tensor(&[ids.len(), width], out)
}

/// Scatters rows with addition: `table[ids[i]] += rows[i]`, in the order of i.
///
/// # Panics
/// If an id is out of range or the lengths do not fit.
pub fn scatter_add<T: Scalar>(rows: &[T], ids: &[usize], table: &mut [T], width: usize) {
    assert_eq!(rows.len(), ids.len() * width, "scatter: rows and ids");
    for (row, &id) in rows.chunks_exact(width.max(1)).zip(ids) {
        for (out, &x) in table[id * width..][..width].iter_mut().zip(row) {
            *out += x;
        }
    }
}

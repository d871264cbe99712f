//! `y[i] = table[ids[i]]`: rows of a table by index.
//!
//! Backward: `dtable[ids[i]] += dy[i]`, in the order of i; rows that no id
//! names get 0.

use ggpo_tensor::embedding::{gather, scatter_add};
use ggpo_tensor::{QuantizedMatrix, Scalar, Tensor, flat, tensor};

use crate::{Operation, Tape, Var};

struct Embedding {
    ids: Vec<usize>,
    /// Rows and width.
    table: [usize; 2],
}

impl<T: Scalar> Operation<T> for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, _: &[bool]) -> Vec<Option<Tensor<T>>> {
        let [rows, width] = self.table;
        let mut table = vec![T::ZERO; rows * width];
        scatter_add(flat(&gradient), &self.ids, &mut table, width);
        vec![Some(tensor(&[rows, width], table))]
    }
}

/// Rows of `table` (rows x width) by index; the `ids` are laid out in
/// `leading` axes, and the result is ... x width: with ids of batch x time,
/// batch x time x width.
///
/// # Panics
/// If the table has not two axes, an id is not below its number of rows, or
/// `leading` does not hold as many ids as given.
pub fn embedding<T: Scalar>(table: &Var<T>, ids: &[usize], leading: &[usize]) -> Var<T> {
    let &[rows, width] = table.shape() else {
        panic!("embedding: a table of shape {:?}", table.shape())
    };
    let shape = shape_of(ids, leading, width);
    let value = gather(table.value(), ids)
        .into_shape_with_order(shape)
        .expect("one row per id");
    table.tape().record(&[table], value, || Embedding {
        ids: ids.to_vec(),
        table: [rows, width],
    })
}

/// [`embedding`] in a quantised table: a constant on `tape`, since the table is
/// frozen.
///
/// # Panics
/// As [`embedding`].
pub fn quantized_embedding<T: Scalar>(
    tape: &Tape<T>,
    table: &QuantizedMatrix,
    ids: &[usize],
    leading: &[usize],
) -> Var<T> {
    let shape = shape_of(ids, leading, table.dim().1);
    let (rows, _) = table.rows(ids).into_raw_vec_and_offset();
    tape.constant(tensor(&shape, rows))
}

fn shape_of(ids: &[usize], leading: &[usize], width: usize) -> Vec<usize> {
    assert_eq!(
        leading.iter().product::<usize>(),
        ids.len(),
        "embedding: {} ids in the shape {leading:?}",
        ids.len()
    );
    [leading, &[width]].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gradcheck;
    use crate::ops::testing::{normal, quantized};

    proptest! {
        #[test]
        fn embedding_agrees_with_differences(
            rows in 1..5usize, width in 1..4usize, time in 1..4usize,
            ids in prop::collection::vec(0..1000usize, 6), seed: u64,
        ) {
            let ids: Vec<_> = ids[..2 * time.min(3)].iter().map(|id| id % rows).collect();
            gradcheck(&[normal(seed, &[rows, width])], |_, v| embedding(&v[0], &ids, &[2, time]))
                .unwrap();
        }
    }

    #[test]
    fn rows_of_a_quantised_table_are_those_of_the_dense_one() {
        let tape = Tape::<f64>::new();
        let table = quantized(3, 5, 64);
        let dense = tape.constant(table.dequantize().into_dyn().into_shared());
        let ids = [4, 0, 0, 2, 1, 4];
        let rows = quantized_embedding(&tape, &table, &ids, &[2, 3]);
        assert_eq!(rows.value(), embedding(&dense, &ids, &[2, 3]).value());
        assert!(!rows.needs_gradient());
    }

    #[test]
    #[should_panic(expected = "id 3 in a table of 3 rows")]
    fn an_id_beyond_the_table_is_refused() {
        embedding(&Tape::<f64>::new().leaf(normal(1, &[3, 2])), &[0, 3], &[2]);
    }
}

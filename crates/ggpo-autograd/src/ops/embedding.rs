//! `y[i] = table[ids[i]]`: rows of a table by index.
//!
//! Backward: `dtable[ids[i]] += dy[i]`, in the order of i; rows that no id
//! names get 0.

use ggpo_tensor::embedding::{gather, scatter_add};
use ggpo_tensor::{Scalar, Tensor, flat, tensor};

use crate::{Operation, Var};

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
    assert_eq!(
        leading.iter().product::<usize>(),
        ids.len(),
        "embedding: {} ids in the shape {leading:?}",
        ids.len()
    );
    let shape = [leading, &[width]].concat();
    let value = gather(table.value(), ids)
        .into_shape_with_order(shape)
        .expect("one row per id");
    table.tape().record(&[table], value, || Embedding {
        ids: ids.to_vec(),
        table: [rows, width],
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::testing::normal;
    use crate::{Tape, gradcheck};

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
    #[should_panic(expected = "id 3 in a table of 3 rows")]
    fn an_id_beyond_the_table_is_refused() {
        embedding(&Tape::<f64>::new().leaf(normal(1, &[3, 2])), &[0, 3], &[2]);
    }
}

//! Long texts in blocks for language modelling.

/// Cuts a text into consecutive blocks of `length` tokens, each beginning with
/// the last token of the block before, so that every token but the first is
/// predicted exactly once. The last block may be shorter, but has at least two
/// tokens.
///
/// # Panics
/// If `length` is less than 2.
pub fn blocks(ids: &[usize], length: usize) -> Vec<Vec<usize>> {
    assert!(
        length >= 2,
        "a block needs a token to predict from and one to predict"
    );
    let predicted = ids.len().saturating_sub(1);
    (0..predicted)
        .step_by(length - 1)
        .map(|start| ids[start..ids.len().min(start + length)].to_vec())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_share_one_token() {
        let expected = [vec![1, 2, 3], vec![3, 4, 5], vec![5, 6]];
        assert_eq!(blocks(&[1, 2, 3, 4, 5, 6], 3), expected);
        assert_eq!(blocks(&[1, 2, 3, 4, 5], 3), expected[..2]);
        assert!(blocks(&[1], 3).is_empty());
        assert!(blocks(&[], 3).is_empty());
    }

    proptest! {
        #[test]
        fn every_token_is_predicted_once(count in 0usize..500, length in 2usize..40) {
            let ids: Vec<usize> = (0..count).collect();
            let blocks = blocks(&ids, length);
            for block in &blocks {
                prop_assert!((2..=length).contains(&block.len()));
            }
            let full = blocks.len().saturating_sub(1);
            prop_assert!(blocks[..full].iter().all(|block| block.len() == length));
            let predicted = blocks.iter().flat_map(|block| block[1..].to_vec());
            prop_assert!(predicted.eq(1..count));
        }
    }
}

use proptest::prelude::*;

use super::*;

proptest! {
    /// The rule as it is told: one token after the other.
    #[test]
    fn longest_first_is_one_token_after_the_other(
        first in 0usize..40,
        second in 0usize..40,
        room in 0usize..60,
    ) {
        let (mut a, mut b) = (first, second);
        while a + b > room {
            if a > b { a -= 1 } else { b -= 1 }
        }
        prop_assert_eq!(longest_first([first, second], room), [a, b]);
    }
}

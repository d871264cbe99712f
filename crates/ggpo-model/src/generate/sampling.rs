//! Which token follows, given the logits of all.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use ggpo_tensor::Scalar;
use serde::{Deserialize, Serialize};

use crate::logits::largest;
use crate::{Error, Result};

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Sampling {
    /// The most probable token; the first of equals.
    #[default]
    Greedy,
    /// A draw from the most probable tokens (Holtzman and others 2020).
    Nucleus {
        /// What logits are divided by, above 0. Below 1 probable tokens become
        /// more probable; towards 0 the choice becomes the greedy one.
        temperature: f64,
        /// Probability that the tokens drawn from must have together, above 0
        /// and at most 1. At 1 all tokens are drawn from.
        top_p: f64,
    },
}

impl Sampling {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self) -> Result<()> {
        let Sampling::Nucleus { temperature, top_p } = *self else {
            return Ok(());
        };
        if !(temperature.is_finite() && temperature > 0.0) {
            let expected = "a finite number above 0";
            return Err(Error::config("temperature", expected, temperature));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(Error::config("top_p", "a number in (0, 1]", top_p));
        }
        Ok(())
    }

    /// The token that a number drawn from (0, 1) chooses; greedy choice needs
    /// none and passes it over.
    ///
    /// # Panics
    /// If there are no logits.
    pub fn choose<T: Scalar>(&self, logits: &[T], uniform: f64) -> usize {
        assert!(!logits.is_empty(), "a choice among no tokens");
        let Sampling::Nucleus { temperature, top_p } = *self else {
            return largest(logits);
        };
        let nucleus = nucleus(logits, temperature, top_p);
        let mass: f64 = nucleus.iter().map(|token| token.probability).sum();
        let mut below = 0.0;
        let drawn = nucleus.iter().find(|token| {
            below += token.probability;
            below > uniform * mass
        });
        // The same sum in the same order reaches the mass, which the draw is below.
        drawn.expect("a uniform number below 1").id
    }
}

/// A token and its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Token {
    /// Its id.
    pub id: usize,
    /// Its probability among all tokens.
    pub probability: f64,
}

/// The more probable token is the greater; of equals the one of the lower id.
impl Ord for Token {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_probability = self.probability.total_cmp(&other.probability);
        by_probability.then(other.id.cmp(&self.id))
    }
}

impl PartialOrd for Token {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Token {}

/// The smallest set of most probable tokens that have the probability `top_p`
/// together, the most probable first. With `top_p` 1 all tokens, in the order of
/// their ids.
///
/// The probabilities are `softmax(logits / temperature)`.
pub fn nucleus<T: Scalar>(logits: &[T], temperature: f64, top_p: f64) -> Vec<Token> {
    let highest = logits[largest(logits)].value();
    let weight = |logit: &T| ((logit.value() - highest) / temperature).exp();
    let weights: Vec<f64> = logits.iter().map(weight).collect();
    let total: f64 = weights.iter().sum();
    let tokens = weights.iter().enumerate().map(|(id, weight)| Token {
        id,
        probability: weight / total,
    });
    if top_p >= 1.0 {
        return tokens.collect();
    }
    // A heap gives the few tokens of a usual nucleus without sorting the rest.
    let mut rest: BinaryHeap<Token> = tokens.collect();
    let (mut chosen, mut mass) = (Vec::new(), 0.0);
    while mass < top_p
        && let Some(token) = rest.pop()
    {
        mass += token.probability;
        chosen.push(token);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use ggpo_tensor::random::{Purpose, Stream};
    use proptest::prelude::*;

    use super::*;

    fn logits() -> impl Strategy<Value = Vec<f64>> {
        // Quarters, so that equal logits occur.
        prop::collection::vec((-12..12_i32).prop_map(|x| f64::from(x) / 4.0), 1..40)
    }

    fn probabilities(logits: &[f64], temperature: f64) -> Vec<f64> {
        let all = nucleus(logits, temperature, 1.0);
        all.iter().map(|token| token.probability).collect()
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let check = |temperature, top_p| {
            let sampling = Sampling::Nucleus { temperature, top_p };
            sampling.validate().map_err(|error| error.to_string())
        };
        assert_eq!(check(0.7, 1.0), Ok(()));
        for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(
                check(temperature, 0.9)
                    .unwrap_err()
                    .starts_with("temperature: ")
            );
        }
        for top_p in [0.0, -0.5, 1.5, f64::NAN] {
            assert!(check(0.7, top_p).unwrap_err().starts_with("top_p: "));
        }
    }

    #[test]
    fn probabilities_are_a_softmax() {
        let found = probabilities(&[0.0, 2.0_f64.ln(), 5.0_f64.ln()], 1.0);
        let sharper = probabilities(&[0.0, 2.0_f64.ln(), 5.0_f64.ln()], 0.5);
        for (found, expected) in found.iter().zip([1.0 / 8.0, 2.0 / 8.0, 5.0 / 8.0]) {
            assert!((found - expected).abs() < 1e-15);
        }
        for (found, expected) in sharper.iter().zip([1.0 / 30.0, 4.0 / 30.0, 25.0 / 30.0]) {
            assert!((found - expected).abs() < 1e-15);
        }
    }

    proptest! {
        /// The set has the mass, none with fewer tokens has, and nothing left
        /// out is more probable than what is in.
        #[test]
        fn the_nucleus_is_the_smallest_set_with_the_mass(
            logits in logits(), temperature in 0.1..3.0, top_p in 0.01..0.999,
        ) {
            let all = probabilities(&logits, temperature);
            let chosen = nucleus(&logits, temperature, top_p);
            let mass: f64 = chosen.iter().map(|token| token.probability).sum();
            let last = chosen.last().unwrap();
            prop_assert!(mass >= top_p);
            prop_assert!(chosen.windows(2).all(|pair| pair[0] > pair[1]));
            // Any set of one token fewer has at most the mass of the most
            // probable ones; the subtraction may round once more.
            prop_assert!(mass - last.probability < top_p + 1e-12);
            let left_out = (0..logits.len()).filter(|id| chosen.iter().all(|t| t.id != *id));
            for id in left_out {
                let token = Token { id, probability: all[id] };
                prop_assert!(token < *last);
            }
        }

        #[test]
        fn towards_temperature_0_the_choice_is_greedy(logits in logits(), uniform in 0.001..0.999) {
            let greedy = Sampling::Greedy.choose(&logits, uniform);
            // A step of a quarter divided by 1e-3 is a factor of exp(-250).
            let cold = Sampling::Nucleus { temperature: 1e-3, top_p: 0.9 };
            let ties = logits.iter().filter(|x| **x == logits[greedy]).count();
            let found = cold.choose(&logits, uniform);
            prop_assert_eq!(logits[found], logits[greedy]);
            if ties == 1 {
                prop_assert_eq!(found, greedy);
            }
            // A vanishing nucleus is greedy at any temperature, ties included.
            let narrow = Sampling::Nucleus { temperature: 2.0, top_p: 1e-9 };
            prop_assert_eq!(narrow.choose(&logits, uniform), greedy);
        }

        #[test]
        fn any_number_between_0_and_1_draws_from_the_nucleus(
            logits in logits(), top_p in 0.01..=1.0, word: u32,
        ) {
            let uniform = (f64::from(word) + 0.5) / 2.0_f64.powi(32);
            let sampling = Sampling::Nucleus { temperature: 1.0, top_p };
            let drawn = sampling.choose(&logits, uniform);
            prop_assert!(nucleus(&logits, 1.0, top_p).iter().any(|token| token.id == drawn));
        }
    }

    /// Pearson's chi-square statistic of 40,000 draws from six tokens, of which
    /// `top_p` keeps `kept`.
    fn chi_square(top_p: f64, kept: usize) -> f64 {
        let logits = [0.3, -1.0, 1.2, 0.9, -0.2, -2.5];
        let temperature = 0.8;
        let tokens = nucleus(&logits, temperature, top_p);
        assert_eq!(tokens.len(), kept);
        let mass: f64 = tokens.iter().map(|token| token.probability).sum();
        let stream = Stream::new(5, Purpose::Sampling, 0, 0);
        let sampling = Sampling::Nucleus { temperature, top_p };
        let draws = 40_000;
        let mut counts = [0.0; 6];
        for draw in 0..draws {
            counts[sampling.choose(&logits, stream.uniform(draw))] += 1.0;
        }
        let statistic = |token: &Token| {
            let expected = draws as f64 * token.probability / mass;
            (counts[token.id] - expected).powi(2) / expected
        };
        tokens.iter().map(statistic).sum()
    }

    /// The limits are exceeded by chance once in a thousand seeds, with 5 and 2
    /// degrees of freedom.
    #[test]
    fn frequencies_follow_the_probabilities() {
        assert!(chi_square(1.0, 6) < 20.5);
        assert!(chi_square(0.85, 3) < 13.8);
    }
}

//! Laws of LoRA+.

use ggpo_lora::MethodConfig;
use ggpo_lora::lora_plus::LoraPlusConfig;
use proptest::prelude::*;

proptest! {
    /// B (P of AdaLoRA) and trained vectors get the factor, other matrices do not, and
    /// names that only look alike do not either.
    #[test]
    fn the_factor_goes_by_name_and_shape(lambda in 0.1..100.0_f64, length in 1_usize..100) {
        let lora_plus = LoraPlusConfig { lambda };
        let matrix = [length, length + 1];
        let cases: [(&str, &[usize], bool); 11] = [
            ("layers.0.query.lora_B.weight", &matrix, true),
            ("layers.0.query.lora_A.weight", &matrix, false),
            ("layers.0.query.lora_B", &matrix, true),
            ("layers.0.query.lora_A", &matrix, false),
            ("layers.0.query.lora_E", &[length, 1], false),
            ("layers.0.query.lora_magnitude_vector", &[length], true),
            ("classifier.weight", &matrix, false),
            ("classifier.bias", &[length], true),
            ("layers.0.not_lora_B.weight", &matrix, false),
            ("layers.0.lora_B.weights", &matrix, false),
            ("lora_Bias.weight", &matrix, false),
        ];
        for (parameter, shape, higher) in cases {
            let expected = if higher { lambda } else { 1.0 };
            prop_assert_eq!(lora_plus.factor(parameter, shape), expected, "{}", parameter);
            let method = MethodConfig { lora_plus: Some(lora_plus), ..MethodConfig::default() };
            prop_assert_eq!(method.learning_rate_factor(parameter, shape), expected);
            prop_assert_eq!(MethodConfig::default().learning_rate_factor(parameter, shape), 1.0);
        }
    }
}

#[test]
fn a_factor_out_of_range_is_refused_by_name() {
    for lambda in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let message = LoraPlusConfig { lambda }.validate().unwrap_err();
        assert!(message.to_string().contains("`lora_plus.lambda`"));
    }
    assert_eq!(LoraPlusConfig::default().lambda, 16.0);
}

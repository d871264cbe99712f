//! What an audit writes for machines, and that looking changes nothing.

use ggpo_lab::audit::{Curvature, Slices, audit};
use ggpo_train::run::Stepper;
use proptest::prelude::*;
use serde_json::Value;

use super::{config, larger_audit, tiny, tiny_audit};

#[test]
fn a_run_that_is_looked_at_has_the_bits_of_one_that_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = tiny(&folder, &[]);
    let mut plain = Stepper::open(&run).expect("a run");
    let mut seen = Stepper::open(&run).expect("a run");
    seen.trainer_mut().observe();
    for _ in 0..run.training.steps {
        assert_eq!(plain.step().expect("a step"), seen.step().expect("a step"));
        assert_eq!(plain.trained(), seen.trained());
    }
    let state = |stepper: &Stepper<'_>| {
        let state = stepper.trainer().state();
        serde_json::to_string(&state).expect("a state has a form")
    };
    assert_eq!(state(&plain), state(&seen));
    // The audit's own last state is that of the run.
    let found = audit(&config(run.clone()), &mut |_| {})
        .expect("an audit")
        .document;
    for trace in &found.traces {
        let name = &found.layers[trace.layer].name;
        let b = &plain.trained()[&format!("{name}.lora_B.weight")];
        let last = trace.states.last().expect("a state after the last step");
        let Slices::Whole(rows) = &last.b else {
            panic!("the model is shown whole");
        };
        assert_eq!(rows.concat(), b.iter().copied().collect::<Vec<_>>());
    }
}

#[test]
fn every_step_and_layer_has_a_line() {
    let found = tiny_audit(&[]);
    let lines: Vec<Value> = found
        .jsonl()
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    assert_eq!(lines.len(), 3 * (1 + 12));
    let of_kind = |kind: &'static str| lines.iter().filter(move |line| line["kind"] == kind);
    assert_eq!(of_kind("step").count(), 3);
    for step in of_kind("step") {
        assert_eq!(step["unchanged"], true);
        assert!(step["loss"].as_f64() != step["loss_without"].as_f64());
    }
    for layer in of_kind("layer") {
        assert_eq!(layer["weight_before"], layer["weight_after"]);
        let rows = layer["shape"][0].as_u64().expect("a number") as usize;
        for field in [
            "weight",
            "gradient_by_adapters",
            "gradient_exact",
            "deviation",
        ] {
            let found = layer["rows"][field].as_array().expect("an array");
            assert_eq!(found.len(), rows, "{field}");
        }
        let p = layer["noise"]["p"].as_f64().expect("a number");
        assert!((0.0..=1.0).contains(&p));
        // The first step has no gradient before it.
        let share = layer["gradient_share"].as_f64().expect("a number");
        assert_eq!(share == 0.0, layer["step"] == 0);
    }
    // Probabilities of a right null hypothesis are even: of 36, those below 0.001 are
    // expected 0.04 times. The seed is fixed, so this does not change from run to run.
    let smallest = of_kind("layer").filter_map(|layer| layer["noise"]["p"].as_f64());
    assert!(smallest.fold(1.0, f64::min) > 1e-3);
}

/// To third order nothing is left of a rise but what two orders say: at a tenth of
/// sigma, a thousandth of the rest or less (and of the fourth order even less).
#[test]
fn the_second_order_says_what_small_noise_does() {
    let rest = |sigma: f64| -> Vec<[f64; 2]> {
        let found = tiny_audit(&[("method.perturbation.sigma", sigma.into())]).document;
        // Runs at two strengths part after the first step.
        let Curvature::Found {
            rise,
            first,
            second,
            ..
        } = found.steps[0].curvature
        else {
            panic!("the model is small");
        };
        vec![[rise - first - second, second]]
    };
    for (large, small) in rest(0.1).into_iter().zip(rest(0.01)) {
        // Second order: a hundredth; the rest: a thousandth, with a factor of 3 for the
        // fourth order in the larger one.
        assert!(
            (small[1] / large[1] - 0.01).abs() < 1e-6,
            "{large:?}, {small:?}"
        );
        assert!(
            small[0].abs() < 3e-3 * large[0].abs(),
            "{large:?}, {small:?}"
        );
    }
}

/// The mean over draws is what the Hessian says, to within its error: 4 standard errors,
/// which one of 16,000 right means is beyond, and a hundredth for the fourth order.
#[test]
fn the_mean_rise_is_what_the_hessian_says() {
    let found = tiny_audit(&[]).document;
    for step in &found.steps {
        let Curvature::Found {
            mean_rise,
            expected,
            by_layer,
            ..
        } = &step.curvature
        else {
            panic!("the model is small");
        };
        let error = mean_rise.standard_error.expect("several draws");
        let off = (mean_rise.value - expected.value).abs();
        assert!(
            off < 4.0 * error + 0.01 * expected.value.abs(),
            "{mean_rise:?}, {expected:?}"
        );
        assert!(expected.standard_error.is_none() && by_layer.is_some());
    }
}

#[test]
fn a_larger_model_is_followed_at_one_element() {
    let found = larger_audit().document;
    assert!(!found.whole);
    assert_eq!(found.traces.len(), 1);
    assert_eq!((found.element.row, found.element.column), (3, 5));
    assert!(found.steps.iter().all(|step| step.unchanged));
    assert_eq!(found.run.clip, Some(1.0));
}

#[test]
fn what_cannot_be_followed_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let refused = |settings: &[(&str, toml::Value)], place: [Option<usize>; 2]| {
        let mut config = config(tiny(&folder, settings));
        [config.row, config.column] = place;
        audit(&config, &mut |_| {})
            .expect_err("refused")
            .to_string()
    };
    let none = [None, None];
    let method = |name: &'static str| [("method.name", toml::Value::from(name))];
    let sentence = refused(&method("lora"), none);
    assert_eq!(
        sentence,
        "method.perturbation: expected ggpo, whose noise is audited, found none"
    );
    assert!(
        refused(&method("dora"), none).starts_with("method.adapter: expected lora, found Dora")
    );
    assert!(refused(&method("random-noise"), none).starts_with("method.perturbation.spread"));
    let sentence = refused(&[], [Some(8), None]);
    assert_eq!(sentence, "--row: expected a number below 8, found 8");
}

proptest! {
    /// A page reads doubles and rounds them to single precision: what is written of a
    /// number of single precision must give it back.
    #[test]
    fn numbers_survive_their_digits(bits: u32) {
        let number = f32::from_bits(bits);
        prop_assume!(number.is_finite());
        let text = serde_json::to_string(&number).expect("a number");
        let double: f64 = text.parse().expect("a number");
        prop_assert_eq!((double as f32).to_bits(), bits, "{}", text);
    }
}

/// Every field that is written has a word in the documentation.
#[test]
fn every_field_is_documented() {
    fn names(value: &Value, found: &mut std::collections::BTreeSet<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| {
                found.insert(name.clone());
                names(value, found);
            }),
            Value::Array(values) => values.iter().for_each(|value| names(value, found)),
            _ => {}
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/audit.md");
    let text = std::fs::read_to_string(path).expect("docs/audit.md");
    let mut found = std::collections::BTreeSet::new();
    for line in tiny_audit(&[]).jsonl().lines() {
        names(
            &serde_json::from_str(line).expect("a line of JSON"),
            &mut found,
        );
    }
    assert!(found.len() > 40, "{found:?}");
    for name in found {
        assert!(text.contains(&format!("`{name}`")), "{name}");
    }
}

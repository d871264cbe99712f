//! Probabilities here and in llama.cpp.

use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ggpo_model::batch::collate_causal;
use ggpo_model::generate::{GenerateConfig, Sampling, generate};
use ggpo_tensor::view2;
use serde_json::{Value, json};

use super::case::{Case, Written};
use super::node::Node;

/// Tokens that a prompt is continued with.
const NEW_TOKENS: usize = 24;
/// Texts whose token ids are compared.
const TEXTS: [&str; 3] = [
    "Call me Ishmael. It's 1851, they'LL see 12345 whales!!",
    "naïve café Ångström, 鯨は大きい 🐋\n\n  x = y + 1;\tend",
    "def add(a, b):\n    return a + b\n",
];

/// The differences of one written model.
pub(super) struct Compared {
    /// The largest difference of a probability.
    distance: f64,
    /// Positions that were compared.
    positions: usize,
    /// At each of them the lead of our likeliest token, and whether it is theirs, too.
    greedy: Vec<(f64, bool)>,
    /// The first text of which the token ids differ.
    text: Option<&'static str>,
}

impl Compared {
    /// Asks llama.cpp and calculates the same here.
    pub(super) fn of(node: &Node, case: &Case, written: &Written, work: &Path) -> Result<Self> {
        let ours = &written.ours;
        let config = GenerateConfig {
            max_new_tokens: NEW_TOKENS,
            sampling: Sampling::Greedy,
            ..GenerateConfig::default()
        };
        let rows = generate(
            &ours.model,
            &ours.parameters,
            &ours.adapters,
            &case.prompts,
            &config,
            &mut |_, _| ControlFlow::Continue(()),
        )?;
        let prompts = case.prompts.iter().cloned();
        let rows: Vec<Vec<usize>> = prompts
            .zip(rows)
            .map(|(p, new)| [p, new].concat())
            .collect();
        let [question, answer] = ["question.json", "answer.json"].map(|name| work.join(name));
        let asked = json!({
            "model": written.model,
            "adapter": written.adapter,
            "texts": TEXTS,
            "rows": rows,
        });
        std::fs::write(&question, asked.to_string()).context("cannot write a question")?;
        node.ask(&question, &answer)?;
        let said = std::fs::read(&answer).context("cannot read an answer")?;
        let said: Value = serde_json::from_slice(&said).context("an answer of llama.cpp")?;
        let mut compared = Compared {
            distance: 0.0,
            positions: 0,
            greedy: Vec::new(),
            text: None,
        };
        for (text, ids) in TEXTS.into_iter().zip(numbers(&said["tokens"])?) {
            if ours.tokenizer.encode(text)? != ids {
                compared.text = compared.text.or(Some(text));
            }
        }
        for (row, theirs) in rows.iter().zip(list(&said["rows"])?) {
            let batch = collate_causal(&[row.as_slice()], 0);
            let logits = ours
                .model
                .evaluate(&ours.parameters, &ours.adapters, &batch);
            for (logits, theirs) in view2(&logits).rows().into_iter().zip(list(theirs)?) {
                let logits: Vec<f64> = logits.iter().map(|x| f64::from(*x)).collect();
                compared.note(&softmax(&logits), theirs)?;
            }
        }
        if compared.positions != rows.iter().map(Vec::len).sum::<usize>() {
            bail!(
                "expected probabilities at every position, found {}",
                compared.positions
            );
        }
        Ok(compared)
    }

    /// Compares one position.
    fn note(&mut self, ours: &[f64], theirs: &Value) -> Result<()> {
        let mut likeliest: Option<usize> = None;
        for pair in list(theirs)? {
            let token = pair[0].as_u64().context("a token id")? as usize;
            let theirs = pair[1].as_f64().context("a probability")?;
            let ours = ours.get(token).context("a token of the vocabulary")?;
            self.distance = self.distance.max((ours - theirs).abs());
            likeliest = likeliest.or(Some(token));
        }
        let mut order: Vec<usize> = (0..ours.len()).collect();
        order.sort_by(|&a, &b| ours[b].total_cmp(&ours[a]));
        let lead = ours[order[0]] - ours[order[1]];
        self.greedy.push((lead, likeliest == Some(order[0])));
        self.positions += 1;
        Ok(())
    }

    /// What was found, in a line.
    ///
    /// # Errors
    /// If a probability differs by more than the bound, or the likeliest token where its
    /// lead is larger than that.
    pub(super) fn judge(&self, bound: f64) -> Result<String> {
        let clear = self.greedy.iter().filter(|(lead, _)| *lead > bound);
        let clear: Vec<bool> = clear.map(|(_, same)| *same).collect();
        let same = clear.iter().filter(|same| **same).count();
        let line = format!(
            "probabilities at {} positions differ by at most {:.5} (bound {bound}); {same} of {} \
             likeliest tokens with a larger lead are the same",
            self.positions,
            self.distance,
            clear.len(),
        );
        if let Some(text) = self.text {
            bail!("expected the same token ids of {text:?}, found others");
        }
        match self.distance <= bound && same == clear.len() {
            true => Ok(line),
            false => bail!("{line}"),
        }
    }
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|x| (x - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|x| x / sum).collect()
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value
        .as_array()
        .context("expected a list in an answer of llama.cpp")
}

fn numbers(value: &Value) -> Result<Vec<Vec<usize>>> {
    let number = |value: &Value| value.as_u64().map(|it| it as usize).context("a token id");
    let row = |row: &Value| list(row)?.iter().map(number).collect();
    list(value)?.iter().map(row).collect()
}

//! The useful floating-point operations of a step.

use ggpo_model::{Body, Head, Model};
use ggpo_train::method::MethodConfig;

use super::shape::Shape;

/// Linear layers that read the embeddings: queries, keys and values of the first
/// block.
const FIRST: usize = 3;

/// Floating-point operations that one step must do, counting the products alone,
/// a multiply-add as two.
///
/// With `p` tokens, a linear layer m x n of the blocks counts
///
/// ```text
/// 2 m n p        forward
/// 2 m n p        dX, unless it reads embeddings that are not trained
/// 2 m n p        dW, if W is trained
/// 2 r (m + n) p  forward through adapters
/// 2 r (m + n) p  dA and dB
/// 2 r (m + n) p  the gradient of the inner states, and from them dX; without
///                the latter, 2 r m p
/// ```
///
/// and attention with h heads of d channels over t positions, per row,
/// `4 h d t^2` forward and `8 h d t^2` backward, of which a decoder, whose
/// positions see only what is before them, needs half. The head counts as its
/// layers do at the positions where a target stands. Norms, activations,
/// embeddings, the optimiser and the noise count as nothing, and neither does
/// what a calculation does twice in order to save memory.
pub fn of_step(shape: Shape, method: &MethodConfig, batch: usize, seq: usize) -> f64 {
    of_model(&shape.model(seq), method, batch, seq)
}

fn of_model(model: &Model, method: &MethodConfig, batch: usize, seq: usize) -> f64 {
    let tokens = (batch * seq) as f64;
    let full = !method.has_adapters();
    // Adapters sit on all linear layers of the blocks.
    let r = if full { 0.0 } else { method.lora.rank as f64 };
    let mut total = 0.0;
    for (index, module) in model.block_linears().iter().enumerate() {
        let (m, n) = dimensions(model, &format!("{module}.weight"));
        let reads_trained = full || index >= FIRST;
        let products = 1.0 + f64::from(reads_trained) + f64::from(full);
        total += products * 2.0 * m * n * tokens;
        total += 2.0 * 2.0 * r * (m + n) * tokens;
        total += 2.0 * r * (m + if reads_trained { n } else { 0.0 }) * tokens;
    }
    total + attention(model, batch, seq) + head(model, full, batch, tokens)
}

/// Attention of all layers, forward and backward.
fn attention(model: &Model, batch: usize, seq: usize) -> f64 {
    let (layers, channels, share) = match &model.body {
        Body::Bert(config) => (config.num_hidden_layers, config.hidden_size, 1.0),
        Body::Llama(config) => {
            let channels = config.num_attention_heads * config.head_dim;
            (config.num_hidden_layers, channels, 0.5)
        }
        _ => unreachable!("no shape of these"),
    };
    share * (12 * layers * channels * seq * seq * batch) as f64
}

/// What comes after the last block: the trained head of a classification, which
/// reads one state per row, or the logits of every position.
fn head(model: &Model, full: bool, batch: usize, tokens: f64) -> f64 {
    match model.head {
        Head::Classes(_) | Head::Value => {
            let modules = model.head_modules();
            let weights = modules.iter().map(|module| {
                let (m, n) = dimensions(model, &format!("{module}.weight"));
                3.0 * 2.0 * m * n * batch as f64
            });
            weights.sum()
        }
        Head::Tokens => {
            let (m, n) = dimensions(model, model.word_table());
            (2.0 + f64::from(full)) * 2.0 * m * n * tokens
        }
    }
}

/// Outputs and inputs of a weight.
fn dimensions(model: &Model, name: &str) -> (f64, f64) {
    let specification = model.specification();
    let weight = specification.iter().find(|spec| spec.name == name);
    match weight.map(|spec| spec.shape.as_slice()) {
        Some(&[m, n]) => (m as f64, n as f64),
        _ => panic!("the model has no weight {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggpo_lora::method::method;

    fn config(name: &str) -> MethodConfig {
        method(name).expect("a method of the table").config()
    }

    /// Two blocks of width 64 with four square layers and three of 64 x 256, 16
    /// rows of 64 tokens, rank 8, by hand.
    #[test]
    fn the_tiny_shape_is_as_counted_by_hand() {
        let tokens = 16.0 * 64.0;
        let block = 4.0 * 64.0 * 64.0 + 3.0 * 64.0 * 256.0;
        let pairs = 4.0 * (64.0 + 64.0) + 3.0 * (64.0 + 256.0);
        let (first, first_inputs) = (3.0 * 64.0 * 64.0, 3.0 * 64.0);
        // 4 heads of 16 channels: scores and context, and their four products back.
        let attention = 2.0 * 16.0 * 6.0 * (2.0 * 64.0 * 64.0 * 64.0) / 2.0;
        let head = 256.0 * 64.0;

        let lora = 2.0 * tokens * (2.0 * 2.0 * block - first + 2.0 * head)
            + 2.0 * 8.0 * tokens * (3.0 * 2.0 * pairs - first_inputs)
            + attention;
        let found = of_step(Shape::Tiny, &config("lora"), 16, 64);
        assert_eq!(found, lora);

        let full = 3.0 * 2.0 * tokens * (2.0 * block + head) + attention;
        let found = of_step(Shape::Tiny, &config("full"), 16, 64);
        assert_eq!(found, full);
    }

    /// The head of a classification reads one state per row, and its two layers
    /// are trained; attention looks both ways.
    #[test]
    fn the_minilm_shape_is_as_counted_by_hand() {
        let tokens = 2.0 * 10.0;
        let block = 4.0 * 384.0 * 384.0 + 2.0 * 384.0 * 1536.0;
        let pairs = 4.0 * 768.0 + 2.0 * 1920.0;
        let attention = 6.0 * 2.0 * 6.0 * (2.0 * 10.0 * 10.0 * 384.0);
        let head = 3.0 * 2.0 * 2.0 * (384.0 * 384.0 + 2.0 * 384.0);
        let lora = 2.0 * tokens * (2.0 * 6.0 * block - 3.0 * 384.0 * 384.0)
            + 2.0 * 8.0 * tokens * (3.0 * 6.0 * pairs - 3.0 * 384.0)
            + attention
            + head;
        let found = of_step(Shape::Minilm, &config("lora"), 2, 10);
        assert_eq!(found, lora);
    }
}

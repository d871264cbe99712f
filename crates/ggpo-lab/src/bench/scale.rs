//! What a training takes on models and machines that are not here: time and memory of a
//! step for models of 0.1 to 8 billion parameters on 1 to 64 nodes, each like this one.
//!
//! The arithmetic of a step is counted ([`flops`]), and the speed at which a node does it
//! is that of the smallest model, measured. A larger one that fits is measured as well, to
//! see how far off what was calculated for it is.

use ggpo_lora::method::method;
use ggpo_model::Body;
use ggpo_report::format::{duration, fixed, percent, significant};
use ggpo_report::{Block, Cell, Column, Page, Section, Table, Text};

use super::estimate::{Network, RunEstimate};
use super::ranks::TwoRanks;
use super::{Machine, Record, Shape, flops};

/// The models, the smallest first.
pub const MODELS: [Shape; 4] = [
    Shape::Smollm2,
    Shape::HalfBillion,
    Shape::OneBillion,
    Shape::EightBillion,
];
/// Those that are measured.
pub const MEASURED: [Shape; 2] = [Shape::Smollm2, Shape::HalfBillion];
/// Numbers of nodes.
const NODES: [usize; 5] = [1, 4, 16, 32, 64];
/// Micro-batches of a step.
const MICRO_BATCHES: usize = 64;
/// Bytes of a weight, in single precision and in 4-bit blocks with their scales.
const WEIGHTS: [(&str, f64); 2] = [("f32", 4.0), ("4-bit blocks", 4.5 / 8.0)];
/// Ethernet of 10 Gbit/s.
const NETWORK: Network = Network {
    bandwidth: 1.25e9,
    latency: 5e-5,
};

/// What is calculated of a model.
struct Calculated {
    shape: Shape,
    parameters: f64,
    /// Numbers of the adapters.
    trained: f64,
    /// Seconds of a micro-batch.
    pass: f64,
}

impl Calculated {
    fn of(shape: Shape, rate: f64) -> Self {
        let lora = method("lora").expect("a method of the table").config();
        let [rows, time] = shape.batch();
        let model = shape.model(time);
        let specification = model.specification();
        let size = |shape: &[usize]| shape.iter().product::<usize>() as f64;
        let of = |name: &str| {
            let spec = specification.iter().find(|spec| spec.name == name);
            spec.expect("a weight of the model").shape.clone()
        };
        let rank = lora.lora.rank as f64;
        let pairs = model.block_linears();
        let pairs = pairs.iter().map(|module| of(&format!("{module}.weight")));
        Calculated {
            shape,
            parameters: specification.iter().map(|spec| size(&spec.shape)).sum(),
            trained: pairs.map(|shape| rank * (shape[0] + shape[1]) as f64).sum(),
            pass: flops::of_step(shape, &lora, rows, time) / rate,
        }
    }

    /// A step on this node, as if it had been measured.
    fn step(&self) -> RunEstimate {
        let step_ms = 1e3 * self.pass * MICRO_BATCHES as f64;
        RunEstimate {
            steps: 1,
            training_seconds: step_ms / 1e3,
            scoring_seconds: 0.0,
            peak_memory_mib: None,
            trained: self.trained as usize,
            step_ms,
            shared_ms: step_ms,
            micro_batches: MICRO_BATCHES,
            bytes_per_micro_batch: 4 * self.trained as usize,
        }
    }
}

/// The page, from measurements of [`MEASURED`] with plain LoRA, and of two ranks if there
/// are any.
///
/// # Panics
/// If a measurement is missing.
pub fn page(records: &[Record], ranks: Option<&TwoRanks>, command: &str) -> Page {
    let measured = |shape: Shape| {
        let record = records.iter().find(|record| record.shape == shape);
        record.expect("it was measured")
    };
    let seconds = |record: &Record| record.step_ms.median / 1e3;
    let smallest = measured(MEASURED[0]);
    let rate = smallest.flops_per_step / seconds(smallest);
    let models: Vec<Calculated> = MODELS.map(|shape| Calculated::of(shape, rate)).into();
    let machine = Machine::this();
    let lead = vec![
        Block::paragraph(format!(
            "Steps of {MICRO_BATCHES} micro-batches of a row of 256 tokens (of SmolLM2 4 rows of \
             128), LoRA of rank 8 on all layers of the blocks, weights read by every node. A node \
             is the machine that this page was made on: {} threads of {}, on which SmolLM2's steps \
             reach {} GFLOP/s. Between nodes {} Gbit/s.",
            smallest.threads,
            machine.processor,
            significant(rate / 1e9, 3),
            fixed(8.0 * NETWORK.bandwidth / 1e9, 0),
        )),
        Block::paragraph(Text::new("Made by ").code(command).plain(".")),
    ];
    let mut sections = vec![
        Section::new("time", "Time", vec![Block::Table(times(&models))]),
        Section::new(
            "bound",
            "What bounds it",
            vec![Block::Table(bounds(&models))],
        ),
        Section::new(
            "memory",
            "Memory of a node",
            vec![Block::Table(memory(&models))],
        ),
        Section::new(
            "check",
            "Checked against measurement",
            vec![Block::Table(checked(&models, &seconds, &measured))],
        ),
    ];
    sections.extend(ranks.map(TwoRanks::section));
    sections.push(Section::new(
        "end",
        "Where this program stops being the right tool",
        ends(&models),
    ));
    Page {
        title: "Scale".to_owned(),
        lead,
        sections,
    }
}

/// The name of a model, with its size.
fn name(model: &Calculated) -> String {
    let billions = significant(model.parameters / 1e9, 2);
    format!("{} ({billions} billion)", model.shape.name())
}

fn times(models: &[Calculated]) -> Table {
    let nodes = NODES.iter().map(|nodes| match nodes {
        1 => Column::numbers("1 node"),
        nodes => Column::numbers(format!("{nodes} nodes")),
    });
    let heads = std::iter::once(Column::words("a step on")).chain(nodes);
    let mut table = Table::new("Time of a step", heads.collect());
    for model in models {
        let times = NODES.iter().map(|&nodes| {
            let seconds = model.step().step_ms_on(nodes, NETWORK) / 1e3;
            Cell::number(seconds, duration(seconds))
        });
        table.row(std::iter::once(name(model).into()).chain(times));
    }
    table
}

/// The share of the time that messages take, by nodes.
fn bounds(models: &[Calculated]) -> Table {
    let nodes = NODES[1..].iter();
    let nodes = nodes.map(|nodes| Column::numbers(format!("messages, {nodes} nodes")));
    let heads = [
        Column::words("a step on"),
        Column::numbers("MB to a node, 64 nodes"),
    ];
    let heads = heads.into_iter().chain(nodes).collect();
    let caption = "What a node receives in a step, and the share of the time that takes";
    let mut table = Table::new(caption, heads);
    for model in models {
        let step = model.step();
        let received = step.traffic(MICRO_BATCHES) as f64 / 1e6;
        let shares = NODES[1..].iter().map(|&nodes| {
            let all = step.step_ms_on(nodes, NETWORK);
            let passes = step.shared_ms * MICRO_BATCHES.div_ceil(nodes) as f64;
            let share = 1.0 - passes / MICRO_BATCHES as f64 / all;
            Cell::number(share, percent(share, 1))
        });
        let cells = [
            name(model).into(),
            Cell::number(received, fixed(received, 0)),
        ];
        table.row(cells.into_iter().chain(shares).collect::<Vec<Cell>>());
    }
    table
}

/// Weights, what a micro-batch keeps for its backward pass, and the optimiser.
fn memory(models: &[Calculated]) -> Table {
    let weights = WEIGHTS.map(|(kind, _)| Column::numbers(format!("weights, {kind} (GiB)")));
    let heads = std::iter::once(Column::words("model")).chain(weights);
    let heads = heads.chain([
        Column::numbers("kept by a micro-batch (GiB)"),
        Column::numbers("adapters, gradients, optimiser (GiB)"),
    ]);
    let mut table = Table::new("Memory of a node, by its parts", heads.collect());
    let gib = |bytes: f64| {
        let gib = bytes / f64::from(1 << 30);
        Cell::number(gib, fixed(gib, 2))
    };
    for model in models {
        let weights = WEIGHTS.map(|(_, bytes)| gib(bytes * model.parameters));
        let cells = std::iter::once(Cell::from(name(model))).chain(weights);
        // Factors, their gradients and two moments.
        let rest = [gib(4.0 * kept(model.shape)), gib(4.0 * 4.0 * model.trained)];
        table.row(cells.chain(rest));
    }
    table
}

/// Numbers that a micro-batch keeps for its backward pass: of every token and layer the
/// inputs of two norms, queries, keys, values, the context, and three of the inner width.
fn kept(shape: Shape) -> f64 {
    let [rows, time] = shape.batch();
    let Body::Llama(config) = shape.model(time).body else {
        unreachable!("all models are Llamas");
    };
    let heads = config.num_attention_heads + 2 * config.num_key_value_heads;
    let per_layer = 3 * config.hidden_size + heads * config.head_dim + 3 * config.intermediate_size;
    (rows * time * config.num_hidden_layers * per_layer) as f64
}

fn checked<'r>(
    models: &[Calculated],
    seconds: &dyn Fn(&Record) -> f64,
    measured: &dyn Fn(Shape) -> &'r Record,
) -> Table {
    let heads = [
        Column::words("a micro-batch of"),
        Column::numbers("calculated"),
        Column::numbers("measured"),
        Column::numbers("ratio"),
        Column::numbers("peak memory, measured (GiB)"),
    ];
    let mut table = Table::new("A step of one micro-batch", heads.into());
    for model in models.iter().filter(|it| MEASURED.contains(&it.shape)) {
        let record = measured(model.shape);
        let found = seconds(record);
        let ratio = model.pass / found;
        let peak = record.peak_rss_mib.unwrap_or(f64::NAN) / 1024.0;
        table.row([
            name(model).into(),
            Cell::number(model.pass, duration(model.pass)),
            Cell::number(found, duration(found)),
            Cell::number(ratio, fixed(ratio, 2)),
            Cell::number(peak, fixed(peak, 2)),
        ]);
    }
    table
}

fn ends(models: &[Calculated]) -> Vec<Block> {
    let largest = models.last().expect("a model");
    let step = largest.step();
    let alone = duration(step.step_ms / 1e3);
    let many = duration(step.step_ms_on(64, NETWORK) / 1e3);
    vec![Block::paragraph(format!(
        "Every rank holds the whole model: more nodes make a step faster, not a model smaller, \
         and a model must fit into the memory of one. A step of 8 billion parameters takes {alone} \
         on one node and {many} on 64, which is what accelerators are for. So this program is the \
         right tool where a model has up to about a billion parameters, where many small runs are \
         to be compared, or where every bit of a result has to be accounted for; beyond that, use \
         one for accelerators, and check it against this one on a small model.",
    ))]
}

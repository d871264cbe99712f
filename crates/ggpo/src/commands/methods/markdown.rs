//! The page `docs/methods.md`.

use std::fmt::Write;

use ggpo_lora::method::{AdapterKind, METHODS};

use super::facts::Details;
use super::pairs::{Cell, Pairs, PartRow};

/// All methods, and which parts go together.
pub(super) fn page() -> String {
    let mut text = String::from(
        "# Methods\n\n\
         The methods that `ggpo train --method` knows, with the formulas, sources and defaults \
         that the\nprogram has. The program writes this page: `ggpo methods --markdown`. \
         `ggpo methods NAME` shows\nits part on a method, `ggpo methods --pairs` its last one.\n\n\
         A layer is `y = x W'^T + b` with the frozen weight W, m x n, the adapter \
         `W' = W + s B A` of rank r,\nand G, the gradient of the loss with respect to W'; \
         `W'_i` and `G_i` are rows.\n\n",
    );
    text += "| method | what it is | passes of a step | memory beside that of LoRA |\n\
             |---|---|---|---|\n";
    for method in METHODS {
        let _ = writeln!(
            text,
            "| [`{0}`](#{0}) | {1}: {2} | {3} | {4} |",
            method.name, method.title, method.about, method.passes, method.memory
        );
    }
    for method in METHODS {
        text += &section(&Details::of(method));
    }
    text + &pairs(&Pairs::all())
}

fn section(details: &Details) -> String {
    let method = &details.summary;
    let mut text = format!("\n## {}\n\n", method.name);
    let _ = write!(text, "{}: {}.", method.title, method.about);
    if !method.source.is_empty() {
        let _ = write!(text, " Source: {}.", method.source);
    }
    let _ = write!(text, "\n\n```text\n{}\n```\n\n", method.formula);
    let _ = writeln!(text, "- Trained: {}.", details.trains);
    if let Some(start) = details.start {
        let _ = writeln!(text, "- Start: {start}.");
    }
    if let (Some(words), Some(weight)) = (&details.perturbation, details.acting_weight) {
        let _ = writeln!(text, "- Perturbation: {words}. It acts on `{weight}`.");
    }
    let _ = write!(text, "\n```toml\n{}```\n", details.toml);
    if !details.settings.is_empty() {
        text += "\n| option | default | what it is |\n|---|---|---|\n";
        for setting in &details.settings {
            let _ = writeln!(
                text,
                "| `{}` | `{}` | {} |",
                setting.option,
                setting.default,
                cell(setting.about)
            );
        }
    }
    text
}

fn pairs(pairs: &Pairs) -> String {
    let mut text = String::from(
        "\n## Which parts go together\n\n\
         `--adapter`, `--init` and `--perturbation` put parts together that have no name as a \
         method.\nA number in brackets is that of the reason below.\n\n",
    );
    text += &table("start other than Kaiming's, or rule", &pairs.starts);
    text += "\nThe acting weight, which is what a perturbation acts on:\n\n";
    text += &table("perturbation", &pairs.perturbations);
    text += "\nNot defined, and why:\n\n";
    for (index, reason) in pairs.reasons.iter().enumerate() {
        let _ = writeln!(text, "{}. {}", index + 1, cell(reason));
    }
    if !pairs.others.is_empty() {
        text += "\nAny start goes with any perturbation that goes with the adapter form, but:\n\n";
        for sentence in &pairs.others {
            let _ = writeln!(text, "- {sentence}.");
        }
    }
    text
}

fn table(first: &str, rows: &[PartRow]) -> String {
    let titles = AdapterKind::ALL.map(AdapterKind::title).join(" | ");
    let mut text = format!("| {first} | {titles} |\n|---|---|---|---|---|\n");
    for row in rows {
        let cells = row.cells.iter().map(|cell| match cell {
            Cell::Defined("yes" | "unused") | Cell::Undefined(_) => cell.in_words(),
            Cell::Defined(weight) => format!("`{}`", self::cell(weight)),
        });
        let cells: Vec<String> = cells.collect();
        let _ = writeln!(text, "| {} | {} |", row.part, cells.join(" | "));
    }
    text
}

/// A text in a table, whose cells are told apart by `|`.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

//! Two ranks of one thread each beside one process of two threads, and beside what was
//! estimated for them.

use ggpo_report::format::{fixed, plural};
use ggpo_report::{Block, Cell, Column, Section, Table, Text};
use serde::{Deserialize, Serialize};

use crate::statistics::{median, quantile};

/// A round: milliseconds of the same step in three ways, in turn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// One process with all threads.
    pub alone_ms: f64,
    /// Two ranks with half of the threads each.
    pub ranks_ms: f64,
    /// What `ggpo estimate --ranks 2` says, with half of the threads and the others busy.
    pub estimated_ms: f64,
}

/// Rounds of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TwoRanks {
    /// The command of the run, without its number of steps.
    pub run: String,
    /// The rounds.
    pub turns: Vec<Turn>,
}

/// Milliseconds of a step, from the seconds of two runs that differ in their steps alone.
pub fn step_ms([few, more]: [(u32, f64); 2]) -> f64 {
    1e3 * (more.1 - few.1) / f64::from(more.0 - few.0)
}

impl TwoRanks {
    /// The measurements as a section of a page.
    ///
    /// # Panics
    /// If there is no round.
    pub fn section(&self) -> Section {
        let heads = [
            Column::words(""),
            Column::numbers("median"),
            Column::numbers("lower quartile"),
            Column::numbers("upper quartile"),
        ];
        let caption = "A step on two ranks, in turn with the others";
        let mut table = Table::new(caption, heads.into());
        let mut row = |name: &str, of: &dyn Fn(&Turn) -> f64, digits: usize| {
            let values: Vec<f64> = self.turns.iter().map(of).collect();
            let at = |share| quantile(&values, share).expect("a round");
            let middle = median(&values).expect("a round");
            let cells = [middle, at(0.25), at(0.75)];
            let cells = cells.map(|value| Cell::number(value, fixed(value, digits)));
            table.row(std::iter::once(Cell::from(name)).chain(cells));
        };
        row("one process with all threads (ms)", &|it| it.alone_ms, 1);
        row(
            "two ranks with half of them each (ms)",
            &|it| it.ranks_ms,
            1,
        );
        row("two ranks, estimated (ms)", &|it| it.estimated_ms, 1);
        row(
            "efficiency: the first over the second",
            &|it| it.alone_ms / it.ranks_ms,
            3,
        );
        row(
            "estimated over measured",
            &|it| it.estimated_ms / it.ranks_ms,
            3,
        );
        let rounds = plural(self.turns.len(), "round");
        let text = Text::new(format!("{rounds} of ")).code(&self.run).plain(
            ", in one process and under mpirun with two ranks. The estimate is made by two \
             processes at once, so that each finds the machine as busy as a rank does; a step is \
             the difference of runs of few and of more steps, over the steps between.",
        );
        Section::new(
            "ranks",
            "Two ranks on this machine",
            vec![Block::paragraph(text), Block::Table(table)],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_the_difference_over_the_steps_between() {
        assert_eq!(step_ms([(2, 1.0), (12, 2.5)]), 150.0);
    }

    #[test]
    fn the_section_says_efficiency_and_estimate() {
        let turn = Turn {
            alone_ms: 95.0,
            ranks_ms: 100.0,
            estimated_ms: 104.0,
        };
        let measured = TwoRanks {
            run: "ggpo train".to_owned(),
            turns: vec![turn; 3],
        };
        let page = ggpo_report::Page {
            title: String::new(),
            lead: Vec::new(),
            sections: vec![measured.section()],
        };
        let text = page.to_markdown("figures");
        for expected in ["0.950", "1.040", "104.0", "3 rounds"] {
            assert!(text.contains(expected), "{text}");
        }
    }
}

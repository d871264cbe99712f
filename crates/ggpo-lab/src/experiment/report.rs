//! The report: verdicts first, then a section for each experiment, then how it was run.

mod before;
mod csv;

use std::path::Path;

use ggpo_files::write_atomically;
use ggpo_report::format::{ABSENT, duration, p_value, plural, signed};
use ggpo_report::{Block, Page, Section, Text, Tone, VerdictLine};
use ggpo_train::{Error, Result};

use super::compare::ONLY_LEVEL;
use super::kinds::{Finding, Findings};
use super::outcome::Outcome;
use super::record::Records;
use crate::bench::Machine;
use crate::verdict::Verdict;

/// Everything that a report is made of.
pub(super) struct Study<'a> {
    /// Title of the page.
    pub title: &'a str,
    /// The experiments with what they found.
    pub parts: Vec<(Outcome<'a>, Findings)>,
    /// The records of all runs.
    pub records: &'a Records,
    /// Seconds that this call took.
    pub seconds: f64,
}

impl Study<'_> {
    /// Writes `report.html`, `report.md` with `figures/`, `verdicts.md` and `results.csv`.
    pub(super) fn write(&self, out: &Path) -> Result<()> {
        let page = self.page();
        let figures = out.join("figures");
        ggpo_files::create_folder(&figures).map_err(|source| Error::io(&figures, source))?;
        let write = |path: &Path, text: &str| {
            write_atomically(path, text.as_bytes()).map_err(|source| Error::io(path, source))
        };
        for figure in page.figures() {
            write(&figures.join(figure.file_name()), &figure.to_svg())?;
        }
        write(&out.join("report.md"), &page.to_markdown("figures"))?;
        write(&out.join("verdicts.md"), &self.verdicts())?;
        write(&out.join("results.csv"), &self.csv())?;
        write(&out.join("report.html"), &page.to_html())
    }

    fn page(&self) -> Page {
        let mut sections: Vec<Section> = Vec::new();
        for (outcome, findings) in &self.parts {
            sections.push(section(outcome, findings));
        }
        sections.push(self.how());
        Page {
            title: self.title.to_owned(),
            lead: self.lead(),
            sections,
        }
    }

    /// What a person with three minutes reads: the claims about the method that the
    /// project is about, then the figure that tells most.
    fn lead(&self) -> Vec<Block> {
        let lines = |headline: bool| {
            let parts = self.parts.iter();
            parts.flat_map(move |(outcome, findings)| {
                let claims = findings.claims.iter();
                let wanted = claims.filter(move |claim| claim.is_headline == headline);
                wanted.map(|claim| line(outcome, claim))
            })
        };
        let main: Vec<VerdictLine> = lines(true).collect();
        let rest: Vec<VerdictLine> = lines(false).collect();
        let mut blocks = vec![Block::paragraph(
            "Each line is a claim that was written down, with the rule that decides it, before \
             anything ran. The small picture is the 95 % interval of the gain on the reference, \
             positive where the method is better; the band around zero is the margin, the \
             smallest difference that matters.",
        )];
        if !main.is_empty() {
            blocks.push(Block::Verdicts(main));
        }
        let telling = self.parts.iter().find_map(|(outcome, findings)| {
            let figures = findings
                .blocks
                .iter()
                .find(|it| matches!(it, Block::Figure(_)));
            (outcome.experiment.kind == super::kinds::Kind::Peak).then_some(figures)?
        });
        if let Some(Block::Figure(figure)) = telling {
            let mut figure = figure.clone();
            figure.id = format!("{}-first", figure.id);
            blocks.push(Block::Figure(figure));
        }
        if !rest.is_empty() {
            blocks.push(Block::Details {
                summary: format!(
                    "The same of the other methods: {}",
                    plural(rest.len(), "claim")
                ),
                blocks: vec![Block::Verdicts(rest)],
            });
        }
        blocks
    }

    /// The claims about the method that the project is about, as a table for other pages.
    fn verdicts(&self) -> String {
        let mut text = "| claim | verdict | gain, or why not |\n|---|---|---|\n".to_owned();
        for (outcome, findings) in &self.parts {
            for claim in findings.claims.iter().filter(|claim| claim.is_headline) {
                let line = line(outcome, claim);
                text += &format!("| {} | {} | {} |\n", line.claim, line.verdict, line.number);
            }
        }
        text
    }

    /// How it was run.
    fn how(&self) -> Section {
        let machine = Machine::this();
        let used: Vec<_> = self.used().collect();
        let seconds: f64 = used.iter().map(|record| record.seconds).sum();
        let mut levels: Vec<&str> = used.iter().map(|record| record.simd.as_str()).collect();
        levels.sort_unstable();
        levels.dedup();
        let mut versions: Vec<&str> = used.iter().map(|record| record.version.as_str()).collect();
        versions.sort_unstable();
        versions.dedup();
        let files = self.parts.iter().map(|(outcome, _)| {
            let experiment = outcome.experiment;
            if outcome.level == ONLY_LEVEL {
                return Text::new("given on the command line, SHA-256 of its settings ")
                    .code(&experiment.sha256);
            }
            Text::default()
                .code(format!("{}.toml", experiment.id))
                .plain(format!(", level {}, SHA-256 ", outcome.level))
                .code(&experiment.sha256)
        });
        let blocks = vec![
            Block::paragraph(format!(
                "{}, which took {} of processor time in all, calculated at the level of \
                 instruction set {} by version {}. This report was written on {} with {}; this \
                 call took {}.",
                plural(used.len(), "run"),
                duration(seconds),
                ggpo_report::format::listed(&levels),
                ggpo_report::format::listed(&versions),
                machine.processor,
                plural(machine.threads, "thread"),
                duration(self.seconds),
            )),
            Block::paragraph(
                "A run has the same bits for any number of threads. Seeds from 101 on choose \
                 learning rates on the validation split and are used for nothing else; test data \
                 are looked at after the last step of a compared run. The descriptions:",
            ),
            Block::List(files.collect()),
        ];
        Section::new("how", "How it was run", blocks)
    }

    /// The records of the runs in the plans, each once.
    fn used(&self) -> impl Iterator<Item = &super::record::Record> {
        let mut keys: Vec<String> = Vec::new();
        for (outcome, _) in &self.parts {
            keys.extend(outcome.plan().into_iter().map(|run| run.key));
        }
        keys.sort_unstable();
        keys.dedup();
        self.records
            .iter()
            .filter(move |record| keys.binary_search(&record.key).is_ok())
    }
}

/// A claim as a line of the verdicts.
fn line(outcome: &Outcome<'_>, finding: &Finding) -> VerdictLine {
    let judgement = &finding.judgement;
    let tone = match &judgement.verdict {
        Verdict::NotTestable(_) => Tone::NotTestable,
        Verdict::Equivalent => Tone::Equivalent,
        Verdict::Supported => Tone::Supported,
        Verdict::Contradicted { .. } => Tone::Contradicted,
        Verdict::Undecided { .. } => Tone::Undecided,
    };
    let number = match (&judgement.verdict, judgement.mean) {
        (Verdict::NotTestable(reason), _) => reason.clone(),
        (_, None) => ABSENT.to_owned(),
        (_, Some(mean)) => {
            let p = judgement
                .p_holm
                .map(|p| format!(", {}", p_value(p)))
                .unwrap_or_default();
            let (gain, unit) = (signed(mean, finding.decimals), finding.unit);
            let pairs = match judgement.pairs < finding.planned {
                true => format!("{} of {} pairs", judgement.pairs, finding.planned),
                false => plural(judgement.pairs, "pair"),
            };
            let needed = match judgement.verdict {
                Verdict::Undecided {
                    pairs_needed: Some(needed),
                } => format!("; {needed} needed"),
                _ => String::new(),
            };
            format!("{gain}{unit} ({pairs}{p}{needed})")
        }
    };
    VerdictLine {
        claim: finding.claim.clone(),
        section: outcome.experiment.id.clone(),
        verdict: judgement.verdict.word().to_owned(),
        tone,
        number,
        interval: judgement.mean.map(|mean| match judgement.interval_95 {
            Some(it) => ggpo_report::Interval::new(it.low, mean, it.high),
            None => ggpo_report::Interval::point(mean),
        }),
        margin: Some(finding.margin),
    }
}

/// The section of an experiment.
fn section(outcome: &Outcome<'_>, findings: &Findings) -> Section {
    let experiment = outcome.experiment;
    let mut blocks = vec![Block::paragraph(experiment.question.as_str())];
    if experiment.kind.has_runs() {
        blocks.push(before::block(outcome));
    }
    let missing = match experiment.kind.has_runs() {
        true => outcome.missing(),
        false => 0,
    };
    if missing > 0 {
        let text = format!(
            "Not complete: {} of the plan are missing.",
            plural(missing, "run")
        );
        blocks.push(Block::Paragraph(Text::default().strong(text)));
    }
    blocks.extend(findings.blocks.iter().cloned());
    if !experiment.not_shown.is_empty() {
        let words = Text::default().strong("What this does not show.");
        blocks.push(Block::Paragraph(words));
        let points = experiment.not_shown.iter();
        blocks.push(Block::List(points.map(|it| it.as_str().into()).collect()));
    }
    Section::new(&experiment.id, &experiment.title, blocks)
}

//! What pages look like as HTML and as Markdown, and how words are escaped in each.

use ggpo_report::{
    Block, Cell, Column, CurvePanel, CurvePlot, CurvePoint, Figure, Interval, Page, Plot, Section,
    Series, Table, Text, Tone, VerdictLine,
};

/// All that is special somewhere.
const ODD: &str = "a <b> & \"c\" | `d` *e*\n_f_ [g] \u{0}$h$";

fn page(blocks: Vec<Block>) -> Page {
    Page {
        title: "Title".to_owned(),
        lead: blocks,
        sections: Vec::new(),
    }
}

fn markdown(block: Block) -> String {
    let text = page(vec![block]).to_markdown("figures");
    let rest = text.strip_prefix("# Title\n\n").expect("a title");
    rest.trim_end().to_owned()
}

fn html(block: Block) -> String {
    let text = page(vec![block]).to_html();
    let main = text
        .split("<main id=\"content\">\n")
        .nth(1)
        .expect("content");
    let main = main.split("</main>").next().expect("an end of it");
    main.trim_end().to_owned()
}

fn figure() -> Figure {
    let points = vec![
        CurvePoint::in_band(1.0, 2.0, 1.5, f64::NAN),
        CurvePoint::new(2.0, 3.0),
    ];
    let panel = CurvePanel {
        series: vec![Series::new(ODD, points)],
        ..CurvePanel::default()
    };
    Figure {
        id: "loss of/runs".to_owned(),
        title: ODD.to_owned(),
        description: "See the (curve).".to_owned(),
        plot: Plot::Curves(CurvePlot {
            panels: vec![panel],
            ..CurvePlot::default()
        }),
    }
}

fn verdict(interval: Option<Interval>, margin: Option<f64>) -> VerdictLine {
    VerdictLine {
        claim: "A is better".to_owned(),
        section: "a".to_owned(),
        verdict: "Undecided".to_owned(),
        tone: Tone::Undecided,
        number: "+0.5".to_owned(),
        interval,
        margin,
    }
}

#[test]
fn running_text_has_its_marks() {
    let text = Text::new("Run ")
        .strong("this ")
        .code("a`b")
        .plain(": ")
        .link("x", "y (z)");
    assert_eq!(
        markdown(Block::paragraph(text.clone())),
        "Run **this** ``a`b``: [x](y%20%28z%29)"
    );
    assert_eq!(
        html(Block::paragraph(text)),
        "<p>Run <strong>this </strong><code>a`b</code>: <a href=\"y (z)\">x</a></p>"
    );
}

#[test]
fn words_are_never_read_as_marks() {
    assert_eq!(
        markdown(Block::paragraph(ODD)),
        "a &lt;b> &amp; \"c\" \\| \\`d\\` \\*e\\* \\_f\\_ \\[g\\] \\$h\\$"
    );
    assert_eq!(
        html(Block::paragraph(ODD)),
        "<p>a &lt;b&gt; &amp; \"c\" | `d` *e*\n_f_ [g] $h$</p>".replace('"', "&quot;")
    );
    let starts = [
        "# a", "- a", "+ a", "> a", "12. a", "1) a", "= a", "1.5 a", "a",
    ];
    let written = starts.map(|start| markdown(Block::paragraph(start)));
    let escaped = [
        "\\# a", "\\- a", "\\+ a", "\\> a", "12\\. a", "1\\) a", "\\= a", "1\\.5 a", "a",
    ];
    assert_eq!(written, escaped);
}

#[test]
fn code_is_fenced_by_more_than_it_holds() {
    assert_eq!(
        markdown(Block::Code("a\n```\n".to_owned())),
        "````text\na\n```\n````"
    );
    assert_eq!(
        html(Block::Code("a < b".to_owned())),
        "<pre tabindex=\"0\"><code>a &lt; b</code></pre>"
    );
}

#[test]
fn lists_and_details_unfold() {
    let inner = Block::List(vec!["one".into(), "- two".into()]);
    let details = Block::Details {
        summary: "a < b".to_owned(),
        blocks: vec![inner],
    };
    assert_eq!(
        markdown(details.clone()),
        "<details>\n<summary>a &lt; b</summary>\n\n- one\n- \\- two\n\n</details>"
    );
    assert_eq!(
        html(details),
        "<details>\n<summary>a &lt; b</summary>\n<ul>\n<li>one</li>\n<li>- two</li>\n</ul>\n</details>"
    );
}

#[test]
fn tables_have_heads_and_numbers_at_the_right() {
    let mut table = Table::new(
        "Scores",
        vec![Column::words("Name"), Column::numbers("Score")],
    );
    table.row([
        Cell::from(Text::default().code("a|b")),
        Cell::number(-0.25, "−0.3"),
    ]);
    table.row(["only, a name"]);
    assert_eq!(table.to_csv(), "Name,Score\na|b,-0.25\n\"only, a name\"\n");
    assert_eq!(
        markdown(Block::Table(table.clone())),
        "**Scores**\n\n\
         | Name         | Score |\n\
         | ------------ | ----: |\n\
         | `a\\|b`       |  −0.3 |\n\
         | only, a name |       |"
    );
    let html = html(Block::Table(table));
    assert!(html.contains("<th scope=\"col\" class=\"number\">Score</th>"));
    assert!(html.contains(
        "<tr><th scope=\"row\" class=\"name\"><code>a|b</code></th><td class=\"number\">−0.3</td></tr>"
    ));
}

#[test]
fn verdicts_say_where_the_interval_lies() {
    let place = |low: f64, high: f64, margin| {
        let line = verdict(Some(Interval::new(low, (low + high) / 2.0, high)), margin);
        let words = line.interval_in_words().expect("finite ends");
        words.rsplit(": ").next().expect("a place").to_owned()
    };
    assert_eq!(place(1.0, 2.0, Some(0.5)), "above the margin");
    assert_eq!(place(0.1, 2.0, Some(0.5)), "above zero");
    assert_eq!(place(-0.1, 0.2, Some(0.5)), "within the margin");
    assert_eq!(place(-1.0, 2.0, Some(0.5)), "around zero");
    assert_eq!(place(-1.0, -0.2, None), "below zero");
    assert_eq!(place(-2.0, -1.0, Some(0.5)), "below the margin");
    assert_eq!(
        verdict(Some(Interval::point(f64::NAN)), None).interval_in_words(),
        None
    );

    let line = verdict(Some(Interval::new(-1.0, 0.5, 2.0)), Some(1.5));
    assert_eq!(
        markdown(Block::Verdicts(vec![line.clone(), verdict(None, None)])),
        "- ? **Undecided**: [A is better](#a) (+0.5; mean 0.500, interval −1.00 to 2.00, \
         margin ±1.50: around zero)\n\
         - ? **Undecided**: [A is better](#a) (+0.5)"
    );
    let html = html(Block::Verdicts(vec![line]));
    assert!(html.contains("<a href=\"#a\">A is better</a>"));
    assert!(html.contains("<title>mean 0.500, interval −1.00 to 2.00, margin ±1.50: around zero"));
    assert!(html.contains("class=\"band\""));
}

#[test]
fn figures_are_files_beside_markdown_and_elements_of_html() {
    let block = Block::Figure(figure());
    let details = Block::Details {
        summary: String::new(),
        blocks: vec![block.clone()],
    };
    let all = page(vec![block.clone(), details]);
    assert_eq!(all.figures().len(), 2);
    assert_eq!(all.figures()[0].file_name(), "loss-of-runs.svg");
    let text = markdown(block.clone());
    assert!(text.starts_with("![See the (curve).](figures/loss-of-runs.svg)\n\n**a &lt;b>"));
    let html = html(block);
    assert!(html.starts_with("<figure id=\"loss-of-runs\">"));
    assert!(html.contains("role=\"img\" aria-labelledby=\"loss-of-runs-title loss-of-runs-desc"));
    assert!(html.contains("<desc id=\"loss-of-runs-description\">See the (curve).</desc>"));
    assert!(!html.contains("<style"));
    assert!(figure().to_svg().contains("<style"));
}

#[test]
fn curves_tell_their_values_and_what_is_missing() {
    let svg = figure().to_svg();
    assert!(svg.contains("| `d` *e*\n_f_ [g] $h$, at 2.000: 3.000</title>"));
    assert!(svg.contains("Not drawn: 1 value that no axis can show"));
    assert_eq!(
        svg.matches("class=\"curve\"").count(),
        2,
        "a line and its legend"
    );
}

#[test]
fn contents_lead_to_all_sections() {
    let mut outer = Section::new("outer", "Outer & more", vec![Block::paragraph("Words.")]);
    outer.subsections = vec![Section::new("inner", "Inner", Vec::new())];
    let page = Page {
        sections: vec![outer],
        ..page(Vec::new())
    };
    let html = page.to_html();
    assert!(
        html.contains("<li><a href=\"#outer\">Outer &amp; more</a><ul>\n<li><a href=\"#inner\">")
    );
    assert!(html.contains("<section id=\"inner\">\n<h3>Inner</h3>"));
    assert_eq!(
        page.to_markdown("figures"),
        "# Title\n\n<a id=\"outer\"></a>\n\n## Outer &amp; more\n\nWords.\n\n\
         <a id=\"inner\"></a>\n\n### Inner\n"
    );
}

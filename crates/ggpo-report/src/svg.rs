//! Words, lines and marks of a drawing.

use maud::{Markup, html};

/// Width of a drawing, in its units: narrow, so that words of [`SIZE`] are legible
/// on a phone.
pub(crate) const WIDTH: f64 = 480.0;
/// Size of words.
pub(crate) const SIZE: f64 = 13.0;
/// From one line of words to the next.
pub(crate) const LINE: f64 = 16.0;

/// Something drawn, to be put into a figure.
pub(crate) struct Drawing {
    pub(crate) body: Markup,
    pub(crate) width: f64,
    pub(crate) height: f64,
    /// Values that are not in it because no axis can show them.
    pub(crate) left_out: usize,
}

/// Which part of the words stands at their place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn name(self) -> &'static str {
        match self {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        }
    }
}

/// A place, no finer than can be seen.
pub(crate) fn px(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Without the characters that XML cannot hold.
pub(crate) fn printable(text: &str) -> String {
    let held =
        |letter: &char| matches!(letter, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    text.chars().filter(held).collect()
}

/// About how wide words are; rather too much than too little.
pub(crate) fn width_of(words: &str) -> f64 {
    let width = |letter: char| match letter {
        'i' | 'j' | 'l' | 't' | 'f' | 'r' | ' ' | '.' | ',' | ':' | '(' | ')' => 0.38,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.95,
        '\u{2e80}'.. => 1.05,
        _ if letter.is_uppercase() => 0.72,
        _ => 0.61,
    };
    words.chars().map(width).sum::<f64>() * SIZE
}

/// Height of this number of lines of words, with the space below them.
pub(crate) fn lines_height(lines: usize) -> f64 {
    match lines {
        0 => 0.0,
        lines => lines as f64 * LINE + 4.0,
    }
}

/// Words in at most `most` lines of a width; what does not fit is replaced by dots.
pub(crate) fn wrap(words: &str, width: f64, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    // A space that must not break a line does not.
    for word in words
        .split([' ', '\n', '\t'])
        .filter(|word| !word.is_empty())
    {
        match lines.last_mut() {
            Some(line) if width_of(line) + width_of(word) + 5.0 <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    let cut = lines.len() > most;
    lines.truncate(most);
    let last = lines.len().saturating_sub(1);
    for (index, line) in lines.iter_mut().enumerate() {
        let cut = (cut && index == last) || width_of(line) > width;
        while cut && line.chars().count() > 1 && width_of(line) > width - SIZE {
            line.pop();
        }
        if cut {
            line.push('…');
        }
    }
    lines
}

/// Words, at half their height.
pub(crate) fn words(x: f64, y: f64, anchor: Anchor, class: &str, words: &str) -> Markup {
    html! {
        text class=(class) x=(px(x)) y=(px(y + 0.35 * SIZE)) text-anchor=(anchor.name()) {
            (words)
        }
    }
}

/// Lines of words, from a top edge downwards.
pub(crate) fn words_below(
    x: f64,
    top: f64,
    anchor: Anchor,
    class: &str,
    lines: &[String],
) -> Markup {
    html! {
        @for (index, line) in lines.iter().enumerate() {
            (words(x, top + (index as f64 + 0.5) * LINE, anchor, class, line))
        }
    }
}

/// Lines of words around a middle, moved to stay between two ends.
pub(crate) fn words_between(
    middle: f64,
    (left, right): (f64, f64),
    top: f64,
    lines: &[String],
) -> Markup {
    let widest = lines.iter().map(|line| width_of(line)).fold(0.0, f64::max);
    let middle = middle.min(right - widest / 2.0).max(left + widest / 2.0);
    words_below(middle, top, Anchor::Middle, "soft", lines)
}

/// A straight line.
pub(crate) fn line(from: (f64, f64), to: (f64, f64), class: &str) -> Markup {
    html! {
        line class=(class) x1=(px(from.0)) y1=(px(from.1)) x2=(px(to.0)) y2=(px(to.1)) {}
    }
}

/// Colour of a series, as a class.
pub(crate) fn series_class(index: usize) -> String {
    format!("s{}", index % 8)
}

/// Dash pattern of a series; after a round of them they repeat, with other marks.
pub(crate) fn dashes(index: usize) -> &'static str {
    ["none", "7 3", "2 3", "9 3 2 3", "5 2 1 2 1 2"][index % 5]
}

/// The mark of a series around a place, with words for the pointer.
pub(crate) fn mark(index: usize, (x, y): (f64, f64), hover: &str) -> Markup {
    let shapes = [
        "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
        "m-3.5-3.5h7v7h-7z",
        "m0-5l4.5 8h-9z",
        "m0-5l5 5l-5 5l-5-5z",
        "m0 5l4.5-8h-9z",
        "m-4.5-1.5h3v-3h3v3h3v3h-3v3h-3v-3h-3z",
        "m-4.5-4.5h3l1.5 3l1.5-3h3l-3 4.5l3 4.5h-3l-1.5-3l-1.5 3h-3l3-4.5z",
    ];
    html! {
        path.fill d={ "M" (px(x)) " " (px(y)) (shapes[index % shapes.len()]) } {
            @if !hover.is_empty() {
                title { (hover) }
            }
        }
    }
}

/// Places that are at least a gap apart and within the ends if they can be, in the
/// given order of the places.
pub(crate) fn spread(places: &[f64], gap: f64, (first, last): (f64, f64)) -> Vec<f64> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|&a, &b| places[a].total_cmp(&places[b]));
    let mut spread = places.to_vec();
    let mut free = last;
    for &index in order.iter().rev() {
        spread[index] = spread[index].min(free);
        free = spread[index] - gap;
    }
    let mut free = first;
    for &index in &order {
        spread[index] = spread[index].max(free);
        free = spread[index] + gap;
    }
    spread
}

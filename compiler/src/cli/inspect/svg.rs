//! Draws a graph as SVG: boxes one below the other in the order of the program, arrows between
//! neighbours straight down, all others through lanes at the right.

use super::graph::{Graph, Node};
use super::page::{Names, escape};

/// Extents of boxes and gaps, in pixels.
const BOX: (usize, usize) = (290, 54);
const GAP: usize = 18;
const LANE: usize = 12;
const MARGIN: usize = 6;

/// Characters that fit a box.
const N_CHARS: usize = 42;

/// The picture. Boxes carry the numbers of their source nodes as `data-n`.
pub fn draw(g: &Graph, names: &mut Names) -> String {
    let (lanes, n_lanes) = lanes(g);
    let width = BOX.0 + 2 * MARGIN + LANE * n_lanes + if n_lanes > 0 { LANE } else { 0 };
    let height = top(g.nodes.len()) + MARGIN;
    let mut out = format!(
        "<svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\">\n"
    );
    for (&(from, to), lane) in g.edges.iter().zip(&lanes) {
        out += &arrow(from, to, *lane);
    }
    for (i, node) in g.nodes.iter().enumerate() {
        out += &one_box(i, node, names);
    }
    out + "</svg>\n"
}

/// The upper edge of box `i`.
fn top(i: usize) -> usize {
    MARGIN + i * (BOX.1 + GAP)
}

/// A lane for each arrow that passes boxes (none for the others), so that arrows in one lane do not
/// meet; those from one box share one. And how many lanes there are.
fn lanes(g: &Graph) -> (Vec<Option<usize>>, usize) {
    let mut last: indexmap::IndexMap<usize, usize> = indexmap::IndexMap::new();
    for &(from, to) in g.edges.iter().filter(|(from, to)| to - from > 1) {
        let end = last.entry(from).or_insert(to);
        *end = (*end).max(to);
    }
    // Greedy colouring of intervals, by their start.
    let mut free_from: Vec<usize> = vec![];
    let mut of_box = indexmap::IndexMap::new();
    for (&from, &to) in &last {
        let lane = free_from.iter().position(|&f| f <= from).unwrap_or(free_from.len());
        if lane == free_from.len() {
            free_from.push(0);
        }
        free_from[lane] = to;
        of_box.insert(from, lane);
    }
    let lane =
        |&(from, to): &(usize, usize)| if to - from > 1 { Some(of_box[&from]) } else { None };
    (g.edges.iter().map(lane).collect(), free_from.len())
}

fn arrow(from: usize, to: usize, lane: Option<usize>) -> String {
    let (x, y1, y2) = (MARGIN + BOX.0 / 2, top(from) + BOX.1, top(to));
    let Some(lane) = lane else {
        return format!(
            "<path class=\"e\" d=\"M{x} {y1}V{0}\"/><path class=\"h\" d=\"M{x} {y2}l-4 -7h8z\"/>\n",
            y2 - 5
        );
    };
    let (right, r) = (MARGIN + BOX.0, 8);
    let x = right + LANE * (lane + 1);
    let (from_y, to_y) = (y1 - 14, y2 + 14);
    format!(
        "<path class=\"e s{0}\" d=\"M{right} {from_y}H{1}q{r} 0 {r} {r}V{2}q0 {r} -{r} {r}H{3}\"/>\
         <path class=\"h s{0}\" d=\"M{right} {to_y}l7 -4v8z\"/>\n",
        lane % 4,
        x - r,
        to_y - r,
        right + 5
    )
}

fn one_box(i: usize, node: &Node, names: &mut Names) -> String {
    let (x, y) = (MARGIN, top(i));
    let numbers: Vec<String> = node.names.iter().map(|n| names.number(n).to_string()).collect();
    let name = node.names.join(" + ");
    let (text_x, w, h) = (x + 12, BOX.0, BOX.1);
    let line = |class: &str, down: usize, text: String| {
        let y = y + down;
        format!("<text class=\"{class}\" x=\"{text_x}\" y=\"{y}\">{}</text>", escape(&text))
    };
    format!(
        "<g class=\"n f-{}\" data-n=\"{}\"><title>{}</title><rect x=\"{x}\" y=\"{y}\" \
         width=\"{w}\" height=\"{h}\" rx=\"7\"/>{}{}{}</g>\n",
        node.family,
        numbers.join(" "),
        escape(&format!("{name}\n{}", node.more)),
        line("t", 17, start_of(&node.title)),
        line("", 32, end_of(&name)),
        line("d", 46, start_of(&node.detail)),
    )
}

/// The first characters, where there are too many.
fn start_of(text: &str) -> String {
    match text.char_indices().nth(N_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_string(),
    }
}

/// The last characters, where there are too many: node names differ at their ends. Converters join
/// the names of what they fused with `;`: the first one is kept.
fn end_of(text: &str) -> String {
    let first = text.split(';').next().unwrap_or(text);
    let n = first.chars().count();
    if n <= N_CHARS {
        return first.to_string();
    }
    format!("…{}", first.chars().skip(n - N_CHARS).collect::<String>())
}

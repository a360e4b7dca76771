//! The report: one file that needs nothing else, with the graph at every stage, layers and remarks.
//!
//! No time, host or address is in it: the same model and options give the same bytes.

use super::graph::{Graph, graph};
use super::{Totals, layers, svg};
use crate::layers::Layer;
use crate::{Compiler, Source};
use indexmap::IndexSet;
use qcc_ir::{Level, Module};
use qcc_passes::Remark;

/// Names of the source model's nodes, numbered in the order of their appearance.
#[derive(Default)]
pub struct Names(IndexSet<String>);

impl Names {
    /// The number of a name.
    pub fn number(&mut self, name: &str) -> usize {
        self.0.insert_full(name.to_string()).0
    }
}

/// Text as content or attribute of HTML.
pub fn escape(s: &str) -> String {
    s.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A module on its way down, before or after a stage.
struct Stage {
    title: &'static str,
    /// Passes that led here.
    passes: Vec<String>,
    graph: Graph,
}

/// The page for a model, compiled as the compiler's options say.
pub fn report(compiler: &Compiler, source: &Source) -> String {
    let mut stages = Stages::new(&source.module);
    let done = compiler.lower_seeing(source, &mut |pass, m| stages.see(pass, m));
    let stages = stages.finish();
    let (lowered, remarks, problem) = match done {
        Ok(done) => (Some(done.module), done.remarks, None),
        Err(e) => (None, vec![], Some(e.to_string())),
    };
    let all = layers::layers(&source.module);
    let mut names = Names::default();
    let cards = cards(compiler, source, (&all, lowered.as_ref()));
    let problem = problem
        .map_or(String::new(), |text| format!("<div class=\"problem\">{}</div>\n", escape(&text)));
    let pictures: String = stages.iter().map(|s| stage(s, &mut names)).collect();
    let file = source.file.rsplit(['/', '\\']).next().unwrap_or(&source.file);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>\n{css}</style>\n<header><h1>{title}</h1>\n{cards}{problem}\
         </header>\n<section><h2>Stages</h2>\n<p>A click on a box marks the same nodes of the model \
         at every stage and in the tables.</p>\n<div class=\"stages\">\n{pictures}</div></section>\n\
         <section><h2>Layers</h2>\n{layers}</section>\n{remarks}<script>\n{js}</script>\n</html>\n",
        title = escape(file),
        css = include_str!("page.css"),
        js = include_str!("page.js"),
        layers = layer_table(&all, &mut names),
        remarks = remark_table(&remarks, &mut names),
    )
}

/// Collects the module at the ends of levels.
struct Stages {
    done: Vec<Stage>,
    /// The last module seen, and the passes since the last stage.
    last: Option<Module>,
    passes: Vec<String>,
    level: Level,
}

impl Stages {
    fn new(m: &Module) -> Stages {
        let imported = Stage { title: "As imported", passes: vec![], graph: graph(m) };
        Stages { done: vec![imported], last: None, passes: vec![], level: m.level }
    }
    fn see(&mut self, pass: &str, m: &Module) {
        if m.level != self.level {
            // What the level's own passes made of it, then what comes of the change of level.
            self.flush();
            self.level = m.level;
            self.passes.push(pass.into());
            self.last = Some(m.clone());
            self.flush();
            return;
        }
        self.passes.push(pass.into());
        self.last = Some(m.clone());
    }
    fn flush(&mut self) {
        let Some(m) = self.last.take() else { return };
        let changes_level = self.done.last().is_some_and(|s| s.graph.level != m.level);
        let title = match (m.level, changes_level) {
            (Level::Nn, _) => "Float, simplified",
            (Level::Quant, true) => "Quantized",
            (Level::Quant, false) => "Quantized, simplified",
            (Level::Int, true) => "Integers",
            (Level::Int, false) => "Integers, placed in memory",
            (Level::Loop, true) => "Kernels",
            (Level::Loop, false) => "Kernels, proven",
        };
        let graph = graph(&m);
        self.done.push(Stage { title, passes: std::mem::take(&mut self.passes), graph });
    }
    fn finish(mut self) -> Vec<Stage> {
        // Passes at level loop only prove: the kernels have been shown.
        if self.level != Level::Loop {
            self.flush();
        }
        self.done
    }
}

fn stage(s: &Stage, names: &mut Names) -> String {
    let n = s.graph.nodes.iter().filter(|n| n.family != "end").count();
    let (level, passes) = (s.graph.level.name(), s.passes.join(", "));
    let what = if s.graph.level == Level::Loop { "kernel calls" } else { "ops" };
    let after = if passes.is_empty() { String::new() } else { format!(" after {passes}") };
    format!(
        "<div class=\"stage\"><div><h3>{}</h3><p>level {level}, {n} {what}{}</p></div>\
         <div class=\"g\">\n{}</div></div>\n",
        s.title,
        escape(&after),
        svg::draw(&s.graph, names)
    )
}

fn cards(compiler: &Compiler, source: &Source, (all, m): (&[Layer], Option<&Module>)) -> String {
    let sum = Totals::of(all);
    let mut facts = vec![
        (all.len().to_string(), "layers"),
        (grouped(sum.macs), "multiply-accumulates"),
        (bytes(sum.const_bytes), "constants in the model"),
    ];
    if let Some((m, main)) = m.and_then(|m| Some((m, &m.funcs[m.main()?])))
        && m.level == Level::Loop
    {
        let arena = main.params().first().and_then(|&p| main.ty(p).as_mem()).map_or(0, |t| t.bytes);
        let packed = m.data.values().map(|d| d.bytes.len() as u64).sum();
        facts.push((bytes(packed), "constants, packed"));
        facts.push((bytes(arena), "arena"));
        facts.push(((m.funcs.len() - 1).to_string(), "kernels"));
    }
    facts.push((compiler.level().name().into(), "CPU level"));
    let card = |(value, what): &(String, &str)| {
        format!("<div class=\"card\"><b>{}</b><span>{what}</span></div>\n", escape(value))
    };
    let io = |kind: &str, descs: &[crate::TensorDesc]| -> String {
        let one = |d: &crate::TensorDesc| {
            let text = format!("{kind} '{}': {}", d.name, layers::describe(d));
            format!("<p>{}</p>\n", escape(&text))
        };
        descs.iter().map(one).collect()
    };
    format!(
        "{}{}<div class=\"cards\">\n{}</div>\n",
        io("input", &source.inputs),
        io("output", &source.outputs),
        facts.iter().map(card).collect::<String>()
    )
}

fn layer_table(all: &[Layer], names: &mut Names) -> String {
    let sum = Totals::of(all);
    let most = all.iter().map(|l| l.macs).max().unwrap_or(0).max(1);
    let rows: String = all.iter().enumerate().map(|(i, l)| layer_row(i, l, most, names)).collect();
    format!(
        "<input type=\"search\" placeholder=\"filter layers\" data-for=\"layers\">\n\
         <div class=\"wide\"><table id=\"layers\"><thead><tr><th class=\"r\">#<th>name<th>op\
         <th>inputs<th>weights<th>output<th class=\"r\">MACs<th class=\"r\">constants\
         <th class=\"r\">bytes</tr></thead>\n<tbody>\n{rows}</tbody>\n<tfoot><tr><td><td>{} layers\
         <td><td><td><td><td class=\"r\">{}<td class=\"r\">{}<td class=\"r\">{}</tr></tfoot>\
         </table></div>\n",
        all.len(),
        grouped(sum.macs),
        grouped(sum.const_bytes),
        grouped(sum.bytes)
    )
}

fn layer_row(i: usize, l: &Layer, most_macs: u64, names: &mut Names) -> String {
    let tensors = |constant: bool, ts: &[crate::layers::LayerTensor]| {
        let chosen = ts.iter().filter(|t| t.constant == constant);
        chosen.map(|t| escape(&layers::describe(&t.desc))).collect::<Vec<_>>().join("<br>")
    };
    let weights = match l.weights() {
        Some(w) => {
            let parameters = layers::parameters(w);
            let kind = l.granularity();
            let text = format!("{} {} {kind}", layers::shape(w), w.dtype);
            format!("{}<br>{}", escape(text.trim_end()), escape(&parameters))
        }
        None => tensors(true, &l.inputs),
    };
    let bar = l.macs as f64 / most_macs as f64 * 100.0;
    format!(
        "<tr data-n=\"{}\"><td class=\"r\">{}<td class=\"k\">{}<td>{}<td>{}<td>{weights}<td>{}\
         <td class=\"r\" data-v=\"{}\">{}<i style=\"width:{bar:.1}%\"></i><td class=\"r\" \
         data-v=\"{}\">{}<td class=\"r\" data-v=\"{}\">{}</tr>\n",
        names.number(&l.name),
        l.index.map_or(i, |n| n as usize),
        escape(&l.name),
        l.op,
        tensors(false, &l.inputs),
        tensors(false, &l.outputs),
        l.macs,
        grouped(l.macs),
        l.const_bytes(),
        grouped(l.const_bytes()),
        l.bytes,
        grouped(l.bytes)
    )
}

fn remark_table(remarks: &[Remark], names: &mut Names) -> String {
    if remarks.is_empty() {
        return String::new();
    }
    let row = |r: &Remark| {
        let numbers: Vec<String> = match r.loc.as_str() {
            "" => vec![],
            loc => loc.split(" + ").map(|n| names.number(n).to_string()).collect(),
        };
        let (pass, loc, message) = (escape(r.pass), escape(&r.loc), escape(&r.message));
        let numbers = numbers.join(" ");
        format!("<tr data-n=\"{numbers}\"><td>{pass}<td class=\"k\">{loc}<td>{message}</tr>\n")
    };
    let rows: String = remarks.iter().map(row).collect();
    format!(
        "<section><h2>Remarks</h2>\n<input type=\"search\" placeholder=\"filter remarks\" \
         data-for=\"remarks\">\n<div class=\"wide\"><table id=\"remarks\"><thead><tr><th>pass\
         <th>node<th>what it did, proved or skipped</tr></thead>\n<tbody>\n{rows}</tbody></table>\
         </div></section>\n"
    )
}

/// `1 234 567`, with thin spaces.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(c);
    }
    out
}

/// Bytes in the unit that suits them.
fn bytes(n: u64) -> String {
    match n {
        0..10_000 => format!("{} B", grouped(n)),
        10_000..10_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        _ => format!("{:.1} MB", n as f64 / 1e6),
    }
}

//! Attention and rotary embeddings, as the operators that their definitions are made of.

use super::super::convert::{Bound, Converter};
use super::super::node::Node;
use super::Table;
use crate::shapes;
use qcc_ir::dialect::nn::{self, CompareFn, PadMode, ReduceFn, UnaryFn};
use qcc_ir::dialect::quant::Act;
use qcc_ir::{DType, Elem, Value};

pub const OPS: Table = &[("Attention", attention), ("RotaryEmbedding", rotary)];

const ADD: nn::Add = nn::Add { act: Act::None };
const DIV: nn::Div = nn::Div { act: Act::None };
const MUL: nn::Mul = nn::Mul { act: Act::None };
const SUB: nn::Sub = nn::Sub { act: Act::None };

/// Extents of the scores: batch, heads, queries, keys.
struct Sizes {
    queries: u64,
    keys: u64,
    /// Keys of the cache, which stand before those of the queries.
    past: u64,
}

fn attention(c: &mut Converter, node: &Node) -> Result<(), String> {
    let is_flat = c.shape_of(node, 0)?.len() == 3;
    let q = heads(c, node, 0, "q_num_heads")?;
    let keys = with_past(c, node, (1, 4))?;
    let values = with_past(c, node, (2, 5))?;
    let (qs, ks) = (c.shape(q), c.shape(keys));
    let past = if node.input(4).is_some() { c.shape_of(node, 4)?[2] } else { 0 };
    let sizes = Sizes { queries: qs[2], keys: ks[2], past };
    let scale = match node.has("scale") {
        true => node.float("scale", 1.0)?,
        false => 1.0 / (qs[3] as f32).sqrt(),
    };
    let scale = c.number(node, scale.sqrt())?;
    let (k, v) = (repeated(c, keys, qs[1])?, repeated(c, values, qs[1])?);
    let (q, k) = (c.binary(MUL, q, scale)?, c.binary(MUL, k, scale)?);
    let kind = nn::MatMul { transpose_a: false, transpose_b: true };
    let shape = [qs[0], qs[1], sizes.queries, sizes.keys];
    let scores = c.emit_f32(kind, &[q, k], &shape)?;
    let scores = capped(c, node, scores)?;
    let bias = bias(c, node, &sizes)?;
    let biased = match bias {
        Some(bias) => c.binary(ADD, scores, bias)?,
        None => scores,
    };
    let mut weights = c.emit_f32(nn::Softmax { beta: 1.0 }, &[biased], &shape)?;
    if let Some(bias) = bias {
        weights = without_masked_rows(c, node, weights, bias)?;
    }
    let kind = nn::MatMul { transpose_a: false, transpose_b: false };
    let width = c.shape(v)[3];
    let mut y = c.emit_f32(kind, &[weights, v], &[qs[0], qs[1], sizes.queries, width])?;
    if is_flat {
        y = c.transpose(y, &[0, 2, 1, 3])?;
        y = c.reshape(y, &[qs[0], sizes.queries, qs[1] * width])?;
    }
    c.done(node, y)?;
    let shown = match node.int("qk_matmul_output_mode", 0)? {
        0 | 1 => scores,
        2 => biased,
        3 => weights,
        mode => return Err(format!("qk_matmul_output_mode {mode} is not known")),
    };
    for (j, v) in [(1, keys), (2, values), (3, shown)] {
        if node.has_output(j) {
            c.bind(node, j, Bound::Value(v))?;
        }
    }
    Ok(())
}

/// Input `i` as `[batch, heads, positions, numbers]`.
fn heads(c: &mut Converter, node: &Node, i: usize, count: &str) -> Result<Value, String> {
    let x = c.float(node, i)?;
    match c.shape(x)[..] {
        [_, _, _, _] => Ok(x),
        [batch, n, width] => {
            let heads = u64::try_from(node.int(count, 0)?).ok().filter(|&h| h > 0);
            let heads = heads.filter(|&h| width.is_multiple_of(h));
            let heads = heads.ok_or_else(|| format!("attribute '{count}' does not fit {width}"))?;
            let x = c.reshape(x, &[batch, n, heads, width / heads])?;
            c.transpose(x, &[0, 2, 1, 3])
        }
        ref shape => Err(format!("input {i} of shape {shape:?}")),
    }
}

/// Keys or values behind those of the cache.
fn with_past(c: &mut Converter, node: &Node, (i, past): (usize, usize)) -> Result<Value, String> {
    let x = heads(c, node, i, "kv_num_heads")?;
    let Some(past) = c.opt_float(node, past)? else { return Ok(x) };
    let (mut shape, before) = (c.shape(x), c.shape(past));
    let fits = before.len() == 4 && [0, 1, 3].iter().all(|&d| before[d] == shape[d]);
    if !fits {
        return Err(format!("a cache of shape {before:?} for {shape:?}"));
    }
    shape[2] += before[2];
    c.emit_f32(nn::Concat { axis: 2 }, &[past, x], &shape)
}

/// Each head of keys or values as often as there are heads of queries for it.
fn repeated(c: &mut Converter, x: Value, heads: u64) -> Result<Value, String> {
    let s = c.shape(x);
    if s[1] == heads {
        return Ok(x);
    }
    if s[1] == 0 || !heads.is_multiple_of(s[1]) {
        return Err(format!("{heads} heads of queries for {} of keys", s[1]));
    }
    let x = c.reshape(x, &[s[0], s[1], 1, s[2], s[3]])?;
    let x = c.emit_f32(nn::Broadcast {}, &[x], &[s[0], s[1], heads / s[1], s[2], s[3]])?;
    c.reshape(x, &[s[0], heads, s[2], s[3]])
}

/// c·tanh(x / c)
fn capped(c: &mut Converter, node: &Node, x: Value) -> Result<Value, String> {
    let cap = node.float("softcap", 0.0)?;
    if cap <= 0.0 {
        return Ok(x);
    }
    let cap = c.number(node, cap)?;
    let x = c.binary(DIV, x, cap)?;
    let x = c.unary(UnaryFn::Tanh, x)?;
    c.binary(MUL, x, cap)
}

/// What is added to the scores: the mask, and −∞ where a query does not see a key.
fn bias(c: &mut Converter, node: &Node, sizes: &Sizes) -> Result<Option<Value>, String> {
    let mut all = Vec::new();
    if node.input(3).is_some() {
        all.push(mask(c, node, sizes)?);
    }
    for seen in seen(c, node, sizes)? {
        let (zero, never) = (c.number(node, 0.0)?, c.number(node, f32::NEG_INFINITY)?);
        all.push(c.select(seen, zero, never)?);
    }
    let mut all = all.into_iter();
    let Some(first) = all.next() else { return Ok(None) };
    all.try_fold(first, |a, b| c.binary(ADD, a, b)).map(Some)
}

/// The mask as numbers; keys beyond it are not seen.
fn mask(c: &mut Converter, node: &Node, sizes: &Sizes) -> Result<Value, String> {
    let x = c.plain_input(node, 3)?;
    let x = match c.elem(x) {
        Elem::Plain(DType::Bool) => {
            let (zero, never) = (c.number(node, 0.0)?, c.number(node, f32::NEG_INFINITY)?);
            c.select(x, zero, never)?
        }
        _ => c.float(node, 3)?,
    };
    let mut shape = c.shape(x);
    let rank = shape.len();
    let missing = shape.last().and_then(|&n| sizes.keys.checked_sub(n));
    let missing = missing.ok_or_else(|| format!("a mask of shape {shape:?}"))?;
    if missing == 0 {
        return Ok(x);
    }
    let mut high = vec![0; rank];
    (high[rank - 1], shape[rank - 1]) = (missing, sizes.keys);
    let (mode, value) = (PadMode::Constant, f32::NEG_INFINITY);
    c.emit_f32(nn::Pad { low: vec![0; rank], high, mode, value }, &[x], &shape)
}

/// Truth values of which keys queries see: causal order, a window, the keys that there are.
fn seen(c: &mut Converter, node: &Node, sizes: &Sizes) -> Result<Vec<Value>, String> {
    let is_causal = node.flag("is_causal", false)?;
    let left = node.int("left_window_size", -1)?;
    let mut right = node.int("right_window_size", -1)?;
    if is_causal {
        right = 0;
    }
    let used = match node.input(6) {
        None => None,
        Some(_) => {
            let n = c.plain_input(node, 6)?;
            let batch = c.shape(n).iter().product();
            Some(c.reshape(n, &[batch, 1, 1, 1])?)
        }
    };
    let dtype = used.map_or(DType::I64, |v| c.elem(v).storage());
    // Where query i stands is i + offset; of each limit, key and query are on known sides.
    let shape = [sizes.queries, sizes.keys];
    shapes::check_size(&shape)?;
    let table = |c: &mut Converter, f: &dyn Fn(i64, i64) -> i64| {
        let all = (0..shape[0] as i64).flat_map(|i| (0..shape[1] as i64).map(move |j| (i, j)));
        let all: Vec<i64> = all.map(|(i, j)| f(i, j)).collect();
        c.integers(node, &all, &shape, dtype)
    };
    // Without keys counted at run time the offset is the cache.
    let (offset, queries) = match used {
        Some(used) => (used, sizes.queries as i64),
        None => (c.integers(node, &[sizes.past as i64], &[1, 1], dtype)?, 0),
    };
    let mut all = Vec::new();
    if right >= 0 {
        let least = table(c, &|i, j| j - i - right + queries)?;
        all.push(c.compare(CompareFn::LessEqual, least, offset)?);
    }
    if left >= 0 {
        let most = table(c, &|i, j| j - i + left + queries)?;
        all.push(c.compare(CompareFn::LessEqual, offset, most)?);
    }
    if let Some(used) = used {
        let places: Vec<i64> = (0..sizes.keys as i64).collect();
        let places = c.integers(node, &places, &[1, sizes.keys], dtype)?;
        all.push(c.compare(CompareFn::Less, places, used)?);
    }
    Ok(all)
}

/// A query that sees no key gets nothing.
fn without_masked_rows(
    c: &mut Converter,
    node: &Node,
    weights: Value,
    bias: Value,
) -> Result<Value, String> {
    let mut shape = c.shape(bias);
    let last = shape.len().checked_sub(1).ok_or("a mask of one number")?;
    shape[last] = 1;
    let kind = nn::Reduce { f: ReduceFn::Max, axes: vec![last as u32] };
    let top = c.emit_f32(kind, &[bias], &shape)?;
    let never = c.number(node, f32::NEG_INFINITY)?;
    let is_masked = c.compare(CompareFn::Equal, top, never)?;
    let zero = c.number(node, 0.0)?;
    c.select(is_masked, zero, weights)
}

/// Pairs of numbers turned by angles whose cosines and sines are given.
fn rotary(c: &mut Converter, node: &Node) -> Result<(), String> {
    let own = c.shape_of(node, 0)?;
    let x = heads(c, node, 0, "num_heads")?;
    let s = c.shape(x);
    let (batch, n, width) = (s[0], s[2], s[3]);
    let turned = match node.int("rotary_embedding_dim", 0)? {
        0 => width,
        d => u64::try_from(d).ok().filter(|&d| d <= width).ok_or("rotary_embedding_dim")?,
    };
    let half = turned / 2;
    let [cos, sin] = [angles(c, node, 1)?, angles(c, node, 2)?];
    let is_fit = |c: &Converter, v: Value| c.shape(v) == [batch, n, half];
    if !is_fit(c, cos) || !is_fit(c, sin) || turned % 2 != 0 {
        return Err(format!("angles of shape {:?} for {s:?}", c.shape(cos)));
    }
    let cos = c.reshape(cos, &[batch, 1, n, half])?;
    let sin = c.reshape(sin, &[batch, 1, n, half])?;
    let interleaved = node.flag("interleaved", false)?;
    let shape = [s[0], s[1], n, half];
    let part = |c: &mut Converter, second: bool| {
        let (from, step) = match (interleaved, second) {
            (true, second) => (second.into(), 2),
            (false, true) => (half, 1),
            (false, false) => (0, 1),
        };
        let slice = nn::Slice { start: vec![0, 0, 0, from], step: vec![1, 1, 1, step] };
        c.emit_f32(slice, &[x], &shape)
    };
    let (a, b) = (part(c, false)?, part(c, true)?);
    let (ac, bs) = (c.binary(MUL, cos, a)?, c.binary(MUL, sin, b)?);
    let (r, t) = (c.binary(MUL, sin, a)?, c.binary(MUL, cos, b)?);
    let (real, imaginary) = (c.binary(SUB, ac, bs)?, c.binary(ADD, r, t)?);
    let mut y = match interleaved {
        false => {
            c.emit_f32(nn::Concat { axis: 3 }, &[real, imaginary], &[s[0], s[1], n, turned])?
        }
        true => {
            let pair = [s[0], s[1], n, half, 1];
            let (a, b) = (c.reshape(real, &pair)?, c.reshape(imaginary, &pair)?);
            let y = c.emit_f32(nn::Concat { axis: 4 }, &[a, b], &[s[0], s[1], n, half, 2])?;
            c.reshape(y, &[s[0], s[1], n, turned])?
        }
    };
    if turned < width {
        let slice = nn::Slice { start: vec![0, 0, 0, turned], step: vec![1; 4] };
        let rest = c.emit_f32(slice, &[x], &[s[0], s[1], n, width - turned])?;
        y = c.emit_f32(nn::Concat { axis: 3 }, &[y, rest], &s)?;
    }
    if own.len() == 3 {
        y = c.transpose(y, &[0, 2, 1, 3])?;
        y = c.reshape(y, &own)?;
    }
    c.done(node, y)
}

/// Rows of a cache at the positions, or the cache itself: `[batch, positions, numbers]`.
fn angles(c: &mut Converter, node: &Node, i: usize) -> Result<Value, String> {
    let cache = c.float(node, i)?;
    if node.input(3).is_none() {
        return Ok(cache);
    }
    let positions = c.plain_input(node, 3)?;
    let (table, at) = (c.shape(cache), c.shape(positions));
    let &[rows, half] = &table[..] else {
        return Err(format!("a cache of shape {table:?} with positions"));
    };
    if rows == 0 {
        return Err("an empty cache".into());
    }
    let shape = [&at[..], &[half]].concat();
    c.emit_f32(nn::Gather { axis: 0 }, &[cache, positions], &shape)
}

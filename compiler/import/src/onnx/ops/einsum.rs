//! Einsum of one or two operands, as transposes, sums and a matrix product.

use super::super::convert::Converter;
use super::super::node::Node;
use super::Table;
use qcc_ir::Value;
use qcc_ir::dialect::nn::{self, ReduceFn};

pub const OPS: Table = &[("Einsum", einsum)];

/// A value, and the letter of each of its dimensions.
type Labelled = (Value, Vec<char>);

fn einsum(c: &mut Converter, node: &Node) -> Result<(), String> {
    let equation = node.string("equation", "")?.replace(' ', "");
    let (inputs, output) = letters(&equation)?;
    if inputs.len() != node.proto.input.len() {
        return Err(format!("'{equation}' for {} inputs", node.proto.input.len()));
    }
    let mut all = Vec::new();
    for (i, labels) in inputs.into_iter().enumerate() {
        let x = c.float(node, i)?;
        if c.shape(x).len() != labels.len() {
            return Err(format!("'{equation}' does not fit input {i} of shape {:?}", c.shape(x)));
        }
        all.push((x, labels));
    }
    let y = match all.as_slice() {
        [x] => summed(c, x, |l| output.contains(&l))?,
        [a, b] => {
            let a = summed(c, a, |l| output.contains(&l) || b.1.contains(&l))?;
            let b = summed(c, b, |l| output.contains(&l) || a.1.contains(&l))?;
            product(c, &a, &b, &output)?
        }
        _ => return Err("more than two operands are not supported".into()),
    };
    let y = ordered(c, &y, &output)?;
    c.done(node, y)
}

/// Letters of the inputs and of the output, in which each stands once.
fn letters(equation: &str) -> Result<(Vec<Vec<char>>, Vec<char>), String> {
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation, None),
    };
    let inputs: Vec<Vec<char>> = left.split(',').map(|s| s.chars().collect()).collect();
    let output = match right {
        Some(right) => right.chars().collect(),
        None => {
            let mut once: Vec<char> = left.chars().filter(|l| l.is_alphabetic()).collect();
            once.retain(|l| left.matches(*l).count() == 1);
            once.sort_unstable();
            once
        }
    };
    let is_fit = |s: &[char]| {
        let unique = (0..s.len()).all(|i| !s[..i].contains(&s[i]));
        unique && s.iter().all(|l| l.is_alphabetic())
    };
    let known = output.iter().all(|l| inputs.iter().any(|s| s.contains(l)));
    match known && inputs.iter().all(|s| is_fit(s)) && is_fit(&output) {
        true => Ok((inputs, output)),
        false => Err(format!("'{equation}' is not supported (diagonals, ellipses)")),
    }
}

/// x summed over the letters that nobody keeps.
fn summed(
    c: &mut Converter,
    (x, labels): &Labelled,
    keeps: impl Fn(char) -> bool,
) -> Result<Labelled, String> {
    let axes: Vec<u32> = (0..labels.len() as u32).filter(|&d| !keeps(labels[d as usize])).collect();
    if axes.is_empty() {
        return Ok((*x, labels.clone()));
    }
    let left: Vec<char> = labels.iter().copied().filter(|&l| keeps(l)).collect();
    let shape = c.shape(*x);
    let kept: Vec<u64> = (0..shape.len()).filter(|&d| keeps(labels[d])).map(|d| shape[d]).collect();
    let y = c.emit_f32(nn::Reduce { f: ReduceFn::Sum, axes }, &[*x], &kept)?;
    Ok((y, left))
}

/// x with its dimensions in the order of `labels`, of which it has all.
fn ordered(c: &mut Converter, x: &Labelled, labels: &[char]) -> Result<Value, String> {
    let place = |l: &char| x.1.iter().position(|k| k == l).map(|d| d as u32);
    let perm: Option<Vec<u32>> = labels.iter().map(place).collect();
    let perm = perm.filter(|p| p.len() == x.1.len()).ok_or("letters do not fit")?;
    match perm.is_sorted() {
        true => Ok(x.0),
        false => c.transpose(x.0, &perm),
    }
}

fn product(
    c: &mut Converter,
    a: &Labelled,
    b: &Labelled,
    output: &[char],
) -> Result<Labelled, String> {
    let pick = |of: &[char], f: &dyn Fn(&char) -> bool| -> Vec<char> {
        of.iter().copied().filter(|l| f(l)).collect()
    };
    let batch = pick(&a.1, &|l| b.1.contains(l) && output.contains(l));
    let inner = pick(&a.1, &|l| b.1.contains(l) && !output.contains(l));
    let rows = pick(&a.1, &|l| !b.1.contains(l));
    let columns = pick(&b.1, &|l| !a.1.contains(l));
    let (sa, sb) = (c.shape(a.0), c.shape(b.0));
    let extent = |l: &char| {
        let of = |s: &[u64], labels: &[char]| labels.iter().position(|k| k == l).map(|d| s[d]);
        match (of(&sa, &a.1), of(&sb, &b.1)) {
            (Some(n), Some(k)) if n != k => Err(format!("'{l}' is {n} and {k}")),
            (Some(n), _) | (_, Some(n)) => Ok(n),
            _ => Err(format!("'{l}' stands nowhere")),
        }
    };
    let extents = |s: &[char]| s.iter().map(extent).collect::<Result<Vec<u64>, String>>();
    let (eb, er, ec) = (extents(&batch)?, extents(&rows)?, extents(&columns)?);
    let [n, k] = [eb.iter().product(), extents(&inner)?.iter().product()];
    let [m, o]: [u64; 2] = [er.iter().product(), ec.iter().product()];
    let left = ordered(c, a, &[&batch[..], &rows, &inner].concat())?;
    let right = ordered(c, b, &[&batch[..], &inner, &columns].concat())?;
    let left = c.reshape(left, &[n, m, k])?;
    let right = c.reshape(right, &[n, k, o])?;
    let kind = nn::MatMul { transpose_a: false, transpose_b: false };
    let y = c.emit_f32(kind, &[left, right], &[n, m, o])?;
    let y = c.reshape(y, &[&eb[..], &er, &ec].concat())?;
    Ok((y, [batch, rows, columns].concat()))
}

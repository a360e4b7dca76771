//! Shapes of outputs, from shapes of inputs and attributes.

use qcc_runtime::fixedpoint::{Padding, window_output};

/// Elements that one tensor may have.
const MAX_ELEMENTS: u64 = 1 << 31;

/// Fails for a tensor too large to compile.
pub fn check_size(shape: &[u64]) -> Result<(), String> {
    let n = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d).filter(|&n| n <= MAX_ELEMENTS));
    match n {
        Some(_) => Ok(()),
        None => Err(format!("shape {shape:?} has more than {MAX_ELEMENTS} elements")),
    }
}

/// Output extents and padding (top, bottom, left, right) of a window over `[N, H, W, C]`.
pub fn window(
    x: &[u64],
    window: [u64; 2],
    stride: [u32; 2],
    dilation: [u32; 2],
    padding: i8,
) -> Result<([u64; 2], [u32; 4]), String> {
    let padding = match padding {
        0 => Padding::Same,
        1 => Padding::Valid,
        other => return Err(format!("padding {other} is neither SAME nor VALID")),
    };
    let (mut out, mut pad) = ([0; 2], [0; 4]);
    for d in 0..2 {
        let size = |v: u64| usize::try_from(v).map_err(|_| format!("{v} is too large"));
        let extent = size(x[1 + d])?;
        let (k, s, dil) = (size(window[d])?, stride[d] as usize, dilation[d] as usize);
        let reach = (k as u64).saturating_sub(1).saturating_mul(dil as u64) + 1;
        if k == 0 || extent == 0 || reach > (1 << 31) {
            return Err(format!("a window of {window:?} on an image of {:?}", &x[1..3]));
        }
        if padding == Padding::Valid && reach > extent as u64 {
            return Err(format!("the window reaches over {reach} of {extent} pixels"));
        }
        let w = window_output(padding, extent, k, s, dil);
        out[d] = w.out as u64;
        pad[2 * d] = w.before as u32;
        pad[2 * d + 1] = w.after as u32;
    }
    Ok((out, pad))
}

/// The shape that both broadcast to, numpy style.
pub fn broadcast(a: &[u64], b: &[u64]) -> Result<Vec<u64>, String> {
    let rank = a.len().max(b.len());
    let at = |s: &[u64], d: usize| if d + s.len() < rank { 1 } else { s[d + s.len() - rank] };
    (0..rank)
        .map(|d| match (at(a, d), at(b, d)) {
            (m, n) if m == n => Ok(m),
            (1, n) => Ok(n),
            (m, 1) => Ok(m),
            _ => Err(format!("shapes {a:?} and {b:?} do not broadcast")),
        })
        .collect()
}

/// A possibly negative axis of a tensor of `rank` dimensions.
pub fn axis(a: i64, rank: usize) -> Result<u32, String> {
    let rank = rank as i64;
    let positive = if a < 0 { a + rank } else { a };
    match (0..rank).contains(&positive) {
        true => Ok(positive as u32),
        false => Err(format!("axis {a} of {rank} dimensions")),
    }
}

/// The shape that `from` takes on; -1 stands for what is left. A leading extent written for the
/// file's own batch grows with it.
pub fn reshape(from: &[u64], wanted: &[i64], batch: u64) -> Result<Vec<u64>, String> {
    let elements: u64 = from.iter().product();
    let fail = || Err(format!("{from:?} does not reshape to {wanted:?}"));
    if wanted.iter().any(|&d| d < -1) || wanted.iter().filter(|&&d| d == -1).count() > 1 {
        return fail();
    }
    let extents = wanted.iter().filter(|&&d| d >= 0).map(|&d| d as u64);
    let Some(known) = extents.into_iter().try_fold(1u64, u64::checked_mul) else { return fail() };
    let mut shape: Vec<u64> = wanted.iter().map(|&d| d.max(0) as u64).collect();
    if let Some(at) = wanted.iter().position(|&d| d == -1) {
        if known == 0 || !elements.is_multiple_of(known) {
            return fail();
        }
        shape[at] = elements / known;
    } else if known != elements {
        match shape.first_mut() {
            Some(first) if known.checked_mul(batch) == Some(elements) => *first *= batch,
            _ => return fail(),
        }
    }
    Ok(shape)
}

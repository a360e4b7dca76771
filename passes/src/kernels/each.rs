//! Loops over the elements of several views at once.

use super::View;
use super::kb::{Addr, Kb};

/// One loop: extent, and the stride of each view.
pub type Loop = (u64, Vec<u64>);

/// Loops over the common shape of `views`, outermost first; neighbours are merged where every view
/// allows it, loops of one iteration are left out.
pub fn loops(shape: &[u64], strides: &[&[u64]]) -> Vec<Loop> {
    let mut out: Vec<Loop> = Vec::new();
    for d in (0..shape.len()).rev() {
        if shape[d] == 1 {
            continue;
        }
        let here: Vec<u64> = strides.iter().map(|s| s[d]).collect();
        match out.last_mut() {
            Some((n, inner)) if here.iter().zip(inner.iter()).all(|(o, i)| *o == *i * *n) => {
                *n *= shape[d];
            }
            _ => out.push((shape[d], here)),
        }
    }
    out.reverse();
    out
}

/// Emits `loops` around `body`, which gets the address of each view's element.
pub fn nest(kb: &mut Kb, loops: &[Loop], addrs: &[Addr], body: &mut dyn FnMut(&mut Kb, &[Addr])) {
    let Some(((n, strides), inner)) = loops.split_first() else {
        return body(kb, addrs);
    };
    kb.for_each(*n, |kb, v| {
        let next: Vec<Addr> = addrs.iter().zip(strides).map(|(a, &s)| v.of(a, s)).collect();
        nest(kb, inner, &next, body);
    });
}

/// Emits `body` for each pair of elements of two views of one shape. Buffers: `x` and `y`.
pub fn pairs(
    kb: &mut Kb,
    (x, x_at): (&View, &Addr),
    (y, y_at): (&View, &Addr),
    body: &mut dyn FnMut(&mut Kb, &Addr, &Addr),
) {
    if x.is_empty() {
        return;
    }
    let all = loops(&x.shape, &[&x.strides, &y.strides]);
    nest(kb, &all, &[x_at.clone(), y_at.clone()], &mut |kb, a| body(kb, &a[0], &a[1]));
}

/// A row's extent, and the bytes between its elements in x and y.
pub type Row = (u64, [u64; 2]);

/// Emits `body` for each row of two views of one shape, with where it starts in x and y.
pub fn rows(
    kb: &mut Kb,
    (x, x_at): (&View, &Addr),
    (y, y_at): (&View, &Addr),
    body: &mut dyn FnMut(&mut Kb, Row, [&Addr; 2]),
) {
    let Some((&n, outer)) = x.shape.split_last() else { return };
    let last = outer.len();
    let steps = [x.strides[last], y.strides[last]];
    let loops = loops(outer, &[&x.strides[..last], &y.strides[..last]]);
    nest(kb, &loops, &[x_at.clone(), y_at.clone()], &mut |kb, at| {
        body(kb, (n, steps), [&at[0], &at[1]]);
    });
}

//! Flat and full indices of dense tensors.

/// Calls `f` with every flat and full index of a shape, in order.
pub(super) fn each(shape: &[usize], mut f: impl FnMut(usize, &[usize])) {
    let mut at = vec![0; shape.len()];
    for i in 0..shape.iter().product() {
        f(i, &at);
        for d in (0..shape.len()).rev() {
            at[d] += 1;
            if at[d] < shape[d] {
                break;
            }
            at[d] = 0;
        }
    }
}

/// The flat index of `at`.
pub(super) fn flat(shape: &[usize], at: &[usize]) -> usize {
    shape.iter().zip(at).fold(0, |i, (n, a)| i * n + a)
}

/// The flat index, in a tensor broadcast as numpy does, of index `at` of the whole.
pub(super) fn broadcast(shape: &[usize], at: &[usize]) -> usize {
    let at = &at[at.len().saturating_sub(shape.len())..];
    shape.iter().zip(at).fold(0, |i, (n, a)| i * n + if *n == 1 { 0 } else { *a })
}

/// A shape of rank 4.
pub(super) fn four(shape: &[usize]) -> Result<[usize; 4], String> {
    shape.try_into().map_err(|_| format!("a shape of rank {}, expected 4", shape.len()))
}

/// The input coordinate of tap `k` of output `o`, unless it lies outside `0..n`.
pub(super) fn tap(
    o: usize,
    stride: u32,
    k: usize,
    dilation: u32,
    pad: u32,
    n: usize,
) -> Option<usize> {
    let at = o.checked_mul(stride as usize)?.checked_add(k.checked_mul(dilation as usize)?)?;
    at.checked_sub(pad as usize).filter(|&at| at < n)
}

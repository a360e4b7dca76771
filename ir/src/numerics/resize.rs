//! Where resized pixels lie in their source: positions in f32, as TensorFlow computes them.

use crate::dialect::nn::{NearestRounding, ResizeCoordinates};

/// The source coordinate of output `i`.
fn position(i: u64, [input, output]: [u64; 2], coordinates: ResizeCoordinates) -> f32 {
    let scale = match coordinates {
        ResizeCoordinates::AlignCorners if output > 1 => (input - 1) as f32 / (output - 1) as f32,
        ResizeCoordinates::AlignCorners => 0.0,
        _ => input as f32 / output as f32,
    };
    match coordinates {
        ResizeCoordinates::HalfPixel => (i as f32 + 0.5) * scale - 0.5,
        _ => i as f32 * scale,
    }
}

/// Two neighbours and the weight of the second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lerp {
    /// The pixel at or before the position.
    pub low: u64,
    /// The pixel after it, or the last one.
    pub high: u64,
    /// Weight of `high`, in [0, 1).
    pub weight: f32,
}

/// The neighbours of each output along an axis of `extents` (input, output), input ≥ 1.
pub fn linear_axis(extents: [u64; 2], coordinates: ResizeCoordinates) -> Vec<Lerp> {
    let last = extents[0].saturating_sub(1);
    let one = |i| {
        let at = position(i, extents, coordinates).max(0.0).min(last as f32);
        let low = at as u64;
        Lerp { low, high: (low + 1).min(last), weight: at - low as f32 }
    };
    (0..extents[1]).map(one).collect()
}

/// The pixel that each output takes, along an axis of `extents` (input, output), input ≥ 1.
pub fn nearest_axis(
    extents: [u64; 2],
    coordinates: ResizeCoordinates,
    rounding: NearestRounding,
) -> Vec<u64> {
    let last = extents[0].saturating_sub(1);
    let one = |i| {
        let at = position(i, extents, coordinates);
        let at = match rounding {
            NearestRounding::Floor => at.floor(),
            NearestRounding::Ceil => at.ceil(),
            // What lies beyond the pixel below is exact; a sum with ½ would round.
            NearestRounding::HalfDown if at - at.floor() > 0.5 => at.ceil(),
            NearestRounding::HalfUp if at - at.floor() >= 0.5 => at.ceil(),
            NearestRounding::HalfDown | NearestRounding::HalfUp => at.floor(),
        };
        (at.max(0.0) as u64).min(last)
    };
    (0..extents[1]).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_told_from_what_is_just_below() {
        // 41 · (1/82) is just below ½ in f32; ½ more would round to 1.
        let up = nearest_axis([2, 83], ResizeCoordinates::AlignCorners, NearestRounding::HalfUp);
        assert_eq!((up[41], up[42]), (0, 1));
        let on_a_half = |r| nearest_axis([3, 2], ResizeCoordinates::HalfPixel, r);
        // Positions ¼ and 1¾.
        assert_eq!(on_a_half(NearestRounding::HalfUp), [0, 2]);
        let at_halves = |r| nearest_axis([4, 2], ResizeCoordinates::HalfPixel, r);
        // Positions ½ and 2½.
        assert_eq!(at_halves(NearestRounding::HalfUp), [1, 3]);
        assert_eq!(at_halves(NearestRounding::HalfDown), [0, 2]);
    }
}

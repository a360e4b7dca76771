//! RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR: source positions along one axis, and the blends.
//!
//! Source: section D.18. int8 and int16 use 10-bit integer positions, uint8 uses f32.

use super::rounding::round_half_away_f32;

/// Where output samples sit over the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResizeMode {
    /// `pos = i * in / out`.
    Corner,
    /// `align_corners`: first and last samples coincide.
    AlignCorners,
    /// `half_pixel_centers`: `pos = (i + 1/2) * in / out - 1/2`.
    HalfPixel,
    /// Both options set: the scale of the one, the offset of the other.
    AlignCornersHalfPixel,
}

impl ResizeMode {
    /// The mode of TFLite's two options.
    pub const fn from_options(align_corners: bool, half_pixel_centers: bool) -> ResizeMode {
        match (align_corners, half_pixel_centers) {
            (false, false) => ResizeMode::Corner,
            (true, false) => ResizeMode::AlignCorners,
            (false, true) => ResizeMode::HalfPixel,
            (true, true) => ResizeMode::AlignCornersHalfPixel,
        }
    }

    const fn aligns(self) -> bool {
        matches!(self, ResizeMode::AlignCorners | ResizeMode::AlignCornersHalfPixel)
    }

    const fn half_pixel(self) -> bool {
        matches!(self, ResizeMode::HalfPixel | ResizeMode::AlignCornersHalfPixel)
    }
}

/// Two neighbours and the weight of `hi` in 1/1024; it may be negative at the border, where
/// `lo == hi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LerpI10 {
    pub lo: usize,
    pub hi: usize,
    pub frac: i32,
}

/// Two neighbours and the weight of `hi`, in f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LerpF32 {
    pub lo: usize,
    pub hi: usize,
    pub frac: f32,
}

/// Neighbours of every output sample along an axis of `input >= 1` elements, in 10-bit integers.
/// Both indices are below `input` (the reference does not bound `lo`; it never needs to for
/// sizes that occur).
pub fn resize_axis_i10(input: usize, output: usize, mode: ResizeMode) -> Vec<LerpI10> {
    let (n_in, n_out) = (input as i64, output as i64);
    let scale = if mode.aligns() && n_out > 1 {
        (((n_in - 1) << 10) + (n_out - 1) / 2) / (n_out - 1)
    } else {
        ((n_in << 10) + n_out / 2) / n_out.max(1)
    };
    let offset = if mode.half_pixel() { scale / 2 - 512 } else { 0 };
    let last = (n_in - 1).max(0);
    let sample = |i: i64| {
        let pos = i * scale + offset;
        let lo = (pos / 1024).max(0);
        let hi = ((pos + 1023) / 1024).min(last);
        LerpI10 {
            lo: lo.min(last) as usize,
            hi: hi.max(0) as usize,
            frac: (pos - 1024 * lo) as i32,
        }
    };
    (0..n_out).map(sample).collect()
}

/// Neighbours of every output sample along an axis of `input >= 1` elements, in f32.
pub fn resize_axis_f32(input: usize, output: usize, mode: ResizeMode) -> Vec<LerpF32> {
    let scale = scale_f32(input, output, mode);
    let last = input.saturating_sub(1);
    let sample = |i: usize| {
        let pos = if mode.half_pixel() { (i as f32 + 0.5) * scale - 0.5 } else { i as f32 * scale };
        // `as usize` saturates: max(floor(pos), 0).
        let lo = pos.floor() as usize;
        let hi = (pos.ceil() as usize).min(last);
        LerpF32 { lo: lo.min(last), hi, frac: pos - lo as f32 }
    };
    (0..output).map(sample).collect()
}

/// Source index of every output sample of RESIZE_NEAREST_NEIGHBOR, for every type.
pub fn resize_axis_nearest(input: usize, output: usize, mode: ResizeMode) -> Vec<usize> {
    let scale = scale_f32(input, output, mode);
    let offset = if mode.half_pixel() { 0.5 } else { 0.0 };
    let sample = |i: usize| {
        let pos = (i as f32 + offset) * scale;
        let index = if mode.aligns() { round_half_away_f32(pos) } else { pos.floor() };
        (index as usize).min(input.saturating_sub(1))
    };
    (0..output).map(sample).collect()
}

fn scale_f32(input: usize, output: usize, mode: ResizeMode) -> f32 {
    if mode.aligns() && output > 1 {
        input.saturating_sub(1) as f32 / (output - 1) as f32
    } else {
        input as f32 / output as f32
    }
}

/// int8 and int16 blend of `taps = [[y0x0, y0x1], [y1x0, y1x1]]` with 10-bit fractions: the
/// weighted sum in i64, then `(s ± 2^19) / 2^20` with C division (half away from zero).
#[inline]
pub fn resize_bilinear_i10(taps: [[i32; 2]; 2], frac_y: i32, frac_x: i32) -> i32 {
    let (fy, fx) = (i64::from(frac_y), i64::from(frac_x));
    let [[a, c], [b, d]] = taps.map(|row| row.map(i64::from));
    let sum =
        a * (1024 - fy) * (1024 - fx) + b * fy * (1024 - fx) + c * (1024 - fy) * fx + d * fy * fx;
    let half = if sum > 0 { 1 << 19 } else { -(1 << 19) };
    ((sum + half) / (1 << 20)) as i32
}

/// uint8 blend of `taps = [[y0x0, y0x1], [y1x0, y1x1]]` in f32, left to right, plus 1/2, truncated.
#[inline]
pub fn resize_bilinear_u8(taps: [[u8; 2]; 2], frac_y: f32, frac_x: f32) -> u8 {
    let [[a, c], [b, d]] = taps.map(|row| row.map(f32::from));
    let (gy, gx) = (1.0 - frac_y, 1.0 - frac_x);
    let value = a * gy * gx + b * frac_y * gx + c * gy * frac_x + d * frac_y * frac_x;
    (value + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integer_positions() {
        let axis = resize_axis_i10(2, 4, ResizeMode::HalfPixel);
        let got: Vec<_> = axis.iter().map(|l| (l.lo, l.hi, l.frac)).collect();
        assert_eq!(got, [(0, 0, -256), (0, 1, 256), (0, 1, 768), (1, 1, 256)]);
        let axis = resize_axis_i10(3, 5, ResizeMode::AlignCorners);
        assert_eq!(axis[4], LerpI10 { lo: 2, hi: 2, frac: 0 });
        assert_eq!(axis[1], LerpI10 { lo: 0, hi: 1, frac: 512 });
    }

    #[test]
    fn integer_blend_rounds_half_away() {
        let blend = |a, c| resize_bilinear_i10([[a, c], [a, c]], 0, 512);
        assert_eq!([blend(1, 2), blend(-1, -2), blend(-1, 1), blend(127, 127)], [2, -2, 0, 127]);
    }

    #[test]
    fn float_positions_and_blend() {
        let axis = resize_axis_f32(2, 4, ResizeMode::HalfPixel);
        assert_eq!(axis[0], LerpF32 { lo: 0, hi: 0, frac: -0.25 });
        assert_eq!(axis[1], LerpF32 { lo: 0, hi: 1, frac: 0.25 });
        assert_eq!(resize_bilinear_u8([[1, 2], [1, 2]], 0.0, 0.5), 2);
        assert_eq!(resize_bilinear_u8([[255; 2]; 2], 0.3, 0.7), 255);
    }

    #[test]
    fn nearest() {
        assert_eq!(resize_axis_nearest(2, 4, ResizeMode::Corner), [0, 0, 1, 1]);
        assert_eq!(resize_axis_nearest(3, 2, ResizeMode::AlignCorners), [0, 2]);
        assert_eq!(resize_axis_nearest(4, 2, ResizeMode::HalfPixel), [1, 3]);
    }

    #[test]
    fn degenerate_sizes_do_not_panic() {
        for (i, o) in [(0, 0), (0, 3), (3, 0), (1, 1), (1, 1000)] {
            for (a, h) in [(false, false), (true, false), (false, true), (true, true)] {
                let mode = ResizeMode::from_options(a, h);
                resize_axis_i10(i, o, mode);
                resize_axis_f32(i, o, mode);
                resize_axis_nearest(i, o, mode);
            }
        }
    }
}

//! Bilinear image resizing, with the arithmetic of Pillow's `Image.resize(…, BILINEAR)`: a triangle
//! filter as wide as the reduction, in 22-bit fixed point, columns first, each pass rounded to
//! bytes. What people feed a net in Python and what they feed it here is then the same.

/// Bits behind the binary point of a weight.
const WEIGHT_BITS: u32 = 32 - 8 - 2;

/// An image of interleaved channels, row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    pub width: usize,
    pub height: usize,
    pub channels: usize,
    pub bytes: Vec<u8>,
}

/// Which source pixels make one target pixel, and their weights.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

impl Pixels {
    /// The image at another size. Both sizes are at least 1.
    pub fn resized(&self, width: usize, height: usize) -> Pixels {
        let across = match width == self.width {
            true => self.clone(),
            false => self.resized_across(width),
        };
        match height == self.height {
            true => across,
            false => across.transposed().resized_across(height).transposed(),
        }
    }

    fn resized_across(&self, width: usize) -> Pixels {
        let taps = taps(self.width, width);
        let mut bytes = Vec::with_capacity(width * self.height * self.channels);
        for row in self.bytes.chunks(self.width * self.channels) {
            for t in &taps {
                bytes.extend((0..self.channels).map(|c| weigh(row, t, self.channels, c)));
            }
        }
        Pixels { width, bytes, ..*self }
    }

    fn transposed(&self) -> Pixels {
        let (w, n) = (self.width, self.channels);
        let pixel = |x: usize, y: usize| &self.bytes[(y * w + x) * n..][..n];
        let bytes = (0..w).flat_map(|x| (0..self.height).flat_map(move |y| pixel(x, y)));
        let bytes = bytes.copied().collect();
        Pixels { width: self.height, height: w, channels: n, bytes }
    }
}

fn weigh(row: &[u8], t: &Taps, channels: usize, channel: usize) -> u8 {
    let pixels = row[t.first * channels + channel..].iter().step_by(channels);
    let sum: i32 = t.weights.iter().zip(pixels).map(|(w, &p)| w * i32::from(p)).sum();
    ((sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS).clamp(0, 255) as u8
}

fn taps(from: usize, to: usize) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let radius = scale.max(1.0);
    let one = |i: usize| {
        let centre = (i as f64 + 0.5) * scale;
        let first = (centre - radius + 0.5).max(0.0) as usize;
        let end = ((centre + radius + 0.5) as usize).min(from);
        let triangle = |x: usize| {
            let distance = (x as f64 - centre + 0.5) * (1.0 / radius);
            (1.0 - distance.abs()).max(0.0)
        };
        let weights: Vec<f64> = (first..end).map(triangle).collect();
        let total: f64 = weights.iter().sum();
        let fixed = |w: f64| (0.5 + w / total * f64::from(1u32 << WEIGHT_BITS)) as i32;
        Taps { first, weights: weights.into_iter().map(fixed).collect() }
    };
    (0..to).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(width: usize, height: usize) -> Pixels {
        let bytes = (0..width * height * 3).map(|i| (i * 37 % 251) as u8).collect();
        Pixels { width, height, channels: 3, bytes }
    }

    #[test]
    fn equals_pillow() {
        // np.asarray(Image.fromarray(x).resize((w, h), Image.BILINEAR)), Pillow 13.0.0
        let small = image(7, 5).resized(3, 2);
        assert_eq!(
            small.bytes,
            [
                104, 102, 134, 146, 103, 120, 145, 143, 106, 115, 150, 109, 114, 132, 125, 127,
                113, 125
            ]
        );
        let large = image(3, 2).resized(4, 5);
        assert_eq!(
            large.bytes,
            [
                0, 37, 74, 69, 106, 143, 153, 96, 133, 222, 8, 45, 8, 45, 82, 77, 114, 136, 152,
                104, 126, 205, 16, 53, 41, 78, 115, 110, 147, 106, 147, 137, 96, 138, 49, 86, 74,
                111, 148, 143, 180, 76, 142, 170, 65, 70, 82, 119, 82, 119, 156, 151, 188, 69, 141,
                178, 58, 53, 90, 127
            ]
        );
    }

    #[test]
    fn the_same_size_is_the_same_image() {
        assert_eq!(image(4, 3).resized(4, 3), image(4, 3));
    }
}

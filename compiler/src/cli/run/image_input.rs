//! Images as inputs.

use super::resize::Pixels;
use crate::{Error, Result, files};
use image::DynamicImage;
use qcc_runtime::{DType, Tensor, TensorDesc};
use std::path::Path;

/// Reads an image for input `d`, `[N, H, W, C]` with 1, 3 or 4 channels: resized to H x W,
/// then turned into codes. One image; shape `[1, H, W, C]`.
///
/// - 8-bit inputs whose codes span 0 to 1 or -1 to 1 (see [`takes_bytes`]) or that have no scale
///   take the pixels' bytes, less 128 where they are signed: what such nets are fed everywhere.
/// - Other inputs take the real number pixel / 255, quantized with their parameters.
///
/// # Errors
/// The file is no PNG or JPEG, or the input cannot hold an image.
pub fn read_image(path: &Path, d: &TensorDesc) -> Result<Tensor> {
    let fail = |what: String| Error::Input(format!("{}: {what}", path.display()));
    let &[_, h, w, c] = d.shape.as_slice() else {
        return Err(fail(format!("input '{}' is no image: its shape is {:?}", d.name, d.shape)));
    };
    let bytes = files::read_limited(path)?;
    let image = image::load_from_memory(&bytes)
        .map_err(|e| fail(format!("{e}; expected a PNG or a JPEG")))?;
    let pixels = match c {
        1 => grey(&image),
        3 => image.to_rgb8().into_raw(),
        4 => image.to_rgba8().into_raw(),
        _ => return Err(fail(format!("input '{}' has {c} channels, not 1, 3 or 4", d.name))),
    };
    if h == 0 || w == 0 || image.width() == 0 || image.height() == 0 {
        return Err(fail("an image without pixels".into()));
    }
    let (width, height) = (image.width() as usize, image.height() as usize);
    let pixels = Pixels { width, height, channels: c, bytes: pixels }.resized(w, h).bytes;
    let one = TensorDesc { shape: vec![1, h, w, c], ..d.clone() };
    let codes = match (takes_bytes(d), d.dtype) {
        (true, DType::I8) => {
            let signed: Vec<i8> = pixels.iter().map(|&p| (p ^ 0x80) as i8).collect();
            Tensor::from_slice(&signed, one.shape)
        }
        (true, _) => Tensor::from_slice(&pixels, one.shape),
        (false, _) => {
            let reals: Vec<f32> = pixels.iter().map(|&p| f32::from(p) / 255.0).collect();
            one.quantize(&reals)
        }
    };
    codes.map_err(|e| fail(e.to_string()))
}

/// Brightness as Pillow's `convert("L")` has it: ITU-R 601-2 in 16-bit fixed point.
fn grey(image: &DynamicImage) -> Vec<u8> {
    if !image.color().has_color() {
        return image.to_luma8().into_raw();
    }
    let luma = |p: &image::Rgb<u8>| {
        let [r, g, b] = p.0.map(u32::from);
        ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
    };
    image.to_rgb8().pixels().map(luma).collect()
}

/// How far, relatively, a scale may be from one that spans a pixel's range.
const SCALE_TOLERANCE: f32 = 0.02;

/// Is a code of this input a pixel? It has 8 bits, and a scale of about 1/255 (0 to 1) or 2/255
/// (-1 to 1; often 1/128), or none.
fn takes_bytes(d: &TensorDesc) -> bool {
    let is_byte = matches!(d.dtype, DType::U8 | DType::I8);
    let spans = |scale: f32, range: f32| (scale * 255.0 / range - 1.0).abs() < SCALE_TOLERANCE;
    is_byte
        && match d.scales.as_slice() {
            [] => true,
            &[scale] => spans(scale, 1.0) || spans(scale, 2.0),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_inputs_take_bytes() {
        let d = |dtype| TensorDesc::plain("x", dtype, [1, 1, 1, 1]);
        assert!(takes_bytes(&d(DType::U8)));
        assert!(takes_bytes(&d(DType::I8).quantized(1.0 / 255.0, -128)));
        assert!(takes_bytes(&d(DType::U8).quantized(1.0 / 128.0, 128)));
        assert!(takes_bytes(&d(DType::I8).quantized(1.0 / 127.5, -1)));
        assert!(!takes_bytes(&d(DType::I8).quantized(0.018, -14)));
        assert!(!takes_bytes(&d(DType::F32)));
    }
}

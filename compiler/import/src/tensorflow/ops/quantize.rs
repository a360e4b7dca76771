//! Fake quantization, with its range as operands.

use crate::tensorflow::convert::{Converter, Outputs, Val};
use qcc_ir::dialect::nn::{FakeQuant, FakeQuantForm, Halves, QuantizeAndDequantize};
use qcc_runtime::Tensor;

/// The range stands in attributes.
pub fn args(c: &mut Converter) -> Outputs {
    let (min, max) = (c.attr_float("min", -6.0), c.attr_float("max", 6.0));
    let is_range = min < max;
    if !is_range {
        return Err(format!("a range from {min} to {max}"));
    }
    let scalar = |v: f32| Tensor::from_slice(&[v], vec![]).map_err(|e| e.to_string());
    let (min, max) = (c.make_known(scalar(min)?)?, c.make_known(scalar(max)?)?);
    fake_quant(c, [min, max], FakeQuantForm::Multiply)
}

/// One range.
pub fn vars(c: &mut Converter) -> Outputs {
    let range = [c.float(1)?, c.float(2)?];
    if range.iter().any(|r| c.shape(r).iter().product::<u64>() != 1) {
        return Err("min and max must be one number each".into());
    }
    fake_quant(c, range, FakeQuantForm::Divide)
}

/// A range for each slice of the last axis.
pub fn per_channel(c: &mut Converter) -> Outputs {
    let range = [c.float(1)?, c.float(2)?];
    let x = c.float(0)?;
    let slices = c.shape(&x).last().copied();
    for r in &range {
        let n = c.rank(r, 1)?[0];
        if Some(n) != slices {
            return Err(format!("{n} ranges for a tensor of shape {:?}", c.shape(&x)));
        }
    }
    fake_quant(c, range, FakeQuantForm::Multiply)
}

fn fake_quant(c: &mut Converter, [min, max]: [Val; 2], form: FakeQuantForm) -> Outputs {
    let x = c.float(0)?;
    let num_bits = bits(c.attr_int("num_bits", 8))?;
    let narrow_range = c.attr_bool("narrow_range", false);
    let kind = FakeQuant { num_bits, narrow_range, form };
    let shape = c.shape(&x);
    Ok(vec![c.emit_float(kind, &[&x, &min, &max], &shape)?])
}

fn bits(n: i64) -> Result<u32, String> {
    match u32::try_from(n) {
        Ok(n @ 2..=16) => Ok(n),
        _ => Err(format!("{n} bits; 2 to 16 are supported")),
    }
}

/// Versions 2 to 4; version 3 has the number of bits as an operand.
pub fn quantize_and_dequantize(c: &mut Converter) -> Outputs {
    let x = c.float(0)?;
    let is_v3 = c.nodes[c.at].def.op == "QuantizeAndDequantizeV3";
    let num_bits = if is_v3 { c.int(3)? } else { c.attr_int("num_bits", 8) };
    let halves = match c.attr_text("round_mode").as_str() {
        "" | "HALF_TO_EVEN" => Halves::Even,
        "HALF_UP" => Halves::Up,
        other => return Err(format!("round mode {other}")),
    };
    let shape = c.shape(&x);
    let axis = c.attr_int("axis", -1);
    if axis < -1 || axis >= shape.len() as i64 {
        return Err(format!("axis {axis} of {} dimensions", shape.len()));
    }
    let range_given = c.attr_bool("range_given", false);
    let kind = QuantizeAndDequantize {
        num_bits: bits(num_bits)?,
        signed: c.attr_bool("signed_input", true),
        narrow_range: c.attr_bool("narrow_range", false),
        halves,
        axis: axis as i32,
        limit: true,
    };
    if !range_given {
        return Ok(vec![c.emit_float(kind, &[&x], &shape)?]);
    }
    let (min, max) = (c.float(1)?, c.float(2)?);
    let n = if axis < 0 { 1 } else { shape[axis as usize] };
    for r in [&min, &max] {
        let found = c.shape(r).iter().product::<u64>();
        if found != n {
            return Err(format!("{found} ranges, expected {n}"));
        }
    }
    Ok(vec![c.emit_float(kind, &[&x, &min, &max], &shape)?])
}

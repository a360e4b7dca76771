//! What holds for the type of every value.

use super::{Constraint, VerifyError, func_error, op_error};
use crate::{Affine, DType, Elem, Func, FuncId, Layout, Level, Module, OpId, QuantParams};
use crate::{QuantType, TensorType, Type, Value};

pub(super) const CONSTRAINTS: &[Constraint] = &[
    ("type_c1", "per-axis parameters: the axis is one of the shape's, one set per slice"),
    ("type_c2", "scales are finite and not negative"),
    ("type_c3", "storage is an integer type; its range and the zero points are codes of it"),
    ("type_c4", "the expressed type is a float type"),
    ("type_c5", "a layout has one stride per dimension"),
    ("type_c6", "a layout's last byte is below 2^47"),
    ("type_c7", "a layout gives different elements different bytes"),
    ("type_c8", "a tensor has less than 2^47 bytes"),
    ("type_c9", "a vector has 16, 32 or 64 bytes; lanes are i8, i16, i32, i64, f32 or f64"),
    (
        "type_c10",
        "tensors above level loop and nothing else; quantized ones at levels nn and quant",
    ),
    ("type_c11", "a tile has up to 16 rows of up to 64 bytes, a multiple of 4"),
];

/// Most bytes of a tensor, and farthest byte of a layout.
const MAX_BYTES: u128 = 1 << 47;

/// Checks the type of `v`; errors are `op`'s if there is one.
pub(super) fn check(
    m: &Module,
    func: FuncId,
    f: &Func,
    op: Option<OpId>,
    v: Value,
    errors: &mut Vec<VerifyError>,
) {
    let fail = |id: &str, message: String| match op {
        Some(op) => errors.push(op_error(m, func, op, id, &message)),
        None => errors.push(func_error(func, id, format!("in @{}: {message}", f.name))),
    };
    let mut c = TypeCheck { fail };
    c.level(f.ty(v), m.level);
    match f.ty(v) {
        Type::Tensor(t) => c.tensor(t),
        Type::Vector { elem, lanes } => c.vector(*elem, *lanes),
        Type::Scalar(d) => {
            let message = || format!("lanes are signless integers or floats, found {d}");
            c.require("type_c9", is_lane(*d), message);
        }
        Type::Tile { rows, bytes } => {
            let fits = (1..=16).contains(rows) && (4..=64).contains(bytes) && bytes % 4 == 0;
            c.require("type_c11", fits, || format!("{rows} rows of {bytes} bytes are no tile"));
        }
        Type::Mem(_) | Type::Index => {}
    }
}

fn is_lane(d: DType) -> bool {
    !matches!(d, DType::U8 | DType::U16 | DType::Bool)
}

struct TypeCheck<F> {
    fail: F,
}

impl<F: FnMut(&str, String)> TypeCheck<F> {
    fn require(&mut self, id: &str, holds: bool, message: impl FnOnce() -> String) -> bool {
        if !holds {
            (self.fail)(id, message());
        }
        holds
    }

    fn level(&mut self, ty: &Type, level: Level) {
        let fits = match ty {
            Type::Tensor(t) => match t.elem {
                Elem::Plain(_) => level != Level::Loop,
                Elem::Quant(_) => matches!(level, Level::Nn | Level::Quant),
            },
            _ => level == Level::Loop,
        };
        let message = || {
            let ty = crate::text::print_type(ty);
            format!("level {} has no values of type {ty}", level.name())
        };
        self.require("type_c10", fits, message);
    }

    fn vector(&mut self, elem: DType, lanes: u8) {
        let bytes = usize::from(lanes) * elem.size();
        let fits = matches!(bytes, 16 | 32 | 64) && is_lane(elem);
        self.require("type_c9", fits, || format!("{elem}x{lanes} is no vector"));
    }

    fn tensor(&mut self, t: &TensorType) {
        let size = t.storage().size() as u128;
        let grow = |n: u128, &d: &u64| n.saturating_mul(u128::from(d.max(1)));
        let bytes = t.shape.iter().fold(size, grow);
        if !self.require("type_c8", bytes < MAX_BYTES, || "the tensor is too large".to_string()) {
            return;
        }
        if let Elem::Quant(q) = &t.elem {
            self.quant(q, t);
        }
        if let Some(layout) = &t.layout {
            self.layout(layout, t);
        }
    }

    fn quant(&mut self, q: &QuantType, t: &TensorType) {
        if let QuantParams::PerAxis { axis, params } = &q.params {
            let extent = t.shape.get(*axis).copied();
            let message = || format!("{} parameter sets for axis {axis}", params.len());
            self.require("type_c1", extent == Some(params.len() as u64), message);
        }
        let bad = |a: &&Affine| !a.scale.is_finite() || a.scale < 0.0;
        let bad = q.affines().iter().find(bad);
        self.require("type_c2", bad.is_none(), || format!("the scale {:?}", bad.unwrap().scale));
        let (min, max) = q.storage.min_max();
        let is_code = |v: i32| (min..=max).contains(&i64::from(v));
        let fits = q.storage.is_int()
            && q.range[0] <= q.range[1]
            && q.range.into_iter().all(is_code)
            && q.affines().iter().all(|a| is_code(a.zero_point));
        let message = || format!("the range or a zero point is not in {}", q.storage);
        self.require("type_c3", fits, message);
        let message = || format!("{} is no float type", q.expressed);
        self.require("type_c4", q.expressed.is_float(), message);
    }

    fn layout(&mut self, layout: &Layout, t: &TensorType) {
        let (n, k) = (layout.strides.len(), t.shape.len());
        if !self.require("type_c5", n == k, || format!("{n} strides for {k} dimensions")) {
            return;
        }
        let mut steps: Vec<(u128, u128)> = layout
            .strides
            .iter()
            .zip(&t.shape)
            .filter(|&(_, &extent)| extent > 1)
            .map(|(&stride, &extent)| (u128::from(stride), u128::from(extent - 1)))
            .collect();
        steps.sort_unstable();
        let mut span = t.storage().size() as u128;
        let mut distinct = true;
        for (stride, last) in steps {
            distinct &= stride >= span;
            span = span.saturating_add(stride.saturating_mul(last));
        }
        let end = span.saturating_add(u128::from(layout.offset));
        self.require("type_c6", end < MAX_BYTES, || "the layout is out of range".to_string());
        let message = || format!("strides {:?} make elements overlap", layout.strides);
        self.require("type_c7", distinct || t.is_empty(), message);
    }
}

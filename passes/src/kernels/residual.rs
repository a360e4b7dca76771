//! The epilogue of `int.conv2d`: the sum of its codes and a residual.
//!
//! Panels add the residual to a tile of codes that they have just made: in memory, as the
//! accumulators of the tile need the registers, or before codes are stored where they do not. Where
//! another kernel computes the convolution, or no float form gives the sum, the convolution writes
//! its codes into y, and the sum is taken behind it, in place: both have 8 bits, and y lies on no
//! operand of the convolution.

use super::conv::{Conv, store_bytes};
use super::kb::{Addr, Kb};
use super::layer::Layer;
use super::pair_forms::PairCodes;
use super::site::Site;
use super::{Arg, Call, SLACK, View, add, pairs};
use crate::int_ops::conv_operand;
use qcc_ir::dialect::int::{ResidualSum, Sum};
use qcc_ir::{DType, Value};

/// What panels add to their codes.
#[derive(Clone, PartialEq, Debug)]
pub struct Residual {
    /// `[N, OH, OW, O]`, 8 bits, channels contiguous.
    pub view: View,
    /// The sum.
    pub codes: PairCodes,
    /// The convolution's codes are its second operand.
    pub conv_is_b: bool,
}

impl Residual {
    /// The sum of a vector of the convolution's codes and the residual at `at`.
    pub fn add(&self, kb: &mut Kb, bytes: Value, at: &Addr) -> Value {
        let residual = kb.load_vec(DType::I8, at);
        let operands = if self.conv_is_b { [residual, bytes] } else { [bytes, residual] };
        self.codes.of_bytes(kb, operands)
    }
}

impl Residual {
    /// Adds the residual, from `at[0]` on, to codes in memory, from `at[1]` on: `rows` of `n` bytes
    /// and their strides.
    pub fn add_rows(&self, kb: &mut Kb, at: [&Addr; 2], rows: (u64, [u64; 2]), n: u64) {
        let (rows, strides) = rows;
        if strides == [n; 2] || rows == 1 {
            return self.add_row(kb, at, rows * n);
        }
        kb.for_each(rows, |kb, v| {
            let at = [0, 1].map(|i| v.of(at[i], strides[i]));
            self.add_row(kb, [&at[0], &at[1]], n);
        });
    }

    /// Whole vectors, then what is left.
    fn add_row(&self, kb: &mut Kb, at: [&Addr; 2], n: u64) {
        let width = kb.width();
        kb.for_each(n / width, |kb, v| {
            let at = at.map(|a| v.of(a, width));
            let sum = self.sum(kb, &at);
            kb.store(sum, &at[1]);
        });
        let done = n / width * width;
        if done < n {
            let at = at.map(|a| a.at(done as i64));
            let sum = self.sum(kb, &at);
            store_bytes(kb, sum, n - done, &at[1]);
        }
    }

    fn sum(&self, kb: &mut Kb, at: &[Addr; 2]) -> Value {
        let codes = kb.load_vec(DType::I8, &at[1]);
        self.add(kb, codes, &at[0])
    }
}

/// A tensor, or a part of it, as an operand of a sum.
pub(super) struct Operand {
    pub view: View,
    pub arg: Arg,
}

impl Operand {
    pub fn of(site: &Site, v: Value) -> Operand {
        Operand { view: site.view(v), arg: site.arg(v) }
    }
}

/// A layer's epilogue.
pub(crate) struct LayerResidual<'a> {
    /// The other operand.
    pub view: View,
    /// The sum.
    pub sum: &'a ResidualSum,
    /// Type of the sum's result.
    pub y: DType,
}

/// What `conv`, all of a layer, adds to its codes; `None` if it cannot or should not.
pub(super) fn of_panels(site: &Site, layer: &Layer, conv: &Conv) -> Option<Residual> {
    let LayerResidual { view, sum, y } = layer.residual.as_ref()?;
    let pair = [layer.y.dtype, view.dtype];
    let [a, b] = if sum.conv_is_b { [pair[1], pair[0]] } else { pair };
    let codes = match &sum.sum {
        Sum::Add(op) => add::pair_codes(op, add::float_form(op)?, [a, b, *y]),
        Sum::AddFloat(op) => pairs::add_float_codes(op, [a, b, *y], site.machine.fma),
    };
    let fits = codes.form.is_float() && view.is_dense_inner();
    let slack = view.slack.min(layer.y.slack) >= SLACK;
    let full = fills_vectors(conv, view);
    let view = view.clone();
    (fits && slack && full).then_some(Residual { view, codes, conv_is_b: sum.conv_is_b })
}

/// Do the rows of codes that are there at a time fill most of their vectors? One sum of all codes
/// behind the convolution does.
fn fills_vectors(conv: &Conv, residual: &View) -> bool {
    let channels = conv.y.shape[3];
    let at_once = if conv.panels_inside { channels } else { conv.panel().min(channels) };
    let dense = [&conv.y, residual].iter().all(|v| v.strides[2] == at_once);
    dense || at_once.next_multiple_of(conv.width) * 4 <= at_once * 5
}

/// The sum, where the codes are in y.
pub(super) fn behind(site: &Site, layer: &Layer) -> Option<Call> {
    let LayerResidual { view, sum, y } = layer.residual.as_ref()?;
    let own = || site.arg(site.result());
    let codes = Operand { view: layer.y.clone(), arg: own() };
    let residual =
        Operand { view: view.clone(), arg: site.arg(site.operand(conv_operand::RESIDUAL)) };
    let result = Operand { view: View { dtype: *y, ..layer.y.clone() }, arg: own() };
    let operands = if sum.conv_is_b { [residual, codes] } else { [codes, residual] };
    Some(match &sum.sum {
        Sum::Add(op) => add::call(site, op, operands, result),
        Sum::AddFloat(op) => pairs::add_float_call(site, op, operands, result),
    })
}

//! `int.lut`: one table entry per code of 8 or 16 bits.

use super::kb::Kb;
use super::scalar_conv::load_wide;
use super::site::Site;
use super::{Arg, Call, Kernel, View, const_mem, each};
use qcc_ir::dialect::int;
use qcc_ir::{DType, Func};

/// y = table[x − smallest code]. Buffers: x, table (an element of y's
/// type per code), y.
#[derive(Clone, PartialEq, Debug)]
pub struct Lut {
    /// Codes of 8 or 16 bits.
    pub x: View,
    /// Results.
    pub y: View,
}

impl Kernel for Lut {
    fn split(&self, tasks: super::split::Tasks) -> Vec<super::split::Part> {
        self.parts(tasks)
    }

    fn name(&self) -> String {
        format!("lut_{}_{}", self.x.dtype, self.y.dtype)
    }

    fn build(&self, name: &str) -> Func {
        let size = self.y.dtype.size();
        let bits = 8 * self.x.dtype.size() as u32;
        let last = (1i64 << bits) - 1;
        let (unsigned, sign) = match bits {
            8 => (DType::U8, 0x80),
            _ => (DType::U16, 0x8000),
        };
        let mut kb = Kb::new(name, &[self.x.mem(), const_mem(size << bits), self.y.mem()]);
        let (x, table, y) = (kb.mem(0), kb.mem(1), kb.mem(2));
        each::pairs(&mut kb, (&self.x, &x), (&self.y, &y), &mut |kb, x, y| {
            let mut code = load_wide(kb, unsigned, x, DType::I32);
            if self.x.dtype.min_max().0 < 0 {
                let sign = kb.i32(sign);
                code = kb.xor(code, sign);
            }
            let code = kb.clamp_s(code, 0, last);
            let entry = kb.lookup(self.y.lane(), &table, code, size as i64, (0, last));
            kb.store(entry, y);
        });
        kb.finish()
    }
}

/// Lowers `int.lut`.
///
/// # Errors
/// The table is not constant.
pub fn lower(site: &Site, _op: &int::Lut) -> Result<Vec<Call>, String> {
    let table = site.require_constant(1, "the table")?;
    let kernel = Lut { x: site.view(site.operand(0)), y: site.view(site.result()) };
    let table = Arg::Const { name: "table".into(), bytes: table.bytes().to_vec() };
    let args = vec![site.arg(site.operand(0)), table, site.arg(site.result())];
    Ok(vec![Call { kernel: Box::new(kernel), args }])
}

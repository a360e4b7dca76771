//! Tile registers (AMX): their one configuration per kernel, and the ops on tiles.
//!
//! A register has one shape all through a kernel: as many registers as a shape has values at once,
//! the rest shared out. Tiles are never copied or spilled: an accumulator's register becomes the
//! sum's, and a kernel where that cannot be is an error. A tile of zeros has no register until
//! something is accumulated into it.

use super::asm::{Mem, Operand};
use super::literals::Literal;
use super::plan::{Class, Plan};
use super::regs::SCRATCH;
use super::walk::Walk;
use crate::CodegenError;
use iced_x86::{Code, Instruction, Register};
use indexmap::IndexMap;
use qcc_ir::dialect::loops::{DotSigns, Op};
use qcc_ir::{OpId, OpKind, Value};
use std::collections::VecDeque;

type Result<T> = std::result::Result<T, CodegenError>;

/// Rows, and bytes per row.
type Shape = (usize, usize);

/// Tile registers.
const REGISTERS: usize = 8;

/// The registers of a kernel.
#[derive(Clone, Debug, Default)]
pub(super) struct TileFile {
    /// The shape of each register that is configured.
    shapes: Vec<Shape>,
    /// Free registers, the one released longest ago first.
    free: VecDeque<u8>,
}

impl TileFile {
    /// The registers that a kernel needs.
    ///
    /// # Errors
    /// More than there are.
    pub fn new(plan: &Plan) -> std::result::Result<TileFile, String> {
        let mut needs = needs(plan);
        let all: usize = needs.values().sum();
        if all > REGISTERS {
            return Err(format!("{all} tiles are needed at once, there are {REGISTERS}"));
        }
        // What is left lets loads start before the registers of earlier ones are read.
        let n = needs.len();
        for i in 0..if n > 0 { REGISTERS - all } else { 0 } {
            needs[i % n] += 1;
        }
        let shapes: Vec<Shape> =
            needs.iter().flat_map(|(&shape, &n)| std::iter::repeat_n(shape, n)).collect();
        let free = (0..shapes.len() as u8).collect();
        Ok(TileFile { shapes, free })
    }

    /// The operand of `ldtilecfg`; none for a kernel without tiles.
    fn config(&self) -> Option<[u8; 64]> {
        let mut out = [0; 64];
        out[0] = 1; // the palette
        for (t, &(rows, bytes)) in self.shapes.iter().enumerate() {
            out[16 + 2 * t] = bytes as u8;
            out[48 + t] = rows as u8;
        }
        (!self.shapes.is_empty()).then_some(out)
    }

    /// Takes a register of a shape.
    pub fn take(&mut self, shape: Shape) -> Option<u8> {
        let at = self.free.iter().position(|&t| self.shapes[t as usize] == shape)?;
        self.free.remove(at)
    }
    /// Takes `t`, which is free.
    pub fn claim(&mut self, t: u8) {
        let before = self.free.len();
        self.free.retain(|&x| x != t);
        debug_assert_eq!(self.free.len() + 1, before, "the register is free");
    }
    pub fn release(&mut self, t: u8) {
        debug_assert!(!self.free.contains(&t), "a register is released once");
        self.free.push_back(t);
    }
}

/// How many values of each shape are in registers at once.
fn needs(plan: &Plan) -> IndexMap<Shape, usize> {
    let f = plan.kernel;
    let mut deltas: IndexMap<Shape, Vec<i64>> = IndexMap::new();
    for &op in &plan.order {
        let at = plan.span(op).start as usize;
        let args = plan.body(op).map_or(&[][..], |r| &f.region(r).args);
        for &v in f.results(op).iter().chain(args) {
            let (Some(shape), Class::Tile) = (f.ty(v).as_tile(), plan.class(v)) else { continue };
            let delta = deltas.entry(shape).or_insert_with(|| vec![0; plan.len() + 2]);
            let info = plan.info(v);
            // An op's result lives behind it, at least until its end.
            delta[info.from as usize + 1] += 1;
            delta[info.to.max(info.from + 1) as usize + 1] -= 1;
            // Zeros are made where the sum will be, beside the operands.
            if let (OpKind::Loop(Op::TileDot(_)), Class::Zeros) =
                (f.kind(op), plan.class(f.operands(op)[0]))
            {
                delta[at] += 1;
                delta[at + 1] -= 1;
            }
        }
    }
    let most = |delta: Vec<i64>| {
        let running = delta.into_iter().scan(0, |now, d| {
            *now += d;
            Some(*now)
        });
        running.max().unwrap_or(0)
    };
    deltas.into_iter().map(|(shape, delta)| (shape, most(delta) as usize)).collect()
}

/// The register `tmm0` to `tmm7`.
fn tmm(t: u8) -> Register {
    use Register::*;
    [TMM0, TMM1, TMM2, TMM3, TMM4, TMM5, TMM6, TMM7][t as usize]
}

impl Walk<'_> {
    /// Configures the tiles that the kernel has.
    pub fn start_tiles(&mut self) {
        if let Some(config) = self.tiles.config() {
            let config = Mem::Literal(Literal::repeat(&config), 64);
            self.asm.op(Code::VEX_Ldtilecfg_m512, &[config.into()]);
        }
    }

    /// Gives the tiles back, so that threads do not keep their state.
    pub fn finish_tiles(&mut self) {
        if self.tiles.config().is_some() {
            self.asm.put(Instruction::with(Code::VEX_Tilerelease));
        }
    }

    /// Ops on tiles, and buffers of the kernel's own; false if `kind` is none of them.
    pub fn tile_op(&mut self, op: OpId, kind: &Op) -> Result<bool> {
        let kernel = self.plan.kernel;
        let operands = kernel.operands(op);
        match kind {
            Op::Scratch(_) | Op::TileZero(_) => {}
            Op::TileLoad(s) => {
                let from = self.rows(op, s.row)?;
                let to = self.define_tile(kernel.result(op))?;
                self.asm.op(Code::VEX_Tileloadd_tmm_sibmem, &[tmm(to).into(), from]);
            }
            Op::TileStore(s) => {
                let from = self.tile(operands[0])?;
                let to = self.rows(op, s.row)?;
                self.asm.op(Code::VEX_Tilestored_sibmem_tmm, &[to, tmm(from).into()]);
            }
            Op::TileDot(s) => {
                let [a, b] = [self.tile(operands[1])?, self.tile(operands[2])?];
                let sum = match self.plan.class(operands[0]) {
                    Class::Zeros => {
                        let t = self.define_tile(kernel.result(op))?;
                        self.zero_tile(t);
                        t
                    }
                    _ => self.take_over_tile(operands[0], kernel.result(op))?,
                };
                let code = match s.signs {
                    DotSigns::U8S8 => Code::VEX_Tdpbusd_tmm_tmm_tmm,
                    DotSigns::S8S8 => Code::VEX_Tdpbssd_tmm_tmm_tmm,
                };
                self.asm.op(code, &[tmm(sum).into(), tmm(a).into(), tmm(b).into()]);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub fn zero_tile(&mut self, t: u8) {
        self.asm.op(Code::VEX_Tilezero_tmm, &[tmm(t).into()]);
    }

    /// The memory operand of a tile whose rows are `row` bytes apart: the index is the stride.
    fn rows(&mut self, op: OpId, row: i64) -> Result<Operand> {
        let [stride, far] = SCRATCH;
        let (base, displacement) = match self.address(op)? {
            Mem::At { base, index: Register::None, displacement, .. } => (base, displacement),
            at => {
                self.asm.gpr_mem(Code::Lea_r64_m, far, &at);
                (far, 0)
            }
        };
        self.set_general(stride, row);
        Ok(Mem::At { base, index: stride, scale: 1, displacement }.into())
    }

    fn tile(&self, v: Value) -> Result<u8> {
        self.tile_of(v).ok_or_else(|| self.fail("a tile that is in no register is read"))
    }
}

//! Kernels: loops over byte buffers, one iteration after the other.
//!
//! Every access is checked against the bytes (and, for reads, the slack) that the kernel's
//! parameter declares. Slack holds a pattern that no result may depend on.

use super::lanes::{self, Lanes};
use super::{InterpError, main_of, op_error};
use crate::dialect::loops::{Call, DotSigns, For, Op};
use crate::dialect::{OpKind, core};
use crate::{DType, Func, Level, MemType, Module, OpId, RegionId, Value};
use cranelift_entity::SecondaryMap;
use smallvec::SmallVec;

/// Fills what is not initialized.
const UNDEFINED: u8 = 0xA5;

/// A buffer as a function sees it.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// Which of the program's buffers.
    buffer: usize,
    /// Its byte 0.
    start: usize,
    /// What may be accessed.
    ty: MemType,
}

/// What a value of a kernel holds.
#[derive(Clone, Debug, Default)]
enum Cell {
    #[default]
    Undefined,
    Index(i64),
    Lanes(Lanes),
    Tile(Tile),
    Mem(Window),
}

type Env = SecondaryMap<Value, Cell>;

/// A tile: its rows, one after the other.
#[derive(Clone, Debug)]
struct Tile {
    row: usize,
    bytes: Vec<u8>,
}

/// Runs `main` of a module at level loop: its parameters are the arena, the inputs and the
/// outputs; returns the outputs' bytes.
///
/// # Errors
/// The module is invalid or at another level, an input's size is wrong, or an access is out of
/// bounds.
pub fn run_loop_main(m: &Module, inputs: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, InterpError> {
    let f = main_of(m)?;
    if m.level != Level::Loop {
        return Err(InterpError::Level { found: m.level, by: "run_main" });
    }
    let mut machine = Machine { buffers: vec![] };
    let mut env = machine.parameters(f, inputs)?;
    for &op in f.body_ops() {
        machine.main_op(m, f, op, &mut env).map_err(|e| op_error(m, f, op, e))?;
    }
    let first = 1 + inputs.len();
    let outputs = machine.buffers.into_iter().take(f.params().len()).skip(first);
    let sizes = f.params().iter().skip(first).map(|&v| f.ty(v).as_mem());
    let output = |(mut b, ty): (Vec<u8>, Option<MemType>)| {
        b.truncate(ty.map_or(0, |t| t.bytes as usize));
        b
    };
    Ok(outputs.zip(sizes).map(output).collect())
}

/// All buffers of a running program.
struct Machine {
    buffers: Vec<Vec<u8>>,
}

impl Machine {
    /// A buffer with these bytes, then undefined ones.
    fn allocate(&mut self, ty: MemType, content: &[u8]) -> Result<Window, String> {
        let size = ty.bytes.checked_add(ty.slack.into()).and_then(|n| usize::try_from(n).ok());
        let size = size.filter(|&n| n >= content.len() && n < isize::MAX as usize);
        let size = size.ok_or_else(|| format!("a buffer of {} bytes", ty.bytes))?;
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(size).map_err(|e| e.to_string())?;
        buffer.extend_from_slice(content);
        buffer.resize(size, UNDEFINED);
        self.buffers.push(buffer);
        Ok(Window { buffer: self.buffers.len() - 1, start: 0, ty })
    }

    /// The buffers of main's parameters.
    fn parameters(&mut self, f: &Func, inputs: &[Vec<u8>]) -> Result<Env, InterpError> {
        let n_outputs = f.output_names.len();
        let expected = f.params().len().saturating_sub(1 + n_outputs);
        if inputs.len() != expected {
            return Err(InterpError::InputCount { expected, found: inputs.len() });
        }
        let mut env = Env::new();
        for (i, &v) in f.params().iter().enumerate() {
            let not_mem = || InterpError::Invalid("a parameter is not a buffer".into());
            let ty = f.ty(v).as_mem().ok_or_else(not_mem)?;
            let input = i.checked_sub(1).and_then(|index| Some((index, inputs.get(index)?)));
            let content = match input {
                Some((index, bytes)) if bytes.len() as u64 != ty.bytes => {
                    let bytes = |n: u64| format!("{n} bytes");
                    let (expected, found) = (bytes(ty.bytes), bytes(inputs[index].len() as u64));
                    return Err(InterpError::Input { index, expected, found });
                }
                Some((_, bytes)) => bytes.as_slice(),
                None => &[],
            };
            env[v] = Cell::Mem(self.allocate(ty, content).map_err(InterpError::Invalid)?);
        }
        Ok(env)
    }

    fn main_op(&mut self, m: &Module, f: &Func, op: OpId, env: &mut Env) -> Result<(), String> {
        match f.kind(op) {
            OpKind::Core(core::Op::Return(_)) => Ok(()),
            OpKind::Core(core::Op::Const(c)) => {
                let ty = f.ty(f.result(op)).as_mem().ok_or("a constant that is no buffer")?;
                env[f.result(op)] = Cell::Mem(self.allocate(ty, &m.data[c.data].bytes)?);
                Ok(())
            }
            OpKind::Loop(Op::Call(call)) => self.call(m, f, op, call, env),
            OpKind::Loop(Op::PackPanels(o)) => self.pack(f, op, env, |w| o.pack(w)),
            OpKind::Loop(Op::PackBlocks(o)) => self.pack(f, op, env, |w| o.pack(w)),
            other => Err(format!("'{}' does not belong into main", other.name())),
        }
    }

    /// A new constant buffer of what `packed` makes of the operand's bytes.
    fn pack(
        &mut self,
        f: &Func,
        op: OpId,
        env: &mut Env,
        packed: impl Fn(&[u8]) -> Vec<u8>,
    ) -> Result<(), String> {
        let from = mem(env, *f.operands(op).first().ok_or("weights are missing")?)?;
        let ty = f.ty(f.result(op)).as_mem().ok_or("packed into what is no buffer")?;
        let bytes = packed(&self.buffers[from.buffer][from.start..]);
        env[f.result(op)] = Cell::Mem(self.allocate(ty, &bytes)?);
        Ok(())
    }

    fn call(
        &mut self,
        m: &Module,
        f: &Func,
        op: OpId,
        call: &Call,
        env: &Env,
    ) -> Result<(), String> {
        let id = m.func_named(&call.kernel).ok_or("there is no such kernel")?;
        let kernel = &m.funcs[id];
        let mut inner = Env::new();
        for ((&param, &v), &offset) in kernel.params().iter().zip(f.operands(op)).zip(&call.offsets)
        {
            let window = mem(env, v)?;
            let ty = kernel.ty(param).as_mem().ok_or("a parameter is not a buffer")?;
            let constant = ty.constant || window.ty.constant;
            let start = window.start + usize::try_from(offset).map_err(|e| e.to_string())?;
            let ty = MemType { constant, ..ty };
            inner[param] = Cell::Mem(Window { buffer: window.buffer, start, ty });
        }
        let own = self.buffers.len();
        let mut run = Kernel { f: kernel, machine: self, env: inner };
        run.region(kernel.body).map_err(|e| format!("kernel '@{}': {e}", kernel.name))?;
        self.buffers.truncate(own);
        Ok(())
    }
}

fn mem(env: &Env, v: Value) -> Result<Window, String> {
    match env[v] {
        Cell::Mem(w) => Ok(w),
        _ => Err("an operand is not a buffer".into()),
    }
}

/// A running kernel.
struct Kernel<'a> {
    f: &'a Func,
    machine: &'a mut Machine,
    env: Env,
}

/// Loop variables and how far apart in bytes their values are.
type Affine<'a> = (i64, &'a [Value], &'a [i64]);

impl<'a> Kernel<'a> {
    /// Runs a region once; gives what it yields.
    fn region(&mut self, region: RegionId) -> Result<Vec<Cell>, String> {
        let f = self.f;
        for &op in &f.region(region).ops {
            let operands = f.operands(op);
            match f.kind(op) {
                OpKind::Core(_) => {}
                OpKind::Loop(Op::Yield(_)) => {
                    return Ok(operands.iter().map(|&v| self.env[v].clone()).collect());
                }
                OpKind::Loop(kind) => {
                    self.op(op, kind).map_err(|e| format!("{op} ({}): {e}", f.kind(op).name()))?;
                }
                other => return Err(format!("'{}' does not belong here", other.name())),
            }
        }
        Ok(vec![])
    }

    fn op(&mut self, op: OpId, kind: &Op) -> Result<(), String> {
        let operands = self.f.operands(op);
        match (kind, operands) {
            (Op::For(o), _) => self.for_loop(op, o),
            (Op::Load(o), [mem, vars @ ..]) => {
                let (elem, n) = self.ty(self.f.result(op))?;
                let bytes = elem.size() * usize::from(n);
                let bytes = self.read(*mem, (o.offset, vars, &o.strides), bytes, bytes)?;
                self.define(op, bytes)
            }
            (Op::LoadSplat32(o), [mem, vars @ ..]) => {
                let four = self.read(*mem, (o.offset, vars, &o.strides), 4, 16)?;
                let n = usize::from(self.ty(self.f.result(op))?.1);
                self.define(op, four.iter().copied().cycle().take(n).collect())
            }
            (Op::LoadLow64(o), [mem, vars @ ..]) => {
                let (elem, n) = self.ty(self.f.result(op))?;
                let half = (elem.size() * usize::from(n) / 2).max(8);
                let packed = self.read(*mem, (o.offset, vars, &o.strides), half, half)?;
                let spread = packed.chunks(8).flat_map(|low| low.iter().chain(&[0; 8]));
                let bytes = spread.copied().collect();
                self.define(op, bytes)
            }
            (Op::Lookup(o), [mem, index, vars @ ..]) => {
                let index = self.lanes(*index)?.s(0);
                if index < o.lo || index > o.hi {
                    return Err(format!("index {index} is not from {} to {}", o.lo, o.hi));
                }
                let at = index.checked_mul(o.stride).and_then(|v| v.checked_add(o.offset));
                let at = at.ok_or("an address overflows")?;
                let (elem, n) = self.ty(self.f.result(op))?;
                let bytes = elem.size() * usize::from(n);
                let bytes = self.read(*mem, (at, vars, &o.strides), bytes, bytes)?;
                self.define(op, bytes)
            }
            (Op::Store(o), [value, mem, vars @ ..]) => {
                let bytes = self.lanes(*value)?.bytes.clone();
                self.write(*mem, (o.offset, vars, &o.strides), &bytes)
            }
            (Op::StoreLow(o), [value, mem, vars @ ..]) => {
                let bytes = self.lanes(*value)?.bytes.clone();
                let low = bytes.get(..o.bytes as usize).ok_or("the vector is too short")?;
                self.write(*mem, (o.offset, vars, &o.strides), low)
            }
            (Op::Scratch(_), []) => {
                let v = self.f.result(op);
                let ty = self.f.ty(v).as_mem().ok_or("a result that is no buffer")?;
                self.env[v] = Cell::Mem(self.machine.allocate(ty, &[])?);
                Ok(())
            }
            (Op::TileZero(_), []) => {
                let (rows, row) = self.tile_type(op)?;
                self.define_tile(op, Tile { row, bytes: vec![0; rows * row] })
            }
            (Op::TileLoad(o), [mem, vars @ ..]) => {
                let (rows, row) = self.tile_type(op)?;
                let mut bytes = Vec::with_capacity(rows * row);
                for r in 0..rows {
                    let at = row_offset(o.offset, o.row, r)?;
                    bytes.extend(self.read(*mem, (at, vars, &o.strides), row, row)?);
                }
                self.define_tile(op, Tile { row, bytes })
            }
            (Op::TileStore(o), [tile, mem, vars @ ..]) => {
                let Tile { row, bytes } = self.tile(*tile)?.clone();
                for (r, bytes) in bytes.chunks(row.max(1)).enumerate() {
                    let at = row_offset(o.offset, o.row, r)?;
                    self.write(*mem, (at, vars, &o.strides), bytes)?;
                }
                Ok(())
            }
            (Op::TileDot(o), [acc, a, b]) => {
                let tiles = [self.tile(*acc)?, self.tile(*a)?, self.tile(*b)?];
                let sum = tile_dot(o.signs, tiles)?;
                self.define_tile(op, sum)
            }
            (Op::IndexCast(_), [x]) => {
                let x = self.index(*x)?;
                let y = Lanes::build((DType::I32, 1), |_| x as u64);
                self.env[self.f.result(op)] = Cell::Lanes(y);
                Ok(())
            }
            _ => self.pure(op, kind),
        }
    }

    fn pure(&mut self, op: OpId, kind: &Op) -> Result<(), String> {
        let operands = self.f.operands(op).iter().map(|&v| self.lanes(v));
        let xs: SmallVec<[&Lanes; 3]> = operands.collect::<Result<_, _>>()?;
        let y = lanes::eval(kind, &xs, self.ty(self.f.result(op))?);
        drop(xs);
        let y = y.ok_or("it has no meaning in a kernel")?;
        self.env[self.f.result(op)] = Cell::Lanes(y);
        Ok(())
    }

    fn for_loop(&mut self, op: OpId, o: &For) -> Result<(), String> {
        let f = self.f;
        let region = *f.op(op).regions().first().ok_or("a loop without region")?;
        let (&var, carried) =
            f.region(region).args.split_first().ok_or("a loop without variable")?;
        if o.step <= 0 {
            return Err(format!("a step of {}", o.step));
        }
        let mut values: Vec<Cell> = f.operands(op).iter().map(|&v| self.env[v].clone()).collect();
        let mut at = o.lo;
        while at < o.hi {
            self.env[var] = Cell::Index(at);
            for (&v, value) in carried.iter().zip(values) {
                self.env[v] = value;
            }
            values = self.region(region)?;
            let Some(next) = at.checked_add(o.step) else { break };
            at = next;
        }
        for (&v, value) in f.results(op).iter().zip(values) {
            self.env[v] = value;
        }
        Ok(())
    }

    // ---- values ----

    fn ty(&self, v: Value) -> Result<(DType, u8), String> {
        self.f.ty(v).lanes().ok_or_else(|| "a value is no number".to_string())
    }
    fn lanes(&self, v: Value) -> Result<&Lanes, String> {
        match &self.env[v] {
            Cell::Lanes(l) => Ok(l),
            _ => Err("an operand is no number".into()),
        }
    }
    fn index(&self, v: Value) -> Result<i64, String> {
        match self.env[v] {
            Cell::Index(i) => Ok(i),
            _ => Err("an operand is no loop variable".into()),
        }
    }
    fn tile(&self, v: Value) -> Result<&Tile, String> {
        match &self.env[v] {
            Cell::Tile(t) => Ok(t),
            _ => Err("an operand is no tile".into()),
        }
    }
    fn tile_type(&self, op: OpId) -> Result<(usize, usize), String> {
        self.f.ty(self.f.result(op)).as_tile().ok_or_else(|| "the result is no tile".to_string())
    }
    fn define_tile(&mut self, op: OpId, tile: Tile) -> Result<(), String> {
        self.env[self.f.result(op)] = Cell::Tile(tile);
        Ok(())
    }
    fn define(&mut self, op: OpId, bytes: SmallVec<[u8; 16]>) -> Result<(), String> {
        let v = self.f.result(op);
        let (elem, _) = self.ty(v)?;
        self.env[v] = Cell::Lanes(Lanes { elem, bytes });
        Ok(())
    }

    // ---- memory ----

    /// Where an address is in its buffer, `touched` bytes from there on being in bounds.
    fn place(
        &self,
        window: Window,
        (offset, vars, strides): Affine,
        touched: usize,
        slack: u32,
    ) -> Result<usize, String> {
        let mut at = i128::from(offset);
        for (&v, &stride) in vars.iter().zip(strides) {
            at += i128::from(self.index(v)?) * i128::from(stride);
        }
        let limit = i128::from(window.ty.bytes) + i128::from(slack);
        if at < 0 || at + touched as i128 > limit {
            return Err(format!("{touched} bytes at {at}, outside a buffer of {limit}"));
        }
        Ok(window.start + at as usize)
    }

    /// The first `n` bytes at an address; an emitter may touch `touched`.
    fn read(
        &self,
        v: Value,
        address: Affine,
        n: usize,
        touched: usize,
    ) -> Result<SmallVec<[u8; 16]>, String> {
        let window = mem(&self.env, v)?;
        let at = self.place(window, address, touched, window.ty.slack)?;
        let bytes = self.machine.buffers[window.buffer].get(at..at + n);
        bytes.map(SmallVec::from_slice).ok_or_else(|| "a read outside the buffer".into())
    }

    fn write(&mut self, v: Value, address: Affine, bytes: &[u8]) -> Result<(), String> {
        let window = mem(&self.env, v)?;
        if window.ty.constant {
            return Err("a write to a constant buffer".into());
        }
        let at = self.place(window, address, bytes.len(), 0)?;
        let to = self.machine.buffers[window.buffer].get_mut(at..at + bytes.len());
        to.ok_or("a write outside the buffer")?.copy_from_slice(bytes);
        Ok(())
    }
}

/// The offset of row `r` of a tile.
fn row_offset(offset: i64, row: i64, r: usize) -> Result<i64, String> {
    let behind = row.checked_mul(r as i64).and_then(|v| v.checked_add(offset));
    behind.ok_or_else(|| "an address overflows".to_string())
}

/// acc[m][n] + Σ a[m][4k+j]·b[k][4n+j].
fn tile_dot(signs: DotSigns, [acc, a, b]: [&Tile; 3]) -> Result<Tile, String> {
    let left = |v: u8| match signs {
        DotSigns::U8S8 => i32::from(v),
        DotSigns::S8S8 => i32::from(v as i8),
    };
    let mut bytes = Vec::with_capacity(acc.bytes.len());
    let misfit = || "tiles that do not fit".to_string();
    for (at, now) in acc.bytes.chunks_exact(4).enumerate() {
        let (m, n) = (4 * at / acc.row, 4 * at % acc.row);
        let a = a.bytes.get(m * a.row..(m + 1) * a.row).ok_or_else(misfit)?;
        let mut sum = i32::from_le_bytes([now[0], now[1], now[2], now[3]]);
        for (four, row) in a.chunks(4).zip(b.bytes.chunks(b.row)) {
            let weights = row.get(n..n + 4).ok_or_else(misfit)?;
            for (&x, &w) in four.iter().zip(weights) {
                sum = sum.wrapping_add(left(x) * i32::from(w as i8));
            }
        }
        bytes.extend(sum.to_le_bytes());
    }
    Ok(Tile { row: acc.row, bytes })
}

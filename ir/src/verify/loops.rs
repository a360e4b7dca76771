//! Level loop: lane types, addresses, loops and calls.

use super::{Constraint, OpCheck};
use crate::dialect::loops::{Call, For, Lookup, Op, WeightForm};
use crate::{DType, Func, FuncKind, MemType, OpId, OpKind, Type, Value};

pub(super) const CONSTRAINTS: &[Constraint] = &[
    ("for_c1", "the step is positive"),
    ("for_c2", "the region's arguments are a loop variable and one value per init, of its type"),
    ("for_c3", "there is one result per init, of its type"),
    ("yield_c1", "as many values as the loop carries, of their types"),
    ("call_c1", "the kernel exists, and the call stands in main"),
    ("call_c2", "one buffer and one offset per parameter of the kernel"),
    ("call_c3", "offset + bytes of the parameter is inside the buffer"),
    ("call_c4", "offset + bytes + slack of the parameter is inside the buffer and its slack"),
    ("call_c5", "a kernel does not write to a buffer that is const in main"),
    ("call_c6", "the calls of a group of tasks follow each other, from task 0 on"),
    ("pack_panels_c1", "it stands in main, from a constant buffer to one of just the packed bytes"),
    ("pack_panels_c2", "the weights are inside w"),
    ("pack_panels_c3", "a panel has vectors of 4, 8 or 16 lanes, runs of whole groups of 4"),
    ("pack_blocks_c1", "it stands in main, from a constant buffer to one of just the packed bytes"),
    ("pack_blocks_c2", "the weights are inside w"),
    (
        "pack_blocks_c3",
        "a block has vectors of 4, 8 or 16 lanes, 1 or 2 addends, 2 as bytes only, flips of int8",
    ),
    ("address_c1", "a load or store has one stride per loop variable"),
    ("address_c2", "stores go to buffers that are not const"),
    ("load_splat32_c1", "the result is a vector of i8"),
    ("store_low_c1", "4 or 8 bytes; of a vector wider than 128 bits, 1 to all"),
    ("lookup_c1", "the index is i32, lo ≤ hi"),
    ("iconst_c1", "the type is an integer type that holds the value, read with or without sign"),
    ("fconst_c1", "the type is a float type that holds exactly the value"),
    ("index_cast_c1", "the result is i32"),
    ("splat_c1", "the result is a vector of the operand's type"),
    ("extract_c1", "the result is the type of the lanes, and there is such a lane"),
    ("lanes_c1", "operands and result of an arithmetic op have one type"),
    ("lanes_c2", "integer ops compute on integers, float ops on floats"),
    ("shift_c1", "the amount is less than the width of a lane"),
    ("shift_c2", "a variable amount is an integer"),
    ("div_s_c1", "the divisor is not 0"),
    ("select_c1", "a, b and the result have one type"),
    ("select_c2", "the predicate is what a comparison of such lanes gives: i8, or a vector mask"),
    ("cmp_c1", "a and b are integers of one type"),
    ("cmp_c2", "the result is i8 for scalars, a vector of integers of the same width for vectors"),
    ("fcmp_c1", "a and b are floats of one type"),
    ("fcmp_c2", "the result is as in cmp_c2"),
    ("fcmp_c3", "the comparison is not unsigned"),
    ("ext_c1", "from an integer to a wider one"),
    ("trunc_c1", "from an integer to a narrower one"),
    ("int_to_float_c1", "i32 to f32 lane by lane, or a scalar i32 or i64 to f32 or f64"),
    ("int_to_float_low_c1", "a vector of i32 to a vector of f64 of the same size"),
    ("float_to_int_c1", "f32 or f64 to i32 or i64"),
    ("truncate_c1", "f32 to i32, lane by lane"),
    ("float_cast_c1", "f32 to f64 or f64 to f32"),
    ("bitcast_c1", "both types have the same number of bytes"),
    ("widen_c1", "integers to integers twice as wide, in a vector of the same size"),
    ("pack_c1", "a and b have one type; i32 to i16 or i16 to i8, in a vector of the same size"),
    ("unpack_c1", "a, b and the result have one type"),
    ("compact_c1", "4 or 8 bytes; x and the result have one type"),
    ("shuffle_c1", "a, b and the result have one type; the mask has 16 numbers below 32"),
    ("dot4_c1", "acc and the result are i32, a and b four times as many i8"),
    ("dot2_c1", "acc and the result are i32, a and b twice as many i16"),
    ("bytes_c1", "sub_sat and pick16: a, b and y are vectors of i8"),
    ("dot2_sat_c1", "the result is i16, a and b twice as many i8"),
    ("scratch_c1", "a kernel's own buffer has bytes and no slack, is not const, is made once"),
    ("tile_dot_c1", "acc and the result have one type, with a's rows and b's bytes per row"),
    ("tile_dot_c2", "b has a row for every 4 bytes of a's rows"),
];

pub(super) fn check(c: &mut OpCheck, op: &Op) {
    use Op::*;
    match op {
        For(o) => for_loop(c, o),
        Yield(_) => yields(c),
        Call(o) => call(c, o),
        PackPanels(o) => {
            packed(c, o.bytes());
            weights(c, o.first, &o.strides, &o.shape, 1);
            let [vectors, lanes] = o.panel;
            let whole = o.whole > 0 && o.whole.is_multiple_of(4);
            c.require(3, whole_vectors(vectors, lanes) && whole, || {
                format!("{:?}, runs of {}", o.panel, o.whole)
            });
        }
        PackBlocks(o) => {
            packed(c, o.bytes());
            weights(c, o.first, &o.strides, &o.shape, if o.wide { 2 } else { 1 });
            let [vectors, lanes] = o.block;
            let bytes = o.form == WeightForm::Bytes;
            let addends = (1..=if bytes { 2 } else { 1 }).contains(&o.addends);
            let typed = bytes || o.form == WeightForm::Pairs || !o.wide;
            c.require(3, whole_vectors(vectors, lanes) && addends && typed, || {
                let wide = if o.wide { "int16" } else { "int8" };
                format!("{:?}, {} addends, {} of {wide}", o.block, o.addends, o.form.word())
            });
        }
        Load(o) => strides(c, &o.strides, 0),
        LoadSplat32(o) => {
            strides(c, &o.strides, 0);
            let fits = matches!(result(c), (DType::I8, _));
            c.require(1, fits, || "the result is not a vector of i8".to_string());
        }
        LoadLow64(o) => strides(c, &o.strides, 0),
        Store(o) => store(c, &o.strides),
        StoreLow(o) => {
            store(c, &o.strides);
            let all = bytes(operand(c, 0)) as u32;
            let fits = matches!(o.bytes, 4 | 8) || all > 16 && (1..=all).contains(&o.bytes);
            c.require(1, fits, || format!("{} bytes", o.bytes));
        }
        Lookup(o) => lookup(c, o),
        Scratch(_) => scratch(c),
        TileZero(_) => {}
        TileLoad(o) => strides(c, &o.strides, 0),
        TileStore(o) => store(c, &o.strides),
        TileDot(_) => tile_dot(c),
        Iconst(o) => iconst(c, o.value),
        Fconst(o) => fconst(c, o.value),
        IndexCast(_) => {
            let (d, _) = result(c);
            c.require(1, d == DType::I32, || format!("the result is {d}"));
        }
        Splat(_) => {
            let fits = operand(c, 0).0 == result(c).0;
            require_types(c, "splat_c1", fits);
        }
        Extract(o) => {
            let (d, lanes) = operand(c, 0);
            let fits = (d, 1) == result(c) && o.lane < u32::from(lanes);
            require_types(c, "extract_c1", fits);
        }
        Add(_) | Sub(_) | Mul(_) | And(_) | Or(_) | Xor(_) | MinS(_) | MaxS(_) | MinU(_)
        | MaxU(_) | Clz(_) => arithmetic(c, Family::Int),
        Fadd(_) | Fsub(_) | Fmul(_) | Fdiv(_) | Fma(_) | Fsqrt(_) => arithmetic(c, Family::Float),
        Shl(o) => shift(c, o.n),
        ShrS(o) => shift(c, o.n),
        ShrU(o) => shift(c, o.n),
        ShlVar(_) | ShrSVar(_) => variable_shift(c),
        DivS(o) => {
            arithmetic(c, Family::Int);
            c.require(1, o.by != 0, || "division by 0".to_string());
        }
        Select(_) => select(c),
        Cmp(_) => comparison(c, Family::Int),
        Fcmp(o) => {
            comparison(c, Family::Float);
            let signed = o.pred != crate::dialect::loops::Pred::Ult;
            c.require(3, signed, || "an unsigned comparison of floats".to_string());
        }
        _ => conversion(c, op),
    }
}

/// Conversions between lane types, and shuffles.
fn conversion(c: &mut OpCheck, op: &Op) {
    use DType::*;
    use Op::*;
    let (from, to) = (operand(c, 0), result(c));
    let (id, fits) = match op {
        ExtS(_) | ExtU(_) => ("ext_c1", ints(from, to) && size(to) > size(from)),
        Trunc(_) => ("trunc_c1", ints(from, to) && size(to) < size(from)),
        IntToFloat(_) => (
            "int_to_float_c1",
            match (from, to) {
                ((I32 | I64, 1), (F32 | F64, 1)) => true,
                ((I32, n), (F32, k)) => n == k,
                _ => false,
            },
        ),
        IntToFloatLow(_) => {
            ("int_to_float_low_c1", { from.0 == I32 && to.0 == F64 && bytes(from) == bytes(to) })
        }
        FloatToInt(_) => ("float_to_int_c1", from.0.is_float() && matches!(to, (I32 | I64, 1))),
        Truncate(_) => ("truncate_c1", (from.0, to.0) == (F32, I32) && from.1 == to.1),
        FloatCast(_) => ("float_cast_c1", matches!((from.0, to.0), (F32, F64) | (F64, F32))),
        Bitcast(_) => ("bitcast_c1", bytes(from) == bytes(to)),
        WidenLowS(_) | WidenHighS(_) | WidenLowU(_) | WidenHighU(_) => {
            let doubles = size(to) == 2 * size(from) && bytes(to) == bytes(from);
            ("widen_c1", ints(from, to) && doubles)
        }
        PackS(_) | PackU(_) => {
            let halves = matches!((from.0, to.0), (I32, I16) | (I16, I8));
            ("pack_c1", halves && bytes(to) == bytes(from) && operand(c, 1) == from)
        }
        UnpackLow(_) | UnpackHigh(_) => ("unpack_c1", from == to && operand(c, 1) == from),
        Shuffle(o) => {
            let mask = o.mask.len() == 16 && o.mask.iter().all(|&i| i < 32);
            ("shuffle_c1", mask && from == to && operand(c, 1) == from)
        }
        Compact(o) => ("compact_c1", matches!(o.bytes, 4 | 8) && from == to),
        Dot4(_) => ("dot4_c1", dot(c, I8, 4)),
        Dot2(_) => ("dot2_c1", dot(c, I16, 2)),
        SubSat(_) | Pick16(_) => {
            ("bytes_c1", from.0 == I8 && from.1 >= 16 && operand(c, 1) == from && to == from)
        }
        Dot2Sat(_) => {
            let bytes = from.0 == I8 && operand(c, 1) == from;
            ("dot2_sat_c1", bytes && to.0 == I16 && from.1 == 2 * to.1)
        }
        _ => return,
    };
    require_types(c, id, fits);
}

// ---- lanes ----

/// Element type and number of lanes.
type Lanes = (DType, u8);

/// Lanes of operand `i`; its slot in the table says that it has some.
fn operand(c: &OpCheck, i: usize) -> Lanes {
    c.ty(c.operands()[i]).lanes().expect("operands are checked against the table first")
}

/// Lanes of the result; its slot in the table says that it has some.
fn result(c: &OpCheck) -> Lanes {
    let ty = c.ty(c.f.result(c.op));
    ty.lanes().expect("results are checked against the table first")
}

fn size((d, _): Lanes) -> usize {
    d.size()
}

fn bytes((d, lanes): Lanes) -> usize {
    d.size() * usize::from(lanes)
}

fn ints(a: Lanes, b: Lanes) -> bool {
    a.0.is_int() && b.0.is_int()
}

/// Reports constraint `id` unless `fits`, with all types of the op.
fn require_types(c: &mut OpCheck, id: &str, fits: bool) {
    let (f, op) = (c.f, c.op);
    let types = |values: &[Value]| {
        let all: Vec<String> = values.iter().map(|&v| crate::text::print_type(f.ty(v))).collect();
        all.join(", ")
    };
    let message = || format!("from ({}) to ({})", types(f.operands(op)), types(f.results(op)));
    c.require_id(id, fits, message);
}

#[derive(Clone, Copy, PartialEq)]
enum Family {
    Int,
    Float,
}

impl Family {
    fn has(self, (d, _): Lanes) -> bool {
        if self == Family::Int { d.is_int() } else { d.is_float() }
    }
}

fn arithmetic(c: &mut OpCheck, family: Family) {
    let y = result(c);
    let same = (0..c.operands().len()).all(|i| operand(c, i) == y);
    require_types(c, "lanes_c1", same);
    require_types(c, "lanes_c2", family.has(y));
}

fn shift(c: &mut OpCheck, n: u32) {
    arithmetic(c, Family::Int);
    let bits = 8 * size(result(c)) as u32;
    c.require_id("shift_c1", n < bits, || format!("a shift of {bits} bits by {n}"));
}

fn variable_shift(c: &mut OpCheck) {
    let (a, y) = (operand(c, 0), result(c));
    require_types(c, "lanes_c1", a == y);
    require_types(c, "lanes_c2", Family::Int.has(y));
    require_types(c, "shift_c2", Family::Int.has(operand(c, 1)));
}

/// The type of a comparison of such lanes.
fn mask((d, lanes): Lanes) -> Lanes {
    let elem = match d.size() {
        _ if lanes == 1 => DType::I8,
        1 => DType::I8,
        2 => DType::I16,
        4 => DType::I32,
        _ => DType::I64,
    };
    (elem, lanes)
}

fn select(c: &mut OpCheck) {
    let (p, a, y) = (operand(c, 0), operand(c, 1), result(c));
    require_types(c, "select_c1", a == y && operand(c, 2) == y);
    require_types(c, "select_c2", p == mask(a));
}

fn comparison(c: &mut OpCheck, family: Family) {
    let (a, b, y) = (operand(c, 0), operand(c, 1), result(c));
    let [same, fits] = match family {
        Family::Int => ["cmp_c1", "cmp_c2"],
        Family::Float => ["fcmp_c1", "fcmp_c2"],
    };
    require_types(c, same, a == b && family.has(a));
    require_types(c, fits, y == mask(a));
}

fn dot(c: &OpCheck, elem: DType, per_lane: usize) -> bool {
    let (acc, a, y) = (operand(c, 0), operand(c, 1), result(c));
    let lanes = usize::from(a.1) == per_lane * usize::from(y.1);
    y.0 == DType::I32 && acc == y && a.0 == elem && operand(c, 2) == a && lanes
}

fn iconst(c: &mut OpCheck, value: i64) {
    let (d, _) = result(c);
    let bits = 8 * d.size() as u32;
    let (low, high) = (-(1i128 << (bits - 1)), (1i128 << bits) - 1);
    let fits = d.is_int() && (low..=high).contains(&i128::from(value));
    c.require(1, fits, || format!("{value} as {d}"));
}

fn fconst(c: &mut OpCheck, value: f64) {
    let (d, _) = result(c);
    let exact = d == DType::F64 || value.is_nan() || f64::from(value as f32) == value;
    c.require(1, d.is_float() && exact, || format!("{value:?} as {d}"));
}

fn tile_dot(c: &mut OpCheck) {
    let tile = |v: Value| c.ty(v).as_tile().expect("checked against the table first");
    let [acc, a, b] = [0, 1, 2].map(|i| tile(c.operands()[i]));
    let y = tile(c.f.result(c.op));
    let message = || format!("{acc:?} + {a:?}·{b:?} to {y:?}");
    c.require(1, acc == y && (a.0, b.1) == acc, message);
    c.require(2, a.1 == 4 * b.0, message);
}

// ---- memory ----

fn scratch(c: &mut OpCheck) {
    let mem = c.ty(c.f.result(c.op)).as_mem().expect("checked against the table first");
    let once = c.f.op(c.op).parent() == Some(c.f.body) && c.f.kind == FuncKind::Kernel;
    let fits = mem.bytes > 0 && mem.slack == 0 && !mem.constant && once;
    c.require(1, fits, || "it has no bytes, slack, is const, or stands in a loop".to_string());
}

/// Constraints of an address whose buffer is operand `mem`.
fn strides(c: &mut OpCheck, strides: &[i64], mem: usize) {
    let (n, k) = (strides.len(), c.operands().len() - 1 - mem);
    c.require_id("address_c1", n == k, || format!("{n} strides for {k} loop variables"));
}

fn store(c: &mut OpCheck, all: &[i64]) {
    strides(c, all, 1);
    let constant = c.ty(c.operands()[1]).as_mem().is_some_and(|m| m.constant);
    c.require_id("address_c2", !constant, || "the buffer is const".to_string());
}

fn lookup(c: &mut OpCheck, op: &Lookup) {
    let (d, _) = operand(c, 1);
    let fits = d == DType::I32 && op.lo <= op.hi;
    c.require(1, fits, || format!("the index is {d}, from {} to {}", op.lo, op.hi));
    strides(c, &op.strides, 1);
}

// ---- loops and calls ----

fn for_loop(c: &mut OpCheck, op: &For) {
    c.require(1, op.step > 0, || format!("the step is {}", op.step));
    let (f, region) = (c.f, c.f.op(c.op).regions()[0]);
    let types = |values: &[Value]| values.iter().map(|&v| f.ty(v).clone()).collect::<Vec<Type>>();
    let inits = types(c.operands());
    let args = types(&f.region(region).args);
    let fits = args.split_first().is_some_and(|(v, rest)| *v == Type::Index && rest == inits);
    c.require(2, fits, || {
        "the region's arguments are not a loop variable and one value per init".to_string()
    });
    let results = types(f.results(c.op));
    let message = || "the results are not one value per init, of its type".to_string();
    c.require(3, results == inits, message);
}

fn yields(c: &mut OpCheck) {
    let f = c.f;
    let Some(region) = f.op(c.op).parent() else { return };
    let carried = f.region(region).args.get(1..).unwrap_or_default();
    let values = c.operands();
    let same = |(&a, &b): (&Value, &Value)| f.ty(a) == f.ty(b);
    let fits = values.len() == carried.len() && values.iter().zip(carried).all(same);
    let (n, k) = (values.len(), carried.len());
    c.require(1, fits, || {
        if n == k {
            "the values are not of the carried types".to_string()
        } else {
            format!("{n} values, the loop carries {k}")
        }
    });
}

fn call(c: &mut OpCheck, op: &Call) {
    let callee = c.m.func_named(&op.kernel).map(|id| &c.m.funcs[id]);
    let callee = callee.filter(|f| f.kind == FuncKind::Kernel);
    c.require(1, callee.is_some(), || format!("there is no kernel '@{}'", op.kernel));
    let in_main = c.f.kind == FuncKind::Main;
    c.require(1, in_main, || "kernels do not call kernels".to_string());
    task(c, op);
    let Some(kernel) = callee else { return };
    let (mems, n_params) = (c.operands(), kernel.params().len());
    let fits = mems.len() == n_params && op.offsets.len() == n_params;
    let message = || {
        let (n, k) = (mems.len(), op.offsets.len());
        format!("{n} buffers and {k} offsets for {n_params} parameters")
    };
    if !c.require(2, fits, message) {
        return;
    }
    for (i, (&param, &offset)) in kernel.params().iter().zip(&op.offsets).enumerate() {
        let buffer = c.ty(mems[i]).as_mem().expect("operands are checked against the table first");
        if let Some(mem) = kernel.ty(param).as_mem() {
            argument(c, (i, buffer, offset), mem);
            let writes = buffer.constant && !mem.constant && writes_to(kernel, param);
            c.require(5, !writes, || format!("buffer {i} is const, the kernel writes to it"));
        }
    }
}

/// Constraint 1 of an op that packs into `bytes` bytes.
fn packed(c: &mut OpCheck, bytes: Option<u64>) {
    let [from, to] = [c.operands()[0], c.f.result(c.op)].map(|v| {
        c.ty(v).as_mem().expect("operands and results are checked against the table first")
    });
    let constant = from.constant && to.constant && c.f.kind == FuncKind::Main;
    c.require(1, constant && bytes == Some(to.bytes), || {
        let bytes = bytes.map_or("too many".to_string(), |n| n.to_string());
        format!("{bytes} bytes packed, for a buffer of {}", to.bytes)
    });
}

/// Constraint 2: elements of `size` bytes at `first` + Σ index·strides are inside the operand.
fn weights(c: &mut OpCheck, first: u64, strides: &[u64], shape: &[u64], size: u64) {
    let w = c.ty(c.operands()[0]).as_mem().map_or(0, |m| m.bytes);
    let last = |(&n, &s): (&u64, &u64)| u128::from(n.saturating_sub(1)) * u128::from(s);
    let end = shape
        .iter()
        .zip(strides)
        .map(last)
        .fold(u128::from(first) + u128::from(size), |a, b| a.saturating_add(b));
    let fits = shape.contains(&0) || end <= u128::from(w);
    c.require(2, fits, || format!("the last weight ends at byte {end} of {w}"));
}

fn whole_vectors(vectors: u32, lanes: u32) -> bool {
    vectors > 0 && matches!(lanes, 4 | 8 | 16)
}

/// A task other than the first follows its predecessor; one other than the last has a successor.
fn task(c: &mut OpCheck, op: &Call) {
    if (op.task, op.tasks) == (0, 1) {
        return;
    }
    let (task, tasks) = (op.task, op.tasks);
    let region = c.f.op(c.op).parent().expect("an op that is checked stands in a region");
    let ops = &c.f.region(region).ops;
    let at = ops.iter().position(|&o| o == c.op).expect("an op stands in its parent region");
    let is_task = |at: Option<usize>, task: u32| {
        let kind = at.and_then(|i| ops.get(i)).map(|&o| c.f.kind(o));
        matches!(kind, Some(OpKind::Loop(Op::Call(other))) if (other.task, other.tasks) == (task, tasks))
    };
    let fits = task < tasks
        && (task == 0 || is_task(at.checked_sub(1), task - 1))
        && (task + 1 == tasks || is_task(Some(at + 1), task + 1));
    c.require(6, fits, || format!("task {task} of {tasks} stands alone"));
}

/// Constraints of buffer `i` from byte `offset` on, given for a parameter `mem`.
fn argument(c: &mut OpCheck, (i, buffer, offset): (usize, MemType, u64), mem: MemType) {
    let end = u128::from(offset) + u128::from(mem.bytes);
    let size = u128::from(buffer.bytes);
    let message = || format!("buffer {i}: the parameter ends at byte {end} of {size}");
    if c.require(3, end <= size, message) {
        let (end, size) = (end + u128::from(mem.slack), size + u128::from(buffer.slack));
        let message = || format!("buffer {i}: the slack ends at byte {end} of {size}");
        c.require(4, end <= size, message);
    }
}

/// Whether a kernel has a store to its parameter `param`.
fn writes_to(kernel: &Func, param: Value) -> bool {
    let is_store = |&op: &OpId| {
        let OpKind::Loop(kind) = kernel.kind(op) else { return false };
        let stores = matches!(kind, Op::Store(_) | Op::StoreLow(_) | Op::TileStore(_));
        stores && kernel.operands(op).get(1) == Some(&param)
    };
    kernel.walk().iter().any(is_store)
}

//! Constraints that no text can break; all others are tested by `tests/ir/verify`.

use qcc_ir::builder::{Addr, Builder};
use qcc_ir::dialect::{core, int, loops};
use qcc_ir::verify::verify;
use qcc_ir::{DType, Data, DataId, Func, FuncKind, Level, LocId, Module, Numerics, Type, Value};

fn module(level: Level) -> Module {
    Module::new("m", level, Numerics::TfLite)
}

fn tensor() -> Type {
    Type::tensor(&[4], DType::I8)
}

/// A function with one parameter that returns it.
fn identity(m: &mut Module) -> Builder<'_> {
    let mut b = Builder::add_func(m, "f", FuncKind::Main, &[tensor()]);
    let x = b.param(0);
    b.ret(&[x]);
    b
}

#[track_caller]
fn check(m: &Module, expected: &[&str]) {
    let errors = verify(m).err().unwrap_or_default();
    let found: Vec<&str> = errors.iter().map(|e| e.constraint.as_str()).collect();
    assert_eq!(found, expected, "{errors:#?}");
}

#[test]
fn data_names_are_unique() {
    let mut m = module(Level::Int);
    for _ in 0..2 {
        m.data.push(Data { name: "w".into(), bytes: vec![].into() });
    }
    check(&m, &["module_c2"]);
}

#[test]
fn data_exists() {
    let mut m = module(Level::Int);
    let mut b = Builder::add_func(&mut m, "f", FuncKind::Main, &[]);
    b.op1(core::Const { data: DataId::from_u32(7) }, &[], tensor());
    b.ret(&[]);
    check(&m, &["const_c1"]);
    assert!(qcc_ir::text::print(&m).contains("const @?"));
}

#[test]
fn sizes_have_a_limit() {
    let mut m = module(Level::Int);
    let huge = [u64::MAX, 0, u64::MAX];
    let mut b = Builder::add_func(&mut m, "f", FuncKind::Main, &[Type::tensor(&huge, DType::I8)]);
    let x = b.param(0);
    b.op1(int::Reshape {}, &[x], Type::tensor(&[u64::MAX, 9], DType::I8));
    b.ret(&[]);
    check(&m, &["type_c8", "type_c8"]);
}

#[test]
fn definitions_come_first() {
    let mut m = module(Level::Int);
    let mut b = identity(&mut m);
    b.before = b.f().body_ops().last().copied();
    let x = b.param(0);
    let first = b.op(int::Copy {}, &[x], &[tensor()]);
    let second = b.op(int::Copy {}, &[x], &[tensor()]);
    let later = b.f().result(second);
    b.f_mut().set_operand(first, 0, later);
    check(&m, &["op_c4"]);
}

#[test]
fn values_stay_in_their_region() {
    let mut m = module(Level::Loop);
    let mut b = Builder::add_func(&mut m, "k", FuncKind::Kernel, &[Type::mem(64, 0)]);
    let mem = b.param(0);
    let mut inner = None;
    b.for_loop(0, 4, 1, &[], |b, i, _| {
        inner = Some(b.load(Addr::new(mem, 0).plus(i, 4), Type::Scalar(DType::I32)));
        vec![]
    });
    b.store(inner.unwrap(), Addr::new(mem, 0));
    b.ret(&[]);
    check(&m, &["op_c4"]);
    assert!(qcc_ir::text::parse(&qcc_ir::text::print(&m), "printed").is_err());
}

#[test]
fn use_lists_are_exact() {
    let mut m = module(Level::Int);
    let mut b = identity(&mut m);
    let x = b.param(0);
    b.f_mut().create_op(int::Copy {}, &[x], &[tensor()], &[], LocId(0));
    check(&m, &["op_c8"]);
}

#[test]
fn ops_stand_at_one_place() {
    let mut m = module(Level::Int);
    let mut b = identity(&mut m);
    b.before = b.f().body_ops().last().copied();
    let x = b.param(0);
    let op = b.op(int::Copy {}, &[x], &[tensor()]);
    let body = b.region;
    b.f_mut().insert_at(body, 0, op);
    check(&m, &["op_c9"]);
}

#[test]
fn regions_belong_to_one_op() {
    let mut m = module(Level::Loop);
    let mut f = Func::new("k", FuncKind::Kernel, &[]);
    let region = f.add_region();
    let kind = loops::For { lo: 0, hi: 1, step: 1 };
    let op = f.create_op(kind, &[], &[], &[region], LocId(0));
    f.append(region, op); // inside itself
    let outer = f.create_op(loops::For { lo: 0, hi: 1, step: 1 }, &[], &[], &[region], LocId(0));
    f.append(f.body, outer);
    m.funcs.push(f);
    check(&m, &["op_c9"]);
}

#[test]
fn nesting_has_a_limit() {
    fn nest(b: &mut Builder, depth: usize) -> Vec<Value> {
        if depth > 0 {
            b.for_loop(0, 1, 1, &[], |b, _, _| nest(b, depth - 1));
        }
        vec![]
    }
    let build = |depth| {
        let mut m = module(Level::Loop);
        let mut b = Builder::add_func(&mut m, "k", FuncKind::Kernel, &[]);
        nest(&mut b, depth);
        b.ret(&[]);
        m
    };
    let deep = build(63);
    check(&deep, &[]);
    assert!(qcc_ir::text::parse(&qcc_ir::text::print(&deep), "printed").is_ok());
    check(&build(64), &["op_c6"]);
}

#[test]
fn kernels_may_take_const_buffers_they_do_not_write() {
    let mut m = module(Level::Loop);
    for (name, writes) in [("reads", false), ("writes", true)] {
        let mut b = Builder::add_func(&mut m, name, FuncKind::Kernel, &[Type::mem(4, 0)]);
        let x = b.param(0);
        let v = b.load(Addr::new(x, 0), Type::Scalar(DType::I32));
        if writes {
            b.store(v, Addr::new(x, 0));
        }
        b.ret(&[]);
    }
    let mut b = Builder::add_func(&mut m, "main", FuncKind::Main, &[Type::const_mem(4, 0)]);
    let x = b.param(0);
    for kernel in ["reads", "writes"] {
        b.op(loops::Call { kernel: kernel.into(), offsets: vec![0], task: 0, tasks: 1 }, &[x], &[]);
    }
    b.ret(&[]);
    check(&m, &["call_c5"]);
}

//! The text form: printing is a fixpoint of parsing, for every op of every table.

use qcc_ir::dialect::{Arity, AttrSpec, Is, OpSpec, Slot};
use qcc_ir::text::{parse, print};
use qcc_ir::{Affine, Attr, DType, DataId, Func, FuncKind, Level, LocId, Module, Numerics};
use qcc_ir::{Loc, OpKind, QuantType, TensorType, Type, Value};
use std::sync::Arc;

fn type_for(is: Is) -> Type {
    match is {
        Is::Tensor => Type::tensor(&[], DType::F64),
        Is::FloatTensor => Type::tensor(&[1, 4], DType::F32),
        Is::QuantTensor => {
            let params = vec![Affine::new(0.1, 0), Affine::new(1e-30, -3)];
            TensorType::quant(&[1, 2], Arc::new(QuantType::per_axis(DType::I8, 1, params))).into()
        }
        Is::IntTensor => Type::tensor(&[1, 0, 3], DType::I16),
        Is::Mem => Type::mem(256, 64),
        Is::Index => Type::Index,
        Is::Scalar => Type::Scalar(DType::I32),
        Is::Vector | Is::Lanes | Is::Carried => Type::v128(DType::I8),
        Is::Tile => Type::tile(16, 64),
        Is::Any => Type::const_mem(16, 0),
    }
}

/// A value that differs from the attribute's default. Tables do not say how long a list without one
/// is: tiles have two extents, all others `dims`.
fn attr_for(spec: &AttrSpec, data: DataId, dims: usize) -> Attr {
    let without = if ["panel", "block"].contains(&spec.name) { 2 } else { dims };
    let count = spec.default.map_or(without, |d| d.split(',').count());
    match spec.ty {
        "bool" => Attr::Bool(true),
        "f32" => Attr::Float(f64::from(0.3f32)),
        "f64" => Attr::Float(1.0 / 3.0),
        "string" => Attr::Str("a \"quoted\"\\\n\u{1}é".to_string()),
        "@data" => Attr::Data(data),
        "dtype" => Attr::Word("i16".to_string()),
        "kernel" => Attr::Str("blocks 512 2x4 of 3".to_string()),
        "forms" => Attr::Str("relu_fma:64 exact:96".to_string()),
        "epilogue" => Attr::Str(
            "int.add_float(conv, residual) a_scale=0.5 b_scale=-2.0 offset=1e-7 lo=0 hi=9"
                .to_string(),
        ),
        t if t.ends_with("; N]") => Attr::Ints((0..count as i64).map(|i| i + 7).collect()),
        t if t.starts_with('[') => Attr::Ints(vec![3, 5]),
        t if ["i32", "i64", "u32", "u64"].contains(&t) => Attr::Int(6),
        words => Attr::Word(words.split(' ').rfind(|w| !w.is_empty()).unwrap().to_string()),
    }
}

struct Gen {
    m: Module,
    f: Func,
    count: usize,
}

impl Gen {
    fn values(&mut self, slots: &[Slot], many: usize) -> Vec<Type> {
        let mut out = Vec::new();
        for slot in slots {
            let n = if slot.arity == Arity::Many { many } else { 1 };
            out.extend(std::iter::repeat_n(type_for(slot.is), n));
        }
        out
    }

    fn op(&mut self, spec: &OpSpec, many: usize, loc: LocId) {
        let data = self.m.data.keys().next().unwrap();
        let made = |dims| {
            let attr = |a: &AttrSpec| (a.name.to_string(), attr_for(a, data, dims));
            OpKind::from_attrs(spec.name, spec.attrs.iter().map(attr).collect())
        };
        let kind = made(2).or_else(|_| made(3)).or_else(|_| made(4)).unwrap();
        let operand_types = self.values(spec.operands, many);
        let results = self.values(spec.results, many);
        let operands: Vec<Value> =
            operand_types.into_iter().map(|ty| self.f.add_arg(self.f.body, ty)).collect();
        let op = self.f.push_op(self.f.body, kind, &operands, &results, loc);
        for v in self.f.results(op).to_vec() {
            self.count += 1;
            match self.count % 3 {
                0 => self.f.set_name(v, "same"),
                1 => self.f.set_name(v, &format!("n{}", self.count)),
                _ => self.f.set_name(v, "Conv/0"),
            }
        }
    }
}

fn every_op() -> Module {
    let mut m = Module::new("every op", Level::Quant, Numerics::TfLite);
    m.add_data("empty", vec![]);
    m.add_data("w0", (0..=255u8).collect::<Vec<_>>());
    let a = m.locs.node("a/b \"c\"", Some(12));
    let b = m.locs.node("", None);
    let fused = m.locs.fused("fuse", &[a, b]);
    let nested = m.locs.fused("again", &[fused, a]);
    let f = Func::new("main", FuncKind::Main, &[]);
    let mut g = Gen { m, f, count: 0 };
    g.f.input_names = vec!["in 1".into(), "in2".into()];
    g.f.output_names = vec!["out".into()];
    for spec in OpKind::all_specs() {
        for (many, loc) in [(0, LocId(0)), (2, a), (3, nested)] {
            g.op(spec, many, loc);
        }
    }
    g.m.funcs.push(g.f);
    g.m.funcs.push(Func::new("k", FuncKind::Kernel, &[Type::mem(1, 0)]));
    g.m
}

#[track_caller]
fn check_roundtrip(m: &Module) -> Module {
    let text = print(m);
    let parsed = parse(&text, "printed").unwrap_or_else(|e| panic!("{text}\n{e:#?}"));
    let again = print(&parsed);
    assert_eq!(text, again);
    parsed
}

#[test]
fn every_op_prints_and_parses() {
    let m = every_op();
    let parsed = check_roundtrip(&m);
    let kinds = |m: &Module| -> Vec<OpKind> {
        let f = m.funcs.values().next().unwrap();
        f.walk().into_iter().map(|op| f.kind(op).clone()).collect()
    };
    assert_eq!(kinds(&m), kinds(&parsed));
    let types = |m: &Module| -> Vec<Type> {
        let f = m.funcs.values().next().unwrap();
        let results = f.walk().into_iter().flat_map(|op| f.results(op).to_vec());
        results.map(|v| f.ty(v).clone()).collect()
    };
    assert_eq!(types(&m), types(&parsed));
    assert_eq!(m.data, parsed.data);
    let f = parsed.funcs.values().next().unwrap();
    let last = *f.body_ops().last().unwrap();
    let Loc::Fused { pass, from } = parsed.locs.get(f.op(last).loc) else { panic!() };
    assert_eq!((pass.as_str(), from.len()), ("again", 2));
}

#[test]
fn text_form_of_architecture_md_parses() {
    let text = r#"
!x = !quant.uniform<i8:f32, 0.0078125:-1>
!y = !quant.uniform<i8:f32, 0.0235>
!w = !quant.uniform<i8<-127:127>:f32:0, {0.02:0, 0.013:0}>
module @stem level(quant) numerics(tflite) {
  func @main(%image: tensor<1x8x8x3x!x>) -> tensor<1x4x4x2x!y> {
    %w = const @w0 : tensor<2x3x3x3x!w>
    %b = const @b0 : tensor<2xi32>
    %y = quant.conv2d(%image, %w, %b) {stride=[2,2], pad=[0,1,0,1], act=relu6} : tensor<1x4x4x2x!y> loc("Conv2d_0/Relu6")
    return %y
  }
}
data @w0 = hex"00 01"
data @b0 = hex""
"#;
    check_roundtrip(&parse(text, "a").unwrap());
}

#[test]
fn loops_and_addresses_round_trip() {
    let text = r#"module @k level(loop) numerics(tflite) {
  kernel @k(%x: mem<25088, slack=64>, %w: mem<36864, const>) {
    %i = loop.iconst() {value = -9223372036854775808} : i32
    loop.for %m = 0 to 32 {
      %a, %b = loop.for %k = -4 to 48 step 4 carry(%p = %i, %q = %i) : i32, i32 {
        %v = loop.load %w[%m*12288 + %k + 16] : vec<i8x16>
        %0 = loop.load_splat32 %w[%k*-4 - 16] : vec<i8x64>
        loop.store %v, %x[0]
        loop.store_low %v, %x[%m*9223372036854775807 - 9223372036854775808] {bytes = 4}
        loop.yield %q, %p
      } loc("loop" #0)
      loop.store %a, %x[%m]
      loop.yield
    }
    loop.for(%i) {lo = 0, hi = 3} region(%odd: i32) {
    } : vec<i8x16>
    loop.load(%x, %i) : i32
    return
  }
}
"#;
    // The last two ops are not well formed, and print in the general spelling.
    let text = text.replace("loop.for(%i)", "%1 = loop.for(%i)");
    let text = text.replace("loop.load(%x, %i)", "%2 = loop.load(%x, %i)");
    assert_eq!(print(&parse(&text, "a").unwrap()), text);
}

#[test]
fn layouts_scales_and_names_round_trip() {
    let text = r#"!q0 = !quant.uniform<u8<1:200>:f32, 1e-45:7>
!q1 = !quant.uniform<i8:f32:3, {}>
!q2 = !quant.uniform<i32:f32, inf:0>

module @"a b" level(int) numerics(real) {
  func @"1"(%x: tensor<1x4x!q0, arena+4096:[16, 1]>, %0: tensor<!q1, in0+0:[]>, %1: tensor<0x!q2, out12+1:[1]>) inputs("x", "") {
  }

  func @f(%x: tensor<f32>) -> (tensor<f32>, tensor<f32>) {
    return %x, %x
  }
}
"#;
    assert_eq!(print(&parse(text, "a").unwrap()), text);
}

#[test]
fn large_weights_are_fast() {
    let mut m = Module::new("big", Level::Int, Numerics::TfLite);
    m.add_data("w", (0..3_500_000u32).map(|i| (i * 7) as u8).collect::<Vec<_>>());
    let start = std::time::Instant::now();
    let text = print(&m);
    let printed = start.elapsed();
    let parsed = parse(&text, "big").unwrap();
    eprintln!("{} bytes: print {printed:?}, both {:?}", text.len(), start.elapsed());
    assert_eq!(m.data, parsed.data);
}

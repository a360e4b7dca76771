//! Random kernels with wide vectors compute what the reference interpreter computes: nested loops
//! with carried values, live values up to and beyond the number of registers.
//!
//! `QCC_RANDOM_KERNELS=n` sets how many are made per CPU level and width.

mod common;

use common::*;
use qcc_codegen::emitters::Choice;
use qcc_runtime::cpu::{CpuLevel, levels_of_host};
use std::fmt::Write;

/// Bytes of the input and of the output.
const X: usize = 4096;
const Y: usize = 16384;

/// Xorshift: the same kernels every time.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 8) as usize % n
    }
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// A value and its type.
#[derive(Clone, Debug)]
struct Val {
    name: String,
    ty: String,
}

struct Generator {
    rng: Rng,
    width: usize,
    /// Most vectors kept alive.
    limit: usize,
    text: String,
    vectors: Vec<Val>,
    scalars: Vec<Val>,
    /// Loop variables in scope; all count from 0 to less than 4.
    vars: Vec<String>,
    names: usize,
    stores: usize,
}

const ELEMS: [(&str, usize); 4] = [("i8", 1), ("i16", 2), ("i32", 4), ("i64", 8)];
const BINARY: [&str; 10] =
    ["add", "sub", "mul", "and", "or", "xor", "min_s", "max_s", "min_u", "max_u"];
const PREDS: [&str; 7] = ["eq", "ne", "lt", "le", "gt", "ge", "ult"];

impl Generator {
    fn new(seed: u64, width: usize, limit: usize) -> Generator {
        Generator {
            rng: Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            width,
            limit,
            text: String::new(),
            vectors: vec![],
            scalars: vec![],
            vars: vec![],
            names: 0,
            stores: 0,
        }
    }

    fn module(mut self) -> String {
        for _ in 0..3 {
            self.load_vector();
            self.scalar();
        }
        self.ops(14, 0);
        self.store_all();
        format!(
            "module @m level(loop) numerics(tflite) {{\n  \
             kernel @k(%x: mem<{X}, slack=64>, %y: mem<{Y}>) {{\n{}    return\n  }}\n  \
             func @main(%a: mem<0, slack=64>, %x: mem<{X}, slack=64>, %y: mem<{Y}>) \
             inputs(\"x\") outputs(\"y\") {{\n    \
             loop.call(%x, %y) {{kernel = \"k\", offsets = [0, 0]}}\n    return\n  }}\n}}\n",
            self.text
        )
    }

    fn vector(&self, elem: (&str, usize)) -> String {
        format!("vec<{}x{}>", elem.0, self.width / elem.1)
    }
    fn elem(&mut self) -> (&'static str, usize) {
        ELEMS[self.rng.below(4)]
    }
    fn fresh(&mut self) -> String {
        self.names += 1;
        format!("%v{}", self.names)
    }
    /// Appends `name = op : ty`.
    fn define(&mut self, op: &str, ty: &str) -> Val {
        let name = self.fresh();
        writeln!(self.text, "    {name} = {op} : {ty}").expect("a string");
        Val { name, ty: ty.to_string() }
    }
    /// A live vector as `ty`.
    fn use_vector(&mut self, ty: &str) -> String {
        let v = self.vectors[self.rng.below(self.vectors.len())].clone();
        if v.ty == ty {
            return v.name;
        }
        self.define(&format!("loop.bitcast({})", v.name), ty).name
    }
    fn use_scalar(&mut self) -> Val {
        self.scalars[self.rng.below(self.scalars.len())].clone()
    }
    /// A live scalar as i32.
    fn use_i32(&mut self) -> String {
        let v = self.use_scalar();
        match v.ty.as_str() {
            "i32" => v.name,
            "i64" => self.define(&format!("loop.trunc({})", v.name), "i32").name,
            _ => {
                let ext = self.rng.pick(&["ext_s", "ext_u"]);
                self.define(&format!("loop.{ext}({})", v.name), "i32").name
            }
        }
    }
    fn push(&mut self, v: Val) {
        if self.vectors.len() >= self.limit {
            let at = self.rng.below(self.vectors.len());
            self.vectors.swap_remove(at);
        }
        self.vectors.push(v);
    }
    fn push_scalar(&mut self, v: Val) {
        if self.scalars.len() >= 4 {
            let at = self.rng.below(self.scalars.len());
            self.scalars.swap_remove(at);
        }
        self.scalars.push(v);
    }

    /// `%x[Σ var·stride + offset]` inside of the input.
    fn address(&mut self) -> String {
        let mut out = String::from("%x[");
        for var in self.vars.clone() {
            if self.rng.below(2) == 0 {
                let stride = self.rng.below(200) as i64 - 80;
                write!(out, "{var}*{stride} + ").expect("a string");
            }
        }
        write!(out, "{}]", 1500 + self.rng.below(1500)).expect("a string");
        out
    }

    fn load_vector(&mut self) {
        let elem = self.elem();
        let ty = self.vector(elem);
        let op = match (elem.1, self.rng.below(4)) {
            (1, 0) => "load_splat32",
            (1, 1) => "load_low64",
            _ => "load",
        };
        let at = self.address();
        let v = self.define(&format!("loop.{op} {at}"), &ty);
        self.push(v);
    }

    fn ops(&mut self, n: usize, depth: usize) {
        for _ in 0..n {
            match self.rng.below(14) {
                0 | 1 if depth < 3 => self.for_loop(depth),
                0..=2 => self.load_vector(),
                3 => self.scalar(),
                4 => self.constant(),
                5 => self.store_one(),
                _ => self.vector_op(),
            }
        }
    }

    fn constant(&mut self) {
        let elem = self.elem();
        let ty = self.vector(elem);
        let value = [0, 1, -1, 100, -128, 77][self.rng.below(6)];
        let v = self.define(&format!("loop.iconst() {{value = {value}}}"), &ty);
        self.push(v);
    }

    fn scalar(&mut self) {
        let v = match self.rng.below(if self.scalars.is_empty() { 1 } else { 8 }) {
            0 => {
                let ty = self.elem().0;
                let at = self.address();
                self.define(&format!("loop.load {at}"), ty)
            }
            1 => {
                let elem = self.elem();
                let ty = self.vector(elem);
                let from = self.use_vector(&ty);
                let lane = self.rng.below(self.width / elem.1);
                self.define(&format!("loop.extract({from}) {{lane = {lane}}}"), elem.0)
            }
            2 if !self.vars.is_empty() => {
                let at = self.rng.below(self.vars.len());
                let var = self.vars[at].clone();
                self.define(&format!("loop.index_cast({var})"), "i32")
            }
            3 => {
                let (a, b) = (self.use_i32(), self.use_i32());
                let pred = self.rng.pick(&PREDS);
                let p = self.define(&format!("loop.cmp({a}, {b}) {{pred = {pred}}}"), "i8").name;
                self.define(&format!("loop.select({p}, {b}, {a})"), "i32")
            }
            4 => {
                let a = self.use_i32();
                let by = [3, -7, 100, 1 << 30, -1][self.rng.below(5)];
                self.define(&format!("loop.div_s({a}) {{by = {by}}}"), "i32")
            }
            5 => {
                let (a, n) = (self.use_i32(), self.use_scalar().name);
                let op = self.rng.pick(&["shl_var", "shr_s_var"]);
                self.define(&format!("loop.{op}({a}, {n})"), "i32")
            }
            6 => {
                let a = self.use_scalar();
                let op = self.rng.pick(&["shl", "shr_s", "shr_u"]);
                let n = self.rng.below(8);
                self.define(&format!("loop.{op}({}) {{n = {n}}}", a.name), &a.ty)
            }
            _ => {
                let (a, b) = (self.use_i32(), self.use_i32());
                let op = self.rng.pick(&BINARY);
                self.define(&format!("loop.{op}({a}, {b})"), "i32")
            }
        };
        self.push_scalar(v);
    }

    fn vector_op(&mut self) {
        let elem = self.elem();
        let ty = self.vector(elem);
        let words = self.vector(ELEMS[2]);
        let v = match self.rng.below(13) {
            0 => {
                let n = self.rng.below(8 * elem.1);
                let op = self.rng.pick(&["shl", "shr_s", "shr_u"]);
                let a = self.use_vector(&ty);
                self.define(&format!("loop.{op}({a}) {{n = {n}}}"), &ty)
            }
            1 => {
                let (a, b) = (self.use_vector(&ty), self.use_vector(&ty));
                let pred = self.rng.pick(&PREDS);
                let p = self.define(&format!("loop.cmp({a}, {b}) {{pred = {pred}}}"), &ty).name;
                let mut v = self.define(&format!("loop.select({p}, {a}, {b})"), &ty);
                if self.rng.below(2) == 0 {
                    v = self.define(&format!("loop.select({p}, {}, {a})", v.name), &ty);
                }
                if self.rng.below(4) == 0 {
                    v = self.define(&format!("loop.xor({p}, {})", v.name), &ty);
                }
                v
            }
            2 => {
                let bytes = self.vector(ELEMS[0]);
                let acc = self.use_vector(&words);
                let (a, b) = (self.use_vector(&bytes), self.use_vector(&bytes));
                let signs = self.rng.pick(&["u8s8", "u8s8", "s8s8"]);
                self.define(&format!("loop.dot4({acc}, {a}, {b}) {{signs = {signs}}}"), &words)
            }
            3 => {
                let halves = self.vector(ELEMS[1]);
                let acc = self.use_vector(&words);
                let (a, b) = (self.use_vector(&halves), self.use_vector(&halves));
                match self.rng.below(3) {
                    0 => {
                        let bytes = self.vector(ELEMS[0]);
                        let (a, b) = (self.use_vector(&bytes), self.use_vector(&bytes));
                        self.define(&format!("loop.dot2_sat({a}, {b})"), &halves)
                    }
                    _ => self.define(&format!("loop.dot2({acc}, {a}, {b})"), &words),
                }
            }
            4 => {
                let from = self.rng.below(3);
                let (from, to) = (self.vector(ELEMS[from]), self.vector(ELEMS[from + 1]));
                let a = self.use_vector(&from);
                let op = self.rng.pick(&["low_s", "low_u", "high_s", "high_u"]);
                self.define(&format!("loop.widen_{op}({a})"), &to)
            }
            5 => {
                let from = 1 + self.rng.below(2);
                let (from, to) = (self.vector(ELEMS[from]), self.vector(ELEMS[from - 1]));
                let (a, b) = (self.use_vector(&from), self.use_vector(&from));
                let op = self.rng.pick(&["pack_s", "pack_u"]);
                self.define(&format!("loop.{op}({a}, {b})"), &to)
            }
            6 => {
                let (a, b) = (self.use_vector(&ty), self.use_vector(&ty));
                let mask: Vec<usize> = (0..16).map(|_| self.rng.below(32)).collect();
                self.define(&format!("loop.shuffle({a}, {b}) {{mask = {mask:?}}}"), &ty)
            }
            7 => {
                let s = self.use_i32();
                self.define(&format!("loop.splat({s})"), &words)
            }
            8 => self.floats(&words),
            9 => {
                let (a, b) = (self.use_vector(&ty), self.use_vector(&ty));
                let op = self.rng.pick(&["unpack_low", "unpack_high"]);
                self.define(&format!("loop.{op}({a}, {b})"), &ty)
            }
            _ => {
                let (a, b) = (self.use_vector(&ty), self.use_vector(&ty));
                let op = self.rng.pick(&BINARY);
                self.define(&format!("loop.{op}({a}, {b})"), &ty)
            }
        };
        self.push(v);
    }

    /// Finite floats only: which NaN comes out is the machine's choice.
    fn floats(&mut self, words: &str) -> Val {
        let f32s = self.vector(("f32", 4));
        let mut args = vec![];
        for _ in 0..3 {
            let a = self.use_vector(words);
            args.push(self.define(&format!("loop.int_to_float({a})"), &f32s).name);
        }
        let magic = self.define("loop.fconst() {value = 1.5}", &f32s).name;
        if self.rng.below(2) == 0 {
            let at = self.rng.below(3);
            args[at] = magic;
        }
        let (a, b, c) = (&args[0], &args[1], &args[2]);
        let op = match self.rng.below(3) {
            0 => format!("loop.fma({a}, {b}, {c})"),
            1 => format!("loop.fmul({a}, {b})"),
            _ => format!("loop.fsub({a}, {c})"),
        };
        let y = self.define(&op, &f32s).name;
        self.define(&format!("loop.bitcast({y})"), words)
    }

    fn for_loop(&mut self, depth: usize) {
        let outer = (self.vectors.clone(), self.scalars.clone());
        let trips = 1 + self.rng.below(4);
        let n = self.rng.below(5).min(self.vectors.len());
        let mut inits = vec![];
        for _ in 0..n {
            let scalar = self.rng.below(4) == 0;
            let from = if scalar { &self.scalars } else { &self.vectors };
            let at = self.rng.below(from.len());
            let from = if scalar { &self.scalars } else { &self.vectors };
            inits.push(from[at].clone());
        }
        let var = self.fresh();
        let list = |items: Vec<String>| items.join(", ");
        let args: Vec<Val> =
            inits.iter().map(|v| Val { name: self.fresh(), ty: v.ty.clone() }).collect();
        let results: Vec<Val> =
            inits.iter().map(|v| Val { name: self.fresh(), ty: v.ty.clone() }).collect();
        let mut head = String::from("    ");
        if n > 0 {
            let names = list(results.iter().map(|r| r.name.clone()).collect());
            write!(head, "{names} = ").expect("a string");
        }
        write!(head, "loop.for {var} = 0 to {trips}").expect("a string");
        if n > 0 {
            let pair = |(a, i): (&Val, &Val)| format!("{} = {}", a.name, i.name);
            let carried = list(args.iter().zip(&inits).map(pair).collect());
            let types = list(args.iter().map(|a| a.ty.clone()).collect());
            write!(head, " carry({carried}) : {types}").expect("a string");
        }
        writeln!(self.text, "{head} {{").expect("a string");
        self.vars.push(var);
        for a in &args {
            if a.ty.starts_with("vec") { self.push(a.clone()) } else { self.push_scalar(a.clone()) }
        }
        let n_ops = 2 + self.rng.below(8);
        self.ops(n_ops, depth + 1);
        let next: Vec<String> = args.iter().map(|a| self.yielded(a)).collect();
        self.vars.pop();
        let next = if n > 0 { format!(" {}", next.join(", ")) } else { String::new() };
        writeln!(self.text, "    loop.yield{next}\n    }}").expect("a string");
        (self.vectors, self.scalars) = outer;
        for r in results {
            if r.ty.starts_with("vec") { self.push(r) } else { self.push_scalar(r) }
        }
    }

    /// A value of the type of a carried one: often made from it, sometimes another one.
    fn yielded(&mut self, arg: &Val) -> String {
        if !arg.ty.starts_with("vec") {
            let same: Vec<String> =
                self.scalars.iter().filter(|v| v.ty == arg.ty).map(|v| v.name.clone()).collect();
            return match self.rng.below(3) {
                0 if !same.is_empty() => same[self.rng.below(same.len())].clone(),
                _ => {
                    let op = format!("loop.add({}, {})", arg.name, arg.name);
                    self.define(&op, &arg.ty.clone()).name
                }
            };
        }
        let other = self.use_vector(&arg.ty.clone());
        match self.rng.below(3) {
            0 => other,
            _ => self.define(&format!("loop.add({}, {other})", arg.name), &arg.ty.clone()).name,
        }
    }

    fn store_one(&mut self) {
        let at = self.rng.below(self.vectors.len());
        let v = self.vectors[at].clone();
        let to = Y - 4 * self.width - self.rng.below(64);
        writeln!(self.text, "    loop.store {}, %y[{to}]", v.name).expect("a string");
    }

    fn store_all(&mut self) {
        for v in self.vectors.clone().into_iter().chain(self.scalars.clone()) {
            let to = self.stores * self.width;
            self.stores += 1;
            writeln!(self.text, "    loop.store {}, %y[{to}]", v.name).expect("a string");
        }
    }
}

fn check(cpu: CpuLevel, width: usize, registers: usize) {
    let n = std::env::var("QCC_RANDOM_KERNELS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let x: Vec<u8> = (0..X as u64).map(|i| (i.wrapping_mul(0x9E37_79B9) >> 13) as u8).collect();
    let mut too_many = 0;
    for seed in 0..n {
        let limit = 4 + seed as usize % registers;
        let source = Generator::new(seed + 1, width, limit).module();
        let m = module(&source);
        let expected = interpret(&m, &x);
        let found = match run_jit_choosing(&m, cpu, Choice::WideFirst, (&x, Y)) {
            Ok(found) => found,
            Err(e) => {
                let text = e.to_string();
                assert!(text.contains("are needed at once"), "seed {seed}: {text}");
                too_many += 1;
                continue;
            }
        };
        let same =
            |i: &usize| found[*i] == expected[*i] || (expected[*i], found[*i]) == (0xA5, 0xEE);
        let differ = (0..Y).find(|i| !same(i));
        assert_eq!(differ, None, "{cpu}, {} bits, seed {seed}:\n{source}", 8 * width);
    }
    println!("{cpu}, {} bits: {n} kernels, {too_many} beyond the registers", 8 * width);
    assert!(too_many * 2 <= n, "{too_many} of {n} kernels need too many registers");
}

#[test]
fn random_kernels() {
    let levels = [
        (CpuLevel::X86V3, 16, 16),
        (CpuLevel::X86V3, 32, 16),
        (CpuLevel::X86AvxVnni, 32, 16),
        (CpuLevel::X86V4, 64, 32),
        (CpuLevel::X86Avx512Vnni, 16, 32),
        (CpuLevel::X86Avx512Vnni, 32, 32),
        (CpuLevel::X86Avx512Vnni, 64, 32),
    ];
    let here = levels_of_host();
    for (cpu, width, registers) in levels {
        if here.contains(&cpu) {
            check(cpu, width, registers - 6);
        } else {
            println!("SKIPPED: this machine has no {cpu}");
        }
    }
}

//! One kernel per lane op and type, over rows of operands, special values among them, with
//! vectors of 128, 256 or 512 bits.

use std::fmt::Write;

/// Rows of operands per kernel.
pub const ROWS: usize = 64;
/// Operands per row, of `width` bytes each.
const OPERANDS: usize = 3;
/// Bytes of the rows of one [`Fill`].
const fn section(width: usize) -> usize {
    ROWS * OPERANDS * width
}

/// What operands are filled with; each has a section of the input.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fill {
    /// Any bits.
    Bits,
    /// f32 that make no NaN in `+ − · /`.
    F32,
    /// f64 that make no NaN.
    F64,
    /// f32 that are not negative: a root of those is a NaN, whose sign machines choose.
    RootF32,
    /// f64 that are not negative.
    RootF64,
    /// f32 with infinities, NaN, ties, ends of the integer ranges.
    AnyF32,
    /// f64, likewise.
    AnyF64,
}

const FILLS: [Fill; 7] =
    [Fill::Bits, Fill::F32, Fill::F64, Fill::RootF32, Fill::RootF64, Fill::AnyF32, Fill::AnyF64];

/// An op: `result = op(operands)`.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name, attributes: `loop.shl` and `{n = 3}`.
    pub op: String,
    pub attrs: String,
    pub operands: Vec<String>,
    pub result: String,
    pub fill: Fill,
}

impl Case {
    fn fill_for(ty: &str) -> Fill {
        match (ty.contains("f32"), ty.contains("f64")) {
            (true, _) => Fill::F32,
            (_, true) => Fill::F64,
            _ => Fill::Bits,
        }
    }
}

const INTS: [&str; 4] = ["i8", "i16", "i32", "i64"];

/// The vector types of `width` bytes, by name.
struct Vectors {
    ints: [String; 4],
    f32: String,
    f64: String,
}

impl Vectors {
    fn of(width: usize) -> Vectors {
        let named = |elem: &str| format!("vec<{elem}x{}>", 8 * width / bits(elem) as usize);
        Vectors { ints: INTS.map(named), f32: named("f32"), f64: named("f64") }
    }
    fn ints(&self) -> [&str; 4] {
        [0, 1, 2, 3].map(|i| self.ints[i].as_str())
    }
    /// Scalars, then vectors.
    fn floats(&self) -> [&str; 4] {
        ["f32", "f64", &self.f32, &self.f64]
    }
}

fn bits(ty: &str) -> u32 {
    let digits = |s: &str| s.chars().take_while(char::is_ascii_digit).collect::<String>();
    let at = ty.find(['i', 'f']).expect("an element type");
    digits(&ty[at + 1..]).parse().expect("a width")
}

/// The type of a comparison of `ty`.
fn mask_of(ty: &str) -> String {
    if ty.starts_with("vec") { ty.replace('f', "i") } else { "i8".into() }
}

/// Every pure lane op of the dialect at every type it has, vectors being of `width` bytes; with
/// `fma`, also that one.
pub fn cases(fma: bool, width: usize) -> Vec<Case> {
    let vectors = Vectors::of(width);
    let (int_vectors, floats) = (vectors.ints(), vectors.floats());
    let mut all = vec![];
    let mut add = |op: &str, attrs: &str, operands: &[&str], result: &str| {
        all.push(Case {
            op: format!("loop.{op}"),
            attrs: attrs.into(),
            operands: operands.iter().map(|s| s.to_string()).collect(),
            result: result.into(),
            fill: Case::fill_for(operands.first().unwrap_or(&"")),
        });
    };
    for ty in INTS.iter().chain(&int_vectors) {
        for op in ["add", "sub", "mul", "and", "or", "xor", "min_s", "max_s", "min_u", "max_u"] {
            add(op, "", &[ty, ty], ty);
        }
        for op in ["shl", "shr_s", "shr_u"] {
            for n in [0, 1, bits(ty) / 2 + 1, bits(ty) - 1] {
                add(op, &format!("{{n = {n}}}"), &[ty], ty);
            }
        }
        let mask = mask_of(ty);
        for pred in ["eq", "ne", "lt", "le", "gt", "ge", "ult"] {
            add("cmp", &format!("{{pred = {pred}}}"), &[ty, ty], &mask);
        }
        for value in [0, -1, 1, 37, i64::MIN >> (64 - bits(ty)), i64::from(u8::MAX)] {
            add("iconst", &format!("{{value = {value}}}"), &[], ty);
        }
    }
    for ty in INTS {
        add("clz", "", &[ty], ty);
        for by in [1, -1, 2, 3, -7, 49, 64, 127, -128] {
            add("div_s", &format!("{{by = {by}}}"), &[ty], ty);
        }
        for amount in INTS {
            add("shl_var", "", &[ty, amount], ty);
            add("shr_s_var", "", &[ty, amount], ty);
            if bits(amount) < bits(ty) {
                add("ext_s", "", &[amount], ty);
                add("ext_u", "", &[amount], ty);
                add("trunc", "", &[ty], amount);
            }
        }
        add("select", "", &["i8", ty, ty], ty);
    }
    for (scalar, vector) in
        INTS.iter().zip(int_vectors).chain(floats.iter().zip(&floats[2..]).map(|(a, b)| (a, *b)))
    {
        add("splat", "", &[scalar], vector);
        let lanes = 8 * width as u32 / bits(scalar);
        for lane in [0, lanes / 2, lanes - 1] {
            add("extract", &format!("{{lane = {lane}}}"), &[vector], scalar);
        }
        add("unpack_low", "", &[vector, vector], vector);
        add("unpack_high", "", &[vector, vector], vector);
        for other in int_vectors.iter().chain(&floats[2..]) {
            add("bitcast", "", &[vector], other);
        }
    }
    for (a, b) in [("i32", "f32"), ("f32", "i32"), ("i64", "f64"), ("f64", "i64"), ("f32", "f32")] {
        add("bitcast", "", &[a], b);
    }
    for ty in floats {
        for op in ["fadd", "fsub", "fmul", "fdiv"] {
            add(op, "", &[ty, ty], ty);
        }
        if fma {
            add("fma", "", &[ty, ty, ty], ty);
        }
        for value in ["0.0", "-0.0", "1.5", "-3.0e3"] {
            add("fconst", &format!("{{value = {value}}}"), &[], ty);
        }
    }
    for from in ["i32", "i64"] {
        add("int_to_float", "", &[from], "f32");
        add("int_to_float", "", &[from], "f64");
    }
    add("int_to_float", "", &[int_vectors[2]], &vectors.f32);
    add("truncate", "", &[&vectors.f32], int_vectors[2]);
    add("int_to_float_low", "", &[int_vectors[2]], &vectors.f64);
    for pair in int_vectors.windows(2) {
        for op in ["widen_low_s", "widen_high_s", "widen_low_u", "widen_high_u"] {
            add(op, "", &[pair[0]], pair[1]);
        }
    }
    for (from, to) in [(int_vectors[2], int_vectors[1]), (int_vectors[1], int_vectors[0])] {
        add("pack_s", "", &[from, from], to);
        add("pack_u", "", &[from, from], to);
    }
    for mask in MASKS {
        for ty in [int_vectors[0], int_vectors[2]] {
            add("shuffle", &format!("{{mask = {mask:?}}}"), &[ty, ty], ty);
        }
    }
    for bytes in [4, 8] {
        for ty in [int_vectors[0], int_vectors[2]] {
            add("compact", &format!("{{bytes = {bytes}}}"), &[ty], ty);
        }
    }
    for signs in ["u8s8", "s8s8"] {
        let bytes = int_vectors[0];
        add(
            "dot4",
            &format!("{{signs = {signs}}}"),
            &[int_vectors[2], bytes, bytes],
            int_vectors[2],
        );
    }
    add("dot2", "", &[int_vectors[2], int_vectors[1], int_vectors[1]], int_vectors[2]);
    add("dot2_sat", "", &[int_vectors[0], int_vectors[0]], int_vectors[1]);
    add("sub_sat", "", &[int_vectors[0], int_vectors[0]], int_vectors[0]);
    add("pick16", "", &[int_vectors[0], int_vectors[0]], int_vectors[0]);
    any_float(&mut all, floats);
    all
}

/// Ops that meet NaN and infinities; roots.
fn any_float(all: &mut Vec<Case>, floats: [&str; 4]) {
    let mut add = |op: &str, attrs: &str, operands: &[&str], result: &str| {
        let fill = match (op, operands[0].contains("f32")) {
            ("fsqrt", true) => Fill::RootF32,
            ("fsqrt", false) => Fill::RootF64,
            (_, true) => Fill::AnyF32,
            (_, false) => Fill::AnyF64,
        };
        let operands = operands.iter().map(|s| s.to_string()).collect();
        let (op, attrs, result) = (format!("loop.{op}"), attrs.into(), result.into());
        all.push(Case { op, attrs, operands, result, fill });
    };
    for ty in floats {
        add("fsqrt", "", &[ty], ty);
        for pred in ["eq", "ne", "lt", "le", "gt", "ge"] {
            add("fcmp", &format!("{{pred = {pred}}}"), &[ty, ty], &mask_of(ty));
        }
    }
    for from in ["f32", "f64"] {
        add("float_to_int", "", &[from], "i32");
        add("float_to_int", "", &[from], "i64");
    }
    add("float_cast", "", &["f64"], "f32");
    add("float_cast", "", &["f32"], "f64");
}

const MASKS: [[u32; 16]; 8] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3],
    [15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23],
    [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18],
    [31, 0, 7, 16, 22, 9, 1, 30, 2, 18, 5, 5, 12, 27, 8, 19],
    [4, 5, 6, 7, 0, 1, 2, 3, 28, 29, 30, 31, 20, 21, 22, 23],
    [0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29],
];

/// A module that runs every case, one kernel each; its output has [`ROWS`]·`width` bytes per case.
pub fn source(cases: &[Case], width: usize) -> String {
    let mut kernels = String::new();
    let mut calls = String::new();
    for (k, case) in cases.iter().enumerate() {
        kernels += &kernel(k, case, width);
        let fill = FILLS.iter().position(|&f| f == case.fill).expect("listed");
        let (from, to) = (fill * section(width), k * ROWS * width);
        writeln!(calls, "    loop.call(%x, %y) {{kernel = \"k{k}\", offsets = [{from}, {to}]}}")
            .expect("a string");
    }
    let (x, y) = (section(width) * FILLS.len(), cases.len() * ROWS * width);
    format!(
        "module @lanes level(loop) numerics(tflite) {{\n{kernels}\
         func @main(%a: mem<0, slack=64>, %x: mem<{x}, slack=64>, %y: mem<{y}>) \
         inputs(\"x\") outputs(\"y\") {{\n{calls}    return\n}}\n}}\n"
    )
}

fn kernel(k: usize, case: &Case, width: usize) -> String {
    let mut body = String::new();
    let row = OPERANDS * width;
    for (i, ty) in case.operands.iter().enumerate() {
        let at = width * i;
        writeln!(body, "      %o{i} = loop.load %x[%i*{row} + {at}] : {ty}").expect("a string");
    }
    let names: Vec<_> = (0..case.operands.len()).map(|i| format!("%o{i}")).collect();
    // A select on vectors wants a mask, so it is tested with the comparison that makes one.
    let Case { op, attrs, result, .. } = case;
    format!(
        "  kernel @k{k}(%x: mem<{section}, slack=64>, %y: mem<{size}>) {{\n    \
         %zero = loop.iconst() {{value = 0}} : vec<i8x{width}>\n    \
         loop.for %i = 0 to {ROWS} {{\n{body}      \
         loop.store %zero, %y[%i*{width}]\n      \
         %r = {op}({names}) {attrs} : {result}\n      \
         loop.store %r, %y[%i*{width}]\n      loop.yield\n    }}\n    return\n  }}\n",
        section = section(width),
        size = ROWS * width,
        names = names.join(", "),
    )
}

/// The input: a section per [`Fill`], for vectors of `width` bytes.
pub fn input(width: usize) -> Vec<u8> {
    let mut rng = Rng(0x9E37_79B9_7F4A_7C15);
    let mut out = vec![];
    for fill in FILLS {
        for row in 0..ROWS {
            for operand in 0..OPERANDS {
                for _ in 0..width / 16 {
                    out.extend(rng.operand(fill, row, operand));
                }
            }
        }
    }
    out
}

/// Xorshift: the same values every time.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[(self.next() % from.len() as u64) as usize]
    }
    /// 16 bytes.
    fn operand(&mut self, fill: Fill, row: usize, operand: usize) -> Vec<u8> {
        match fill {
            Fill::Bits => (0..16).map(|_| self.byte(row)).collect(),
            Fill::F32 => (0..4).flat_map(|_| (self.float(operand) as f32).to_le_bytes()).collect(),
            Fill::F64 => (0..2).flat_map(|_| self.float(operand).to_le_bytes()).collect(),
            Fill::RootF32 => {
                (0..4).flat_map(|_| (self.float(operand).abs() as f32).to_le_bytes()).collect()
            }
            Fill::RootF64 => (0..2).flat_map(|_| self.float(operand).abs().to_le_bytes()).collect(),
            Fill::AnyF32 => (0..4).flat_map(|_| (self.any() as f32).to_le_bytes()).collect(),
            Fill::AnyF64 => (0..2).flat_map(|_| self.any().to_le_bytes()).collect(),
        }
    }
    /// Half of the rows are made of bytes at the ends of the ranges.
    fn byte(&mut self, row: usize) -> u8 {
        match row % 2 {
            0 => self.next() as u8,
            _ => self.pick(&[0, 0, 0, 1, 0x7F, 0x80, 0xFF, 0xFF, 0xFF]),
        }
    }
    fn float(&mut self, operand: usize) -> f64 {
        if operand == 0 && self.next().is_multiple_of(8) {
            return self.pick(&[0.0, -0.0, 1e-40, -1e-40]);
        }
        let x = (self.next() >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0;
        let x = if x == 0.0 { 0.5 } else { x };
        x * self.pick(&[1.0, 1e-3, 1e6, 3.0])
    }
    fn any(&mut self) -> f64 {
        match self.next() % 3 {
            0 => self.float(0),
            1 => self.float(0) * 3e9,
            _ => self.pick(&[
                f64::NAN,
                f64::INFINITY,
                f64::NEG_INFINITY,
                0.5,
                -0.5,
                1.5,
                2147483647.0,
                2147483648.0,
                -2147483648.0,
                -2147483649.0,
                9.3e18,
                -9.3e18,
                1e39,
                16777217.0,
            ]),
        }
    }
}

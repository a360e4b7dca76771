//! Speed of single kernels, and of the dot-product instruction alone.
//!
//! `cargo run --release --bin bench-kernels [CPU level]`
//!
//! The peak is measured, not assumed: a loop of independent dot products on registers. Each line
//! gives the best of many runs, because the question is what the code can do, not what the machine
//! was doing.

use qcc_codegen::jit::{JitOptions, JitProgram};
use qcc_codegen::{CodegenError, Target};
use qcc_ir::dialect::int::Rescale;
use qcc_ir::dialect::loops::DotSigns;
use qcc_ir::dialect::{core, loops};
use qcc_ir::{DType, Func, FuncKind, Level, LocId, MemType, Module, Numerics, Type};
use qcc_passes::kernels::conv::{Conv, Taps, Tile};
use qcc_passes::kernels::depthwise::{Depthwise, Plan};
use qcc_passes::kernels::kb::Kb;
use qcc_passes::kernels::requant::Finish;
use qcc_passes::kernels::{Dot, Kernel, Machine, SLACK, View};
use qcc_runtime::AlignedBuf;
use qcc_runtime::cpu::{Arch, CpuLevel, detect_native};
use qcc_runtime::rescale::RescaleForm;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arch = Arch::host().ok_or("no code for this architecture")?;
    let level = match std::env::args().nth(1) {
        Some(name) => CpuLevel::resolve(&name, arch)?,
        None => detect_native().ok_or("no CPU level fits this machine")?,
    };
    let machine = Machine::of(level);
    println!("CPU level {level}");
    let dot = machine.dot_for(DType::U8);
    let peak = if dot == Dot::I16 { None } else { Some(bench_peak(level, machine.width, dot)?) };
    if let Some(peak) = peak {
        println!("{:<34} {peak:8.1} GMAC/s", "dot product on registers");
    }
    let tiles: &[(u64, u64)] = match (machine.width, machine.registers) {
        (16, _) => &[(6, 2), (4, 3)],
        (_, 16) => &[(3, 4), (6, 2)],
        _ => &[(6, 4), (12, 2), (14, 2)],
    };
    for (k, tile) in [64, 256, 1024].into_iter().flat_map(|k| tiles.iter().map(move |&t| (k, t))) {
        let conv = pointwise(machine, k, tile);
        let macs = (14 * 14 * CHANNELS * k) as f64;
        let speed = macs / best_time(&conv, level)? / 1e9;
        let share =
            peak.map_or(String::new(), |p| format!("{:5.1} % of the peak", speed / p * 100.0));
        println!(
            "{:<34} {speed:8.1} GMAC/s {share}",
            format!("14x14x{k} -> {CHANNELS}, tile {tile:?}")
        );
    }
    for (size, channels, stride) in [(112, 32, 1), (112, 96, 2), (56, 144, 1), (14, 384, 1)] {
        let kernel = depthwise(machine, size, channels, stride);
        let outputs = kernel.y.len() as f64;
        let time = best_time(&kernel, level)?;
        let name = format!("depthwise 3x3 {size}x{size}x{channels} /{stride}");
        println!("{name:<34} {:8.3} ns/output", time / outputs * 1e9);
    }
    Ok(())
}

/// Output channels of the matrix products.
const CHANNELS: u64 = 192;

fn dense(shape: [u64; 4]) -> View {
    let [_, h, w, c] = shape;
    let strides = vec![h * w * c, w * c, c, 1];
    View { dtype: DType::U8, shape: shape.to_vec(), strides, slack: SLACK, constant: false }
}

fn finish() -> Finish {
    let reference = Rescale::Double;
    Finish { form: RescaleForm::ReluF32, reference, dtype: DType::U8, zp: 3, lo: 3, hi: 255 }
}

fn pointwise(machine: Machine, k: u64, (pixels, vectors): (u64, u64)) -> Conv {
    Conv {
        x: dense([1, 14, 14, k]),
        y: dense([1, 14, 14, CHANNELS]),
        stride: [1, 1],
        taps: Taps { rows: (1, 0), runs: (1, 0), bytes: k },
        dot: machine.dot_for(DType::U8),
        tile: Tile { pixels, vectors },
        width: machine.width,
        finish: finish(),
        row_sums: None,
        residual: None,
        panels_inside: true,
    }
}

fn depthwise(machine: Machine, size: u64, channels: u64, stride: u64) -> Depthwise {
    let out = (size - 1) / stride + 1;
    Depthwise {
        x: dense([1, size + 2, size + 2, channels]),
        y: dense([1, out, out, channels]),
        window: [3, 3],
        stride: [stride, stride],
        dilation: 1,
        along: [stride * channels, channels],
        dot: machine.dot_for(DType::U8),
        addends: 1,
        plan: Plan { tile: 7, quarters: if machine.width == 64 { 4 } else { 2 } },
        width: machine.width,
        finish: finish(),
    }
}

/// Twelve accumulators, nothing but dot products between them.
#[derive(Debug)]
struct Peak {
    signs: DotSigns,
    width: u64,
}

const PEAK_STEPS: u64 = 1 << 16;
const PEAK_ACCUMULATORS: u64 = 12;

impl Kernel for Peak {
    fn name(&self) -> String {
        "peak".into()
    }
    fn build(&self, name: &str) -> Func {
        let bytes = self.width * PEAK_ACCUMULATORS;
        let mem = MemType { bytes, slack: SLACK, constant: false };
        let mut kb = Kb::with_width(name, &[mem], self.width);
        let y = kb.mem(0);
        let a = kb.load_vec(DType::I8, &y);
        let b = kb.load_vec(DType::I8, &y.at(self.width as i64));
        let zero = kb.int(kb.vec(DType::I32), 0);
        let inits = vec![zero; PEAK_ACCUMULATORS as usize];
        let sums = kb.fold(PEAK_STEPS, &inits, |kb, _, acc| {
            acc.iter().map(|&v| kb.dot4(self.signs, v, a, b)).collect()
        });
        for (k, v) in sums.into_iter().enumerate() {
            kb.store(v, &y.at((self.width * k as u64) as i64));
        }
        kb.finish()
    }
}

fn bench_peak(level: CpuLevel, width: u64, dot: Dot) -> Result<f64, CodegenError> {
    let signs = if dot == Dot::U8S8 { DotSigns::U8S8 } else { DotSigns::S8S8 };
    let macs = (PEAK_STEPS * PEAK_ACCUMULATORS * width) as f64;
    Ok(macs / best_time(&Peak { signs, width }, level)? / 1e9)
}

/// Seconds of the fastest of many calls.
fn best_time(kernel: &dyn Kernel, level: CpuLevel) -> Result<f64, CodegenError> {
    let module = program(kernel);
    let main = &module.funcs[module.main().expect("made with a main")];
    let sizes = main.params().iter().map(|&v| main.ty(v).as_mem().map_or(0, |m| m.bytes as usize));
    let mut buffers: Vec<AlignedBuf> = sizes.map(|n| AlignedBuf::zeroed(n + 128)).collect();
    let pointers: Vec<*mut u8> = buffers.iter_mut().map(AlignedBuf::as_mut_ptr).collect();
    let (arena, rest) = pointers.split_first().expect("the arena is a parameter");
    let (output, inputs) = rest.split_last().expect("every kernel has an output");
    let inputs: Vec<*const u8> = inputs.iter().map(|p| p.cast_const()).collect();
    let code = JitProgram::compile(module, &Target::host(level), JitOptions::default())?;
    let mut best = f64::MAX;
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < 0.3 {
        let call = Instant::now();
        // SAFETY: each buffer has its parameter's bytes plus slack and is 64-byte aligned.
        unsafe { code.run(*arena, &inputs, &[*output]) };
        best = best.min(call.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// A main that calls the kernel once; its last buffer is the output, the others are inputs.
fn program(kernel: &dyn Kernel) -> Module {
    let mut module = Module::new("bench", Level::Loop, Numerics::TfLite);
    let func = kernel.build("k");
    let types: Vec<Type> = func.params().iter().map(|&v| func.ty(v).clone()).collect();
    let params: Vec<Type> =
        [Type::mem(64, SLACK)].into_iter().chain(types.iter().cloned()).collect();
    let mut main = Func::new("main", FuncKind::Main, &params);
    main.input_names = (1..types.len()).map(|i| format!("in{i}")).collect();
    main.output_names = vec!["out".into()];
    let mems = main.params()[1..].to_vec();
    let body = main.body;
    let call = loops::Call { kernel: "k".into(), offsets: vec![0; mems.len()], task: 0, tasks: 1 };
    main.push_op(body, call, &mems, &[], LocId(0));
    main.push_op(body, core::Return {}, &[], &[], LocId(0));
    module.funcs.push(main);
    module.funcs.push(func);
    module
}

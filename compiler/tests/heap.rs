//! How much memory compiling takes, counted by an allocator of this program's own.

use qcc::ir::builder::Builder;
use qcc::ir::dialect::quant::{Act, FullyConnected};
use qcc::ir::{DType, FuncKind, Level, Module, Numerics, QuantType, TensorType, Type};
use qcc::{Compiler, Cpu, CpuLevel};
use qcc_codegen::Target;
use qcc_codegen::aot::{Interface, compile_object};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts bytes in use, and the most there were.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = IN_USE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Tests here count what the whole process uses: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Bytes that `work` needs at most, beyond those in use before.
fn peak_of(work: impl FnOnce()) -> usize {
    let before = IN_USE.load(Relaxed);
    PEAK.store(before, Relaxed);
    work();
    PEAK.load(Relaxed) - before
}

/// Width of the layers, and their number.
const N: usize = 512;
const N_LAYERS: usize = 16;
const WEIGHT_BYTES: usize = N * N * N_LAYERS;

/// Matrix products one after another.
fn model() -> Module {
    let mut m = Module::new("wide", Level::Quant, Numerics::TfLite);
    let quantized = |shape: [usize; 2], scale, zero_point| {
        let q = QuantType::per_tensor(DType::I8, scale, zero_point);
        Type::from(TensorType::quant(&shape.map(|n| n as u64), Arc::new(q)))
    };
    let x_type = quantized([1, N], 0.02, 3);
    let mut b = Builder::add_func(&mut m, "main", FuncKind::Main, std::slice::from_ref(&x_type));
    let mut x = b.param(0);
    for k in 0..N_LAYERS {
        let weights: Vec<u8> = (0..N * N).map(|i| ((i * 73 + k) % 255) as u8).collect();
        let weights = b.constant("w", weights, quantized([N, N], 0.01, 0));
        let bias = b.constant("bias", vec![0u8; 4 * N], Type::tensor(&[N as u64], DType::I32));
        let layer = FullyConnected { act: Act::None };
        x = b.op1(layer, &[x, weights, bias], x_type.clone());
    }
    b.ret(&[x]);
    m
}

#[test]
fn jit_needs_the_model_its_packed_weights_and_little_more() {
    let _alone = ALONE.lock().unwrap();
    let module = model();
    let mut code = None;
    let peak = peak_of(|| code = Some(Compiler::new().compile_graph(module).unwrap()));
    drop(code);
    println!("{:.2} times the weights", peak as f64 / WEIGHT_BYTES as f64);
    // The packed weights twice, as data and in their places, page by page; what one layer needs.
    assert!(peak < WEIGHT_BYTES * 5 / 2, "{peak} bytes for {WEIGHT_BYTES} of weights");
}

#[test]
fn objects_need_the_weights_three_times() {
    let _alone = ALONE.lock().unwrap();
    let module = model();
    let level = CpuLevel::X86V3;
    let interface =
        Interface { name: "m".into(), symbol: "m".into(), inputs: vec![], outputs: vec![] };
    let target = Target { triple: "x86_64-unknown-linux-gnu".parse().unwrap(), cpu: level };
    let mut size = 0;
    let peak = peak_of(|| {
        let lowered = Compiler::new().cpu(Cpu::level(level)).lower_module(module, "m").unwrap();
        size = compile_object(lowered.module, &interface, &target).unwrap().bytes.len();
    });
    println!("{:.2} times the file", peak as f64 / size as f64);
    assert!(peak < size * 3, "{peak} bytes for a file of {size}");
}

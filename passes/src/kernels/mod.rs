//! Kernels: from one integer op on placed tensors to loops over memory and vectors.
//!
//! A [`Kernel`] is a plain description (types, extents, strides, form of the arithmetic) from which
//! the loop-level function is built. Two ops with equal descriptions share one function; weights,
//! tables and multipliers are buffers it is given. Nothing here looks at an op's values other than
//! through [`Site`].
//!
//! Every kernel reads at most [`SLACK`] bytes behind a buffer that declares slack, and none behind
//! one that does not.

pub mod add;
pub mod amx;
pub mod arg_max;
pub(crate) mod choose;
pub mod conv;
pub(crate) mod conv_consts;
pub mod conv_lower;
pub mod convert;
pub mod depthwise;
pub mod each;
mod fixed;
mod flips;
pub mod float;
pub mod kb;
pub mod l2_normalize;
pub(crate) mod layer;
pub mod log_softmax;
pub mod lut;
pub mod matmul;
pub mod mean;
pub mod moves;
pub mod pair_forms;
pub mod pairs;
pub mod pool;
pub mod reduce_max;
mod reduced;
pub mod requant;
pub mod residual;
pub mod resize;
pub mod resize_cells;
mod resize_lanes;
pub mod row_sums;
pub mod scalar_conv;
pub mod site;
pub mod softmax;
pub mod softmax_float;
pub mod split;
pub mod sums;

use kb::Addr;
use qcc_ir::dialect::loops::{self, WeightForm};
use qcc_ir::{DType, Func, MemType, TensorType};
use qcc_runtime::cpu::CpuLevel;
use std::fmt::Debug;

/// Readable bytes behind every buffer of the arena and every constant.
pub const SLACK: u32 = 64;

/// What a kernel is and how to build it.
pub trait Kernel: Debug {
    /// `<op>_<types>_<form>`, without what makes it unique.
    fn name(&self) -> String;
    /// The loop-level function.
    fn build(&self, name: &str) -> Func;
    /// The same work as up to `tasks.n` kernels that may run at the same time; one or none where
    /// that is not worth it.
    fn split(&self, _tasks: split::Tasks) -> Vec<split::Part> {
        vec![]
    }
}

/// One argument of a kernel call.
#[derive(Clone, Debug)]
pub enum Arg {
    /// A tensor of the op, `offset` bytes behind its first element.
    Value { value: qcc_ir::Value, offset: u64 },
    /// Constant bytes made for this call, with a name for the data section.
    Const { name: String, bytes: Vec<u8> },
    /// What this op of the loop level makes of a constant tensor.
    Packed { value: qcc_ir::Value, by: loops::Op, bytes: u64 },
}

/// One kernel call.
#[derive(Debug)]
pub struct Call {
    /// What to call.
    pub kernel: Box<dyn Kernel>,
    /// Its buffers, in order.
    pub args: Vec<Arg>,
}

/// How a kernel sees a tensor: extents and byte strides from its first element.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Vec<u64>,
    /// Bytes between neighbours.
    pub strides: Vec<u64>,
    /// Bytes that may be read behind the last element.
    pub slack: u32,
    /// Never written.
    pub constant: bool,
}

impl View {
    /// The view of a placed tensor, or of a constant, which has no place. A caller's buffers
    /// have no slack.
    pub fn of(ty: &TensorType) -> View {
        let (strides, slack) = match &ty.layout {
            Some(l) if l.space == qcc_ir::Space::Arena => (l.strides.to_vec(), SLACK),
            Some(l) => (l.strides.to_vec(), 0),
            None => (ty.dense_strides().to_vec(), SLACK),
        };
        let constant = ty.layout.is_none();
        View { dtype: ty.storage(), shape: ty.shape.to_vec(), strides, slack, constant }
    }
    /// Bytes from the first element to the end of the last one.
    pub fn span(&self) -> u64 {
        if self.shape.contains(&0) {
            return 0;
        }
        let last: u64 = self.shape.iter().zip(&self.strides).map(|(n, s)| (n - 1) * s).sum();
        last + self.dtype.size() as u64
    }
    /// The buffer that holds exactly this view.
    pub fn mem(&self) -> MemType {
        MemType { bytes: self.span(), slack: self.slack, constant: self.constant }
    }
    /// Number of elements.
    pub fn len(&self) -> u64 {
        self.shape.iter().product()
    }
    /// True when some extent is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Elements next to each other in memory, innermost dimension.
    pub fn is_dense_inner(&self) -> bool {
        self.shape.last().is_none_or(|&n| n <= 1)
            || self.strides.last() == Some(&(self.dtype.size() as u64))
    }
    /// All elements next to each other.
    pub fn is_dense(&self) -> bool {
        let mut expect = self.dtype.size() as u64;
        self.shape.iter().zip(&self.strides).rev().all(|(&n, &s)| {
            let ok = n <= 1 || s == expect;
            expect *= n;
            ok
        })
    }
    /// The loop dtype of an element: integers have no sign in registers.
    pub fn lane(&self) -> DType {
        lane_type(self.dtype)
    }
}

/// The register type of a stored element.
pub fn lane_type(dtype: DType) -> DType {
    match dtype {
        DType::U8 | DType::Bool => DType::I8,
        DType::U16 => DType::I16,
        d => d,
    }
}

/// A constant buffer of `bytes` bytes.
pub fn const_mem(bytes: usize) -> MemType {
    MemType { bytes: bytes as u64, slack: SLACK, constant: true }
}

/// What the machine can do, as far as choosing kernels goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    /// How bytes can be multiplied fast.
    pub dots: &'static [Dot],
    /// Vector registers.
    pub registers: u32,
    /// Fused multiply-add.
    pub fma: bool,
    /// Bytes of the widest vectors: 16, 32 or 64.
    pub width: u64,
    /// Matrices of bytes in tile registers.
    pub amx: bool,
    /// One instruction to look up 16 bytes.
    pub picks_bytes: bool,
}

/// How 8-bit products are summed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dot {
    /// Four unsigned × signed bytes per i32 lane.
    U8S8,
    /// Four signed × signed bytes per i32 lane.
    S8S8,
    /// Bytes in pairs, in 16 bits first: magnitudes of weights times activations that are turned
    /// around where the weight is negative (`WeightForm::FlipsU8`), so that no pair saturates. For
    /// constant int8 weights.
    Flips,
    /// Two signed 16-bit values per i32 lane, after widening.
    I16,
}

impl Dot {
    /// What stands for constant weights that multiply activations of `dtype`.
    pub fn weight_form(self, dtype: DType) -> WeightForm {
        match self {
            Dot::U8S8 | Dot::S8S8 => WeightForm::Bytes,
            Dot::I16 => WeightForm::Pairs,
            Dot::Flips if dtype == DType::I8 => WeightForm::FlipsS8,
            Dot::Flips => WeightForm::FlipsU8,
        }
    }
}

impl Machine {
    /// What a CPU level offers.
    pub fn of(cpu: CpuLevel) -> Machine {
        let (dots, registers, fma, width): (&[Dot], _, _, _) = match cpu {
            CpuLevel::X86Baseline => (&[], 16, false, 16),
            CpuLevel::X86V2 => (&[Dot::Flips], 16, false, 16),
            CpuLevel::X86V3 => (&[Dot::Flips], 16, true, 32),
            CpuLevel::X86AvxVnni => (&[Dot::U8S8], 16, true, 32),
            CpuLevel::X86V4 => (&[Dot::Flips], 32, true, 64),
            CpuLevel::X86Avx512Vnni | CpuLevel::X86Amx => (&[Dot::U8S8], 32, true, 64),
            CpuLevel::A64Baseline => (&[], 32, true, 16),
            CpuLevel::A64Dotprod => (&[Dot::S8S8], 32, true, 16),
            CpuLevel::A64I8mm => (&[Dot::S8S8, Dot::U8S8], 32, true, 16),
        };
        let (amx, picks_bytes) = (cpu == CpuLevel::X86Amx, cpu != CpuLevel::X86Baseline);
        Machine { dots, registers, fma, width, amx, picks_bytes }
    }
    /// The same CPU with vectors of 128 bits only; on x86 those have 16 registers.
    pub fn narrow(self) -> Machine {
        let registers = if self.width > 16 { 16 } else { self.registers };
        Machine { registers, width: 16, amx: false, ..self }
    }
    /// The dot product to use for activations of `dtype`: `Dot::I16` when no fast one reads them.
    pub fn dot_for(&self, dtype: DType) -> Dot {
        let fast = match dtype {
            DType::U8 => Dot::U8S8,
            DType::I8 => Dot::S8S8,
            _ => Dot::I16,
        };
        if self.dots.contains(&fast) { fast } else { Dot::I16 }
    }
    /// As [`Machine::dot_for`], for constant int8 weights.
    pub fn const_dot(&self, dtype: DType) -> Dot {
        let bytes = matches!(dtype, DType::U8 | DType::I8);
        if bytes && self.dots.contains(&Dot::Flips) { Dot::Flips } else { self.dot_for(dtype) }
    }
}

/// `addr` of element `index` of a view, given one stride per loop variable.
pub fn element(base: &Addr, vars: &[(kb::Var, u64)]) -> Addr {
    vars.iter().fold(base.clone(), |a, &(var, stride)| var.of(&a, stride))
}

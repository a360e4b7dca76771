//! The C structures of a compiled artefact (contract.md), and tensor descriptions.
//!
//! Invariant: the `repr(C)` structs equal the `typedef`s of the generated header, field by field.
//! The compiler emits them as data, the loader reads them; [`TensorDesc`] is what Rust callers use.

use std::ffi::{c_char, c_int, c_void};

use crate::dtype::DType;
use crate::fixedpoint::{Affine, dequantize_per_axis, dequantize_per_tensor, quantize_f32};
use crate::tensor::{Tensor, TensorError};

/// Value of [`QccModelInfo::abi_version`] that this crate understands.
pub const ABI_VERSION: u32 = 1;

/// `qcc_tensor_info`: one input or output. Pointers are to constant data of the artefact.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct QccTensorInfo {
    /// NUL-terminated UTF-8.
    pub name: *const c_char,
    /// [`DType::tflite_code`].
    pub dtype: i32,
    pub rank: i32,
    /// `rank` dimensions.
    pub shape: *const i64,
    /// Size of the buffer that the caller passes.
    pub bytes: usize,
    /// The quantized dimension, or -1 for one scale per tensor.
    pub axis: i32,
    /// 0 for a tensor that is not quantized, 1 per tensor, else the length of `axis`.
    pub n_scales: i32,
    pub scales: *const f32,
    pub zero_points: *const i32,
}

/// `qcc_model_info`: what `<symbol>_info()` returns.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct QccModelInfo {
    /// [`ABI_VERSION`].
    pub abi_version: u32,
    /// NUL-terminated UTF-8.
    pub name: *const c_char,
    pub arena_bytes: usize,
    pub arena_align: usize,
    /// How many of the arena's bytes persist between calls.
    pub state_bytes: usize,
    pub n_inputs: u32,
    pub n_outputs: u32,
    pub inputs: *const QccTensorInfo,
    pub outputs: *const QccTensorInfo,
}

/// One piece of parallel work: `task(arg, i)`.
pub type QccTask = unsafe extern "C" fn(arg: *mut c_void, i: i32);

/// `parallel_for(ctx, n, task, arg)`: runs `task(arg, i)` for `i` in `0..n`, returns when all are
/// done.
pub type QccParallelFor =
    unsafe extern "C" fn(ctx: *mut c_void, n: i32, task: Option<QccTask>, arg: *mut c_void);

/// `qcc_parallel`: the caller's thread pool.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct QccParallel {
    /// Passed back to `parallel_for`.
    pub ctx: *mut c_void,
    /// How many tasks may run at once; results do not depend on it.
    pub n_threads: i32,
    pub parallel_for: Option<QccParallelFor>,
}

/// `<symbol>_info`.
pub type QccInfoFn = unsafe extern "C" fn() -> *const QccModelInfo;
/// `<symbol>_run`: 0, or an error code.
pub type QccRunFn = unsafe extern "C" fn(
    arena: *mut c_void,
    inputs: *const *const c_void,
    outputs: *const *mut c_void,
) -> c_int;
/// `<symbol>_run_parallel`: 0, or an error code.
pub type QccRunParallelFn = unsafe extern "C" fn(
    arena: *mut c_void,
    inputs: *const *const c_void,
    outputs: *const *mut c_void,
    pool: *const QccParallel,
) -> c_int;
/// `<symbol>_reset`: state to its initial values.
pub type QccResetFn = unsafe extern "C" fn(arena: *mut c_void);

/// A named tensor of a model's interface: type, shape, and what its codes mean.
///
/// `scales` is empty (not quantized), has one entry (per tensor, `axis` is `None`), or one per
/// element of dimension `axis`. `zero_points` is as long as `scales`; missing entries count as 0.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorDesc {
    pub name: String,
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub scales: Vec<f32>,
    pub zero_points: Vec<i32>,
    pub axis: Option<usize>,
}

impl TensorDesc {
    /// A tensor without quantization parameters.
    pub fn plain(
        name: impl Into<String>,
        dtype: DType,
        shape: impl Into<Vec<usize>>,
    ) -> TensorDesc {
        let (name, shape) = (name.into(), shape.into());
        TensorDesc { name, dtype, shape, scales: vec![], zero_points: vec![], axis: None }
    }

    /// The same tensor, quantized per tensor.
    pub fn quantized(mut self, scale: f32, zero_point: i32) -> TensorDesc {
        (self.scales, self.zero_points, self.axis) = (vec![scale], vec![zero_point], None);
        self
    }

    /// Number of elements; saturates.
    pub fn len(&self) -> usize {
        self.shape.iter().fold(1, |n, &d| n.saturating_mul(d))
    }

    /// True when some dimension is zero.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// Size of the tensor's buffer; saturates.
    pub fn bytes(&self) -> usize {
        self.len().saturating_mul(self.dtype.size())
    }

    /// Codes for real `values` in row-major order: QUANTIZE of numerics.md D.19 where there are
    /// scales; without them integers are rounded half away and saturate, floats are stored.
    /// Errors: the number of values differs from the shape's.
    pub fn quantize(&self, values: &[f32]) -> Result<Tensor, TensorError> {
        let (expected, found) = (self.len(), values.len());
        if expected != found {
            return Err(TensorError::ElementCount { shape: self.shape.clone(), expected, found });
        }
        let mut tensor = Tensor::try_zeros(self.dtype, self.shape.clone())?;
        for (i, &x) in values.iter().enumerate() {
            match self.params(i) {
                Some(p) if self.dtype.is_int() => {
                    tensor.set_i64(i, i64::from(quantize_f32(x, p, self.dtype)))
                }
                _ if self.dtype.is_float() => tensor.set_f64(i, f64::from(x)),
                _ if self.dtype == DType::Bool => tensor.set_i64(i, i64::from(x != 0.0)),
                _ => tensor.set_f64(i, f64::from(x.round())),
            }
        }
        Ok(tensor)
    }

    /// The real values of `tensor`'s codes under this description's parameters: DEQUANTIZE of
    /// numerics.md D.19; without scales, the elements as they are.
    pub fn dequantize(&self, tensor: &Tensor) -> Vec<f32> {
        let real = |i: usize| match self.params(i) {
            Some(p) if tensor.dtype().is_int() => {
                let code = tensor.get_i64(i).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
                let per_axis = self.scales.len() > 1;
                if per_axis { dequantize_per_axis(code, p) } else { dequantize_per_tensor(code, p) }
            }
            _ => tensor.get_f64(i) as f32,
        };
        (0..tensor.len()).map(real).collect()
    }

    /// Parameters of element `i`, or `None` when the tensor is not quantized.
    fn params(&self, i: usize) -> Option<Affine> {
        let channel = match self.axis {
            Some(axis) if self.scales.len() > 1 => {
                let inner = self.shape.get(axis + 1..)?.iter().product::<usize>().max(1);
                (i / inner) % self.shape.get(axis)?.max(&1)
            }
            _ => 0,
        };
        let zero_point = self.zero_points.get(channel).copied().unwrap_or(0);
        Some(Affine::new(*self.scales.get(channel)?, zero_point))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn layouts_are_those_of_the_header() {
        use std::mem::offset_of;
        assert_eq!(size_of::<QccTensorInfo>(), 56);
        assert_eq!(offset_of!(QccTensorInfo, bytes), 24);
        assert_eq!(offset_of!(QccTensorInfo, scales), 40);
        assert_eq!(size_of::<QccModelInfo>(), 64);
        assert_eq!(offset_of!(QccModelInfo, n_inputs), 40);
        assert_eq!(size_of::<QccParallel>(), 24);
    }

    #[test]
    fn quantize_and_back() {
        let d = TensorDesc::plain("x", DType::I8, [2, 2]).quantized(0.5, -1);
        let t = d.quantize(&[0.0, 0.25, -0.25, 100.0]).unwrap();
        assert_eq!(t.to_i64_vec(), [-1, 0, -2, 127]);
        assert_eq!(d.dequantize(&t), [0.0, 0.5, -0.5, 64.0]);
        assert_eq!(d.bytes(), 4);
        assert!(d.quantize(&[1.0]).is_err());
    }

    #[test]
    fn per_axis() {
        let mut d = TensorDesc::plain("w", DType::I8, [2, 2]);
        (d.scales, d.zero_points, d.axis) = (vec![1.0, 0.5], vec![0, 3], Some(0));
        let t = d.quantize(&[1.0, 2.0, 1.0, 2.0]).unwrap();
        assert_eq!(t.to_i64_vec(), [1, 2, 5, 7]);
        assert_eq!(d.dequantize(&t), [1.0, 2.0, 1.0, 2.0]);
    }

    #[test]
    fn without_parameters() {
        let values = [1.5, -300.0];
        let at = |t| TensorDesc::plain("x", t, [2]).quantize(&values).unwrap().to_f64_vec();
        assert_eq!(at(DType::F32), [1.5, -300.0]);
        assert_eq!(at(DType::I8), [2.0, -128.0]);
        assert_eq!(at(DType::Bool), [1.0, 1.0]);
    }
}

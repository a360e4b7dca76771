//! The description that `<symbol>_info` returns: `qcc_model_info` and all it points to.
//!
//! The structs are laid out field by field as `qcc_runtime::abi` declares them, for 64-bit
//! targets; that they agree is what the link test's C program shows.

use super::{Interface, define_bytes};
use crate::CodegenError;
use crate::program::ALIGN;
use cranelift_module::{DataDescription, DataId, Linkage, Module};
use cranelift_object::ObjectModule;
use qcc_runtime::TensorDesc;
use qcc_runtime::abi::{ABI_VERSION, QccModelInfo, QccTensorInfo};

/// Bytes of `qcc_model_info` and `qcc_tensor_info` on 64-bit targets.
const MODEL_INFO: usize = 64;
const TENSOR_INFO: usize = 56;

#[cfg(target_pointer_width = "64")]
const _: () =
    assert!(size_of::<QccModelInfo>() == MODEL_INFO && size_of::<QccTensorInfo>() == TENSOR_INFO);

/// Strings, shapes and parameters, and where structs point into them.
#[derive(Default)]
struct Pool {
    bytes: Vec<u8>,
}

impl Pool {
    /// Adds bytes at an 8-byte boundary; their offset.
    fn add(&mut self, bytes: impl IntoIterator<Item = u8>) -> usize {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let at = self.bytes.len();
        self.bytes.extend(bytes);
        at
    }
    /// A NUL-terminated string; NULs inside are left out.
    fn text(&mut self, text: &str) -> usize {
        self.add(text.bytes().filter(|&b| b != 0).chain([0]))
    }
}

/// A struct under construction: its bytes, and pointers into the pool or itself.
struct Structs {
    bytes: Vec<u8>,
    into_pool: Vec<(usize, usize)>,
    into_self: Vec<(usize, usize)>,
}

impl Structs {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
    /// A pointer to an array in the pool; NULL for an empty one.
    fn put_array(&mut self, at: usize, pool: &mut Pool, array: &[u8]) {
        if !array.is_empty() {
            self.into_pool.push((at, pool.add(array.iter().copied())));
        }
    }
}

/// Defines the `qcc_model_info` and all it points to.
pub(super) fn define(
    out: &mut ObjectModule,
    interface: &Interface,
    arena_bytes: usize,
) -> Result<DataId, CodegenError> {
    let mut pool = Pool::default();
    let tensors: Vec<&TensorDesc> = interface.inputs.iter().chain(&interface.outputs).collect();
    let mut s = Structs {
        bytes: vec![0; MODEL_INFO + TENSOR_INFO * tensors.len()],
        into_pool: vec![],
        into_self: vec![],
    };
    s.put(0, &ABI_VERSION.to_le_bytes());
    s.into_pool.push((8, pool.text(&interface.name)));
    s.put(16, &(arena_bytes as u64).to_le_bytes());
    s.put(24, &(ALIGN as u64).to_le_bytes());
    s.put(40, &(interface.inputs.len() as u32).to_le_bytes());
    s.put(44, &(interface.outputs.len() as u32).to_le_bytes());
    s.into_self.push((48, MODEL_INFO));
    s.into_self.push((56, MODEL_INFO + TENSOR_INFO * interface.inputs.len()));
    for (i, t) in tensors.iter().enumerate() {
        put_tensor(&mut s, &mut pool, MODEL_INFO + TENSOR_INFO * i, t);
    }
    let symbol = &interface.symbol;
    let pool = define_bytes(out, &format!("{symbol}_strings"), pool.bytes)?;
    let name = format!("{symbol}_infos");
    let fail = |e| CodegenError::backend(&name, e);
    let id = out.declare_data(&name, Linkage::Local, false, false).map_err(fail)?;
    let mut data = DataDescription::new();
    data.define(s.bytes.into_boxed_slice());
    data.set_align(8);
    let pool = out.declare_data_in_data(pool, &mut data);
    let own = out.declare_data_in_data(id, &mut data);
    for (at, to) in s.into_pool {
        data.write_data_addr(at as u32, pool, to as i64);
    }
    for (at, to) in s.into_self {
        data.write_data_addr(at as u32, own, to as i64);
    }
    out.define_data(id, &data).map_err(fail)?;
    Ok(id)
}

fn put_tensor(s: &mut Structs, pool: &mut Pool, at: usize, t: &TensorDesc) {
    let n_scales = t.scales.len();
    s.into_pool.push((at, pool.text(&t.name)));
    s.put(at + 8, &t.dtype.tflite_code().to_le_bytes());
    s.put(at + 12, &(t.shape.len() as i32).to_le_bytes());
    let shape: Vec<u8> = t.shape.iter().flat_map(|&d| (d as i64).to_le_bytes()).collect();
    s.put_array(at + 16, pool, &shape);
    s.put(at + 24, &(t.bytes() as u64).to_le_bytes());
    s.put(at + 32, &t.axis.map_or(-1, |a| a as i32).to_le_bytes());
    s.put(at + 36, &(n_scales as i32).to_le_bytes());
    let scales: Vec<u8> = t.scales.iter().flat_map(|v| v.to_le_bytes()).collect();
    s.put_array(at + 40, pool, &scales);
    let zero_points = t.zero_points.iter().chain(std::iter::repeat(&0)).take(n_scales);
    let zero_points: Vec<u8> = zero_points.flat_map(|v| v.to_le_bytes()).collect();
    s.put_array(at + 48, pool, &zero_points);
}

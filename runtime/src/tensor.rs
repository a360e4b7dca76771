//! Dense tensors: an element type, a shape, and aligned bytes.
//!
//! Invariants: row-major with the last dimension contiguous, little endian, the byte length is
//! exactly `product(shape) * dtype.size()`, storage is 64-byte aligned. A scalar has shape `[]`.
//! Anyone may call; nothing here knows about scales (see [`TensorDesc`](crate::TensorDesc)).

use crate::arena::AlignedBuf;
use crate::dtype::DType;

#[cfg(target_endian = "big")]
compile_error!("tensors are viewed in place as little-endian bytes");

/// A dense row-major tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: AlignedBuf,
}

/// Why a tensor could not be made or viewed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    #[error(
        "tensor of shape {shape:?} and type {dtype} holds {expected} bytes, but {found} were given"
    )]
    ByteLength { dtype: DType, shape: Vec<usize>, expected: usize, found: usize },
    #[error("tensor of shape {shape:?} holds {expected} elements, but {found} were given")]
    ElementCount { shape: Vec<usize>, expected: usize, found: usize },
    #[error("tensor holds {found}, not {expected}")]
    WrongType { expected: DType, found: DType },
    #[error("shape {shape:?} of {dtype} is too large for this machine")]
    TooLarge { dtype: DType, shape: Vec<usize> },
}

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that is the element of some [`DType`]: plain data, valid for every bit pattern.
/// Sealed: `f32 f64 i8 u8 i16 u16 i32 i64`.
pub trait Element: sealed::Sealed + Copy + PartialEq + std::fmt::Debug + 'static {
    /// The element type that this Rust type stores.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($t:ty => $d:ident),*) => {$(
        impl sealed::Sealed for $t {}
        impl Element for $t {
            const DTYPE: DType = DType::$d;
        }
    )*};
}
elements!(f32 => F32, f64 => F64, i8 => I8, u8 => U8, i16 => I16, u16 => U16, i32 => I32, i64 => I64);

/// Runs `$body` with `$s` bound to the elements of `$t` as a typed slice.
#[rustfmt::skip]
macro_rules! with_elements {
    ($tensor:expr, $view:ident, |$s:ident| $body:expr) => {
        match $tensor.dtype {
            DType::F32 => {
                let $s = $tensor.$view::<f32>();
                $body
            }
            DType::F64 => {
                let $s = $tensor.$view::<f64>();
                $body
            }
            DType::I8 => {
                let $s = $tensor.$view::<i8>();
                $body
            }
            DType::U8 | DType::Bool => {
                let $s = $tensor.$view::<u8>();
                $body
            }
            DType::I16 => {
                let $s = $tensor.$view::<i16>();
                $body
            }
            DType::U16 => {
                let $s = $tensor.$view::<u16>();
                $body
            }
            DType::I32 => {
                let $s = $tensor.$view::<i32>();
                $body
            }
            DType::I64 => {
                let $s = $tensor.$view::<i64>();
                $body
            }
        }
    };
}

// One cast is the identity for one of the element types.
#[allow(clippy::unnecessary_cast)]
impl Tensor {
    /// A tensor of zeros.
    ///
    /// # Panics
    /// When the size overflows the address space; use [`try_zeros`](Self::try_zeros) for shapes
    /// that come from a file.
    pub fn zeros(dtype: DType, shape: impl Into<Vec<usize>>) -> Tensor {
        Tensor::try_zeros(dtype, shape).expect("caller checked that the shape fits in memory")
    }

    /// A tensor of zeros, or [`TensorError::TooLarge`].
    pub fn try_zeros(dtype: DType, shape: impl Into<Vec<usize>>) -> Result<Tensor, TensorError> {
        let shape = shape.into();
        let n_bytes = byte_length(dtype, &shape)?;
        Ok(Tensor { dtype, shape, data: AlignedBuf::zeroed(n_bytes) })
    }

    /// A tensor from its little-endian bytes; their number must be exact.
    pub fn from_bytes(
        dtype: DType,
        shape: impl Into<Vec<usize>>,
        bytes: impl AsRef<[u8]>,
    ) -> Result<Tensor, TensorError> {
        let (shape, bytes) = (shape.into(), bytes.as_ref());
        let expected = byte_length(dtype, &shape)?;
        if expected != bytes.len() {
            return Err(TensorError::ByteLength { dtype, shape, expected, found: bytes.len() });
        }
        Ok(Tensor { dtype, shape, data: AlignedBuf::from_bytes(bytes) })
    }

    /// A tensor of type `T::DTYPE` from its elements; their number must be exact.
    pub fn from_slice<T: Element>(
        values: &[T],
        shape: impl Into<Vec<usize>>,
    ) -> Result<Tensor, TensorError> {
        let shape = shape.into();
        let expected = byte_length(T::DTYPE, &shape)? / T::DTYPE.size();
        if expected != values.len() {
            return Err(TensorError::ElementCount { shape, expected, found: values.len() });
        }
        let mut tensor = Tensor::try_zeros(T::DTYPE, shape)?;
        tensor.view_mut::<T>().copy_from_slice(values);
        Ok(tensor)
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len() / self.dtype.size()
    }

    /// True when some dimension is zero.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The storage, little endian.
    pub fn bytes(&self) -> &[u8] {
        self.data.bytes()
    }

    /// The storage, to be written; 64-byte aligned.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.data.bytes_mut()
    }

    /// The elements. `u8` also views `bool` (0 is false). Fails when the type differs.
    pub fn as_slice<T: Element>(&self) -> Result<&[T], TensorError> {
        self.check_type(T::DTYPE)?;
        Ok(self.view())
    }

    /// The elements, to be written. `u8` also views `bool`. Fails when the type differs.
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T], TensorError> {
        self.check_type(T::DTYPE)?;
        Ok(self.view_mut())
    }

    /// The same bytes under another shape with as many elements.
    pub fn reshaped(mut self, shape: impl Into<Vec<usize>>) -> Result<Tensor, TensorError> {
        let shape = shape.into();
        let expected = byte_length(self.dtype, &shape)? / self.dtype.size();
        if expected != self.len() {
            return Err(TensorError::ElementCount { shape, expected, found: self.len() });
        }
        self.shape = shape;
        Ok(self)
    }

    /// Element `i` (row-major index) as an integer; floats truncate toward zero and saturate.
    pub fn get_i64(&self, i: usize) -> i64 {
        with_elements!(self, view, |s| s[i] as i64)
    }

    /// Element `i` (row-major index) as a float; exact except for `i64` beyond 2^53.
    pub fn get_f64(&self, i: usize) -> f64 {
        with_elements!(self, view, |s| s[i] as f64)
    }

    /// Stores `value` in element `i` with a C cast: integers keep the low bits.
    pub fn set_i64(&mut self, i: usize, value: i64) {
        with_elements!(self, view_mut, |s| s[i] = value as _)
    }

    /// Stores `value` in element `i`; integers truncate toward zero and saturate.
    pub fn set_f64(&mut self, i: usize, value: f64) {
        with_elements!(self, view_mut, |s| s[i] = value as _)
    }

    /// All elements, as [`get_i64`](Self::get_i64) reads them.
    pub fn to_i64_vec(&self) -> Vec<i64> {
        with_elements!(self, view, |s| s.iter().map(|&v| v as i64).collect())
    }

    /// All elements, as [`get_f64`](Self::get_f64) reads them.
    pub fn to_f64_vec(&self) -> Vec<f64> {
        with_elements!(self, view, |s| s.iter().map(|&v| v as f64).collect())
    }

    fn check_type(&self, expected: DType) -> Result<(), TensorError> {
        let is_bool_bytes = self.dtype == DType::Bool && expected == DType::U8;
        if self.dtype == expected || is_bool_bytes {
            return Ok(());
        }
        Err(TensorError::WrongType { expected, found: self.dtype })
    }

    /// The storage as `T`s; the caller has matched `T` with `dtype` (only the sizes matter here).
    fn view<T: Element>(&self) -> &[T] {
        debug_assert_eq!(size_of::<T>(), self.dtype.size());
        let n = self.data.len() / size_of::<T>();
        // SAFETY: the buffer is 64-byte aligned, holds at least `n * size_of::<T>()` initialised
        // bytes, and `Element` is sealed to types valid for every bit pattern. Caught by
        // `views_are_typed_and_little_endian`.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr().cast(), n) }
    }

    fn view_mut<T: Element>(&mut self) -> &mut [T] {
        debug_assert_eq!(size_of::<T>(), self.dtype.size());
        let n = self.data.len() / size_of::<T>();
        // SAFETY: as in `view`; `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_mut_ptr().cast(), n) }
    }
}

/// Bytes of a tensor, or `TooLarge` when they (or one dimension beside a zero) overflow `isize`.
fn byte_length(dtype: DType, shape: &[usize]) -> Result<usize, TensorError> {
    shape
        .iter()
        .try_fold(dtype.size(), |n, &dim| n.checked_mul(dim))
        .filter(|&n| n <= isize::MAX as usize - crate::arena::ALIGN)
        .ok_or_else(|| TensorError::TooLarge { dtype, shape: shape.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_typed_and_little_endian() {
        let mut t = Tensor::from_slice(&[1i16, -2, 300], [3]).unwrap();
        assert_eq!(t.bytes(), [1, 0, 0xFE, 0xFF, 0x2C, 1]);
        assert_eq!(t.as_slice::<i16>().unwrap(), [1, -2, 300]);
        t.as_mut_slice::<i16>().unwrap()[0] = 7;
        assert_eq!(t.to_i64_vec(), [7, -2, 300]);
        let wrong = TensorError::WrongType { expected: DType::I8, found: DType::I16 };
        assert_eq!(t.as_slice::<i8>(), Err(wrong));
    }

    #[test]
    fn every_type_reads_and_writes() {
        for d in DType::ALL {
            let mut t = Tensor::zeros(d, [2, 1]);
            t.set_i64(1, 1);
            assert_eq!((t.get_i64(0), t.get_f64(1), t.len()), (0, 1.0, 2));
        }
        let mut t = Tensor::zeros(DType::I8, [2]);
        t.set_i64(0, 300);
        t.set_f64(1, -300.0);
        assert_eq!(t.to_i64_vec(), [44, -128]);
    }

    #[test]
    fn sizes_are_checked() {
        assert!(Tensor::from_bytes(DType::I32, [2], vec![0; 7]).is_err());
        assert!(Tensor::from_slice(&[1u8, 2], [3]).is_err());
        assert!(Tensor::try_zeros(DType::F64, [usize::MAX, 2]).is_err());
        assert!(Tensor::zeros(DType::F32, [3, 0, 2]).is_empty());
        assert_eq!(Tensor::zeros(DType::F32, []).len(), 1);
        assert!(Tensor::zeros(DType::F32, [6]).reshaped([2, 3]).is_ok());
        assert!(Tensor::zeros(DType::F32, [6]).reshaped([4]).is_err());
    }

    #[test]
    fn bool_is_viewed_as_u8() {
        let t = Tensor::from_bytes(DType::Bool, [2], vec![0, 1]).unwrap();
        assert_eq!(t.as_slice::<u8>().unwrap(), [0, 1]);
    }
}

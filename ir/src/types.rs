//! Types of values: tensors, quantized tensors, memory buffers, scalars and vectors.
//!
//! Types are immutable and shared; cloning one is a reference-count increment. Two types are the
//! same type exactly when they print the same text. Scales compare bit for bit.

use qcc_runtime::dtype::DType;
use smallvec::SmallVec;
use std::sync::Arc;

/// A tensor's extent in each dimension.
pub type Shape = SmallVec<[u64; 4]>;

/// The type of a [`crate::Value`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Type {
    /// A tensor value (levels nn, quant, int).
    Tensor(Arc<TensorType>),
    /// A byte buffer (level loop).
    Mem(MemType),
    /// One number (level loop).
    Scalar(DType),
    /// A vector of `lanes` numbers; 128 bits unless a wider emitter asks for more (level loop).
    Vector { elem: DType, lanes: u8 },
    /// A matrix of `rows` rows of `bytes` bytes in a tile register (level loop).
    Tile { rows: u8, bytes: u8 },
    /// A loop variable: a 64-bit integer with a static range, used in addresses (level loop).
    Index,
}

/// Shape, element and (once memory is planned) place of a tensor.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TensorType {
    /// Extents, outermost first; empty for a scalar tensor.
    pub shape: Shape,
    /// What each element is.
    pub elem: Elem,
    /// Where the bytes live; set by `plan-memory`.
    pub layout: Option<Layout>,
}

/// The element of a tensor.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Elem {
    /// A plain number.
    Plain(DType),
    /// A real number stored as an integer: real = scale · (q − zero point).
    Quant(Arc<QuantType>),
}

/// A uniformly quantized element type, `!quant.uniform<i8:f32, 0.5:-1>` in text.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct QuantType {
    /// The integer type of the stored codes.
    pub storage: DType,
    /// Smallest and largest code in use; narrower than `storage` for narrow-range weights.
    pub range: [i32; 2],
    /// The float type that the codes stand for.
    pub expressed: DType,
    /// Scales and zero points.
    pub params: QuantParams,
}

/// One set of parameters for the whole tensor, or one per slice along an axis.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum QuantParams {
    /// The same parameters for every element.
    PerTensor(Affine),
    /// `params[i]` for slice `i` along dimension `axis`.
    PerAxis { axis: usize, params: Vec<Affine> },
}

/// real = scale · (q − zero_point).
#[derive(Clone, Copy, Debug)]
pub struct Affine {
    /// Real units per code step.
    pub scale: f32,
    /// The code that stands for zero.
    pub zero_point: i32,
}

impl PartialEq for Affine {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Affine {}
impl std::hash::Hash for Affine {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}
impl Affine {
    /// Scale and zero point.
    pub fn new(scale: f32, zero_point: i32) -> Self {
        Affine { scale, zero_point }
    }
    fn key(self) -> (u32, i32) {
        (self.scale.to_bits(), self.zero_point)
    }
}

/// Where a tensor lives once memory is planned: element `i` is at
/// `base(space) + offset + Σ i[d]·strides[d]` bytes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Layout {
    /// Which buffer.
    pub space: Space,
    /// Bytes from the buffer's start to element 0.
    pub offset: u64,
    /// Bytes between neighbours in each dimension.
    pub strides: SmallVec<[u64; 4]>,
}

/// A buffer that the compiled function is given.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Space {
    /// The scratch arena.
    Arena,
    /// The caller's k-th input.
    Input(u32),
    /// The caller's k-th output.
    Output(u32),
}

/// A byte buffer: `mem<bytes>`; `mem<bytes, slack=64, const>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MemType {
    /// Bytes that may be read and written.
    pub bytes: u64,
    /// Further bytes that may be read, with arbitrary content.
    pub slack: u32,
    /// Never written: weights, tables, constants.
    pub constant: bool,
}

impl TensorType {
    /// A tensor of plain numbers.
    pub fn plain(shape: &[u64], dtype: DType) -> Self {
        TensorType { shape: shape.into(), elem: Elem::Plain(dtype), layout: None }
    }
    /// A tensor of quantized numbers.
    pub fn quant(shape: &[u64], q: Arc<QuantType>) -> Self {
        TensorType { shape: shape.into(), elem: Elem::Quant(q), layout: None }
    }
    /// The type of the stored bytes.
    pub fn storage(&self) -> DType {
        self.elem.storage()
    }
    /// Number of elements.
    pub fn len(&self) -> u64 {
        self.shape.iter().product()
    }
    /// True when some extent is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes of a dense copy.
    pub fn bytes(&self) -> u64 {
        self.len() * self.storage().size() as u64
    }
    /// Bytes between neighbours in each dimension of a dense copy.
    pub fn dense_strides(&self) -> SmallVec<[u64; 4]> {
        let mut stride = self.storage().size() as u64;
        let mut out: SmallVec<[u64; 4]> = SmallVec::from_elem(0, self.shape.len());
        for d in (0..self.shape.len()).rev() {
            out[d] = stride;
            stride *= self.shape[d];
        }
        out
    }
    /// The quantization, if the elements are quantized.
    pub fn quant_type(&self) -> Option<&Arc<QuantType>> {
        match &self.elem {
            Elem::Quant(q) => Some(q),
            Elem::Plain(_) => None,
        }
    }
    /// The same tensor with other extents.
    pub fn with_shape(&self, shape: &[u64]) -> Self {
        TensorType { shape: shape.into(), elem: self.elem.clone(), layout: None }
    }
}

impl Elem {
    /// The type of the stored number.
    pub fn storage(&self) -> DType {
        match self {
            Elem::Plain(d) => *d,
            Elem::Quant(q) => q.storage,
        }
    }
}

impl QuantType {
    /// Per-tensor parameters over the full range of `storage`.
    pub fn per_tensor(storage: DType, scale: f32, zero_point: i32) -> Self {
        let params = QuantParams::PerTensor(Affine::new(scale, zero_point));
        Self::full_range(storage, params)
    }
    /// Per-axis parameters over the full range of `storage`.
    pub fn per_axis(storage: DType, axis: usize, params: Vec<Affine>) -> Self {
        Self::full_range(storage, QuantParams::PerAxis { axis, params })
    }
    fn full_range(storage: DType, params: QuantParams) -> Self {
        let (lo, hi) = storage.min_max();
        let clamp = |v: i64| v.clamp(i32::MIN as i64, i32::MAX as i64) as i32;
        QuantType { storage, range: [clamp(lo), clamp(hi)], expressed: DType::F32, params }
    }
    /// The parameters, when there is one set for the whole tensor.
    pub fn uniform(&self) -> Option<Affine> {
        match &self.params {
            QuantParams::PerTensor(a) => Some(*a),
            QuantParams::PerAxis { .. } => None,
        }
    }
    /// All parameters: one, or one per slice.
    pub fn affines(&self) -> &[Affine] {
        match &self.params {
            QuantParams::PerTensor(a) => std::slice::from_ref(a),
            QuantParams::PerAxis { params, .. } => params,
        }
    }
    /// True when `range` is the whole range of `storage`.
    pub fn is_full_range(&self) -> bool {
        self.range == Self::full_range(self.storage, self.params.clone()).range
    }
}

impl Type {
    /// A tensor of plain numbers.
    pub fn tensor(shape: &[u64], dtype: DType) -> Type {
        TensorType::plain(shape, dtype).into()
    }
    /// A writable byte buffer.
    pub fn mem(bytes: u64, slack: u32) -> Type {
        Type::Mem(MemType { bytes, slack, constant: false })
    }
    /// A constant byte buffer.
    pub fn const_mem(bytes: u64, slack: u32) -> Type {
        Type::Mem(MemType { bytes, slack, constant: true })
    }
    /// A vector type.
    pub fn vector(elem: DType, lanes: u8) -> Type {
        Type::Vector { elem, lanes }
    }
    /// A 128-bit vector of `elem`.
    pub fn v128(elem: DType) -> Type {
        Type::Vector { elem, lanes: (16 / elem.size()) as u8 }
    }
    /// A tile type.
    pub fn tile(rows: u64, bytes: u64) -> Type {
        Type::Tile { rows: rows as u8, bytes: bytes as u8 }
    }
    /// Rows and bytes per row, if it is a tile.
    pub fn as_tile(&self) -> Option<(usize, usize)> {
        match self {
            Type::Tile { rows, bytes } => Some((usize::from(*rows), usize::from(*bytes))),
            _ => None,
        }
    }
    /// The tensor type, if it is one.
    pub fn as_tensor(&self) -> Option<&TensorType> {
        match self {
            Type::Tensor(t) => Some(t),
            _ => None,
        }
    }
    /// The buffer type, if it is one.
    pub fn as_mem(&self) -> Option<MemType> {
        match self {
            Type::Mem(m) => Some(*m),
            _ => None,
        }
    }
    /// Element type and lane count of a scalar (1 lane) or vector.
    pub fn lanes(&self) -> Option<(DType, u8)> {
        match self {
            Type::Scalar(d) => Some((*d, 1)),
            Type::Vector { elem, lanes } => Some((*elem, *lanes)),
            _ => None,
        }
    }
}

impl From<TensorType> for Type {
    fn from(t: TensorType) -> Type {
        Type::Tensor(Arc::new(t))
    }
}

//! Kernels: counted loops over byte buffers, scalars and vectors of 128, 256 or 512 bits, all
//! vectors of a kernel being of one width; tiles, which are matrices of bytes in registers.
//!
//! Integers have no sign here: the op says how it reads them, and dtypes are i8, i16, i32, i64,
//! f32 and f64. All integer arithmetic wraps. Vector ops work lane by lane; shuffles, packs,
//! unpacks and widening work inside each 128 bits, the same in each.
//!
//! An address is `buffer + offset + Σ var_k · strides_k` bytes, where every `var` is a loop
//! variable with a static range: `prove-bounds` shows each access in bounds by interval
//! arithmetic, and two different buffers never overlap.

use super::*;
use crate::attr_enum;

attr_enum! {
    /// A comparison; `_s` reads integers as signed, `_u` as unsigned; floats are ordered.
    pub enum Pred {
        /// a = b
        Eq = "eq",
        /// a ≠ b
        Ne = "ne",
        /// a < b, signed or float
        Lt = "lt",
        /// a ≤ b, signed or float
        Le = "le",
        /// a > b, signed or float
        Gt = "gt",
        /// a ≥ b, signed or float
        Ge = "ge",
        /// a < b, unsigned
        Ult = "ult",
    }
}
attr_enum! {
    /// How the weights w of a group of four taps (or rows) of each channel are packed.
    pub enum WeightForm {
        /// `[channel][4]` bytes, for `loop.dot4`.
        Bytes = "bytes",
        /// `[pair][channel][2]` int16, for `loop.dot2`.
        Pairs = "pairs",
        /// `[channel][4]` magnitudes |w|, then `[channel][4]` bytes that turn the bytes x of
        /// unsigned activations into signed factors of them: x xor 0x80 = x − 128 where w ≥ 0, x xor
        /// 0x7F = 127 − x where w < 0. For `loop.dot2_sat`: |w| ≤ 128, so nothing saturates.
        FlipsU8 = "flips_u8",
        /// As `flips_u8`, of signed activations: x xor 0 = x where w ≥ 0, x xor 0xFF = −1 − x where
        /// w < 0.
        FlipsS8 = "flips_s8",
    }
}
attr_enum! {
    /// How the bytes of a 4-element dot product are read.
    pub enum DotSigns {
        /// Left unsigned, right signed (x86 VNNI, aarch64 i8mm).
        U8S8 = "u8s8",
        /// Both signed (aarch64 dotprod).
        S8S8 = "s8s8",
    }
}

dialect! { Loop;
    /// Runs the region for var = lo, lo+step, … below hi; region arguments are the variable and
    /// the carried values, `loop.yield` gives the next ones, the results are the last ones.
    For "loop.for" (inits: many Carried) -> (results: many Carried) {
        lo: i64,
        hi: i64,
        step: i64 = 1,
    };
    /// Ends a loop's region with the carried values of the next iteration.
    Yield "loop.yield" (values: many Carried) -> () {} terminator;
    /// Calls a kernel; buffer k of the callee is `mems[k]` from byte `offsets[k]` on.
    ///
    /// Calls with `tasks` > 1 stand next to each other, `task` 0 to `tasks` − 1: they may run at the
    /// same time, in any order, on as many threads.
    Call in Box "loop.call" (mems: many Mem) -> () {
        kernel: String,
        offsets: Vec<u64>,
        task: u32 = 0,
        tasks: u32 = 1,
    };
    /// Constant int8 weights of a matrix product in the order in which a kernel reads them, in
    /// `main`: `[panel][row][run][group of 4 taps][channel][4]`, the channels of a panel as
    /// `PanelShape` of module `packing` has them. `pack-weights` evaluates it.
    ///
    /// Weight (o, row, column, i) is byte `first` + Σ index·`strides` of w.
    PackPanels in Box "loop.pack_panels" (w: one Mem) -> (packed: one Mem) {
        first: u64 = 0,
        strides: [u64; 4],
        /// Output channels, kernel rows, kernel columns, input channels.
        shape: [u64; 4],
        /// The taps of a kernel row are one run, rather than those of each column.
        merged: bool = false,
        /// Vectors of accumulators per panel, and lanes of a vector.
        panel: [u32; 2],
        /// What stands for the weights of a group.
        form: WeightForm = WeightForm::Bytes,
        /// Runs are filled up with zeros to multiples of so many taps.
        whole: u32 = 4,
    } pure;
    /// Constant weights of a depthwise convolution in the order in which a kernel reads them, in
    /// `main`: `[block][column][group of rows][addend][vector][lane][row]`, rows of a group being
    /// four, or two with `form = pairs`; magnitudes of a group stand before its flips.
    /// `pack-weights` evaluates it.
    ///
    /// Weight (c, row, column) is at byte `first` + Σ index·`strides` of w.
    PackBlocks in Box "loop.pack_blocks" (w: one Mem) -> (packed: one Mem) {
        first: u64 = 0,
        strides: [u64; 3],
        /// Channels, kernel rows, kernel columns.
        shape: [u64; 3],
        /// How many pixels side by side a block takes as one with all their channels.
        repeat: u64 = 1,
        /// Weights are int16, not int8.
        wide: bool = false,
        /// Vectors of accumulators per block, and lanes of a vector.
        block: [u32; 2],
        /// What stands for the weights of a group.
        form: WeightForm = WeightForm::Bytes,
        /// 2: each weight is the sum of two int8.
        addends: u32 = 1,
    } pure;
    /// Reads a scalar or vector of the result's type.
    Load "loop.load" (mem: one Mem, vars: many Index) -> (value: one Lanes) {
        offset: i64 = 0,
        strides: Vec<i64> = Vec::new(),
    };
    /// Reads 4 bytes and repeats them through a vector of i8. An emitter may touch 16 bytes: the
    /// 12 behind must be in bounds or slack.
    LoadSplat32 "loop.load_splat32" (mem: one Mem, vars: many Index) -> (value: one Vector) {
        offset: i64 = 0,
        strides: Vec<i64> = Vec::new(),
    };
    /// Reads 8 bytes per 128 bits, one group after another, into the low halves of those; the
    /// high halves are zero.
    LoadLow64 "loop.load_low64" (mem: one Mem, vars: many Index) -> (value: one Vector) {
        offset: i64 = 0,
        strides: Vec<i64> = Vec::new(),
    };
    /// Writes a scalar or vector.
    Store "loop.store" (value: one Lanes, mem: one Mem, vars: many Index) -> () {
        offset: i64 = 0,
        strides: Vec<i64> = Vec::new(),
    };
    /// Writes the low `bytes` bytes of a vector: 4 or 8, beyond 128 bits any number.
    StoreLow "loop.store_low" (value: one Vector, mem: one Mem, vars: many Index) -> () {
        bytes: u32,
        offset: i64 = 0,
        strides: Vec<i64> = Vec::new(),
    };
    /// Reads at element `index` of a table: address offset + index·stride, and Σ var·strides as in
    /// `loop.load`. `index` (i32) must be provably within [lo, hi].
    Lookup in Box "loop.lookup" (mem: one Mem, index: one Scalar, vars: many Index)
        -> (value: one Lanes) {
        offset: i64 = 0,
        stride: i64,
        strides: Vec<i64> = Vec::new(),
        lo: i64,
        hi: i64,
    };
    /// An integer constant, in every lane.
    Iconst "loop.iconst" () -> (y: one Lanes) { value: i64, } pure;
    /// A float constant (exact in the result's type), in every lane.
    Fconst "loop.fconst" () -> (y: one Lanes) { value: f64, } pure;
    /// A loop variable as an i32 scalar.
    IndexCast "loop.index_cast" (x: one Index) -> (y: one Scalar) {} pure;
    /// A scalar in every lane.
    Splat "loop.splat" (x: one Scalar) -> (y: one Vector) {} pure;
    /// One lane.
    Extract "loop.extract" (x: one Vector) -> (y: one Scalar) { lane: u32, } pure;

    /// a + b
    Add "loop.add" (a: one Lanes, b: one Lanes) -> (y: one Lanes) {} pure;
    /// a − b
    Sub "loop.sub" (a: one Lanes, b: one Lanes) -> (y: one Lanes) {} pure;
    /// a − b of signed bytes, saturated
    SubSat "loop.sub_sat" (a: one Vector, b: one Vector) -> (y: one Vector) {} pure;
    /// a · b, low half
    Mul "loop.mul" (a: one Lanes, b: one Lanes) -> (y: one Lanes) {} pure;
    /// bitwise and
    And "loop.and" (a: one Lanes, b: one Lanes) -> (y: one Lanes) {} pure;
    /// bitwise or
    Or "loop.or" (a: one Lanes, b: one Lanes) -> (y: one Lanes) {} pure;
    /// bitwise exclusive or
    Xor "loop.xor" (a: one Lanes, b: one Lanes) -> (y: one Lanes) {} pure;
    /// a << n; every lane by the same constant amount
    Shl "loop.shl" (a: one Lanes) -> (y: one Lanes) { n: u32, } pure;
    /// a >> n, copies of the sign coming in
    ShrS "loop.shr_s" (a: one Lanes) -> (y: one Lanes) { n: u32, } pure;
    /// a >> n, zeros coming in
    ShrU "loop.shr_u" (a: one Lanes) -> (y: one Lanes) { n: u32, } pure;
    /// a << b for scalars; b is reduced modulo the width
    ShlVar "loop.shl_var" (a: one Scalar, b: one Scalar) -> (y: one Scalar) {} pure;
    /// a >> b for scalars, copies of the sign coming in; b is reduced modulo the width
    ShrSVar "loop.shr_s_var" (a: one Scalar, b: one Scalar) -> (y: one Scalar) {} pure;
    /// the smaller, signed
    MinS "loop.min_s" (a: one Lanes, b: one Lanes) -> (y: one Lanes) {} pure;
    /// the larger, signed
    MaxS "loop.max_s" (a: one Lanes, b: one Lanes) -> (y: one Lanes) {} pure;
    /// the smaller, unsigned
    MinU "loop.min_u" (a: one Lanes, b: one Lanes) -> (y: one Lanes) {} pure;
    /// the larger, unsigned
    MaxU "loop.max_u" (a: one Lanes, b: one Lanes) -> (y: one Lanes) {} pure;
    /// leading zero bits of a scalar
    Clz "loop.clz" (a: one Scalar) -> (y: one Scalar) {} pure;
    /// quotient rounded toward zero, signed scalars; the divisor is a nonzero constant
    DivS "loop.div_s" (a: one Scalar) -> (y: one Scalar) { by: i64, } pure;

    /// float a + b
    Fadd "loop.fadd" (a: one Lanes, b: one Lanes) -> (y: one Lanes) {} pure;
    /// float a − b
    Fsub "loop.fsub" (a: one Lanes, b: one Lanes) -> (y: one Lanes) {} pure;
    /// float a · b
    Fmul "loop.fmul" (a: one Lanes, b: one Lanes) -> (y: one Lanes) {} pure;
    /// float a / b
    Fdiv "loop.fdiv" (a: one Lanes, b: one Lanes) -> (y: one Lanes) {} pure;
    /// √a
    Fsqrt "loop.fsqrt" (a: one Lanes) -> (y: one Lanes) {} pure;
    /// a · b + c rounded once; only where the CPU level has it
    Fma "loop.fma" (a: one Lanes, b: one Lanes, c: one Lanes) -> (y: one Lanes) {} pure;
    /// a when p holds, else b; p is a comparison of the same lane count
    Select "loop.select" (p: one Lanes, a: one Lanes, b: one Lanes) -> (y: one Lanes) {} pure;
    /// integer comparison: all bits of a lane set where it holds; scalars give i8 1 or 0
    Cmp "loop.cmp" (a: one Lanes, b: one Lanes) -> (y: one Lanes) { pred: Pred, } pure;
    /// float comparison, ordered: false where a side is NaN (`ne`: true)
    Fcmp "loop.fcmp" (a: one Lanes, b: one Lanes) -> (y: one Lanes) { pred: Pred, } pure;

    /// wider scalar integer, sign copied
    ExtS "loop.ext_s" (x: one Scalar) -> (y: one Scalar) {} pure;
    /// wider scalar integer, zeros in front
    ExtU "loop.ext_u" (x: one Scalar) -> (y: one Scalar) {} pure;
    /// narrower scalar integer, low bits kept
    Trunc "loop.trunc" (x: one Scalar) -> (y: one Scalar) {} pure;
    /// signed integer to float, nearest even; same lane count, i32→f32 or scalar i32/i64→f32/f64
    IntToFloat "loop.int_to_float" (x: one Lanes) -> (y: one Lanes) {} pure;
    /// i32x4 → f64x2 of lanes 0 and 1 (exact), in each 128 bits
    IntToFloatLow "loop.int_to_float_low" (x: one Vector) -> (y: one Vector) {} pure;
    /// float to signed integer toward zero, saturating, NaN → 0; scalars f32/f64 → i32/i64
    FloatToInt "loop.float_to_int" (x: one Scalar) -> (y: one Scalar) {} pure;
    /// f32 lanes to i32 toward zero; each magnitude is below 2^31, or the lane is not read
    Truncate "loop.truncate" (x: one Vector) -> (y: one Vector) {} pure;
    /// f32 → f64 or f64 → f32 (nearest even) scalar
    FloatCast "loop.float_cast" (x: one Scalar) -> (y: one Scalar) {} pure;
    /// the same bits as another type of the same size
    Bitcast "loop.bitcast" (x: one Lanes) -> (y: one Lanes) {} pure;

    /// low half of the lanes, twice as wide, sign copied
    WidenLowS "loop.widen_low_s" (x: one Vector) -> (y: one Vector) {} pure;
    /// high half of the lanes, twice as wide, sign copied
    WidenHighS "loop.widen_high_s" (x: one Vector) -> (y: one Vector) {} pure;
    /// low half of the lanes, twice as wide, zeros in front
    WidenLowU "loop.widen_low_u" (x: one Vector) -> (y: one Vector) {} pure;
    /// high half of the lanes, twice as wide, zeros in front
    WidenHighU "loop.widen_high_u" (x: one Vector) -> (y: one Vector) {} pure;
    /// lanes of a then b, half as wide, signed saturation
    PackS "loop.pack_s" (a: one Vector, b: one Vector) -> (y: one Vector) {} pure;
    /// lanes of a then b (signed), half as wide, saturated to unsigned
    PackU "loop.pack_u" (a: one Vector, b: one Vector) -> (y: one Vector) {} pure;
    /// a0 b0 a1 b1 … from the low halves
    UnpackLow "loop.unpack_low" (a: one Vector, b: one Vector) -> (y: one Vector) {} pure;
    /// a0 b0 a1 b1 … from the high halves
    UnpackHigh "loop.unpack_high" (a: one Vector, b: one Vector) -> (y: one Vector) {} pure;
    /// Bytes of a (0–15) and b (16–31) chosen by a constant mask of 16, the same in each 128 bits.
    Shuffle "loop.shuffle" (a: one Vector, b: one Vector) -> (y: one Vector) {
        mask: Vec<u32>,
    } pure;
    /// The low `bytes` (4 or 8) bytes of each 128 bits next to each other, repeated to fill the
    /// vector.
    Compact "loop.compact" (x: one Vector) -> (y: one Vector) { bytes: u32, } pure;
    /// acc[i] + Σ_{j<4} a[4i+j]·b[4i+j]: i32 lanes from bytes.
    Dot4 "loop.dot4" (acc: one Vector, a: one Vector, b: one Vector) -> (y: one Vector) {
        signs: DotSigns,
    } pure;
    /// acc[i] + a[2i]·b[2i] + a[2i+1]·b[2i+1]: i32 lanes from signed i16.
    Dot2 "loop.dot2" (acc: one Vector, a: one Vector, b: one Vector) -> (y: one Vector) {} pure;
    /// table[i mod 16] for each byte i of `indices` below 128, else 0; table and result within the same
    /// 128 bits.
    Pick16 "loop.pick16" (table: one Vector, indices: one Vector) -> (y: one Vector) {} pure;
    /// a[2i]·b[2i] + a[2i+1]·b[2i+1], saturated to signed i16: i16 lanes from bytes, a unsigned and
    /// b signed. No sum saturates where each pair of a adds up to at most 256.
    Dot2Sat "loop.dot2_sat" (a: one Vector, b: one Vector) -> (y: one Vector) {} pure;

    /// A buffer of the kernel's own, with arbitrary content at first; on the stack, one per call.
    Scratch "loop.scratch" () -> (mem: one Mem) {};
    /// A tile of zeros.
    TileZero "loop.tile_zero" () -> (t: one Tile) {} pure;
    /// Reads a tile of the result's type: row r from the address + r·`row`. A `row` of 0 repeats
    /// one row.
    TileLoad "loop.tile_load" (mem: one Mem, vars: many Index) -> (t: one Tile) {
        offset: i64 = 0,
        strides: Vec<i64> = Vec::new(),
        row: i64,
    };
    /// acc[m][n] + Σ_{k,j<4} a[m][4k+j]·b[k][4n+j]: i32 from bytes. acc has as many rows as a; b has
    /// one row for every 4 bytes of a's, and rows as long as acc's.
    TileDot "loop.tile_dot" (acc: one Tile, a: one Tile, b: one Tile) -> (t: one Tile) {
        signs: DotSigns,
    } pure;
    /// Writes a tile: row r to the address + r·`row`.
    TileStore "loop.tile_store" (tile: one Tile, mem: one Mem, vars: many Index) -> () {
        offset: i64 = 0,
        strides: Vec<i64> = Vec::new(),
        row: i64,
    };
}

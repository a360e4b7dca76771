#!/usr/bin/env python3
"""Makes the golden models of this folder: tiny quantized TFLite nets with random weights.

    pip install numpy flatbuffers ai-edge-litert==2.3.0
    python make_models.py [--out FOLDER] [NAME ...]

Each function under "the models" builds one, and becomes the folder of its name with

    model.tflite   the net
    golden.npz     case{k}_in{i}, case{k}_out{j}: inputs, and what LiteRT's reference kernels
                   (OpResolverType.BUILTIN_REF) answered
    manifest.toml  where both come from, their licence and sha256, engine and version

Every model is run twice from fresh interpreters, which must agree, and no golden may consist of
mostly one value. Seeds derive from the names, so a run gives the same bytes, and adding a model
leaves the others alone. Cases: codes over the full range, codes near the zero point, and only the
two extreme codes; models with other needs say so in their `cases`. The flatbuffers are written by
examples/digits/tflite_writer.py.
"""
import argparse
import hashlib
import importlib.metadata
import pathlib
import sys
import zlib

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "examples" / "digits"))
from tflite_writer import Model, Reference, S  # noqa: E402

NONE, RELU, RELU6 = (getattr(S.ActivationFunctionType, a) for a in ("NONE", "RELU", "RELU6"))
SAME, VALID = S.Padding.SAME, S.Padding.VALID
MODELS = {}


def model(description, cases=None):
    """Registers `build(net)`, which adds operators and returns (inputs, outputs)."""

    def register(build):
        MODELS[build.__name__] = (description, build, cases or integer_cases)
        return build

    return register


class Net(Model):
    """A `Model` with layers that make up their weights and pick an output scale that fits."""

    def __init__(self, description, rng):
        super().__init__(description)
        self.rng = rng

    def info(self, index):
        """(dtype, shape, scale, zero point) of an activation."""
        t = self.tensors[index]
        dtype = {S.TensorType.INT8: np.int8, S.TensorType.UINT8: np.uint8, S.TensorType.INT16: np.int16}[t.type]
        return dtype, t.shape, t.quantization.scale[0], t.quantization.zeroPoint[0]

    def like(self, index, name, shape):
        """A new activation with the type, scale and zero point of another."""
        dtype, _, scale, zero_point = self.info(index)
        return self.tensor(name, dtype, shape, scale, zero_point)

    def conv(self, x, name, size, channels, stride=1, dilation=1, padding=SAME, act=NONE, groups=1,
             zero_point=0, out_range=None, version=3):
        """CONV_2D; weights per axis (int8 and int16 nets) or per tensor and asymmetric (uint8)."""
        shape = [channels, size, size, self.info(x)[1][3] // groups]
        w, b, spread = self.parameters(x, name, shape, 0, channels)
        y = self.output(x, name, act, window_shape(self.info(x)[1], size, stride, dilation, padding, channels),
                        spread, zero_point, out_range)
        self.op("CONV_2D", [x, w, b], [y], S.Conv2DOptionsT(), version, padding=padding, strideW=stride,
                strideH=stride, dilationWFactor=dilation, dilationHFactor=dilation, fusedActivationFunction=act)
        return y

    def depthwise(self, x, name, size, stride=1, multiplier=1, padding=SAME, act=NONE, zero_point=0, out_range=None):
        channels = self.info(x)[1][3] * multiplier
        w, b, spread = self.parameters(x, name, [1, size, size, channels], 3, channels)
        y = self.output(x, name, act, window_shape(self.info(x)[1], size, stride, 1, padding, channels),
                        spread, zero_point, out_range)
        self.op("DEPTHWISE_CONV_2D", [x, w, b], [y], S.DepthwiseConv2DOptionsT(), 3, padding=padding, strideW=stride,
                strideH=stride, dilationWFactor=1, dilationHFactor=1, depthMultiplier=multiplier,
                fusedActivationFunction=act)
        return y

    def dense(self, x, name, channels, act=NONE, zero_point=0, per_axis=False, out_range=None, version=4):
        batch, depth = self.info(x)[1]
        w, b, spread = self.parameters(x, name, [channels, depth], 0 if per_axis else None, channels)
        y = self.output(x, name, act, [batch, channels], spread, zero_point, out_range)
        self.op("FULLY_CONNECTED", [x, w, b], [y], S.FullyConnectedOptionsT(), version, fusedActivationFunction=act)
        return y

    def pool(self, x, name, opcode, size, stride, padding, act=NONE, version=2):
        _, shape, _, _ = self.info(x)
        y = self.like(x, name, window_shape(shape, size, stride, 1, padding, shape[3]))
        self.op(opcode, [x], [y], S.Pool2DOptionsT(), version, padding=padding, strideW=stride, strideH=stride,
                filterWidth=size, filterHeight=size, fusedActivationFunction=act)
        return y

    def add(self, a, b, name, shape, scale, zero_point, act=NONE):
        y = self.tensor(name, self.info(a)[0], shape, scale, zero_point)
        self.op("ADD", [a, b], [y], S.AddOptionsT(), 2, fusedActivationFunction=act)
        return y

    def mean(self, x, name, axes, shape, scale, zero_point, keep=False):
        y = self.tensor(name, self.info(x)[0], shape, scale, zero_point)
        self.op("MEAN", [x, self.const(name + "/axes", np.array(axes, np.int32))], [y], S.ReducerOptionsT(), 2,
                keepDims=keep)
        return y

    def softmax(self, x, name, beta=1.0):
        dtype, shape, _, _ = self.info(x)
        scale, zero_point, version = {np.int8: (1 / 256, -128, 2), np.uint8: (1 / 256, 0, 1),
                                      np.int16: (1 / 32768, 0, 3)}[dtype]
        y = self.tensor(name, dtype, shape, scale, zero_point)
        self.op("SOFTMAX", [x], [y], S.SoftmaxOptionsT(), version, beta=beta)
        return y

    def parameters(self, x, name, shape, axis, channels):
        """(weights, bias, standard deviation of the real-valued sums for inputs of all codes)."""
        dtype, _, x_scale, x_zero = self.info(x)
        if dtype == np.uint8:
            codes, zero_point = self.rng.integers(0, 256, shape).astype(np.uint8), int(self.rng.integers(96, 160))
            scales = np.float32(0.011)
        else:
            codes, zero_point = self.rng.integers(-127, 128, shape).astype(np.int8), 0
            scales = np.float32(0.004)
            if axis is not None:
                scales = self.rng.uniform(0.002, 0.012, channels).astype(np.float32)
        steps = np.float32(x_scale) * np.broadcast_to(scales, channels).astype(np.float32)
        taps = int(np.prod(shape)) // channels
        limits = np.iinfo(dtype)
        codes_x = np.arange(limits.min, limits.max + 1, dtype=np.float64) - x_zero
        sums = np.sqrt(taps * (codes_x**2).mean() * ((codes.astype(np.float64) - zero_point) ** 2).mean())
        bias = self.rng.normal(0, sums * 0.3, channels).astype(np.int64 if dtype == np.int16 else np.int32)
        w = self.const(name + "/weights", codes, scales, zero_point, axis or 0)
        b = self.const(name + "/bias", bias, steps if np.ndim(scales) else steps[0])
        return w, b, sums * float(steps.mean())

    def output(self, x, name, act, shape, spread, zero_point, out_range):
        """An activation whose range covers four standard deviations of the sums, or `out_range`."""
        dtype = self.info(x)[0]
        limits = np.iinfo(dtype)
        scale = (out_range or 4 * spread) / (int(limits.max) - int(limits.min))
        return self.tensor(name + {NONE: "", RELU: "/relu", RELU6: "/relu6"}[act], dtype, shape, scale, zero_point)


def window_shape(shape, size, stride, dilation, padding, channels):
    effective = (size - 1) * dilation + 1
    out = [-(-d // stride) if padding == SAME else (d + stride - effective) // stride for d in shape[1:3]]
    return [shape[0], *out, channels]


# ----------------------------------------------------------------------------------------- cases
def integer_cases(net, inputs):
    """Full range, near the zero point, extremes."""
    kinds = [lambda lo, hi, zero, shape: net.rng.integers(lo, hi + 1, shape),
             lambda lo, hi, zero, shape: np.rint(net.rng.normal(zero, (hi - lo) / 32, shape)),
             lambda lo, hi, zero, shape: net.rng.choice([lo, hi], shape)]
    return [[draw(net, i, kind) for i in inputs] for kind in kinds]


def draw(net, index, kind):
    dtype, shape, _, zero_point = net.info(index)
    limits = np.iinfo(dtype)
    return np.clip(kind(limits.min, limits.max, zero_point, shape), limits.min, limits.max).astype(dtype)


def tie_cases(net, inputs):
    """Integer cases, and one where many maxima are equal."""
    few = lambda lo, hi, zero, shape: net.rng.integers(0, 3, shape)  # noqa: E731
    return integer_cases(net, inputs) + [[draw(net, i, few) for i in inputs]]


def float_cases(net, inputs):
    """Random values; exact ties between two codes (the scale is 1/8); values that saturate.

    None exceeds what the reference can convert to int32: its answer beyond that depends on the CPU.
    """
    shape = net.tensors[inputs[0]].shape
    values = [net.rng.normal(0, 6, shape), net.rng.integers(-256, 257, shape) / 16,
              net.rng.normal(0, 1, shape) * 10.0 ** net.rng.integers(-8, 7, shape)]
    return [[v.astype(np.float32)] for v in values]


# ------------------------------------------------------------------------------------ the models
@model("CONV_2D int8, per-axis weights, 3x3, stride 2, SAME, RELU6")
def conv_i8_per_axis_stride2_same(m):
    x = m.tensor("input", np.int8, [1, 9, 11, 5], 0.047, -9)
    return [x], [m.conv(x, "conv", 3, 20, stride=2, act=RELU6, zero_point=-128, out_range=7.5)]


@model("CONV_2D uint8, asymmetric per-tensor weights, 3x3, SAME")
def conv_u8_asymmetric(m):
    x = m.tensor("input", np.uint8, [1, 7, 8, 6], 0.031, 119)
    return [x], [m.conv(x, "conv", 3, 17, zero_point=131, version=1)]


@model("CONV_2D int8, 3 groups, 3x3, SAME, RELU")
def conv_i8_grouped(m):
    x = m.tensor("input", np.int8, [1, 6, 7, 12], 0.05, 4)
    return [x], [m.conv(x, "conv", 3, 15, groups=3, act=RELU, zero_point=-60, version=6)]


@model("CONV_2D int8, dilation 2, VALID, batch 2")
def conv_i8_dilated_valid_batch2(m):
    x = m.tensor("input", np.int8, [2, 9, 8, 4], 0.02, 17)
    return [x], [m.conv(x, "conv", 3, 9, dilation=2, padding=VALID, zero_point=11)]


@model("CONV_2D int8, 1x1, input zero point at the lower end, more than one vector of channels")
def conv_i8_pointwise(m):
    x = m.tensor("input", np.int8, [1, 5, 5, 37], 0.023, -128)
    return [x], [m.conv(x, "conv", 1, 35, zero_point=-3)]


@model("CONV_2D int16 activations, int8 per-axis weights, int64 bias, stride 2, SAME")
def conv_i16(m):
    x = m.tensor("input", np.int16, [1, 7, 6, 5], 1 / 4096, 0)
    return [x], [m.conv(x, "conv", 3, 11, stride=2, act=RELU, version=4)]


@model("DEPTHWISE_CONV_2D int8, per-axis weights, multiplier 2, 3x3, stride 2, SAME")
def depthwise_i8_multiplier2(m):
    x = m.tensor("input", np.int8, [1, 8, 9, 9], 0.04, 21)
    return [x], [m.depthwise(x, "depthwise", 3, stride=2, multiplier=2, zero_point=-5)]


@model("FULLY_CONNECTED int8, per-tensor weights, RELU, batch 3")
def fully_connected_i8_relu(m):
    x = m.tensor("input", np.int8, [3, 53], 0.06, 12)
    return [x], [m.dense(x, "dense", 26, act=RELU, zero_point=-100)]


@model("FULLY_CONNECTED int8, per-axis weights")
def fully_connected_i8_per_axis(m):
    x = m.tensor("input", np.int8, [1, 64], 0.06, -31)
    return [x], [m.dense(x, "dense", 33, zero_point=8, per_axis=True, version=12)]


@model("FULLY_CONNECTED uint8, asymmetric weights, RELU, batch 2")
def fully_connected_u8_relu(m):
    x = m.tensor("input", np.uint8, [2, 47], 0.02, 140)
    return [x], [m.dense(x, "dense", 21, act=RELU, zero_point=30, version=1)]


@model("ADD int8, the second input broadcast over batch and space, RELU")
def add_i8_broadcast(m):
    a = m.tensor("a", np.int8, [2, 5, 6, 7], 0.041, -20)
    b = m.tensor("b", np.int8, [1, 1, 1, 7], 0.093, -10)
    return [a, b], [m.add(a, b, "add/relu", [2, 5, 6, 7], 0.062, -70, RELU)]


@model("AVERAGE_POOL_2D int8, 3x3, stride 2, SAME: windows at the edge average fewer pixels")
def average_pool_i8(m):
    x = m.tensor("input", np.int8, [1, 8, 7, 19], 0.1, -7)
    return [x], [m.pool(x, "pool", "AVERAGE_POOL_2D", 3, 2, SAME)]


@model("MAX_POOL_2D uint8, 2x2, VALID, RELU6")
def max_pool_u8(m):
    x = m.tensor("input", np.uint8, [1, 7, 8, 18], 0.05, 90)
    return [x], [m.pool(x, "pool/relu6", "MAX_POOL_2D", 2, 2, VALID, RELU6, version=1)]


@model("MEAN int8 over height and width, output scale different from the input's")
def mean_i8(m):
    x = m.tensor("input", np.int8, [2, 7, 5, 18], 0.05, -14)
    return [x], [m.mean(x, "mean", [1, 2], [2, 18], 0.0131, 5)]


def extreme(m, x, name, opcode, axes, shape, keep=False):
    y = m.like(x, name, shape)
    m.op(opcode, [x, m.const(name + "/axes", np.array(axes, np.int32))], [y], S.ReducerOptionsT(), 2, keepDims=keep)
    return y


@model("REDUCE_MAX and REDUCE_MIN int8 over rows and columns, channels, the batch, and everything")
def reduce_max_i8(m):
    x = m.tensor("input", np.int8, [2, 5, 7, 35], 0.05, -14)
    pixels = extreme(m, x, "pixels", "REDUCE_MAX", [1, 2], [2, 35])
    channels = extreme(m, x, "channels", "REDUCE_MIN", [-1], [2, 5, 7, 1], keep=True)
    batch = extreme(m, x, "batch", "REDUCE_MAX", [0], [5, 7, 35])
    return [x], [pixels, channels, batch, extreme(m, x, "all", "REDUCE_MIN", [0, 1, 2, 3], [1, 1, 1, 1], keep=True)]


@model("SUM uint8 over rows and columns, and of int8, whose bytes the reference reads as unsigned")
def sum_u8(m):
    x = m.tensor("input", np.uint8, [2, 5, 4, 19], 0.01, 104)
    y = m.tensor("sum", np.uint8, [2, 19], 0.03, 120)
    m.op("SUM", [x, m.const("axes", np.array([1, 2], np.int32))], [y], S.ReducerOptionsT(), 2)
    a = m.tensor("signed", np.int8, [3, 4, 7], 0.05, -14)
    b = m.tensor("row", np.int8, [3, 7], 0.3, 9)
    m.op("SUM", [a, m.const("axis", np.array([1], np.int32))], [b], S.ReducerOptionsT(), 2)
    return [x, a], [y, b]


@model("REDUCE_MAX and REDUCE_MIN uint8 over short rows and the middle axis")
def reduce_max_u8(m):
    x = m.tensor("input", np.uint8, [3, 6, 9], 0.05, 114)
    return [x], [extreme(m, x, "rows", "REDUCE_MAX", [2], [3, 6]), extreme(m, x, "middle", "REDUCE_MIN", [1], [3, 9])]


def transposed(m, x, name, size, channels, out, stride, padding, zero_point):
    dtype, (n, _, _, depth), _, _ = m.info(x)
    w, b, spread = m.parameters(x, name, [channels, size, size, depth], 0, channels)
    y = m.output(x, name, NONE, [n, *out, channels], spread, zero_point, None)
    shape = m.const(name + "/shape", np.array([n, *out, channels], np.int32))
    m.op("TRANSPOSE_CONV", [shape, w, x, b], [y], S.TransposeConvOptionsT(), 3, padding=padding, strideH=stride,
         strideW=stride)
    return y


@model("TRANSPOSE_CONV int8 per axis: stride 2 SAME to an odd image, then stride 3 VALID with a smaller filter")
def transpose_conv_i8(m):
    x = m.tensor("input", np.int8, [2, 4, 5, 7], 0.05, -14)
    y = transposed(m, x, "up2", 3, 18, [7, 9], 2, SAME, 3)
    return [x], [transposed(m, y, "up3", 2, 5, [20, 26], 3, VALID, -9)]


@model("TRANSPOSE_CONV uint8 with asymmetric weights, stride 2, VALID")
def transpose_conv_u8(m):
    x = m.tensor("input", np.uint8, [1, 5, 3, 6], 0.04, 117)
    return [x], [transposed(m, x, "up", 4, 9, [12, 8], 2, VALID, 100)]


@model("LESS, GREATER_EQUAL, EQUAL and NOT_EQUAL int8, and DIV by a constant of another scale")
def compare_i8(m):
    a = m.tensor("a", np.int8, [2, 3, 5, 7], 0.05, -14)
    b = m.tensor("b", np.int8, [1, 1, 5, 7], 0.06, 20)
    results = []
    for name in ("LESS", "GREATER_EQUAL", "EQUAL", "NOT_EQUAL"):
        results.append(m.tensor(name.lower(), np.bool_, [2, 3, 5, 7]))
        m.op(name, [a, b], [results[-1]], getattr(S, {"LESS": "LessOptionsT", "GREATER_EQUAL": "GreaterEqualOptionsT",
             "EQUAL": "EqualOptionsT", "NOT_EQUAL": "NotEqualOptionsT"}[name])(), 2)
    divisor = m.const("divisor", np.array([3, -50, 90, 11, 127, -128, 64], np.int8), 0.03, 9)
    quotient = m.tensor("quotient", np.int8, [2, 3, 5, 7], 0.04, -3)
    m.op("DIV", [a, divisor], [quotient], S.DivOptionsT(), 2)
    return [a, b], [quotient, *results]


def rows(m, x, name, opcode, scale, zero_point, options):
    dtype, shape, _, _ = m.info(x)
    y = m.tensor(name, dtype, shape, scale, zero_point)
    m.op(opcode, [x], [y], options, 2)
    return y


@model("LOG_SOFTMAX and L2_NORMALIZATION int8")
def log_softmax_i8(m):
    x = m.tensor("input", np.int8, [2, 5, 27], 0.02, 11)
    log = rows(m, x, "log", "LOG_SOFTMAX", 16 / 256, 127, S.LogSoftmaxOptionsT())
    return [x], [log, rows(m, x, "unit", "L2_NORMALIZATION", 1 / 128, 0, S.L2NormOptionsT())]


@model("LOG_SOFTMAX and L2_NORMALIZATION uint8")
def log_softmax_u8(m):
    x = m.tensor("input", np.uint8, [6, 13], 0.1, 201)
    log = rows(m, x, "log", "LOG_SOFTMAX", 16 / 256, 255, S.LogSoftmaxOptionsT())
    return [x], [log, rows(m, x, "unit", "L2_NORMALIZATION", 1 / 128, 128, S.L2NormOptionsT())]


@model("CONCATENATION uint8 of three inputs with three scales: two are requantized")
def concat_u8_rescale(m):
    parts = [m.tensor(f"input{i}", np.uint8, [1, 4, 3, c], s, z)
             for i, (c, s, z) in enumerate([(5, 0.031, 128), (8, 0.047, 101), (3, 0.019, 14)])]
    y = m.tensor("concat", np.uint8, [1, 4, 3, 16], 0.047, 101)
    m.op("CONCATENATION", parts, [y], S.ConcatenationOptionsT(), 1, axis=3)
    return parts, [y]


@model("SPLIT int8 into three, joined again in another order and along another axis")
def split_concat_i8(m):
    x = m.tensor("input", np.int8, [1, 4, 5, 12], 0.03, -2)
    parts = [m.like(x, f"split/{i}", [1, 4, 5, 4]) for i in range(3)]
    m.op("SPLIT", [m.const("split/axis", np.array(3, np.int32)), x], parts, S.SplitOptionsT(), 2, numSplits=3)
    y = m.like(x, "concat", [1, 12, 5, 4])
    m.op("CONCATENATION", [parts[2], parts[0], parts[1]], [y], S.ConcatenationOptionsT(), 2, axis=1)
    return [x], [y, parts[1]]


def moved(m, opcode, x, shape, *consts, version=2, name=None, **fields):
    """An operator that moves elements of `x`; `consts` are its other operands, lists of int32."""
    name = name or opcode.lower()
    y = m.like(x, name, shape)
    others = [c if isinstance(c, Operand) else m.const(f"{name}/{i}", np.array(c, np.int32)) for i, c in enumerate(consts)]
    options = {"MIRROR_PAD": S.MirrorPadOptionsT, "STRIDED_SLICE": S.StridedSliceOptionsT, "GATHER": S.GatherOptionsT,
               "SPACE_TO_DEPTH": S.SpaceToDepthOptionsT, "DEPTH_TO_SPACE": S.DepthToSpaceOptionsT,
               "SQUEEZE": S.SqueezeOptionsT, "RESIZE_NEAREST_NEIGHBOR": S.ResizeNearestNeighborOptionsT}.get(opcode)
    m.op(opcode, [x, *others], [y], options and options(), version, **fields)
    return y


class Operand(int):
    """A tensor, as an operand of `moved` beside constants."""


@model("int8: TRANSPOSE, STRIDED_SLICE with every mask and negative strides, SLICE, REVERSE_V2, SPLIT_V, UNPACK, PACK")
def moves_i8(m):
    x = m.tensor("input", np.int8, [2, 5, 6, 7], 0.03, -2)
    turned = moved(m, "TRANSPOSE", x, [7, 2, 6, 5], [3, 0, 2, 1])
    # x[..., newaxis, 4:0:-2, -1], then x[::-1, 1:].
    ranges = moved(m, "STRIDED_SLICE", x, [2, 5, 1, 2], [0, 0, 4, -1], [0, 0, 0, 0], [1, 1, -2, 1], version=4,
                   ellipsisMask=1, newAxisMask=2, shrinkAxisMask=8)
    rest = moved(m, "STRIDED_SLICE", ranges, [2, 4, 1, 2], [0, 1], [0, 5], [-1, 1], version=4, name="rest", beginMask=1,
                 endMask=1)
    part = moved(m, "SLICE", turned, [3, 2, 5, 3], [4, 0, 1, 1], [-1, 2, 5, 3])
    back = moved(m, "REVERSE_V2", part, [3, 2, 5, 3], [1, 2])
    pieces = [m.like(back, f"split_v/{i}", [3, 2, n, 3]) for i, n in enumerate((1, 3, 1))]
    m.op("SPLIT_V", [back, m.const("split_v/sizes", np.array([1, -1, 1], np.int32)),
                     m.const("split_v/axis", np.array(-2, np.int32))], pieces, S.SplitVOptionsT(), 2, numSplits=3)
    slices = [m.like(x, f"unpack/{i}", [3, 3, 3]) for i in range(2)]
    m.op("UNPACK", [pieces[1]], slices, S.UnpackOptionsT(), 2, num=2, axis=1)
    packed = m.like(x, "pack", [3, 3, 3, 2])
    m.op("PACK", [slices[1], slices[0]], [packed], S.PackOptionsT(), 2, valuesCount=2, axis=-1)
    return [x], [packed, turned, rest, pieces[2]]


@model("TRANSPOSE int8, int16 and float32 of channels last and first, large enough for tiles with a rest")
def transposes_i8(m):
    x = m.tensor("input", np.int8, [2, 3, 7, 19], 0.03, -2)
    first = moved(m, "TRANSPOSE", x, [2, 19, 3, 7], [0, 3, 1, 2])
    last = moved(m, "TRANSPOSE", first, [3, 7, 2, 19], [2, 3, 0, 1], name="last")
    wide = m.tensor("wide", np.int16, [3, 7, 2, 19], 0.0001, 0)
    m.op("QUANTIZE", [last], [wide], S.QuantizeOptionsT(), 2)
    wide = moved(m, "TRANSPOSE", wide, [2, 19, 3, 7], [2, 3, 0, 1], version=4, name="wide/transpose")
    floats = m.tensor("floats", np.float32, [2, 19, 3, 7])
    m.op("DEQUANTIZE", [first], [floats], S.DequantizeOptionsT(), 2)
    turned = m.tensor("floats/transpose", np.float32, [7, 3, 19, 2])
    m.op("TRANSPOSE", [floats, m.const("floats/perm", np.array([3, 2, 1, 0], np.int32))], [turned], None, 2)
    return [x], [first, wide, turned]


@model("uint8: GATHER with shared dimensions, GATHER_ND, SELECT_V2, TILE, BROADCAST_TO, SQUEEZE, EXPAND_DIMS")
def gathers_u8(m):
    x = m.tensor("input", np.uint8, [2, 3, 4, 5], 0.03, 101)
    rows = moved(m, "GATHER", x, [2, 3, 2, 5], np.array([[3, 1], [0, 2]]), version=5, axis=2, batchDims=1)
    points = moved(m, "GATHER_ND", x, [3, 5], [[0, 2, 3], [1, 0, 0], [1, 1, 2]])
    column = moved(m, "GATHER", rows, [2, 3, 2, 1], [4], version=5, name="column", axis=-1)
    flat = moved(m, "SQUEEZE", column, [2, 3, 2], version=1, squeezeDims=[-1])
    wide = moved(m, "TILE", flat, [4, 3, 6], [2, 1, 3])
    deep = moved(m, "EXPAND_DIMS", flat, [2, 1, 3, 2], 1, version=1)
    same = moved(m, "BROADCAST_TO", deep, [2, 4, 3, 2], [2, 4, 3, 2], version=3)
    masks = m.const("mask", np.array([[True, False], [False, True], [True, True]]))
    chosen = m.like(x, "select_v2", [2, 4, 3, 2])
    other = m.const("other", np.array([17, 200], np.uint8), 0.03, 101)
    m.op("SELECT_V2", [masks, same, other], [chosen], S.SelectV2OptionsT(), 1)
    return [x], [rows, points, wide, chosen]


@model("int8: SPACE_TO_DEPTH, DEPTH_TO_SPACE, SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND around a CONV_2D")
def blocks_i8(m):
    x = m.tensor("input", np.int8, [1, 5, 7, 4], 0.03, 21)
    cells = moved(m, "SPACE_TO_BATCH_ND", x, [6, 3, 3, 4], [2, 3], [[0, 1], [1, 1]], version=3)
    y = m.conv(cells, "conv", 3, 12, zero_point=-9)
    image = moved(m, "BATCH_TO_SPACE_ND", y, [1, 5, 7, 12], [2, 3], [[0, 1], [1, 1]], version=3)
    large = moved(m, "DEPTH_TO_SPACE", image, [1, 10, 14, 3], version=1, blockSize=2)
    wide = moved(m, "TRANSPOSE", large, [1, 14, 10, 3], [0, 2, 1, 3])
    return [x], [large, moved(m, "SPACE_TO_DEPTH", wide, [1, 7, 5, 12], version=2, blockSize=2)]


@model("int8: PAD with the zero point, PADV2 with a code, MIRROR_PAD both ways, RESIZE_NEAREST_NEIGHBOR four ways")
def borders_i8(m):
    x = m.tensor("input", np.int8, [1, 4, 5, 3], 0.03, -37)
    zero = moved(m, "PAD", x, [1, 7, 6, 3], [[0, 0], [1, 2], [0, 1], [0, 0]])
    code = m.const("code", np.array(99, np.int8), 0.03, -37)
    around = moved(m, "PADV2", zero, [2, 7, 6, 4], [[1, 0], [0, 0], [0, 0], [0, 1]], Operand(code))
    sides = [[0, 0], [3, 2], [1, 4], [0, 2]]
    images = [moved(m, "MIRROR_PAD", x, [1, 9, 10, 5], sides, name="reflect", mode=0),
              moved(m, "MIRROR_PAD", x, [1, 9, 10, 5], sides, name="symmetric", mode=1)]
    for k in range(4):
        images.append(moved(m, "RESIZE_NEAREST_NEIGHBOR", images[k % 2], [1, 7, 23, 5], [7, 23], version=3, name=f"nearest{k}",
                            alignCorners=bool(k & 1), halfPixelCenters=bool(k & 2)))
    return [x], [around, *images[2:]]


@model("int16: PAD, TRANSPOSE and STRIDED_SLICE backwards")
def moves_i16(m):
    x = m.tensor("input", np.int16, [3, 4, 5], 1 / 4096, 0)
    around = moved(m, "PAD", x, [3, 6, 6], [[0, 0], [1, 1], [0, 1]])
    turned = moved(m, "TRANSPOSE", around, [6, 3, 6], [2, 0, 1], version=4)
    return [x], [moved(m, "STRIDED_SLICE", turned, [3, 3, 3], [5, 2, 1], [0, 0, 0], [-2, -1, 2], version=4, endMask=7)]


def place_cases(net, inputs):
    """Floats, and rows to take of them."""
    x, rows = (net.tensors[i].shape for i in inputs)
    return [[net.rng.normal(0, 3, x).astype(np.float32), net.rng.integers(0, x[0], rows).astype(np.int32)]
            for _ in range(3)]


@model("float32: a RESHAPE to what SHAPE, STRIDED_SLICE and PACK make, FILL, RANGE, CAST, GATHER by an input", place_cases)
def shapes_f32(m):
    x = m.tensor("input", np.float32, [6, 2, 5])
    rows = m.tensor("rows", np.int32, [3, 2])
    taken = m.tensor("gather", np.float32, [3, 2, 2, 5])
    m.op("GATHER", [x, rows], [taken], S.GatherOptionsT(), 2, axis=0)
    shape = m.tensor("shape", np.int32, [4])
    m.op("SHAPE", [taken], [shape], S.ShapeOptionsT(), 1, outType=S.TensorType.INT32)
    first = m.tensor("first", np.int32, [])
    ends = [m.const(f"first/{i}", np.array([v], np.int32)) for i, v in enumerate((0, 1, 1))]
    m.op("STRIDED_SLICE", [shape, *ends], [first], S.StridedSliceOptionsT(), 1, shrinkAxisMask=1)
    target = m.tensor("target", np.int32, [2])
    m.op("PACK", [first, m.const("rest", np.array(-1, np.int32))], [target], S.PackOptionsT(), 1, valuesCount=2, axis=0)
    flat = m.tensor("reshape", np.float32, [3, 20])
    m.op("RESHAPE", [taken, target], [flat], S.ReshapeOptionsT(), 1)
    counted = m.tensor("range", np.int32, [20])
    m.op("RANGE", [m.const(f"range/{i}", np.array(v, np.int32)) for i, v in enumerate((7, -53, -3))], [counted],
         S.RangeOptionsT(), 1)
    numbers = m.tensor("cast", np.float32, [20])
    m.op("CAST", [counted], [numbers], S.CastOptionsT(), 1, inDataType=S.TensorType.INT32,
         outDataType=S.TensorType.FLOAT32)
    filled = m.tensor("fill", np.float32, [3, 20])
    m.op("FILL", [m.const("fill/shape", np.array([3, 20], np.int32)), m.const("fill/value", np.array(2.5, np.float32))],
         [filled], S.FillOptionsT(), 1)
    y = m.tensor("concat", np.float32, [7, 20])
    row = m.tensor("row", np.float32, [1, 20])
    m.op("EXPAND_DIMS", [numbers, m.const("row/axis", np.array(0, np.int32))], [row], S.ExpandDimsOptionsT(), 1)
    m.op("CONCATENATION", [flat, row, filled], [y], S.ConcatenationOptionsT(), 1, axis=0)
    return [x, rows], [y]


@model("RESIZE_BILINEAR int8, 5x6 to 9x11, half_pixel_centers")
def resize_bilinear_i8(m):
    x = m.tensor("input", np.int8, [1, 5, 6, 7], 0.03, 3)
    y = m.like(x, "resize", [1, 9, 11, 7])
    size = m.const("resize/size", np.array([9, 11], np.int32))
    m.op("RESIZE_BILINEAR", [x, size], [y], S.ResizeBilinearOptionsT(), 3, alignCorners=False, halfPixelCenters=True)
    return [x], [y]


@model("RESIZE_BILINEAR uint8, 4x5 to 7x9, align_corners")
def resize_bilinear_u8(m):
    x = m.tensor("input", np.uint8, [1, 4, 5, 6], 0.03, 77)
    y = m.like(x, "resize", [1, 7, 9, 6])
    size = m.const("resize/size", np.array([7, 9], np.int32))
    m.op("RESIZE_BILINEAR", [x, size], [y], S.ResizeBilinearOptionsT(), 1, alignCorners=True, halfPixelCenters=False)
    return [x], [y]


@model("ARG_MAX int8 along the last axis, int32 result: the first of equal maxima wins", tie_cases)
def arg_max_i8(m):
    x = m.tensor("input", np.int8, [1, 6, 7, 13], 0.03, 0)
    y = m.tensor("arg_max", np.int32, [1, 6, 7])
    axis = m.const("arg_max/axis", np.array([3], np.int32))
    m.op("ARG_MAX", [x, axis], [y], S.ArgMaxOptionsT(), 2, outputType=S.TensorType.INT32)
    return [x], [y]


@model("SOFTMAX int8, rows of 11, beta 1")
def softmax_i8(m):
    x = m.tensor("input", np.int8, [9, 11], 0.0621, 24)
    return [x], [m.softmax(x, "softmax")]


@model("SOFTMAX uint8, rows of 10, beta 0.7")
def softmax_u8(m):
    x = m.tensor("input", np.uint8, [8, 10], 0.081, 130)
    return [x], [m.softmax(x, "softmax", beta=0.7)]


@model("SOFTMAX int16, rows of 9")
def softmax_i16(m):
    x = m.tensor("input", np.int16, [8, 9], 1 / 4096, 0)
    return [x], [m.softmax(x, "softmax")]


@model("QUANTIZE float32 to int8", float_cases)
def quantize_f32_i8(m):
    x = m.tensor("input", np.float32, [1, 8, 9, 5])
    y = m.tensor("quantize", np.int8, [1, 8, 9, 5], 0.125, -11)
    m.op("QUANTIZE", [x], [y], S.QuantizeOptionsT(), 1)
    return [x], [y]


@model("DEQUANTIZE int8 to float32")
def dequantize_i8(m):
    x = m.tensor("input", np.int8, [1, 5, 6, 11], 0.0173, -41)
    y = m.tensor("dequantize", np.float32, [1, 5, 6, 11])
    m.op("DEQUANTIZE", [x], [y], S.DequantizeOptionsT(), 2)
    return [x], [y]


@model("QUANTIZE used to requantize: uint8 to int8, then int8 to a coarser int8")
def requantize_u8_i8(m):
    x = m.tensor("input", np.uint8, [1, 6, 6, 10], 0.021, 120)
    y = m.tensor("requantize/int8", np.int8, [1, 6, 6, 10], 0.0237, -3)
    z = m.tensor("requantize/coarse", np.int8, [1, 6, 6, 10], 0.0391, 9)
    m.op("QUANTIZE", [x], [y], S.QuantizeOptionsT(), 2)
    m.op("QUANTIZE", [y], [z], S.QuantizeOptionsT(), 2)
    return [x], [y, z]


@model("A residual int8 net of 12 operators: conv, depthwise, pointwise, ADD, two pools, "
       "CONCATENATION, conv, ADD, MEAN, FULLY_CONNECTED, SOFTMAX")
def residual_net_i8(m):
    image = m.tensor("image", np.int8, [1, 16, 16, 3], 1 / 64, 0)
    stem = m.conv(image, "stem", 3, 16, stride=2, act=RELU6, zero_point=-128, out_range=6.0)
    deep = m.depthwise(stem, "block/depthwise", 3, act=RELU6, zero_point=-128, out_range=6.0)
    thin = m.conv(deep, "block/pointwise", 1, 16, zero_point=6, out_range=22.0)
    joined = m.add(thin, stem, "block/add/relu", [1, 8, 8, 16], 0.045, -128, RELU)
    high = m.pool(joined, "pool/max", "MAX_POOL_2D", 2, 2, VALID)
    flat = m.pool(joined, "pool/average", "AVERAGE_POOL_2D", 2, 2, VALID)
    both = m.like(joined, "pool/concat", [1, 4, 4, 32])
    m.op("CONCATENATION", [high, flat], [both], S.ConcatenationOptionsT(), 2, axis=3)
    wide = m.conv(both, "tail/conv", 3, 32, zero_point=2, out_range=130.0)
    sums = m.add(wide, both, "tail/add", [1, 4, 4, 32], 0.45, -15)
    mean = m.mean(sums, "mean", [1, 2], [1, 32], 0.4, -20)
    logits = m.dense(mean, "logits", 10, zero_point=-4, out_range=90.0)
    return [image], [m.softmax(logits, "probabilities", beta=0.06)]


# --------------------------------------------------------------------------------------- writing
def write(name, folder):
    description, build, cases = MODELS[name]
    net = Net(description, np.random.default_rng(zlib.crc32(name.encode())))
    inputs, outputs = build(net)
    data = net.finish(inputs, outputs)
    golden = {}
    for k, case in enumerate(cases(net, inputs)):
        results = Reference(data).run(*case)
        again = Reference(data).run(*case)
        if not all(np.array_equal(a, b) for a, b in zip(results, again, strict=True)):
            raise SystemExit(f"{name}: two runs of case {k} differ")
        golden.update({f"case{k}_in{i}": x for i, x in enumerate(case)})
        golden.update({f"case{k}_out{j}": y for j, y in enumerate(results)})
    share = most_common_share(golden["case0_out0"])
    if share > 0.75:
        raise SystemExit(f"{name}: {share:.0%} of the golden is one value; choose other scales")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.tflite").write_bytes(data)
    np.savez(folder / "golden.npz", **golden)
    (folder / "manifest.toml").write_text(manifest(folder, description, net))
    print(f"{name:<32} {len(data):6} bytes, {len(net.operators):2} operators, most common output {share:.0%}")


def most_common_share(values):
    return np.unique(values, return_counts=True)[1].max() / values.size


def manifest(folder, description, net):
    sha256 = {f: hashlib.sha256((folder / f).read_bytes()).hexdigest() for f in ("model.tflite", "golden.npz")}
    names = {v: k for k, v in vars(S.BuiltinOperator).items() if isinstance(v, int)}
    operators = sorted({names[getattr(S.BuiltinOperator, code)] for code, _ in net.codes})
    return f'''description = "{description}"
source = "tests/models/make_models.py"
licence = "MIT OR Apache-2.0"
operators = [{", ".join(f'"{o}"' for o in operators)}]

[model]
file = "model.tflite"
sha256 = "{sha256["model.tflite"]}"

[golden]
file = "golden.npz"
sha256 = "{sha256["golden.npz"]}"
engine = "LiteRT (ai-edge-litert), OpResolverType.BUILTIN_REF, 1 thread"
engine_version = "{importlib.metadata.version("ai-edge-litert")}"
tolerance_lsb = 0
'''


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=HERE)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these models")
    options = parser.parse_args()
    for name in options.names or MODELS:
        write(name, options.out / name)


if __name__ == "__main__":
    main()

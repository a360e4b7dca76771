#!/usr/bin/env python3
"""Random single quantized operators: what ONNX Runtime gives, as .qir modules with golden files.

    ort_cases.py OUT_DIR [--count 20] [--seed 0]
    qcc check OUT_DIR [--interpret | --all-levels]

Each case is one ONNX node (QLinear*, QuantizeLinear …) that ONNX Runtime runs as written, and the
quantized op that it should equal, bit for bit, under numerics(onnx). Needs numpy, onnx, onnxruntime.
"""
import argparse
import pathlib

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

CODES = {"u8": np.uint8, "i8": np.int8}
PROTO = {np.dtype(np.uint8): TensorProto.UINT8, np.dtype(np.int8): TensorProto.INT8,
         np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int16): TensorProto.INT16,
         np.dtype(np.uint16): TensorProto.UINT16, np.dtype(np.int32): TensorProto.INT32}


class Q:
    """Scale and zero point of a tensor."""

    def __init__(self, r, kind, lo=0.004, hi=0.5, zero=None):
        self.kind = kind
        info = np.iinfo(CODES[kind])
        self.scale = np.float32(lo * (hi / lo) ** r.random())
        ends = [info.min, info.max, int(r.integers(info.min, info.max + 1))]
        self.zp = int(r.choice(ends)) if zero is None else zero
        self.dtype = CODES[kind]

    def type(self):
        return f"!quant.uniform<{self.kind}:f32, {float(self.scale)!r}:{self.zp}>"

    def arrays(self):
        return [np.float32(self.scale), self.dtype(self.zp)]


class Case:
    """One node: inputs that vary, constants, the module's text."""

    def __init__(self, r):
        self.r, self.feeds, self.consts, self.types, self.data = r, {}, {}, [], []

    def codes(self, shape, dtype):
        info = np.iinfo(dtype)
        if self.r.random() < 0.2:
            return self.r.choice([info.min, info.max], shape).astype(dtype)
        return self.r.integers(info.min, info.max + 1, shape).astype(dtype)

    def run(self, op, inputs, domain="", **attrs):
        """`inputs`: names of feeds, or arrays that become constants."""
        names, ini = [], []
        for i, x in enumerate(inputs):
            if isinstance(x, str):
                names.append(x)
            else:
                ini.append(onnx.numpy_helper.from_array(np.asarray(x), f"c{i}"))
                names.append(f"c{i}")
        node = helper.make_node(op, names, ["y"], domain=domain, **attrs)
        vi = [helper.make_tensor_value_info(n, PROTO[v.dtype], v.shape) for n, v in self.feeds.items()]
        out = helper.make_empty_tensor_value_info("y")
        graph = helper.make_graph([node], "g", vi, [out], ini)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        so = ort.SessionOptions()
        so.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        so.intra_op_num_threads = 1
        so.log_severity_level = 3
        s = ort.InferenceSession(model.SerializeToString(), so, providers=["CPUExecutionProvider"])
        return s.run(None, self.feeds)[0]


def tensor(shape, q):
    return "tensor<" + "".join(f"{d}x" for d in shape) + q + ">"


def nhwc(a):
    return np.ascontiguousarray(np.moveaxis(a, 1, -1)) if a.ndim == 4 else a


def module(types, params, body, result, data=()):
    lines = [f"{n} = {t}" for n, t in types]
    args = ", ".join(f"%{n}: {t}" for n, t in params)
    lines.append("module @m level(quant) numerics(onnx) {")
    lines.append(f"  func @main({args}) -> {result} {{")
    lines += ["    " + l for l in body] + ["    return %y", "  }", "}"]
    lines += [f'data @{n} = hex"{b}"' for n, b in data]
    return "\n".join(lines) + "\n"


def conv(r):
    c = Case(r)
    xk, wk = r.choice([("u8", "i8"), ("u8", "u8"), ("i8", "i8")])
    n, ic, h, w = int(r.integers(1, 3)), int(r.integers(1, 20)), *map(int, r.integers(3, 10, 2))
    depthwise = r.random() < 0.3
    g = ic if depthwise else 1
    oc = ic if depthwise else int(r.integers(1, 24))
    k, s, d = int(r.choice([1, 3])), int(r.integers(1, 3)), 1
    pad = int(r.integers(0, k))
    x, y = Q(r, xk), Q(r, xk, 0.05, 2)
    per_axis = wk == "i8" and r.random() < 0.5
    wz = 0 if per_axis else None
    scales = np.array([Q(r, wk, 0.001, 0.02).scale for _ in range(oc if per_axis else 1)], np.float32)
    wq = Q(r, wk, 0.001, 0.02, wz)
    c.feeds["x"] = c.codes((n, ic, h, w), x.dtype)
    wv = c.codes((oc, ic // g, k, k), wq.dtype)
    b = r.integers(-20000, 20000, oc).astype(np.int32)
    wzp = np.full(len(scales), wq.zp, wq.dtype) if per_axis else wq.dtype(wq.zp)
    out = c.run("QLinearConv", ["x", *x.arrays(), wv, scales if per_axis else scales[0], wzp, *y.arrays(), b],
                kernel_shape=[k, k], strides=[s, s], pads=[pad] * 4, dilations=[d, d], group=g)
    wn = np.moveaxis(wv, 1, -1)
    if depthwise:
        wn, axis = np.moveaxis(wn, 0, -1).reshape(1, k, k, oc), 3
    else:
        axis = 0
    if per_axis:
        wt = f"!quant.uniform<{wk}:f32:{axis}, {{" + ", ".join(f"{float(v)!r}:0" for v in scales) + "}>"
    else:
        wt = f"!quant.uniform<{wk}:f32, {float(scales[0])!r}:{wq.zp}>"
    op = "depthwise_conv2d" if depthwise else "conv2d"
    body = [f"%w = const @w : {tensor(wn.shape, '!w')}", f"%b = const @b : tensor<{oc}xi32>",
            f"%y = quant.{op}(%x, %w, %b) {{stride = [{s}, {s}], pad = [{pad}, {pad}, {pad}, {pad}]}} : {tensor(nhwc(out).shape, '!y')}"]
    text = module([("!x", x.type()), ("!w", wt), ("!y", y.type())], [("x", tensor(nhwc(c.feeds["x"]).shape, "!x"))],
                  body, tensor(nhwc(out).shape, "!y"),
                  [("w", np.ascontiguousarray(wn).tobytes().hex()), ("b", b.tobytes().hex())])
    return text, [nhwc(c.feeds["x"])], nhwc(out)


def matmul(r):
    c = Case(r)
    ak, bk = r.choice([("u8", "i8"), ("u8", "u8"), ("i8", "i8")])
    a, b, y = Q(r, ak), Q(r, bk, 0.001, 0.05), Q(r, ak, 0.05, 2)
    m, k, n = map(int, r.integers(1, 40, 3))
    c.feeds["a"] = c.codes((m, k), a.dtype)
    bv = c.codes((k, n), b.dtype)
    out = c.run("QLinearMatMul", ["a", *a.arrays(), bv, *b.arrays(), *y.arrays()])
    types = [("!a", a.type()), ("!b", b.type()), ("!y", y.type())]
    if r.random() < 0.5:
        body = [f"%w = const @w : {tensor((n, k), '!b')}", f"%y = quant.fully_connected(%a, %w) : {tensor((m, n), '!y')}"]
        data = [("w", np.ascontiguousarray(bv.T).tobytes().hex())]
    else:
        body = [f"%w = const @w : {tensor((k, n), '!b')}", f"%y = quant.matmul(%a, %w) : {tensor((m, n), '!y')}"]
        data = [("w", bv.tobytes().hex())]
    return module(types, [("a", tensor((m, k), "!a"))], body, tensor((m, n), "!y"), data), [c.feeds["a"]], out


def pair(name, op):
    def make(r):
        c = Case(r)
        kind = r.choice(["u8", "i8"])
        a, b, y = Q(r, kind), Q(r, kind), Q(r, kind)
        shape = (256, 256)
        if r.random() < 0.5:
            c.feeds["a"] = np.arange(256).astype(np.uint8).view(a.dtype).repeat(256).reshape(shape)
            c.feeds["b"] = np.tile(np.arange(256).astype(np.uint8).view(b.dtype), 256).reshape(shape)
        else:
            shape = tuple(map(int, r.integers(1, 40, 2)))
            c.feeds["a"] = c.codes(shape, a.dtype)
            c.feeds["b"] = c.codes((1, shape[1]) if r.random() < 0.3 else shape, b.dtype)
        out = c.run(name, ["a", *a.arrays(), "b", *b.arrays(), *y.arrays()], domain="com.microsoft")
        body = [f"%y = quant.{op}(%a, %b) : {tensor(shape, '!y')}"]
        params = [(k, tensor(v.shape, "!" + k)) for k, v in c.feeds.items()]
        types = [("!a", a.type()), ("!b", b.type()), ("!y", y.type())]
        return module(types, params, body, tensor(shape, "!y")), list(c.feeds.values()), out
    return make


def unary(name, f, **attrs):
    def make(r):
        c = Case(r)
        kind = r.choice(["u8", "i8"])
        x, y = Q(r, kind), Q(r, kind)
        if name == "QLinearSigmoid":
            y = Q(r, kind, 0.003, 0.006)
        c.feeds["x"] = np.arange(256).astype(np.uint8).view(x.dtype)
        out = c.run(name, ["x", *x.arrays(), *y.arrays()], domain="com.microsoft", **attrs)
        extra = "".join(f", {k} = {v!r}" for k, v in attrs.items())
        body = [f"%y = quant.unary(%x) {{f = {f}{extra}}} : tensor<256x!y>"]
        types = [("!x", x.type()), ("!y", y.type())]
        return module(types, [("x", "tensor<256x!x>")], body, "tensor<256x!y>"), [c.feeds["x"]], out
    return make


def softmax(r):
    c = Case(r)
    kind = r.choice(["u8", "i8"])
    x = Q(r, kind)
    y = Q(r, kind, 1 / 256, 1 / 255, int(np.iinfo(CODES[kind]).min))
    shape = tuple(map(int, r.integers(1, 60, 2)))
    c.feeds["x"] = c.codes(shape, x.dtype)
    out = c.run("QLinearSoftmax", ["x", *x.arrays(), *y.arrays()], domain="com.microsoft", axis=-1, opset=13)
    body = [f"%y = quant.softmax(%x) : {tensor(shape, '!y')}"]
    types = [("!x", x.type()), ("!y", y.type())]
    return module(types, [("x", tensor(shape, "!x"))], body, tensor(shape, "!y")), [c.feeds["x"]], out


def pool(r):
    c = Case(r)
    kind = r.choice(["u8", "i8"])
    x, y = Q(r, kind), Q(r, kind)
    n, ch, h, w = 1, int(r.integers(1, 40)), *map(int, r.integers(3, 10, 2))
    c.feeds["x"] = c.codes((n, ch, h, w), x.dtype)
    xs = tensor((n, h, w, ch), "!x")
    types = [("!x", x.type()), ("!y", y.type())]
    if r.random() < 0.4:
        out = c.run("QLinearGlobalAveragePool", ["x", *x.arrays(), *y.arrays()], domain="com.microsoft", channels_last=0)
        ys = tensor((n, 1, 1, ch), "!y")
        body = [f"%y = quant.mean(%x) {{axes = [1, 2]}} : {ys}"]
    else:
        k, s = int(r.integers(1, 4)), int(r.integers(1, 3))
        pad, count = int(r.integers(0, k)), int(r.integers(0, 2))
        out = c.run("QLinearAveragePool", ["x", *x.arrays(), *y.arrays()], domain="com.microsoft", kernel_shape=[k, k],
                    strides=[s, s], pads=[pad] * 4, count_include_pad=count)
        ys = tensor(nhwc(out).shape, "!y")
        include = ", count_include_pad = true" if count else ""
        body = [f"%y = quant.avg_pool2d(%x) {{window = [{k}, {k}], stride = [{s}, {s}], pad = [{pad}, {pad}, {pad}, {pad}]{include}}} : {ys}"]
    return module(types, [("x", xs)], body, ys), [nhwc(c.feeds["x"])], nhwc(out)


def concat(r):
    c = Case(r)
    kind = r.choice(["u8", "i8"])
    a, b, y = Q(r, kind), Q(r, kind), Q(r, kind)
    if r.random() < 0.5:
        y = a
    rows = int(r.integers(1, 9))
    c.feeds["a"] = c.codes((rows, int(r.integers(1, 40))), a.dtype)
    c.feeds["b"] = c.codes((rows, int(r.integers(1, 40))), b.dtype)
    out = c.run("QLinearConcat", [*y.arrays(), "a", *a.arrays(), "b", *b.arrays()], domain="com.microsoft", axis=1)
    body = [f"%y = quant.concat(%a, %b) {{axis = 1}} : {tensor(out.shape, '!y')}"]
    params = [(k, tensor(v.shape, "!" + k)) for k, v in c.feeds.items()]
    types = [("!a", a.type()), ("!b", b.type()), ("!y", y.type())]
    return module(types, params, body, tensor(out.shape, "!y")), list(c.feeds.values()), out


def quantize(r):
    c = Case(r)
    q = Q(r, r.choice(["u8", "i8"]))
    n = 64
    x = (r.standard_normal(n) * 100 * q.scale).astype(np.float32)
    x[:8] = (np.arange(8, dtype=np.float32) - 4 + np.float32(0.5)) * q.scale
    x[8:12] = [np.inf, -np.inf, np.nan, 1e30]
    c.feeds["x"] = x
    out = c.run("QuantizeLinear", ["x", *q.arrays()])
    body = [f"%y = quant.quantize(%x) : tensor<{n}x!y>"]
    return module([("!y", q.type())], [("x", f"tensor<{n}xf32>")], body, f"tensor<{n}x!y>"), [x], out


CASES = {
    "conv": conv, "matmul": matmul, "softmax": softmax, "pool": pool, "concat": concat, "quantize": quantize,
    "add": pair("QLinearAdd", "add"), "mul": pair("QLinearMul", "mul"),
    "sigmoid": unary("QLinearSigmoid", "sigmoid"),
    "leaky_relu": unary("QLinearLeakyRelu", "leaky_relu", alpha=0.25),
}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=pathlib.Path)
    p.add_argument("--count", type=int, default=20, help="cases per operator")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--only", help="one operator")
    args = p.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, make in CASES.items():
        if args.only not in (None, name):
            continue
        for k in range(args.count):
            text, inputs, out = make(np.random.default_rng([args.seed, k]))
            file = args.out / f"{name}_{k:04}"
            file.with_suffix(".qir").write_text(text)
            arrays = {f"case0_in{i}": x for i, x in enumerate(inputs)}
            np.savez(file.with_suffix(".golden.npz"), **arrays, case0_out0=out)
    print(f"{len(CASES)} operators, {args.count} cases each, in {args.out}")


if __name__ == "__main__":
    main()

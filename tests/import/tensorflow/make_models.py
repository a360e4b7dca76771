#!/usr/bin/env python3
"""Write small TensorFlow models with goldens, and malformed ones, without TensorFlow.

    make_models.py        # writes beside itself

The protobuf messages, the checkpoint (LevelDB table, CRC-32C, Snappy literals) and the expected
outputs are all made here. Needs: numpy.
"""
import os, shutil, struct

import numpy as np

F = np.float32
HERE = os.path.dirname(os.path.abspath(__file__))
FLOAT, INT32, STRING, INT64, HALF, RESOURCE = 1, 3, 7, 9, 19, 20


# ---- protobuf ----

def varint(n):
    n &= (1 << 64) - 1
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def num(field, value):
    return varint(field << 3) + varint(int(value))


def blob(field, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value


def fixed(field, value):
    return varint(field << 3 | 5) + struct.pack("<f", value)


def shape_of(dims):
    if dims is None:
        return num(3, 1)
    return b"".join(blob(2, num(1, d)) for d in dims)


def tensor(a, form="content", dtype=None):
    a = np.asarray(a)
    half = a.dtype == np.float16
    dtype = dtype or {"f": HALF if half else FLOAT, "i": INT32 if a.dtype == np.int32 else INT64}[a.dtype.kind]
    head = num(1, dtype) + blob(2, shape_of(a.shape))
    if form == "content":
        return head + blob(4, a.tobytes())
    if form == "splat":
        return head + fixed(5, float(a.flat[0]))
    if form == "half":
        return head + blob(13, b"".join(varint(int(v)) for v in a.astype(np.float16).view(np.uint16).flat))
    if a.dtype.kind == "f":  # unpacked
        return head + b"".join(fixed(5, float(v)) for v in a.flat)
    field = 7 if dtype == INT32 else 10
    return head + blob(field, b"".join(varint(int(v)) for v in a.flat))


def strings(values):
    return num(1, STRING) + blob(2, shape_of([len(values)])) + b"".join(blob(8, v) for v in values)


class Raw(bytes):
    """An AttrValue that is encoded already."""


def attr(value):
    if isinstance(value, Raw):
        return value
    if isinstance(value, bool):
        return num(5, value)
    if isinstance(value, int):
        return num(3, value)
    if isinstance(value, float):
        return fixed(4, value)
    if isinstance(value, str):
        return blob(2, value)
    return blob(1, blob(3, b"".join(varint(v) for v in value)))  # a packed list


def type_(code):
    return Raw(num(6, code))


def func(name):
    return Raw(blob(10, blob(1, name)))


def node(name, op, inputs=(), **attrs):
    out = blob(1, name) + blob(2, op) + b"".join(blob(3, i) for i in inputs)
    return out + b"".join(blob(5, blob(1, k) + blob(2, attr(v))) for k, v in sorted(attrs.items()))


def const(name, value, form="content"):
    t = value if isinstance(value, bytes) else tensor(value, form)
    return node(name, "Const", value=Raw(blob(8, t)))


def placeholder(name, dims, dtype=FLOAT):
    return node(name, "Placeholder", dtype=type_(dtype), shape=Raw(blob(7, shape_of(dims))))


def function(name, args, rets, nodes):
    """rets: list of (result, tensor)."""
    sig = blob(1, name) + b"".join(blob(2, blob(1, a)) for a in args)
    sig += b"".join(blob(3, blob(1, r)) for r, _ in rets)
    body = blob(1, sig) + b"".join(blob(3, n) for n in nodes)
    return body + b"".join(blob(4, blob(1, r) + blob(2, t)) for r, t in rets)


def graph(nodes, functions=()):
    out = b"".join(blob(1, n) for n in nodes)
    if functions:
        out += blob(2, b"".join(blob(1, f) for f in functions))
    return out


# ---- checkpoint ----

TABLE = []
for i in range(256):
    c = i
    for _ in range(8):
        c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
    TABLE.append(c)


def masked(data):
    c = 0xFFFFFFFF
    for b in data:
        c = TABLE[(c ^ b) & 255] ^ c >> 8
    c ^= 0xFFFFFFFF
    return ((c >> 15 | c << 17) + 0xA282EAD8) & 0xFFFFFFFF


def block(entries, every=16):
    """Entries with prefix compression and a restart point every so many."""
    out, restarts, last = b"", [], b""
    for i, (k, v) in enumerate(entries):
        shared = 0
        if i % every == 0:
            restarts.append(len(out))
        else:
            shared = len(os.path.commonprefix([last, k]))
        out += varint(shared) + varint(len(k) - shared) + varint(len(v)) + k[shared:] + v
        last = k
    restarts = restarts or [0]
    return out + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def snappy(data):
    """Snappy with literals only."""
    out = varint(len(data))
    for i in range(0, len(data), 60):
        part = data[i:i + 60]
        out += bytes([len(part) - 1 << 2]) + part
    return out


def table(entries, compress, per_block):
    out, index = b"", []

    def add(content):
        nonlocal out
        kind = b"\0"
        if compress:
            content, kind = snappy(content), b"\1"
        handle = varint(len(out)) + varint(len(content))
        out += content + kind + struct.pack("<I", masked(content + kind))
        return handle

    for i in range(0, len(entries), per_block):
        part = entries[i:i + per_block]
        index.append((part[-1][0], add(block(part))))
    meta = add(block([]))
    footer = meta + add(block(index))
    return out + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def checkpoint(folder, tensors, compress=False, per_block=2):
    os.makedirs(os.path.join(folder, "variables"))
    data, entries = b"", [(b"", num(1, 1))]
    for key in sorted(tensors):
        a = np.asarray(tensors[key], F)
        raw = a.tobytes()
        entry = num(1, FLOAT) + blob(2, shape_of(a.shape)) + num(4, len(data)) + num(5, len(raw))
        entry += varint(6 << 3 | 5) + struct.pack("<I", masked(raw))
        entries.append((key.encode(), entry))
        data += raw
    prefix = os.path.join(folder, "variables", "variables")
    open(prefix + ".index", "wb").write(table(entries, compress, per_block))
    open(prefix + ".data-00000-of-00001", "wb").write(data)


def saved_model(folder, g, inputs, outputs, restore):
    info = lambda name, dims: blob(1, name) + num(2, FLOAT) + blob(3, shape_of(dims))
    sig = b"".join(blob(1, blob(1, k) + blob(2, info(*v))) for k, v in inputs.items())
    sig += b"".join(blob(2, blob(1, k) + blob(2, info(*v))) for k, v in outputs.items())
    meta = blob(1, blob(4, "serve")) + blob(2, g) + blob(3, blob(3, restore))
    meta += blob(5, blob(1, "serving_default") + blob(2, sig))
    open(os.path.join(folder, "saved_model.pb"), "wb").write(num(1, 1) + blob(2, meta))


# ---- numpy's answers ----

def relu(x):
    return np.maximum(x, F(0))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def conv(x, w, stride, dilation, pad):
    """x [N,H,W,C], w [KH,KW,C,O], pad (top, bottom, left, right)."""
    x = np.pad(x, ((0, 0), pad[:2], pad[2:], (0, 0))).astype(np.float64)
    kh, kw = w.shape[:2]
    h = (x.shape[1] - (kh - 1) * dilation - 1) // stride + 1
    v = (x.shape[2] - (kw - 1) * dilation - 1) // stride + 1
    y = 0
    for i in range(kh):
        for j in range(kw):
            a, b = i * dilation, j * dilation
            part = x[:, a:a + (h - 1) * stride + 1:stride, b:b + (v - 1) * stride + 1:stride]
            y = y + part @ w[i, j].astype(np.float64)
    return y.astype(F)


def fake_quant(x, lo, hi, bits, narrow, form):
    """numerics.md A.1, in float32."""
    qmin, qmax = F(1 if narrow else 0), F((1 << bits) - 1)
    lo, hi = np.asarray(lo, F), np.asarray(hi, F)
    scale, inv = (hi - lo) / (qmax - qmin), (qmax - qmin) / (hi - lo)
    z = np.clip(np.floor(qmin - lo / scale + F(0.5)), qmin, qmax)
    nmin, nmax = (qmin - z) * scale, (qmax - z) * scale
    qz = np.floor(-nmin * inv + F(0.5))
    s = np.clip(x, nmin, nmax) - nmin
    code = s / scale if form == "divide" else s * inv
    return np.floor(code - qz + F(0.5)) * scale


# ---- models ----

RNG = np.random.default_rng(7)
normal = lambda *s: RNG.normal(size=s).astype(F)


def write(name, model, cases):
    if model is not None:
        open(os.path.join(HERE, name + ".pb"), "wb").write(model)
    arrays = {}
    for k, (ins, outs) in enumerate(cases):
        arrays.update({f"case{k}_in{i}": a for i, a in enumerate(ins)})
        arrays.update({f"case{k}_out{j}": a for j, a in enumerate(outs)})
    np.savez(os.path.join(HERE, name + ".golden.npz"), **arrays)


def dense():
    """Typed and repeated values, Identity, control inputs, NoOp; the output is what nobody reads."""
    w, x = normal(4, 3), normal(1, 4)
    g = graph([
        placeholder("x", [-1, 4]),
        const("w", w, "typed"),
        const("b", np.full(3, F(0.5)), "splat"),
        const("scale", np.array(1.5, np.float16), "half"),
        node("w/read", "Identity", ["w:0", "^b"]),
        node("dense", "MatMul", ["x", "w/read"], transpose_a=False, transpose_b=False),
        node("dense/bias", "BiasAdd", ["dense", "b"]),
        node("scaled", "Mul", ["dense/bias", "scale"]),
        node("relu", "Relu", ["scaled"]),
        node("group", "NoOp", ["^relu"]),
        node("prob", "Softmax", ["relu", "^group"]),
        node("unused", "Identity", ["w"]),
    ])
    y = softmax(relu((x @ w + F(0.5)) * F(1.5)))
    write("dense", g, [([x], [y])])


def nchw():
    """NCHW with explicit and SAME padding; weights transposed at import."""
    x, w = normal(1, 3, 6, 5), normal(3, 3, 3, 4)
    g = graph([
        placeholder("x", [1, 3, 6, 5]),
        const("w", w),
        node("conv", "Conv2D", ["x", "w"], data_format="NCHW", strides=[1, 1, 2, 2],
             padding="EXPLICIT", explicit_paddings=[0, 0, 0, 0, 1, 2, 0, 1]),
        node("pool", "MaxPool", ["conv"], data_format="NCHW", ksize=[1, 1, 2, 2],
             strides=[1, 1, 1, 1], padding="VALID"),
    ])
    y = conv(x.transpose(0, 2, 3, 1), w, 2, 1, (1, 2, 0, 1))
    y = np.maximum(np.maximum(y[:, :-1, :-1], y[:, 1:, :-1]), np.maximum(y[:, :-1, 1:], y[:, 1:, 1:]))
    write("nchw", g, [([x], [y.transpose(0, 3, 1, 2)])])


def dilated():
    """Dilation written with batches: odd sizes make TensorFlow pad more and crop again."""
    x, w = normal(1, 7, 6, 2), normal(3, 3, 2, 3)
    pads = np.array([[2, 3], [2, 2]], np.int32)  # SAME for dilation 2, then up to a multiple of 2
    crops = np.array([[0, 1], [0, 0]], np.int32)
    g = graph([
        placeholder("x", [1, 7, 6, 2]),
        const("w", w), const("block", np.array([2, 2], np.int32), "typed"),
        const("pads", pads), const("crops", crops),
        node("stb", "SpaceToBatchND", ["x", "block", "pads"]),
        node("conv", "Conv2D", ["stb", "w"], strides=[1, 1, 1, 1], padding="VALID"),
        node("bts", "BatchToSpaceND", ["conv", "block", "crops"]),
        node("act", "Tanh", ["bts"]),
    ])
    write("dilated", g, [([x], [np.tanh(conv(x, w, 1, 2, (2, 2, 2, 2)))])])


def shapes():
    """Shape arithmetic is done at import: flatten, split, concat, gather, pack."""
    x = normal(1, 2, 6)
    i32 = lambda *v: np.array(v, np.int32)
    g = graph([
        placeholder("x", [-1, 2, 6]),
        const("zero", np.array(0, np.int32), "typed"), const("one", np.array(1, np.int32)),
        const("v0", i32(0), "typed"), const("v1", i32(1)), const("minus", np.array(-1, np.int32)),
        node("shape", "Shape", ["x"], out_type=type_(INT32)),
        node("batch", "StridedSlice", ["shape", "v0", "v1", "v1"], shrink_axis_mask=1),
        node("rest", "StridedSlice", ["shape", "v1", "v0", "v1"], end_mask=1),
        node("features", "Prod", ["rest", "v0"]),
        node("to", "Pack", ["batch", "features"], axis=0),
        node("flat", "Reshape", ["x", "to"]),
        node("split", "Split", ["one", "flat"], num_split=3),
        node("sum", "AddV2", ["split", "split:2"]),
        node("joined", "ConcatV2", ["sum", "split:1", "minus"]),
        const("order", np.array([7, 0, 3], np.int64), "typed"),
        node("picked", "GatherV2", ["joined", "order", "one"]),
        const("b", np.array([0, 2], np.int32)), const("e", np.array([0, 0], np.int32)),
        const("s", np.array([1, -1], np.int32)),
        node("back", "StridedSlice", ["joined", "b", "e", "s"], begin_mask=3, end_mask=3),
    ])
    flat = x.reshape(1, 12)
    joined = np.concatenate([flat[:, :4] + flat[:, 8:], flat[:, 4:8]], 1)
    write("shapes", g, [([x], [joined[:, [7, 0, 3]], joined[:, ::-1]])])


def quantized():
    """The three fake-quant operators, with ranges as attributes, constants and Identity of those."""
    x, w = normal(1, 4) * F(3), normal(4, 3)
    lo, hi = -np.abs(normal(3)) - F(0.1), np.abs(normal(3)) + F(0.1)
    g = graph([
        placeholder("x", [1, 4]), const("w", w), const("lo", lo), const("hi", hi),
        const("min", np.array(-4, F)), const("max", np.array(3.5, F)),
        node("max/read", "Identity", ["max"]),
        node("xq", "FakeQuantWithMinMaxVars", ["x", "min", "max/read"], num_bits=8),
        node("wq", "FakeQuantWithMinMaxVarsPerChannel", ["w", "lo", "hi"], num_bits=4,
             narrow_range=True),
        node("y", "MatMul", ["xq", "wq"]),
        node("yq", "FakeQuantWithMinMaxArgs", ["y"], min=-8.0, max=8.0, num_bits=16),
    ])
    y = fake_quant(x, -4, 3.5, 8, False, "divide") @ fake_quant(w, lo, hi, 4, True, "multiply")
    write("quantized", g, [([x], [fake_quant(y, -8, 8, 16, False, "multiply")])])


def functions():
    """TF2: nested calls, variables by the restore function, two outputs sorted by name."""
    folder = os.path.join(HERE, "functions")
    shutil.rmtree(folder, ignore_errors=True)
    w, b, x = normal(4, 3), normal(3), normal(1, 4)
    tensors = {"layer/kernel/.ATTRIBUTES/VARIABLE_VALUE": w,
               "layer/bias/.ATTRIBUTES/VARIABLE_VALUE": b,
               "optimizer/step/.ATTRIBUTES/VARIABLE_VALUE": np.array(3, F)}
    checkpoint(folder, tensors)
    keys = sorted(tensors)
    handle = lambda n, s: node(n, "VarHandleOp", shared_name=s, dtype=type_(FLOAT))
    inner = function("dense", ["inputs", "w", "b"], [("identity", "add:output:0")], [
        node("read", "ReadVariableOp", ["w"]), node("read_b", "ReadVariableOp", ["b"]),
        node("mm", "MatMul", ["inputs", "read:value:0"]),
        node("biased", "BiasAdd", ["mm:product:0", "read_b:value:0", "^read"]),
        node("add", "Identity", ["biased:output:0"]),
    ])
    outer = function("call", ["x", "w", "b"],
                     [("first", "inner:output:0"), ("second", "relu:activations:0")], [
        node("inner", "StatefulPartitionedCall", ["x", "w", "b"], f=func("dense")),
        node("relu", "Relu", ["inner:output:0"]),
    ])
    restore = function("restore", ["prefix", "v0", "v1"], [("identity_2", "prefix")], [
        const("names", strings(keys)), const("slices", strings([""] * 3)),
        node("RestoreV2", "RestoreV2", ["prefix", "names:output:0", "slices:output:0"]),
        node("Identity", "Identity", ["RestoreV2:tensors:0"]),
        node("Identity_1", "Identity", ["RestoreV2:tensors:1"]),
        node("a0", "AssignVariableOp", ["v0", "Identity:output:0"]),
        node("a1", "AssignVariableOp", ["v1", "Identity_1:output:0"]),
    ])
    g = graph([
        # Names that say nothing about the keys: only the restore function knows.
        handle("v", "first"), handle("v_1", "second"),
        placeholder("serving_default_x", [-1, 4]),
        placeholder("saver_filename", [], STRING),
        node("StatefulPartitionedCall", "StatefulPartitionedCall",
             ["serving_default_x", "v_1", "v"], f=func("call")),
        node("StatefulPartitionedCall_1", "StatefulPartitionedCall",
             ["saver_filename", "v", "v_1"], f=func("restore")),
    ], [inner, outer, restore])
    # Keys sort bias, kernel, step: v is the bias, v_1 the kernel.
    saved_model(folder, g, {"x": ("serving_default_x:0", [-1, 4])},
                {"b_relu": ("StatefulPartitionedCall:1", [-1, 3]),
                 "a_logits": ("StatefulPartitionedCall:0", [-1, 3])}, "StatefulPartitionedCall_1")
    y = x @ w + b
    write("functions", None, [([x], [y, relu(y)])])


def snappy_model():
    """TF1: VariableV2 restored by name in the main graph; a compressed index of one block each."""
    folder = os.path.join(HERE, "snappy")
    shutil.rmtree(folder, ignore_errors=True)
    w, x = normal(5, 2), normal(1, 5)
    tensors = {"net/kernel": w, "net/kernel_1": normal(2), "net/kernel_10": normal(2)}
    checkpoint(folder, tensors, compress=True, per_block=1)
    g = graph([
        placeholder("x", [-1, 5]), placeholder("prefix", [], STRING),
        node("k", "VariableV2", [], dtype=type_(FLOAT)),
        node("k/read", "Identity", ["k"]),
        node("y", "MatMul", ["x", "k/read"]),
        const("save/names", strings(["net/kernel"])), const("save/slices", strings([""])),
        node("save/RestoreV2", "RestoreV2", ["prefix", "save/names", "save/slices"]),
        node("save/Assign", "Assign", ["k", "save/RestoreV2"]),
        node("save/restore_all", "NoOp", ["^save/Assign"]),
    ])
    saved_model(folder, g, {"x": ("x:0", [-1, 5])}, {"y": ("y:0", [-1, 2])}, "save/restore_all")
    write("snappy", None, [([x], [x @ w])])


def malformed():
    bad = os.path.join(HERE, "bad")
    os.makedirs(bad, exist_ok=True)
    save = lambda name, g: open(os.path.join(bad, name + ".pb"), "wb").write(g)
    x = placeholder("x", [1, 4])
    save("cycle", graph([x, node("a", "Add", ["x", "b"]), node("b", "Relu", ["a"]),
                         node("c", "Relu", ["b"])]))
    save("missing", graph([x, node("a", "Add", ["x", "nowhere"])]))
    call = lambda n, f, i: node(n, "PartitionedCall", [i], f=func(f))
    save("recursion", graph([x, call("y", "f", "x")], [
        function("f", ["a"], [("r", "again:output:0")], [call("again", "f", "a")])]))
    twice = [function(f"f{i}", ["a"], [("r", "two:output:0")], [
        call("one", f"f{i + 1}", "a"), call("two", f"f{i + 1}", "one:output:0")])
        for i in range(40)]
    leaf = function("f40", ["a"], [("r", "y:y:0")], [node("y", "Relu", ["a"])])
    save("bomb", graph([x, call("y", "f0", "x")], twice + [leaf]))
    save("unsupported", graph([x, node("one", "Foo", ["x"]), node("two", "Bar", ["one"])]))
    save("open_shape", graph([placeholder("x", [-1, -1]), node("y", "Relu", ["x"])]))
    huge = num(1, FLOAT) + blob(2, shape_of([1 << 20, 1 << 10])) + fixed(5, 1.0)
    save("huge", graph([x, const("c", huge), node("y", "Add", ["x", "c"])]))
    save("variable", graph([x, node("v", "VarHandleOp", shared_name="v"),
                            node("r", "ReadVariableOp", ["v"]), node("y", "Add", ["x", "r"])]))
    ones = const("p", np.ones(4, F))
    save("training", graph([placeholder("x", [1, 2, 2, 4]), ones,
                            node("y", "FusedBatchNormV3", ["x", "p", "p", "p", "p"])]))


if __name__ == "__main__":
    for make in [dense, nchw, dilated, shapes, quantized, functions, snappy_model, malformed]:
        make()

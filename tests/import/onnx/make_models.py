#!/usr/bin/env python3
"""Writes the small ONNX models of this folder, good and bad, with expected outputs beside them.

    make_models.py            # needs: onnx, numpy

NAME.onnx with NAME.golden.npz (case0_in{i}, case0_out{j}; outputs by onnx's reference evaluator, or
where the bits count by ONNX Runtime, whose module onnxruntime then is needed too);
bad_NAME.onnx is refused.
"""
import pathlib

import numpy as np
import onnx
from onnx import TensorProto as T, helper as h, numpy_helper as nh
from onnx.reference import ReferenceEvaluator

HERE = pathlib.Path(__file__).parent
rng = np.random.default_rng(7)


def real(*shape):
    return rng.uniform(-1, 1, shape).astype(np.float32)


def model(nodes, inputs, outputs, constants, opset, functions=(), extra=()):
    info = lambda io: [h.make_tensor_value_info(*v) for v in io]
    init = [nh.from_array(np.asarray(v), k) for k, v in constants.items()]
    g = h.make_graph(nodes, "g", info(inputs), info(outputs), init)
    opsets = [h.make_opsetid("", opset), *(h.make_opsetid(d, 1) for d in extra)]
    return h.make_model(g, opset_imports=opsets, functions=functions, ir_version=8)


def write(name, m, *feeds):
    names = [i.name for i in m.graph.input]
    outs = ReferenceEvaluator(m).run(None, dict(zip(names, feeds)))
    arrays = {f"case0_in{i}": x for i, x in enumerate(feeds)}
    arrays |= {f"case0_out{j}": np.asarray(y) for j, y in enumerate(outs)}
    np.savez_compressed(HERE / f"{name}.golden.npz", **arrays)
    onnx.save(m, HERE / f"{name}.onnx")


def conv_bn():
    """Convolution, batch norm, pool, 1-D convolution on the way; open batch."""
    nodes = [
        h.make_node("Conv", ["x", "w", "b"], ["c"], "conv", strides=[2, 1], pads=[1, 0, 0, 1]),
        h.make_node("BatchNormalization", ["c", "s", "o", "m", "v"], ["n"], "bn"),
        h.make_node("Relu", ["n"], ["r"]),
        h.make_node("AveragePool", ["r"], ["p"], kernel_shape=[2, 2], pads=[0, 1, 1, 0]),
        h.make_node("GlobalAveragePool", ["p"], ["g"]),
        h.make_node("Flatten", ["g"], ["y"]),
    ]
    c = dict(w=real(4, 3, 3, 3), b=real(4), s=real(4), o=real(4), m=real(4), v=real(4) ** 2 + 1)
    m = model(nodes, [("x", T.FLOAT, ["n", 3, 7, 6])], [("y", T.FLOAT, ["n", 4])], c, 15)
    write("conv_bn", m, real(1, 3, 7, 6))


def conv_1d_transposed():
    nodes = [
        h.make_node("Conv", ["x", "w"], ["c"], group=2, dilations=[2], pads=[2, 2]),
        h.make_node("ConvTranspose", ["c4", "t"], ["y"], strides=[2, 2], output_padding=[1, 0]),
        h.make_node("Unsqueeze", ["c", "axes"], ["c4"]),
    ]
    nodes = [nodes[0], nodes[2], nodes[1]]
    c = dict(w=real(4, 1, 3), t=real(4, 2, 2, 3), axes=np.array([2]))
    m = model(nodes, [("x", T.FLOAT, [1, 2, 5])], [("y", T.FLOAT, None)], c, 13)
    write("conv_1d_transposed", m, real(1, 2, 5))


def shapes():
    """A shape computation that leaves nothing but a reshape and a broadcast."""
    nodes = [
        h.make_node("Shape", ["x"], ["s"]),
        h.make_node("Gather", ["s", "one"], ["d"]),
        h.make_node("Unsqueeze", ["d", "zero"], ["d1"]),
        h.make_node("Concat", ["d1", "minus"], ["t"], axis=0),
        h.make_node("Reshape", ["x", "t"], ["r"]),
        h.make_node("ConstantOfShape", ["t2"], ["k"], value=h.make_tensor("v", T.INT64, [1], [3])),
        h.make_node("Mul", ["t2", "k"], ["t3"]),
        h.make_node("Cast", ["t3"], ["f"], to=T.FLOAT),
        h.make_node("ReduceSum", ["f", "zero"], ["total"], keepdims=0),
        h.make_node("Add", ["r", "total"], ["y"]),
    ]
    c = dict(one=np.array(1), zero=np.array([0]), minus=np.array([-1]), t2=np.array([1]))
    m = model(nodes, [("x", T.FLOAT, [2, "seq", 4])], [("y", T.FLOAT, None)], c, 13)
    write("shapes", m, real(2, 3, 4))


def qdq():
    """Per-channel weights along axis 0 in a convolution, and along axis 1 in a matrix."""
    scale = lambda n: (rng.uniform(0.5, 1.5, n) / 100).astype(np.float32)
    code = lambda *s: rng.integers(-127, 128, s).astype(np.int8)
    i8, u8, f = np.int8, np.uint8, np.float32
    c = dict(w=code(4, 2, 3, 3), ws=scale(4), wz=np.zeros(4, i8), m=code(4, 5), ms=scale(5),
             mz=np.zeros(5, i8), s=f(0.02), z=u8(120), t=f(0.05), b=real(4),
             hw=np.array([2, 3]))
    nodes = [
        h.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        h.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        h.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        h.make_node("Conv", ["xd", "wd", "b"], ["c"], "conv"),
        h.make_node("QuantizeLinear", ["c", "t", "z"], ["cq"]),
        h.make_node("DequantizeLinear", ["cq", "t", "z"], ["cd"]),
        h.make_node("ReduceMean", ["cd", "hw"], ["g"], keepdims=0),
        h.make_node("DequantizeLinear", ["m", "ms", "mz"], ["md"], axis=1),
        h.make_node("MatMul", ["g", "md"], ["y"], "matmul"),
    ]
    m = model(nodes, [("x", T.FLOAT, [1, 2, 5, 5])], [("y", T.FLOAT, [1, 5])], c, 19)
    write("qdq", m, real(1, 2, 5, 5))


def averages(opset):
    """Averages in float32, of 16-bit and of 8-bit codes with channels first; as ONNX Runtime adds."""
    import onnxruntime as ort

    r = np.random.default_rng(opset)
    f = np.float32
    c = dict(s=f(0.1), h=np.uint16(100), z=np.uint8(100), k=f(0.5))
    nodes = [
        h.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        h.make_node("DequantizeLinear", ["wide", "s", "h"], ["wf"]),
        h.make_node("GlobalAveragePool", ["wf"], ["wm"]),
        h.make_node("QuantizeLinear", ["wm", "s", "h"], ["wide_mean"]),
        h.make_node("DequantizeLinear", ["narrow", "s", "z"], ["nf"]),
        h.make_node("GlobalAveragePool", ["nf"], ["nm"]),
        h.make_node("QuantizeLinear", ["nm", "k", "z"], ["narrow_mean"]),
    ]
    inputs = [("x", T.FLOAT, [1, 3, 6, 6]), ("wide", T.UINT16, [1, 48, 2, 3]), ("narrow", T.UINT8, [1, 48, 5, 5])]
    outputs = [("y", T.FLOAT, None), ("wide_mean", T.UINT16, None), ("narrow_mean", T.UINT8, None)]
    if opset < 21:  # no 16-bit codes
        nodes, inputs, outputs = nodes[:1], inputs[:1], outputs[:1]
    m = model(nodes, inputs, outputs, c if opset >= 21 else {}, opset)
    m.ir_version = 10
    feeds = [r.uniform(-1, 1, (1, 3, 6, 6)).astype(f), r.integers(0, 40, (1, 48, 2, 3)).astype(np.uint16),
             r.integers(0, 256, (1, 48, 5, 5)).astype(np.uint8)][: len(inputs)]
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(m.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outs = session.run(None, {i[0]: x for i, x in zip(inputs, feeds)})
    arrays = {f"case0_in{i}": x for i, x in enumerate(feeds)}
    arrays |= {f"case0_out{j}": y for j, y in enumerate(outs)}
    np.savez_compressed(HERE / f"averages_{opset}.golden.npz", **arrays)
    onnx.save(m, HERE / f"averages_{opset}.onnx")


def function():
    own = h.make_function("own", "Scaled", ["a"], ["b"], [
        h.make_node("LeakyRelu", ["a"], ["t"]), h.make_node("Mul", ["t", "t"], ["b"])],
        [h.make_opsetid("", 13)])
    own.node[0].attribute.append(onnx.AttributeProto(
        name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))
    own.attribute.append("slope")
    nodes = [h.make_node("Scaled", ["x"], ["u"], domain="own", slope=0.5),
             h.make_node("Scaled", ["u"], ["y"], domain="own", slope=0.25)]
    m = model(nodes, [("x", T.FLOAT, [3])], [("y", T.FLOAT, [3])], {}, 13, [own], ["own"])
    # The reference evaluator does not pass attributes to functions: computed here.
    x = np.array([-1, 0.5, -3], np.float32)
    u = np.where(x < 0, x * np.float32(0.5), x) ** 2
    y = np.where(u < 0, u * np.float32(0.25), u) ** 2
    np.savez_compressed(HERE / "function.golden.npz", case0_in0=x, case0_out0=y)
    onnx.save(m, HERE / "function.onnx")


def opset10():
    """Attributes that later became inputs."""
    nodes = [
        h.make_node("Clip", ["x"], ["c"], min=-0.5, max=0.5),
        h.make_node("Unsqueeze", ["c"], ["u"], axes=[0]),
        h.make_node("Pad", ["u"], ["p"], pads=[0, 0, 1, 0, 0, 2], value=0.25),
        h.make_node("Softmax", ["p"], ["s"], axis=1),
        h.make_node("ReduceSum", ["s"], ["r"], axes=[1], keepdims=1),
        h.make_node("Squeeze", ["r"], ["y"], axes=[0]),
    ]
    m = model(nodes, [("x", T.FLOAT, [2, 3])], [("y", T.FLOAT, None)], {}, 10)
    # The reference evaluator has no opset 10: computed here.
    x = real(2, 3)
    p = np.pad(np.clip(x, -0.5, 0.5)[None], ((0, 0), (0, 0), (1, 2)), constant_values=0.25)
    e = np.exp(p.reshape(1, -1) - p.max())
    y = (e / e.sum()).reshape(p.shape).sum(1, keepdims=True)[0].astype(np.float32)
    np.savez_compressed(HERE / "opset10.golden.npz", case0_in0=x, case0_out0=y)
    onnx.save(m, HERE / "opset10.onnx")


def external(name, location):
    m = model([h.make_node("Add", ["x", "k"], ["y"])], [("x", T.FLOAT, [4])],
              [("y", T.FLOAT, [4])], dict(k=np.arange(4, dtype=np.float32)), 13)
    if name == "external":
        write(name, m, real(4))
        (HERE / "external.bin").write_bytes(b"12345678" + m.graph.initializer[0].raw_data)
    t = m.graph.initializer[0]
    t.ClearField("raw_data")
    t.data_location = T.EXTERNAL
    for key, value in dict(location=location, offset="8", length="16").items():
        t.external_data.add(key=key, value=value)
    onnx.save(m, HERE / f"{name}.onnx")


def bad():
    one = [("x", T.FLOAT, [4])], [("y", T.FLOAT, [4])]
    nodes = [h.make_node("Det", ["x"], ["a"], "first"), h.make_node("LSTM", ["a"], ["y"], "second")]
    onnx.save(model(nodes, *one, {}, 13), HERE / "bad_unsupported.onnx")
    nodes = [h.make_node("Add", ["x", "b"], ["y"]), h.make_node("Relu", ["y"], ["b"])]
    onnx.save(model(nodes, *one, {}, 13), HERE / "bad_cycle.onnx")
    nodes = [h.make_node("Relu", ["x"], ["y"])]
    onnx.save(model(nodes, *one, {}, 99), HERE / "bad_opset.onnx")
    nodes = [h.make_node("Expand", ["x", "s"], ["y"])]
    onnx.save(model(nodes, *one, dict(s=np.array([1 << 40, 4])), 13), HERE / "bad_huge.onnx")
    nodes = [h.make_node("Add", ["x", "k"], ["y"])]
    m = model(nodes, *one, dict(k=np.zeros(4, np.float32)), 13)
    m.graph.initializer[0].raw_data = b"short"
    onnx.save(m, HERE / "bad_short_data.onnx")
    external("bad_external_parent", "../models/make_models.py")
    external("bad_external_absolute", "/etc/passwd")
    external("bad_external_missing", "nosuch.bin")


def einsum():
    """Products with letters in several orders, sums, a transpose, an implicit output."""
    equations = ["bqhd,bkhd->bhqk", "bhqk , bkhd -> bqhd", "bqhd->dhb", "bqhd,hde", "bqhd,bkhd->"]
    nodes = [
        h.make_node("Einsum", ["x", "w"], ["a"], equation=equations[0]),
        h.make_node("Einsum", ["a", "w"], ["y0"], equation=equations[1]),
        h.make_node("Einsum", ["x"], ["y1"], equation=equations[2]),
        h.make_node("Einsum", ["x", "p"], ["y2"], equation=equations[3]),
        h.make_node("Einsum", ["x", "w"], ["y3"], equation=equations[4]),
    ]
    c = dict(w=real(2, 5, 4, 3), p=real(4, 3, 2))
    outputs = [(f"y{i}", T.FLOAT, None) for i in range(4)]
    write("einsum", model(nodes, [("x", T.FLOAT, [2, 6, 4, 3])], outputs, c, 13), real(2, 6, 4, 3))


def masks():
    """Positions and a mask from the ids of tokens, as transformers compute them at run time."""
    nodes = [
        h.make_node("Equal", ["ids", "pad"], ["is_pad"]),
        h.make_node("Not", ["is_pad"], ["is_word"]),
        h.make_node("Cast", ["is_word"], ["count"], to=T.INT64),
        h.make_node("CumSum", ["count", "last"], ["sums"]),
        h.make_node("Mul", ["sums", "count"], ["positions"]),
        h.make_node("Gather", ["table", "positions"], ["rows"]),
        h.make_node("Unsqueeze", ["is_word", "one"], ["wide"]),
        h.make_node("And", ["wide", "causal"], ["mask"]),
        h.make_node("Where", ["mask", "zero", "least"], ["bias"]),
        h.make_node("MatMul", ["rows", "weights"], ["scores"]),
        h.make_node("Add", ["scores", "bias"], ["masked"]),
        h.make_node("Softmax", ["masked"], ["y"]),
        h.make_node("ArgMax", ["scores"], ["best"], axis=-1, keepdims=1, select_last_index=1),
        h.make_node("TopK", ["scores", "two"], ["top", "at"]),
    ]
    c = dict(pad=np.array(0), last=np.array(1), one=np.array([1]), table=real(7, 3), weights=real(3, 6),
             causal=np.tri(6, dtype=bool)[None], zero=np.float32(0), least=np.float32(-1e4),
             two=np.array([2]))
    outputs = [("y", T.FLOAT), ("best", T.INT64), ("top", T.FLOAT), ("at", T.INT64)]
    outputs = [(name, ty, None) for name, ty in outputs]
    m = model(nodes, [("ids", T.INT64, [2, 6])], outputs, c, 17)
    write("masks", m, np.array([[5, 3, 9, 0, 0, 0], [1, 2, 0, 4, 5, 6]]))


def branches():
    """One If whose condition the shape decides, and one that only the run does; they reuse names."""
    out = lambda: [h.make_tensor_value_info("r", T.FLOAT, None)]
    k = nh.from_array(np.float32(3), "k")
    double = h.make_graph([h.make_node("Mul", ["x", "k"], ["r"])], "double", [], out(), [k])
    again = h.make_graph(
        [h.make_node("If", ["is_wide"], ["r"], then_branch=double, else_branch=double)], "again", [], out())
    less = h.make_graph([h.make_node("Sub", ["x", "one"], ["t"]), h.make_node("Exp", ["t"], ["r"])],
                        "less", [], out())
    squeeze = h.make_graph([h.make_node("Squeeze", ["x"], ["r"])], "squeeze", [], out())
    nodes = [
        h.make_node("Size", ["x"], ["size"]),
        h.make_node("Greater", ["size", "few"], ["is_wide"]),
        h.make_node("If", ["is_wide"], ["a"], then_branch=less, else_branch=squeeze),
        h.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        h.make_node("Greater", ["sum", "one"], ["is_large"]),
        h.make_node("If", ["is_large"], ["b"], then_branch=again, else_branch=less),
        h.make_node("Add", ["a", "b"], ["y"]),
    ]
    c = dict(few=np.array(2), one=np.float32(1))
    m = model(nodes, [("x", T.FLOAT, [2, 3])], [("y", T.FLOAT, None)], c, 17)
    write("branches", m, real(2, 3))


if __name__ == "__main__":
    for f in (conv_bn, conv_1d_transposed, shapes, qdq, function, opset10, bad):
        f()
    external("external", "external.bin")
    einsum()
    masks()
    branches()
    averages(17)
    averages(21)

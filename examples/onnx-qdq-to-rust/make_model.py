#!/usr/bin/env python3
"""Trains the digits net in float, quantizes it after training and writes it as a QDQ ONNX model.

    pip install numpy scikit-learn onnx onnxruntime
    python make_model.py [--out FOLDER]

Training is that of `../digits/train.py`, imported from there (numpy; scikit-learn only for its data);
about 15 seconds on one core. onnxruntime is needed only for the expected outputs.

The model has the form that PyTorch's exporter and `onnxruntime.quantization` write:

- float input and output, channels first; every operator is a float operator;
- each activation passes QuantizeLinear and DequantizeLinear: uint8, one scale and zero point, from its
  range on the training images. A Relu is dropped: codes start at the real 0, so the rounding cuts too;
- each weight is an int8 constant with one scale per output channel and passes DequantizeLinear;
- each bias is an int32 constant of scale input scale * weight scale.

Written to FOLDER (default: this folder): digits_qdq.onnx, testset.npz, digits_qdq.golden.npz.
"""
import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "digits"))
import train as T  # before numpy: keeps BLAS to one thread

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


class Graph:
    """Nodes and constants of one QDQ graph; values are known by the float net's names."""

    def __init__(self, ranges):
        self.ranges, self.nodes, self.constants, self.scales = ranges, [], [], {}

    def const(self, name, value):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, op, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"{output}/{op}", **attributes))
        return output

    def activation(self, name, real, output=None, scale_of=None):
        """Passes the value `real` through uint8 codes; its new name is `name`_dq or `output`."""
        r = self.ranges[scale_of or name]
        scale = np.float32(max(r.high - r.low, 1e-6) / 255)
        zero = np.uint8(np.clip(np.rint(-r.low / scale), 0, 255))
        self.scales[name] = scale
        parameters = [self.const(f"{name}_scale", scale), self.const(f"{name}_zero_point", zero)]
        codes = self.node("QuantizeLinear", [real, *parameters], f"{name}_q")
        return self.node("DequantizeLinear", [codes, *parameters], output or f"{name}_dq")

    def weights(self, name, w, axis):
        """int8 codes, symmetric, one scale per slice along `axis`."""
        others = tuple(i for i in range(w.ndim) if i != axis)
        scales = (np.maximum(np.abs(w).max(axis=others), np.float32(1e-6)) / np.float32(127)).astype(np.float32)
        shape = [-1 if i == axis else 1 for i in range(w.ndim)]
        codes = np.clip(np.rint(w / scales.reshape(shape)), -127, 127).astype(np.int8)
        inputs = [self.const(f"{name}.weight_q", codes), self.const(f"{name}.weight_scale", scales),
                  self.const(f"{name}.weight_zero_point", np.zeros(len(scales), np.int8))]
        return self.node("DequantizeLinear", inputs, f"{name}.weight", axis=axis), scales

    def bias(self, name, b, input_scale, weight_scales):
        scales = (np.float32(input_scale) * weight_scales).astype(np.float32)
        codes = np.rint(b.astype(np.float64) / scales).astype(np.int32)
        inputs = [self.const(f"{name}.bias_q", codes), self.const(f"{name}.bias_scale", scales),
                  self.const(f"{name}.bias_zero_point", np.zeros(len(scales), np.int32))]
        return self.node("DequantizeLinear", inputs, f"{name}.bias", axis=0)


def add_node(g, n, parameters, dq):
    """The operator of `n`; the name of its float result."""
    inputs, real = [dq[i] for i in n.inputs], f"{n.name}_out"
    if n.op in ("conv", "depthwise"):
        w, b = parameters[n.name]
        w = w.transpose(3, 2, 0, 1) if n.op == "conv" else w.transpose(2, 0, 1)[:, None]  # [O, I/group, h, w]
        weight, scales = g.weights(n.name, w, axis=0)
        bias = g.bias(n.name, b, g.scales[T.source_of_scale(n.inputs[0])], scales)
        return g.node("Conv", [*inputs, weight, bias], real, kernel_shape=[n.size] * 2, pads=[n.size // 2] * 4,
                      group=n.channels if n.op == "depthwise" else 1)
    if n.op == "dense":
        w, b = parameters[n.name]
        weight, scales = g.weights(n.name, w.T, axis=0)
        bias = g.bias(n.name, b, g.scales[n.inputs[0]], scales)
        return g.node("Gemm", [*inputs, weight, bias], real, transB=1)
    if n.op == "add":
        return g.node("Add", inputs, real)
    if n.op == "max_pool":
        return g.node("MaxPool", inputs, real, kernel_shape=[2, 2], strides=[2, 2])
    assert n.op == "mean", n.op
    return g.node("GlobalAveragePool", inputs, real)


def qdq_model(parameters, ranges):
    """The QDQ model; input `image` float [1,1,8,8] in 0..1, output `logits` float [1,10]."""
    g = Graph(ranges)
    dq = {"image": g.activation("image", "image")}
    for n in T.NET:
        real = add_node(g, n, parameters, dq)
        output = "logits" if n is T.NET[-1] else None
        # The pool's codes are its input's; the logits' float value takes the output's name.
        name = n.value if output is None else "logits_codes"
        source = T.source_of_scale(n.value)
        dq[n.value] = g.activation(name, real, output, source)
        if n.op == "mean":
            dq[n.value] = g.node("Flatten", [dq[n.value]], "flat", axis=1)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(g.nodes, "digits_qdq", [value("image", TensorProto.FLOAT, [1, 1, 8, 8])],
                              [value("logits", TensorProto.FLOAT, [1, 10])], g.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8,
                              producer_name="qcc examples/onnx-qdq-to-rust")
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def runtime_logits(model, images, optimize):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_{optimize}_ALL")
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": x[None]})[0] for x in images])


def write_golden(path, model, images, rng):
    """Six test images, three random ones over more than the input's range, all black and all white."""
    random = rng.uniform(-0.1, 1.1, (3, 1, 8, 8)).astype(np.float32)
    ends = [np.full((1, 1, 8, 8), v, np.float32) for v in (0, 1)]
    cases = np.concatenate([images[:6], random, *ends])
    logits = runtime_logits(model, cases, "ENABLE")
    arrays = {}
    for k in range(len(cases)):
        arrays[f"case{k}_in0"], arrays[f"case{k}_out0"] = cases[k : k + 1], logits[k : k + 1]
    np.savez_compressed(path, **arrays)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    (train8, train_labels), (test8, labels) = T.load_data()
    train_images, test_images = (np.float32(v) / np.float32(255) for v in (train8, test8))
    rng = np.random.default_rng(T.SEED)

    def report(what, logits):
        right = np.sum(logits.argmax(-1) == labels)
        print(f"{what:<46} {right / len(labels):.4f}  ({right} of {len(labels)})", flush=True)

    parameters = T.initial_parameters(rng)
    T.train(parameters, train_images, train_labels, T.FLOAT_EPOCHS, 4e-3, rng)
    report("float", T.forward(parameters, test_images)[0]["logits"])
    model = qdq_model(parameters, T.measured_ranges(parameters, train_images).ranges)

    inputs = np.ascontiguousarray(test_images.transpose(0, 3, 1, 2))
    integer, simulated = (runtime_logits(model, inputs, o) for o in ("ENABLE", "DISABLE"))
    report("ONNX Runtime, all optimizations: integer", integer)
    report("ONNX Runtime, no optimizations: simulation", simulated)
    print(f"equal logits in both: {np.sum(integer == simulated)} of {integer.size}; model: {len(model)} bytes")
    (out / "digits_qdq.onnx").write_bytes(model)
    images = np.ascontiguousarray(test8.transpose(0, 3, 1, 2))
    np.savez_compressed(out / "testset.npz", images=images, labels=labels, logits=integer)
    write_golden(out / "digits_qdq.golden.npz", model, inputs, rng)


if __name__ == "__main__":
    main()

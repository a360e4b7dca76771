"""Runs one engine on one model: prints a line when it is ready, then times a batch for every line read.

    peers.py ENGINE MODEL THREADS SECONDS

Inputs are seeded noise over each input's whole range; dynamic dimensions become 1. Output: one JSON object
a line, {"version": …} first, then {"median_ms": …} for every batch.
"""
import json
import statistics
import sys
import time

import numpy as np


def noise(shape, dtype):
    rng, dtype = np.random.default_rng(0), np.dtype(dtype)
    shape = [max(1, int(d)) for d in shape]
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def litert(model, threads):
    import importlib.metadata
    from ai_edge_litert.interpreter import Interpreter
    engine = Interpreter(model, num_threads=threads)
    for d in engine.get_input_details():
        engine.resize_tensor_input(d["index"], [max(1, int(n)) for n in d["shape"]])
    engine.allocate_tensors()
    for d in engine.get_input_details():
        engine.set_tensor(d["index"], noise(d["shape"], d["dtype"]))
    return engine.invoke, "LiteRT " + importlib.metadata.version("ai-edge-litert")


def openvino(model, threads):
    import openvino as ov
    core = ov.Core()
    read = core.read_model(model)
    shapes = {p: [1 if d.is_dynamic else d.get_length() for d in p.partial_shape] for p in read.inputs}
    read.reshape(shapes)
    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(read, "CPU", options).create_infer_request()
    for i, p in enumerate(read.inputs):
        request.set_input_tensor(i, ov.Tensor(noise(p.shape, p.element_type.to_dtype())))
    return request.infer, "OpenVINO " + ov.__version__.split("-")[0]


def onnxruntime(model, threads):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    types = {"float": "float32", "double": "float64"}

    def value(p):
        name = p.type[len("tensor("):-1]
        return noise([d if isinstance(d, int) else 1 for d in p.shape], types.get(name, name))

    feed = {p.name: value(p) for p in session.get_inputs()}
    return lambda: session.run(None, feed), "ONNX Runtime " + ort.__version__


def main():
    name, model, threads, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    makers = {"litert": litert, "openvino": openvino, "onnxruntime": onnxruntime}
    run, version = makers[name](model, threads)
    for _ in range(3):
        run()
    print(json.dumps({"version": version}), flush=True)
    for _ in sys.stdin:
        times, start = [], time.perf_counter()
        while len(times) < 3 or time.perf_counter() - start < seconds:
            before = time.perf_counter()
            run()
            times.append((time.perf_counter() - before) * 1e3)
        print(json.dumps({"median_ms": statistics.median(times)}), flush=True)


main()

"""Writes the node tests and light networks of the `onnx` package in a form that tests/onnx_node_tests.rs reads.

    python -m venv v && v/bin/pip install onnx==1.23.2 numpy && v/bin/python node_tests.py OUT

The package generates its tests; nothing of it is kept in this repository. In its models everything is
an input of the graph, also what a real model has as constants, so each is written three times:

    OUT/<test>/run_time.onnx    as it is
    OUT/<test>/parameters.onnx  all inputs but the first are constants
    OUT/<test>/constant.onnx    all inputs are constants
    OUT/<test>/case.npz         arrays case<k>_in:<name>, case<k>_out<j>, and rtol, atol

Elements that qcc lacks are stored in the next wider type: int4 as int8, float16 as float32, uint32 as int64;
floats of 8 bits or less as their codes, one a byte. Networks have no more than the first form. What is no tensor (sequences, optional values, strings) is left out. OUT/tests.txt is written last: the
package's version, and for each test its name and its operator.
"""

import copy
import pathlib
import sys
import warnings

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

WIDER = {"float16": "float32", "bfloat16": "float32", "uint32": "int64", "uint64": "int64"}
PLAIN = {"float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "int64", "bool"}


def array(value):
    """The value as an array of a type that qcc has; None if it is no tensor of numbers."""
    if isinstance(value, onnx.TensorProto):
        value = numpy_helper.to_array(value)
    if isinstance(value, (list, dict)) or value is None:
        return None
    value = np.asarray(value)
    name = value.dtype.name
    if name in PLAIN:
        return value
    if name in WIDER:
        return value.astype(WIDER[name])
    if name.startswith("uint"):
        return value.astype(np.uint8)
    if name.startswith("int"):
        return value.astype(np.int8)
    return value.view(np.uint8) if name.startswith("float") else None


def tensor(value, name):
    """The value as a constant of a model."""
    if isinstance(value, onnx.TensorProto):
        value = copy.deepcopy(value)
        value.name = name
        return value
    return numpy_helper.from_array(np.asarray(value), name)


def with_constants(model, inputs, first):
    """The model with its inputs from `first` on given their values; None if they are no tensors."""
    model = copy.deepcopy(model)
    bound = list(zip(model.graph.input, inputs))[first:]
    if not bound or any(array(value) is None for _, value in bound):
        return None
    for info, value in bound:
        model.graph.initializer.append(tensor(value, info.name))
    kept = list(model.graph.input)[:first]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return model


def write(case, folder):
    folder.mkdir(parents=True, exist_ok=True)
    # qcc computes float16 in float32, the expected outputs were rounded after each operation.
    is_half = any(getattr(v, "dtype", None) == np.float16 for _, out in case.data_sets for v in out)
    rtol = max(case.rtol, 2.0**-9) if is_half else case.rtol
    arrays = {"rtol": np.float64(rtol), "atol": np.float64(case.atol)}
    names = [info.name for info in case.model.graph.input]
    for k, (inputs, outputs) in enumerate(case.data_sets):
        found = [(f"case{k}_in:{name}", value) for name, value in zip(names, inputs)]
        found += [(f"case{k}_out{j}", value) for j, value in enumerate(outputs)]
        arrays.update((key, array(v)) for key, v in found if array(v) is not None)
    np.savez(folder / "case.npz", **arrays)
    onnx.save(case.model, folder / "run_time.onnx")
    if len(case.data_sets) != 1:
        return
    inputs = case.data_sets[0][0]
    for name, first in [("parameters", 1), ("constant", 0)]:
        model = with_constants(case.model, inputs, first)
        if model is not None and (first == 0 or len(names) > 1):
            onnx.save(model, folder / f"{name}.onnx")


def operators(cases):
    """The operator that each test is about; an expanded one is about that of the whole."""
    ops = {}
    for case in cases:
        ops[case.name] = "+".join(dict.fromkeys(node.op_type for node in case.model.graph.node))
    for name in ops:
        whole = name.partition("_expanded")[0]
        if whole != name and whole in ops:
            ops[name] = ops[whole]
    return ops


def write_network(path, folder):
    """A network of a real topology, its weights all alike, on the input that onnx's own runner gives it."""
    model = onnx.load(path)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "run_time.onnx")
    arrays = {"rtol": np.float64(1e-3), "atol": np.float64(1e-7)}
    known = {t.name for t in model.graph.initializer}
    for info in model.graph.input:
        if info.name not in known:
            arrays[f"case0_in:{info.name}"] = Runner.generate_dummy_data(info, random=False)
    output = onnx.load_tensor(str(path.with_name(path.stem + "_output_0.pb")))
    np.savez(folder / "case.npz", case0_out0=numpy_helper.to_array(output), **arrays)


def main():
    out = pathlib.Path(sys.argv[1])
    warnings.simplefilter("ignore")
    cases = load_model_tests(kind="node")
    for case in cases:
        write(case, out / case.name)
    networks = sorted(pathlib.Path(onnx.__file__).parent.glob("backend/test/data/light/*.onnx"))
    for path in networks:
        write_network(path, out / path.stem)
    lines = [f"onnx {onnx.__version__}"] + [f"{name} {op}" for name, op in operators(cases).items()]
    lines += [f"{path.stem} Network" for path in networks]
    (out / "tests.txt").write_text("\n".join(lines) + "\n")
    print(f"{len(cases)} node tests and {len(networks)} networks of onnx {onnx.__version__} in {out}")


if __name__ == "__main__":
    main()

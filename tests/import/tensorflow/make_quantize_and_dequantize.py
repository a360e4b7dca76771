#!/usr/bin/env python3
"""Write quantize_and_dequantize.pb: QuantizeAndDequantizeV2 to V4 with all their attributes on one
input, and what TensorFlow answers.

    pip install tensorflow==2.21.0
    python make_quantize_and_dequantize.py      # writes beside itself
"""
import itertools
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf

HERE = os.path.dirname(os.path.abspath(__file__))
OPS = [("V2", tf.raw_ops.QuantizeAndDequantizeV2), ("V3", tf.raw_ops.QuantizeAndDequantizeV3),
       ("V4", tf.raw_ops.QuantizeAndDequantizeV4)]
BITS = itertools.cycle([2, 3, 4, 5, 7, 8, 10, 13, 16])
rng = np.random.default_rng(41)


def nodes(x):
    """One node per combination that TensorFlow's kernels take."""
    out = []
    for (name, op), signed, given, narrow, axis in itertools.product(OPS, *[[False, True]] * 4):
        # Only V3 takes a range per slice.
        if axis and given and name != "V3":
            continue
        ranges = 3 if axis else None
        low = -np.abs(rng.normal(0, 1, ranges)) if signed else np.zeros(ranges or ())
        high = np.abs(rng.normal(0, 1, ranges)) + 0.01
        for mode in ["HALF_TO_EVEN"] if name == "V3" else ["HALF_TO_EVEN", "HALF_UP"]:
            more = {} if name == "V3" else {"round_mode": mode}
            out.append(op(input=x, input_min=np.float32(low), input_max=np.float32(high), num_bits=next(BITS),
                          signed_input=signed, range_given=given, narrow_range=narrow, axis=1 if axis else -1,
                          name=f"y{len(out):02}", **more))
    return out


graph = tf.Graph()
with graph.as_default():
    x = tf.compat.v1.placeholder(tf.float32, [4, 3, 5], name="x")
    all_nodes = nodes(x)
    values = rng.normal(0, 1, [4, 3, 5]).astype(np.float32)
    with tf.compat.v1.Session() as session:
        answers = session.run(all_nodes, {x: values})
with open(os.path.join(HERE, "quantize_and_dequantize.pb"), "wb") as f:
    f.write(graph.as_graph_def().SerializeToString())
np.savez_compressed(os.path.join(HERE, "quantize_and_dequantize.golden.npz"), case0_in0=values,
                    **{f"case0_out{i}": y for i, y in enumerate(answers)})
print(len(answers), "nodes")

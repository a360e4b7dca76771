#!/usr/bin/env python3
"""Trains a Keras net on handwritten digits with quantization-aware training (QAT) by
tensorflow-model-optimization and freezes it to a GraphDef with fake-quantization nodes.

    pip install tensorflow-cpu==2.21.0 tf-keras==2.21.0 tensorflow-model-optimization==0.8.1 scikit-learn
    python train.py [--out FOLDER]

About a minute on one core. tfmot needs Keras 2, which is the package tf-keras. The steps:

1. Float training; convolutions are followed by batch norm.
2. `quantize_model` puts FakeQuantWithMinMaxVars behind the input and every activation, and
   FakeQuantWithMinMaxVarsPerChannel on the weights of convolutions; further training with these.
3. Variables become constants: `digits_qat.pb`, a float graph that simulates the integer net. Batch norm
   and fake quantization are still nodes of it; qcc folds them.
4. For comparison only, TensorFlow's own converter makes an integer TFLite model of the same graph, which
   TensorFlow Lite's reference kernels run.

Written to FOLDER (default: this folder): digits_qat.pb, its input `image` float [N,8,8,1], pixel / 255;
digits_qat.golden.npz, what step 4 answers to eight test images, black and white; testset.bin: per test image
its label (one byte), 64 pixels (bytes), the ten probabilities of TensorFlow's simulation and the ten of
step 4 (floats, little-endian).
"""
import argparse
import os
import pathlib

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
from sklearn.datasets import load_digits
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

SEED, N_TEST = 2024, 450  # data and split as in ../digits


def load_data():
    """(train images, labels), (test images, labels); uint8 [N,8,8,1]."""
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = digits.target.astype(np.uint8)
    order = np.random.default_rng(SEED).permutation(len(images))
    test, rest = order[:N_TEST], order[N_TEST:]
    return (images[rest], labels[rest]), (images[test], labels[test])


def net():
    K, L = tf.keras, tf.keras.layers

    def block(x, kind, name, **options):
        x = kind(padding="same", use_bias=False, name=name, **options)(x)
        x = L.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
        return L.ReLU(name=f"{name}_relu")(x)

    image = K.Input((8, 8, 1), name="image")
    x = block(image, L.Conv2D, "conv1", filters=16, kernel_size=3)
    x = block(x, L.DepthwiseConv2D, "depthwise2", kernel_size=3)
    x = block(x, L.Conv2D, "pointwise2", filters=32, kernel_size=1)
    x = L.MaxPooling2D(2, name="pool")(x)
    x = block(x, L.Conv2D, "conv3", filters=32, kernel_size=3)
    x = L.GlobalAveragePooling2D(name="mean")(x)
    x = L.Dense(10, name="logits")(x)
    return K.Model(image, L.Softmax(name="probabilities")(x))


def fit(model, images, labels, rates_and_epochs):
    for rate, epochs in rates_and_epochs:
        model.compile(tf.keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
        model.fit(images, labels, epochs=epochs, batch_size=64, verbose=0)


def freeze(model):
    """(GraphDef, function from images to probabilities that runs it)."""
    function = tf.function(lambda image: model(image, training=False))
    spec = tf.TensorSpec([None, 8, 8, 1], tf.float32, name="image")
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(spec))
    return frozen.graph.as_graph_def(), lambda x: frozen(tf.constant(x))[0].numpy()


def integer_outputs(graph, images):
    """Probabilities by TensorFlow's converter and TensorFlow Lite's reference kernels, one image a run."""

    def imported():
        tf.compat.v1.import_graph_def(graph, name="")

    function = tf.compat.v1.wrap_function(imported, []).prune(["image:0"], ["Identity:0"])
    function.inputs[0].set_shape([1, 8, 8, 1])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    interpreter = tf.lite.Interpreter(model_content=converter.convert(),
                                      experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    outputs = []
    for image in images:
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(target["index"])[0].copy())
    return np.array(outputs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    tf.keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()

    (train8, train_labels), (test8, labels) = load_data()
    train_images, test_images = (np.float32(v) / np.float32(255) for v in (train8, test8))

    def report(what, probabilities):
        right = np.sum(probabilities.argmax(-1) == labels)
        print(f"{what:<32} {right / len(labels):.4f}  ({right} of {len(labels)})", flush=True)

    model = net()
    fit(model, train_images, train_labels, [(3e-3, 40), (3e-4, 10)])
    report("float", model.predict(test_images, verbose=0))
    qat = tfmot.quantization.keras.quantize_model(model)
    fit(qat, train_images, train_labels, [(3e-4, 8), (3e-5, 4)])

    graph, simulate = freeze(qat)
    simulated = simulate(test_images)
    report("QAT, simulated by TensorFlow", simulated)
    (out / "digits_qat.pb").write_bytes(graph.SerializeToString(deterministic=True))
    print(f"digits_qat.pb: {len(graph.SerializeToString())} bytes,",
          f"{sum(n.op.startswith('FakeQuant') for n in graph.node)} fake-quantization nodes")

    integer = integer_outputs(graph, test_images)
    report("TensorFlow Lite, integer", integer)
    print(f"largest distance of the integer probabilities from the simulation: {np.abs(integer - simulated).max():.4f}")
    with open(out / "testset.bin", "wb") as f:
        for image, label, *probabilities in zip(test8, labels, simulated, integer):
            f.write(bytes([label]) + image.tobytes() + np.array(probabilities, "<f4").tobytes())
    ends = [np.full((1, 8, 8, 1), v, np.float32) for v in (0, 1)]
    cases = np.concatenate([test_images[:8], *ends])
    outputs, arrays = integer_outputs(graph, cases), {}
    for k in range(len(cases)):
        arrays[f"case{k}_in0"], arrays[f"case{k}_out0"] = cases[k : k + 1], outputs[k : k + 1]
    np.savez_compressed(out / "digits_qat.golden.npz", **arrays)


if __name__ == "__main__":
    main()

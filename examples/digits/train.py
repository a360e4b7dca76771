#!/usr/bin/env python3
"""Trains the digits example with quantization-aware training and writes it as int8 TFLite.

    pip install numpy scikit-learn pillow flatbuffers ai-edge-litert
    python train.py [--out FOLDER]

Needs Python 3.10 or later and the five packages above: scikit-learn only for its bundled 8x8
digits, pillow for the PNGs, ai-edge-litert for the reference kernels. Training itself is numpy.
Takes about 15 seconds on one core. Everything random is seeded and BLAS is kept to one thread,
so that a second run on the same machine writes the same bytes.

How the quantization works, in the order of this file:

1. Float training of the net in `NET` (Adam, random affine distortion of the images).
2. The range of every activation is measured on the training images.
3. Quantization-aware training: in the forward pass weights (symmetric, one scale per output
   channel, codes -127..127), biases (int32 codes) and activations (asymmetric int8) are rounded to
   the values that the integer net can hold; in the backward pass rounding counts as the identity
   and clamping stops the gradient ("straight-through"). Ranges follow a moving average and are
   frozen for the last third.
4. The same codes, scales and zero points are written to `digits.tflite`.

Written to FOLDER (default: this folder): digits.tflite, digits.golden.npz, testset.npz,
testset_inputs.npz, labels.txt, images/0.png .. 9.png.
"""
import argparse
import os
import pathlib
from dataclasses import dataclass

for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy: the order of additions must not vary
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np

SEED = 2024
N_TEST = 450
FLOAT_EPOCHS, QAT_EPOCHS, BATCH = 60, 24, 64


# ------------------------------------------------------------------------------------------- net
@dataclass(frozen=True)
class Node:
    """One operator. Its value is NHWC, or [N, C] after `mean`; `size` is the kernel's edge."""

    name: str
    op: str  # conv | depthwise | add | max_pool | mean | dense
    inputs: tuple
    size: int = 0
    channels: int = 0
    relu: bool = False

    @property
    def value(self):
        """Name of the output tensor."""
        return self.name + "/relu" if self.relu else self.name

    @property
    def has_weights(self):
        return self.op in ("conv", "depthwise", "dense")


NET = (
    Node("conv1", "conv", ("image",), size=3, channels=16, relu=True),
    Node("block1/depthwise", "depthwise", ("conv1/relu",), size=3, channels=16, relu=True),
    Node("block1/pointwise", "conv", ("block1/depthwise/relu",), size=1, channels=16),
    Node("block1/add", "add", ("block1/pointwise", "conv1/relu"), channels=16, relu=True),
    Node("pool", "max_pool", ("block1/add/relu",), size=2, channels=16),
    Node("conv2", "conv", ("pool",), size=3, channels=32, relu=True),
    Node("block2/depthwise", "depthwise", ("conv2/relu",), size=3, channels=32, relu=True),
    Node("block2/pointwise", "conv", ("block2/depthwise/relu",), size=1, channels=32),
    Node("block2/add", "add", ("block2/pointwise", "conv2/relu"), channels=32, relu=True),
    Node("mean", "mean", ("block2/add/relu",), channels=32),
    Node("logits", "dense", ("mean",), channels=10),
)


def initial_parameters(rng):
    """{name: [weights, bias]}; weights are [size, size, in, out], [size, size, C] or [in, out]."""
    channels, parameters = {"image": 1}, {}
    for n in NET:
        c_in = channels[n.inputs[0]]
        channels[n.value] = n.channels
        if not n.has_weights:
            continue
        shape = {"conv": (n.size, n.size, c_in, n.channels), "depthwise": (n.size, n.size, c_in),
                 "dense": (c_in, n.channels)}[n.op]
        fan_in = n.size * n.size if n.op == "depthwise" else int(np.prod(shape[:-1]))
        w = rng.standard_normal(shape) * np.sqrt(2 / fan_in)
        parameters[n.name] = [w.astype(np.float32), np.zeros(n.channels, np.float32)]
    return parameters


# ---------------------------------------------------------------------------------- quantization
def weight_scales(node, w):
    """One scale per output channel; for `dense` one for all (older TFLite readers expect that)."""
    peak = np.abs(w).max() if node.op == "dense" else np.abs(w).max(axis=tuple(range(w.ndim - 1)))
    return np.maximum(peak, np.float32(1e-6)) / np.float32(127)


def weight_codes(node, w):
    scales = weight_scales(node, w)
    return np.clip(np.rint(w / scales), -127, 127).astype(np.int8), scales


def bias_codes(b, input_scale, scales):
    return np.rint(b.astype(np.float64) / (np.float64(input_scale) * np.float64(scales))).astype(np.int32)


@dataclass
class Range:
    """Range of one activation: float minimum and maximum, always holding 0."""

    low: float = 0.0
    high: float = 0.0

    def cover(self, x):
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))

    def follow(self, x, keep=0.98):
        self.low = keep * self.low + (1 - keep) * min(0.0, float(x.min()))
        self.high = keep * self.high + (1 - keep) * max(0.0, float(x.max()))

    def scale_zero_point(self):
        """int8 parameters; the zero point is the code nearest to where 0 falls."""
        scale = max(self.high - self.low, 1e-6) / 255
        return np.float32(scale), int(np.clip(np.rint(-128 - self.low / scale), -128, 127))


class Quantization:
    """Activation ranges by tensor name; `max_pool` shares its input's."""

    def __init__(self):
        self.ranges = {"image": Range(0.0, 1.0)}  # scale 1/255, zero point -128: code = pixel - 128
        self.frozen = False

    def parameters(self, name):
        return self.ranges[name].scale_zero_point()

    def fake(self, name, x):
        """(x rounded to the int8 grid of `name`, where the gradient passes)."""
        if not self.frozen:
            self.ranges[name].follow(x)
        scale, zero_point = self.parameters(name)
        code = np.rint(x / scale) + np.float32(zero_point)
        inside = (code >= -128) & (code <= 127)
        return (np.clip(code, -128, 127) - np.float32(zero_point)) * scale, inside


# ---------------------------------------------------------------------------- forward and backward
def windows(x, size):
    """The size*size shifted views of x [N,H,W,C] that a stride-1 SAME convolution reads."""
    p, (_, h, w, _) = size // 2, x.shape
    padded = np.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))
    return [((i, j), padded[:, i : i + h, j : j + w]) for i in range(size) for j in range(size)]


def convolve(x, w, multiply):
    return sum(multiply(view, w[tap]) for tap, view in windows(x, w.shape[0]))


def convolve_gradients(x, w, dy):
    """Gradients of a `conv` by its input and weights."""
    _, h, wd, c = x.shape
    p = w.shape[0] // 2
    dx, dw = np.zeros((x.shape[0], h + 2 * p, wd + 2 * p, c), x.dtype), np.empty_like(w)
    for (i, j), view in windows(x, w.shape[0]):
        dw[i, j] = view.reshape(-1, c).T @ dy.reshape(-1, dy.shape[-1])
        dx[:, i : i + h, j : j + wd] += dy @ w[i, j].T
    return dx[:, p : p + h, p : p + wd], dw


def depthwise_gradients(x, w, dy):
    _, h, wd, c = x.shape
    p = w.shape[0] // 2
    dx, dw = np.zeros((x.shape[0], h + 2 * p, wd + 2 * p, c), x.dtype), np.empty_like(w)
    for (i, j), view in windows(x, w.shape[0]):
        dw[i, j] = (view * dy).sum(axis=(0, 1, 2))
        dx[:, i : i + h, j : j + wd] += dy * w[i, j]
    return dx[:, p : p + h, p : p + wd], dw


def pool_blocks(x):
    """[N,H,W,C] as [N,H/2,W/2,C,4]: the four pixels of every 2x2 block last."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4).reshape(n, h // 2, w // 2, c, 4)


def unpool_blocks(b):
    n, h, w, c, _ = b.shape
    return b.reshape(n, h, w, c, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(n, 2 * h, 2 * w, c)


def forward(parameters, images, quantization=None, observe=None):
    """Values of all tensors, and what `backward` needs: {node name: (weights, mask)}."""
    values, saved = {"image": images}, {}
    if quantization:
        values["image"], _ = quantization.fake("image", images)
    for n in NET:
        x, w = values[n.inputs[0]], None
        if n.has_weights:
            w, b = parameters[n.name]
            if quantization:
                w, b = fake_parameters(n, w, b, quantization)
        if n.op == "conv":
            y = convolve(x, w, np.matmul) + b
        elif n.op == "depthwise":
            y = convolve(x, w, np.multiply) + b
        elif n.op == "dense":
            y = x @ w + b
        elif n.op == "add":
            y = x + values[n.inputs[1]]
        elif n.op == "max_pool":
            y = pool_blocks(x).max(axis=-1)
        else:
            y = x.mean(axis=(1, 2))
        mask = np.ones(y.shape, bool)
        if n.relu:
            mask, y = y > 0, np.maximum(y, 0)
        if observe:
            observe(n, y)
        if quantization and n.op != "max_pool":
            y, inside = quantization.fake(n.value, y)
            mask &= inside
        values[n.value], saved[n.name] = y, (w, mask)
    return values, saved


def fake_parameters(node, w, b, quantization):
    codes, scales = weight_codes(node, w)
    input_scale, _ = quantization.parameters(source_of_scale(node.inputs[0]))
    step = input_scale * scales
    return codes * scales, (bias_codes(b, input_scale, scales) * step).astype(np.float32)


def source_of_scale(name):
    """The tensor whose scale `name` has: `max_pool` hands its input's on."""
    for n in NET:
        if n.value == name and n.op == "max_pool":
            return source_of_scale(n.inputs[0])
    return name


def backward(values, saved, d_logits):
    """{node name: [gradient of weights, gradient of bias]}."""
    d_values, gradients = {"logits": d_logits}, {}
    for n in reversed(NET):
        x, (w, mask) = values[n.inputs[0]], saved[n.name]
        dy = d_values.pop(n.value) * mask
        if n.op == "conv":
            dx, dw = convolve_gradients(x, w, dy)
        elif n.op == "depthwise":
            dx, dw = depthwise_gradients(x, w, dy)
        elif n.op == "dense":
            dx, dw = dy @ w.T, x.T @ dy
        elif n.op == "max_pool":
            first = np.eye(4, dtype=dy.dtype)[pool_blocks(x).argmax(axis=-1)]
            dx = unpool_blocks(first * dy[..., None])
        elif n.op == "mean":
            dx = np.broadcast_to(dy[:, None, None, :] / (x.shape[1] * x.shape[2]), x.shape)
        else:
            dx = dy
        if n.has_weights:
            gradients[n.name] = [dw, dy.reshape(-1, dy.shape[-1]).sum(axis=0)]
        for name in n.inputs:
            d_values[name] = d_values[name] + dx if name in d_values else dx
    return gradients


# -------------------------------------------------------------------------------------- training
def distort(rng, images):
    """Random rotation (12 degrees), scale (12 %) and shift (0.8 pixels), bilinear, zero outside."""
    n, size = len(images), images.shape[1]
    angle = rng.uniform(-0.21, 0.21, n)
    zoom = rng.uniform(0.88, 1.12, n)
    shift = rng.uniform(-0.8, 0.8, (2, n, 1, 1))
    grid = np.arange(size) - (size - 1) / 2
    cos, sin = (np.cos(angle) * zoom)[:, None, None], (np.sin(angle) * zoom)[:, None, None]
    y = cos * grid[None, :, None] - sin * grid[None, None, :] + shift[0] + (size - 1) / 2
    x = sin * grid[None, :, None] + cos * grid[None, None, :] + shift[1] + (size - 1) / 2
    border = 4
    padded = np.pad(images[..., 0], ((0, 0), (border, border), (border, border)))
    y, x = (np.clip(v + border, 0, size + 2 * border - 1.001) for v in (y, x))
    y0, x0 = y.astype(int), x.astype(int)
    fy, fx, k = y - y0, x - x0, np.arange(n)[:, None, None]
    top = padded[k, y0, x0] * (1 - fx) + padded[k, y0, x0 + 1] * fx
    bottom = padded[k, y0 + 1, x0] * (1 - fx) + padded[k, y0 + 1, x0 + 1] * fx
    return (top * (1 - fy) + bottom * fy)[..., None].astype(np.float32)


class Adam:
    def __init__(self, parameters):
        self.step = 0
        self.moments = {k: [[np.zeros_like(p), np.zeros_like(p)] for p in v] for k, v in parameters.items()}

    def update(self, parameters, gradients, rate):
        self.step += 1
        correction = np.sqrt(1 - 0.999**self.step) / (1 - 0.9**self.step)
        for name, pair in parameters.items():
            for p, g, (m, v) in zip(pair, gradients[name], self.moments[name]):
                m += 0.1 * (g - m)
                v += 0.001 * (g * g - v)
                p -= np.float32(rate * correction) * m / (np.sqrt(v) + np.float32(1e-8))


def softmax(logits):
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def train(parameters, images, labels, epochs, peak_rate, rng, quantization=None):
    """Cross-entropy with 5 % label smoothing, Adam, cosine decay of the rate; in place."""
    adam, done, total = Adam(parameters), 0, epochs * (len(images) // BATCH)
    target = (np.eye(10, dtype=np.float32) * 0.95 + 0.005)[labels]
    while done < total:
        order = rng.permutation(len(images))
        for i in range(0, len(images) - BATCH + 1, BATCH):
            pick = order[i : i + BATCH]
            if quantization:
                quantization.frozen = done >= total * 2 // 3
            values, saved = forward(parameters, distort(rng, images[pick]), quantization)
            d_logits = (softmax(values["logits"]) - target[pick]) / np.float32(BATCH)
            rate = peak_rate * 0.5 * (1 + np.cos(np.pi * done / total))
            adam.update(parameters, backward(values, saved, d_logits), rate)
            done += 1


def measured_ranges(parameters, images):
    quantization = Quantization()

    def observe(node, y):
        quantization.ranges.setdefault(node.value, Range()).cover(y)

    forward(parameters, images, observe=observe)
    return quantization


# ---------------------------------------------------------------------------------------- export
def export(parameters, quantization, description):
    """The integer net as a TFLite flatbuffer; input `image`, output `probabilities`."""
    from tflite_writer import Model, S

    m = Model(description)
    shapes = {k: [1, *v.shape[1:]] for k, v in forward(parameters, np.zeros((1, 8, 8, 1), np.float32))[0].items()}
    index = {}

    def activation(name):
        scale, zero_point = quantization.parameters(source_of_scale(name))
        index[name] = m.tensor(name, np.int8, shapes[name], scale, zero_point)
        return index[name]

    def constants(n):
        w, b = parameters[n.name]
        codes, scales = weight_codes(n, w)
        input_scale, _ = quantization.parameters(source_of_scale(n.inputs[0]))
        layout, axis = {"conv": (lambda c: c.transpose(3, 0, 1, 2), 0),  # [O, h, w, I]
                        "depthwise": (lambda c: c[None], 3),  # [1, h, w, C]
                        "dense": (lambda c: c.T, 0)}[n.op]  # [O, I]
        return [m.const(n.name + "/weights", layout(codes), scales, 0, axis),
                m.const(n.name + "/bias", bias_codes(b, input_scale, scales), input_scale * scales)]

    activation("image")
    for n in NET:
        inputs = [index[i] for i in n.inputs] + (constants(n) if n.has_weights else [])
        act = S.ActivationFunctionType.RELU if n.relu else S.ActivationFunctionType.NONE
        window = dict(padding=S.Padding.SAME, strideW=1, strideH=1, fusedActivationFunction=act)
        if n.op == "mean":
            inputs.append(m.const("mean/axes", np.array([1, 2], np.int32)))
        outputs = [activation(n.value)]
        if n.op == "conv":
            m.op("CONV_2D", inputs, outputs, S.Conv2DOptionsT(), 3, **window)
        elif n.op == "depthwise":
            m.op("DEPTHWISE_CONV_2D", inputs, outputs, S.DepthwiseConv2DOptionsT(), 3, depthMultiplier=1, **window)
        elif n.op == "add":
            m.op("ADD", inputs, outputs, S.AddOptionsT(), 2, fusedActivationFunction=act)
        elif n.op == "max_pool":
            m.op("MAX_POOL_2D", inputs, outputs, S.Pool2DOptionsT(), 2, padding=S.Padding.VALID,
                 strideW=2, strideH=2, filterWidth=2, filterHeight=2)
        elif n.op == "mean":
            m.op("MEAN", inputs, outputs, S.ReducerOptionsT(), 2, keepDims=False)
        else:
            m.op("FULLY_CONNECTED", inputs, outputs, S.FullyConnectedOptionsT(), 4)
    probabilities = m.tensor("probabilities", np.int8, [1, 10], 1 / 256, -128)
    m.op("SOFTMAX", [index["logits"]], [probabilities], S.SoftmaxOptionsT(), 2, beta=1.0)
    return m.finish([index["image"]], [probabilities])


def to_codes(images):
    """uint8 pixels as codes of the input `image` (scale 1/255, zero point -128)."""
    return (images.astype(np.int16) - 128).astype(np.int8)


def load_data():
    """(train images, labels), (test images, labels); uint8 [N,8,8,1], split by a fixed permutation."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = digits.target.astype(np.uint8)
    order = np.random.default_rng(SEED).permutation(len(images))
    test, rest = order[:N_TEST], order[N_TEST:]
    return (images[rest], labels[rest]), (images[test], labels[test])


def write_golden(path, reference, codes, rng):
    """Six test images, three random inputs over the full range, and the two constant extremes."""
    cases = [*codes[:6], *rng.integers(-128, 128, (3, 8, 8, 1)), np.full((8, 8, 1), -128), np.full((8, 8, 1), 127)]
    arrays = {}
    for k, case in enumerate(cases):
        x = case[None].astype(np.int8)
        arrays[f"case{k}_in0"], arrays[f"case{k}_out0"] = x, reference.run(x)[0]
    np.savez_compressed(path, **arrays)


def write_images(folder, images, labels, probabilities):
    """For every digit the test image that the net is surest of, each pixel enlarged to 8x8."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    for digit in range(10):
        surest = np.where(labels == digit, probabilities[:, digit], -129).argmax()
        enlarged = np.kron(images[surest, :, :, 0], np.ones((8, 8), np.uint8))
        Image.fromarray(enlarged).save(folder / f"{digit}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    from tflite_writer import Reference

    (train8, train_labels), (test8, test_labels) = load_data()
    train_images, test_images = (np.float32(v) / np.float32(255) for v in (train8, test8))
    rng = np.random.default_rng(SEED)

    def report(what, prediction):
        print(f"{what:<34} {np.mean(prediction == test_labels):.4f}"
              f"  ({np.sum(prediction == test_labels)} of {len(test_labels)})", flush=True)

    parameters = initial_parameters(rng)
    train(parameters, train_images, train_labels, FLOAT_EPOCHS, 4e-3, rng)
    report("float", forward(parameters, test_images)[0]["logits"].argmax(-1))

    quantization = measured_ranges(parameters, train_images)
    quantization.frozen = True
    report("fake-quant before QAT", forward(parameters, test_images, quantization)[0]["logits"].argmax(-1))
    train(parameters, train_images, train_labels, QAT_EPOCHS, 1e-3, rng, quantization)
    simulated = forward(parameters, test_images, quantization)[0]["logits"].argmax(-1)
    report("fake-quant after QAT", simulated)

    model = export(parameters, quantization, "Handwritten digits 0..9, 8x8 pixels, int8 (QAT). Input: pixel - 128.")
    (out / "digits.tflite").write_bytes(model)
    reference = Reference(model)
    codes = to_codes(test8)
    probabilities = np.array([reference.run(x[None])[0][0] for x in codes]).astype(int)
    integer = probabilities.argmax(-1)
    report("int8 (LiteRT reference kernels)", integer)
    print(f"int8 and fake-quant agree on       {np.mean(integer == simulated):.4f}; digits.tflite: {len(model)} bytes")

    write_golden(out / "digits.golden.npz", reference, codes, rng)
    np.savez_compressed(out / "testset.npz", images=test8, labels=test_labels)
    np.savez_compressed(out / "testset_inputs.npz", image=codes)
    write_images(out / "images", test8, test_labels, probabilities)
    (out / "labels.txt").write_text("".join(f"{d}\n" for d in range(10)))


if __name__ == "__main__":
    main()

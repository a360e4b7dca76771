"""Writes small quantized TFLite models, tensor by tensor and operator by operator.

    m = Model("what this model is")
    x = m.tensor("image", np.int8, [1, 8, 8, 1], scale=1 / 255, zero_point=-128)
    w = m.const("conv/weights", w_codes, scale=w_scales, axis=0)
    ...
    m.op("CONV_2D", [x, w, b], [y], S.Conv2DOptionsT(), version=3, padding=S.Padding.SAME)
    data = m.finish([x], [y])

Needs: numpy, flatbuffers, ai-edge-litert (for its generated schema and for `run_reference`).
Constant data is aligned to 16 bytes, as the schema asks for. The same calls give the same bytes.
"""
import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as S
from ai_edge_litert.interpreter import Interpreter, OpResolverType

DTYPES = {
    np.dtype(np.float32): S.TensorType.FLOAT32,
    np.dtype(np.bool_): S.TensorType.BOOL,
    np.dtype(np.int8): S.TensorType.INT8,
    np.dtype(np.uint8): S.TensorType.UINT8,
    np.dtype(np.int16): S.TensorType.INT16,
    np.dtype(np.int32): S.TensorType.INT32,
    np.dtype(np.int64): S.TensorType.INT64,
}


class AlignedBuffer(S.BufferT):
    """A buffer whose bytes start at a multiple of 16 (the generated Pack only aligns to 1)."""

    def Pack(self, builder):
        if self.data is None:
            return super().Pack(builder)
        builder.StartVector(1, len(self.data), 16)
        head = builder.Head() - len(self.data)
        builder.head = head
        builder.Bytes[head : head + len(self.data)] = self.data
        vector = builder.EndVector()
        S.BufferStart(builder)
        S.BufferAddData(builder, vector)
        return S.BufferEnd(builder)


class Model:
    """One subgraph. Tensors are referred to by the index that `tensor` and `const` return."""

    def __init__(self, description):
        self.description = description
        self.tensors, self.operators, self.codes = [], [], {}
        self.buffers = [AlignedBuffer()]  # buffer 0 means: no data

    def tensor(self, name, dtype, shape, scale=None, zero_point=0, axis=0):
        """An activation; `scale` may be one number or one per slice along `axis`."""
        t = S.TensorT()
        t.name, t.shape, t.type = name.encode(), [int(d) for d in shape], DTYPES[np.dtype(dtype)]
        t.buffer = 0
        if scale is not None:
            scales = np.atleast_1d(np.asarray(scale, np.float32))
            q = S.QuantizationParametersT()
            q.scale = scales.tolist()
            q.zeroPoint = np.broadcast_to(np.asarray(zero_point, np.int64), scales.shape).tolist()
            q.quantizedDimension = axis
            t.quantization = q
        self.tensors.append(t)
        return len(self.tensors) - 1

    def const(self, name, values, scale=None, zero_point=0, axis=0):
        """A constant tensor with the shape and type of the array `values`."""
        index = self.tensor(name, values.dtype, values.shape, scale, zero_point, axis)
        buffer = AlignedBuffer()
        buffer.data = np.ascontiguousarray(values).tobytes()
        self.tensors[index].buffer = len(self.buffers)
        self.buffers.append(buffer)
        return index

    def op(self, opcode, inputs, outputs, options=None, version=1, **fields):
        """Appends an operator; `fields` are set on `options` (an object of the schema's *OptionsT)."""
        code = self.codes.setdefault((opcode, version), len(self.codes))
        o = S.OperatorT()
        o.opcodeIndex, o.inputs, o.outputs = code, list(inputs), list(outputs)
        if options is not None:
            for field, value in fields.items():
                if not hasattr(options, field):
                    raise AttributeError(f"{type(options).__name__} has no field {field}")
                setattr(options, field, value)
            o.builtinOptions = options
            o.builtinOptionsType = getattr(S.BuiltinOptions, type(options).__name__[:-1])
        self.operators.append(o)

    def finish(self, inputs, outputs):
        """The flatbuffer, with one signature that names the inputs and outputs as the tensors."""
        graph = S.SubGraphT()
        graph.name, graph.tensors, graph.operators = b"main", self.tensors, self.operators
        graph.inputs, graph.outputs = list(inputs), list(outputs)
        model = S.ModelT()
        model.version, model.description = 3, self.description.encode()
        model.operatorCodes = [self._code(*key) for key in self.codes]
        model.subgraphs, model.buffers = [graph], self.buffers
        model.signatureDefs = [self._signature(inputs, outputs)]
        builder = flatbuffers.Builder(1 << 14)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    @staticmethod
    def _code(opcode, version):
        c = S.OperatorCodeT()
        c.builtinCode = getattr(S.BuiltinOperator, opcode)
        c.deprecatedBuiltinCode = min(c.builtinCode, 127)
        c.version = version
        return c

    def _signature(self, inputs, outputs):
        def entry(index):
            m = S.TensorMapT()
            m.name, m.tensorIndex = self.tensors[index].name, index
            return m

        s = S.SignatureDefT()
        s.signatureKey, s.subgraphIndex = b"serving_default", 0
        s.inputs, s.outputs = [entry(i) for i in inputs], [entry(i) for i in outputs]
        return s


class Reference:
    """LiteRT's reference kernels (`OpResolverType.BUILTIN_REF`) on one model."""

    def __init__(self, model):
        self.interpreter = Interpreter(
            model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1)
        self.interpreter.allocate_tensors()

    def run(self, *inputs):
        it = self.interpreter
        for detail, x in zip(it.get_input_details(), inputs, strict=True):
            it.set_tensor(detail["index"], np.asarray(x, detail["dtype"]))
        it.invoke()
        return [it.get_tensor(d["index"]).copy() for d in it.get_output_details()]

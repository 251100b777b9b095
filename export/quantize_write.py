"""Q/DQ nodes into an ONNX model: for good, or behind switches, so that one session tells what each layer costs.

Written here rather than by a tool: the three ways (int8 for processors, int8 and fp8 for cards) differ in a few
lines, and the ranges are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edge_ad.calibration.layers import Layer, behind_layers, readers_of
from edge_ad.export.quantize_scheme import Range, Scheme

SWITCH = "switch"
#: What ONNX Runtime quantizes by itself, with one scale for all channels, where it stands between two pairs.
_TAKEN = ("Conv", "ConvTranspose", "Gemm")
#: The first operator set whose Q/DQ nodes know fp16 scales and FP8; later ones change GroupNormalization.
OPSET = 19


def quantized_model(
    model: Any, layers: Sequence[Layer], ranges: Mapping[str, Range], scheme: Scheme, *, half: bool = False
) -> Any:
    """A copy of an fp32 model in which `layers` are quantized.

    ranges: of every tensor these layers read, and give where the scheme quantizes outputs. half: scales are such that
    fp16 holds them. KeyError where a range is missing.
    """
    made = _copied(model)
    rounded = np.float16 if half else np.float32
    nodes = {node.name: node for node in made.graph.node}
    weights = {tensor.name: tensor for tensor in made.graph.initializer}
    results = {value.name for value in made.graph.output}
    new = _Nodes()
    pairs: dict[str, str] = {}

    def pair(tensor: str) -> str:
        """The tensor behind a Q/DQ pair; one pair serves all who read it."""
        if tensor not in pairs:
            scale, zero = scheme.activation(ranges[tensor], rounded)
            pairs[tensor] = new.pair(tensor, f"{tensor}_dq", scale, zero, scheme.dtype)
        return pairs[tensor]

    chosen = {layer.name for layer in layers}
    readers = readers_of(made)
    for tensor in dict.fromkeys(layer.output for layer in layers if scheme.outputs and layer.output not in results):
        for node in readers[tensor]:
            _rename(node, tensor, pair(tensor))
    if scheme.outputs:
        behind = behind_layers(model, chosen) - chosen
        for name, node in nodes.items():
            if name in behind and node.op_type in _TAKEN:
                node.input[0] = new.guarded(node.input[0])
    for layer in layers:
        node = nodes[layer.name]
        _rename(node, layer.input, pair(layer.input))
        integer_bias = layer.bias is not None and scheme.outputs
        scale, _ = scheme.activation(ranges[layer.input], rounded)
        least = scheme.bias_floor(_array(weights[layer.bias]), scale) if integer_bias else 0.0
        codes, scales = scheme.weight(_array(weights[layer.weight]), layer.axis, rounded, least)
        # named by the layer: two may share a weight, but not what its scales depend on
        node.input[1] = new.restored(f"{layer.name}_weight", codes, scales, layer.axis)
        if integer_bias:
            products = scales * np.float32(scale)
            steps = np.rint(_array(weights[layer.bias]) / products).astype(np.int32)
            node.input[2] = new.restored(f"{layer.name}_bias", steps, products, 0)
    _finish(made, new)
    return made


def switched_model(model: Any, layers: Sequence[Layer], ranges: Mapping[str, Range], scheme: Scheme) -> Any:
    """A copy of an fp32 model with one more input, `switch` float32 L: layer i is quantized as far as switch[i] is 1.

    x becomes x + s·(dq(q(x)) - x), and weights likewise; biases stay.
    """
    from onnx import TensorProto, helper

    made = _copied(model)
    made.graph.input.append(helper.make_tensor_value_info(SWITCH, TensorProto.FLOAT, [len(layers)]))
    nodes = {node.name: node for node in made.graph.node}
    weights = {tensor.name: tensor for tensor in made.graph.initializer}
    results = {value.name for value in made.graph.output}
    new = _Nodes()
    pairs: dict[str, str] = {}

    def blended(tensor: str, switch: str, target: str) -> str:
        if tensor not in pairs:
            scale, zero = scheme.activation(ranges[tensor])
            rounded = new.pair(tensor, f"{tensor}_dq", scale, zero, scheme.dtype)
            pairs[tensor] = new.node("Sub", [rounded, tensor], f"{tensor}_change")
        part = new.node("Mul", [pairs[tensor], switch], f"{target}_part")
        return new.node("Add", [tensor, part], target)

    readers = readers_of(made)
    for i, layer in enumerate(layers):
        place = new.constant(f"{SWITCH}_{i}_place", np.array([i], np.int64))
        switch = new.node("Gather", [SWITCH, place], f"{SWITCH}_{i}", axis=0)
        node = nodes[layer.name]
        source = node.input[0]  # the input, or what stands for it behind another layer's switch
        if source == layer.input:
            node.input[0] = blended(layer.input, switch, f"{layer.name}_input")
        else:
            scale, zero = scheme.activation(ranges[layer.input])
            again = new.pair(source, f"{layer.name}_input_dq", scale, zero, scheme.dtype)
            change = new.node("Sub", [again, source], f"{layer.name}_input_change")
            part = new.node("Mul", [change, switch], f"{layer.name}_input_part")
            node.input[0] = new.node("Add", [source, part], f"{layer.name}_input")
        weight = _array(weights[layer.weight])
        codes, scales = scheme.weight(weight, layer.axis)
        change = new.constant(f"{layer.name}_weight_change", scheme.restored(codes, scales, layer.axis) - weight)
        part = new.node("Mul", [change, switch], f"{layer.name}_weight_part")
        node.input[1] = new.node("Add", [layer.weight, part], f"{layer.name}_weight")
        if scheme.outputs and layer.output not in results:
            behind = blended(layer.output, switch, f"{layer.name}_output")
            for reader in readers[layer.output]:
                _rename(reader, layer.output, behind)
    _finish(made, new)
    return made


class _Nodes:
    """Nodes and constants to be added to a model."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=f"{output}_{kind}", **attributes))
        return output

    def constant(self, name: str, value: Any) -> str:
        from onnx import helper

        value = np.asarray(value)
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        raw = np.ascontiguousarray(value).tobytes()
        self.constants.append(helper.make_tensor(name, kind, value.shape, raw, raw=True))
        return name

    def pair(self, tensor: str, target: str, scale: float, zero: int, dtype: Any) -> str:
        """A QuantizeLinear and a DequantizeLinear behind a tensor."""
        factor = self.constant(f"{target}_scale", np.float32(scale))
        offset = self.constant(f"{target}_zero", np.asarray(zero).astype(dtype))
        codes = self.node("QuantizeLinear", [tensor, factor, offset], f"{target}_codes")
        return self.node("DequantizeLinear", [codes, factor, offset], target)

    def guarded(self, tensor: str) -> str:
        """The tensor behind a node that changes nothing, so that who reads it is not taken for quantized."""
        target = f"{tensor}_guarded"
        if all(node.output[0] != target for node in self.nodes):
            self.node("Max", [tensor, self.constant(f"{target}_least", np.finfo(np.float32).min)], target)
        return target

    def restored(self, name: str, codes: Any, scales: Any, axis: int) -> str:
        """Constant codes behind a DequantizeLinear, with a scale each along `axis`, or one for all."""
        inputs = [
            self.constant(f"{name}_codes", codes),
            self.constant(f"{name}_scale", scales.astype(np.float32)),
            self.constant(f"{name}_zero", np.zeros(scales.shape, codes.dtype)),
        ]
        attributes = {"axis": axis} if scales.ndim else {}
        return self.node("DequantizeLinear", inputs, f"{name}_dq", **attributes)


def _array(tensor: Any) -> Any:
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor)


def _copied(model: Any) -> Any:
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    for opset in made.opset_import:
        if opset.domain in ("", "ai.onnx"):
            opset.version = max(opset.version, OPSET)
    return made


def _rename(node: Any, before: str, after: str) -> None:
    for i, name in enumerate(node.input):
        if name == before:
            node.input[i] = after


def _finish(model: Any, new: _Nodes) -> None:
    """Add nodes and constants, and drop constants that nothing reads."""
    model.graph.node.extend(new.nodes)
    model.graph.initializer.extend(new.constants)
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    sort_nodes(model)


def sort_nodes(model: Any) -> None:
    """Put a model's nodes into an order in which they can be run, as ONNX asks for."""
    nodes = list(model.graph.node)
    known = {"", *(value.name for value in model.graph.input), *(tensor.name for tensor in model.graph.initializer)}
    waiting: dict[str, list[int]] = {}
    missing = []
    for i, node in enumerate(nodes):
        lacking = {name for name in node.input if name not in known}
        missing.append(len(lacking))
        for name in lacking:
            waiting.setdefault(name, []).append(i)
    order = [i for i, count in enumerate(missing) if not count]
    for i in order:  # grows while it is gone through
        for name in nodes[i].output:
            for reader in waiting.pop(name, []):
                missing[reader] -= 1
                if not missing[reader]:
                    order.append(reader)
    del model.graph.node[:]
    model.graph.node.extend(nodes[i] for i in order)

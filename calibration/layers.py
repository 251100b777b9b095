"""The layers of an ONNX graph that may be quantized, and those that stay as they are by rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KINDS = ("Conv", "MatMul", "Gemm")
_LIMITERS = ("Relu", "Clip")


@dataclass(frozen=True)
class Layer:
    """A convolution or a product with constant weights.

    name: of the node. input, weight, bias: tensors. axis: of the weight's output channels. output: the tensor it gives,
    behind a Relu or Clip that alone reads it, which a runtime makes one with the layer.
    """

    name: str
    kind: str
    input: str
    weight: str
    bias: str | None
    axis: int
    output: str


def find_layers(model: Any) -> list[Layer]:
    """The layers of an ONNX model in its order; products of two activations (attention) are none."""
    constants = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    readers = readers_of(model)
    results = {value.name for value in model.graph.output}
    found = []
    for node in model.graph.node:
        if node.op_type not in KINDS or node.input[0] in constants or node.input[1] not in constants:
            continue
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        if node.op_type == "Conv":
            axis = 0
        elif len(constants[node.input[1]]) != 2 or attributes.get("transA"):
            continue
        else:
            axis = 0 if node.op_type == "Gemm" and attributes.get("transB") else 1
        output = node.output[0]
        after = readers[output]
        if len(after) == 1 and after[0].op_type in _LIMITERS and output not in results:
            output = after[0].output[0]
        bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
        found.append(Layer(node.name, node.op_type, node.input[0], node.input[1], bias, axis, output))
    return found


def kept_by_rule(model: Any, layers: list[Layer]) -> dict[str, str]:
    """Why some layers are never quantized, by name.

    The first and last convolutions see and make what is compared; what depends on the timestep alone costs nothing and
    moves everything; grouped convolutions have one channel a sum, so that quantizing them saves next to nothing.
    """
    above = inputs_above(model)
    first, last = _ends(model, {layer.name for layer in layers})
    nodes = {node.name: node for node in model.graph.node}
    reasons = {}
    for layer in layers:
        groups = next((a.i for a in nodes[layer.name].attribute if a.name == "group"), 1)
        if above[layer.input] <= {"timestep"}:
            reasons[layer.name] = "time embedding"
        elif layer.kind == "Conv" and layer.name in first:
            reasons[layer.name] = "first convolution"
        elif layer.kind == "Conv" and layer.name in last:
            reasons[layer.name] = "last convolution"
        elif groups > 1:
            reasons[layer.name] = "grouped convolution"
    return reasons


def readers_of(model: Any) -> Mapping[str, list[Any]]:
    """The nodes that read a tensor, by its name."""
    readers: dict[str, list[Any]] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            readers[name].append(node)
    return readers


def inputs_above(model: Any) -> Mapping[str, frozenset[str]]:
    """The graph's inputs that a tensor depends on, by the tensor's name."""
    above: dict[str, frozenset[str]] = defaultdict(frozenset)
    above.update({value.name: frozenset([value.name]) for value in model.graph.input})
    for node in model.graph.node:
        found = frozenset().union(*(above[name] for name in node.input if name))
        for name in node.output:
            above[name] = found
    return above


def between_layers(model: Any) -> set[str]:
    """Names of the nodes that have a product or convolution before or in them, and one behind or in them."""
    every = {node.name for node in model.graph.node if node.op_type in KINDS}
    before, behind = _reach(model, every)
    return before & behind


def behind_layers(model: Any, names: set[str]) -> set[str]:
    """Names of the nodes that depend on one of the named ones."""
    return _reach(model, names, inclusive=False)[0]


def observed_tensors(model: Any) -> list[str]:
    """The activations whose ranges quantization may need: what layers read and give, each once."""
    return list(dict.fromkeys(name for layer in find_layers(model) for name in (layer.input, layer.output)))


def _ends(model: Any, names: set[str]) -> tuple[set[str], set[str]]:
    """The layers with none before them, and those with none behind them; the timestep's way does not count."""
    above = inputs_above(model)
    counted = {
        node.name for node in model.graph.node if node.name in names and not above[node.input[0]] <= {"timestep"}
    }
    before, behind = _reach(model, counted, inclusive=False)
    return counted - before, counted - behind


def _reach(model: Any, marks: set[str], inclusive: bool = True) -> tuple[set[str], set[str]]:
    """Nodes that have a marked one among their ancestors, and among their descendants, themselves or not counted."""
    nodes = list(model.graph.node)
    below_mark: set[str] = set()  # tensors with a marked node above them
    ancestors, descendants = set(), set()
    for node in nodes:
        reached = any(name in below_mark for name in node.input)
        if reached or (inclusive and node.name in marks):
            ancestors.add(node.name)
        if reached or node.name in marks:
            below_mark.update(node.output)
    above_mark: set[str] = set()  # tensors with a marked node below them
    for node in reversed(nodes):
        reached = any(name in above_mark for name in node.output)
        if reached or (inclusive and node.name in marks):
            descendants.add(node.name)
        if reached or node.name in marks:
            above_mark.update(node.input)
    return ancestors, descendants

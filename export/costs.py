"""What an ONNX graph costs: FLOPs, bytes and parameters, read from its operators and inferred shapes.

Counted are convolutions, matrix products and attention, which is where an accelerator's arithmetic goes. Elementwise
operators, normalisations, resizing and softmax are not: runtimes fuse most of them into their neighbours.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.bundle import Cost

Shape = tuple[int, ...]
# shapes are read from small tensors; weights are of no use here but for their size
_KEPT_BYTES = 4096


def graph_cost(path: Path) -> Cost:
    """The cost of one run of the ONNX file at `path`, by its free sizes.

    External data is not read. Shapes are inferred for several values of the free sizes and the cost fitted exactly.
    Raises ValueError for a graph whose cost is no sum of products of free sizes, or that holds subgraphs.
    """
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    parameters, weight_bytes = _weights(model)
    for tensor in model.graph.initializer:
        if tensor.HasField("raw_data") and len(tensor.raw_data) > _KEPT_BYTES:
            tensor.ClearField("raw_data")
    inputs = (value.type.tensor_type.shape.dim for value in model.graph.input)
    symbols = sorted({axis.dim_param for axes in inputs for axis in axes if axis.HasField("dim_param")})
    measured: dict[Shape, tuple[int, int]] = {}

    def measure(sizes: Mapping[str, int]) -> tuple[int, int]:
        key = tuple(sizes[name] for name in symbols)
        if key not in measured:
            measured[key] = _measure(model, sizes)
        return measured[key]

    return Cost(
        flops=fit(lambda sizes: measure(sizes)[0], symbols),
        traffic=fit(lambda sizes: measure(sizes)[1], symbols),
        parameters=parameters,
        weight_bytes=weight_bytes,
    )


def fit(count: Callable[[Mapping[str, int]], int], symbols: Sequence[str]) -> dict[str, int]:
    """`count` as a sum of products of sizes: {"": 7, "B": 5, "K*R": 2} is 7 + 5·B + 2·K·R; zero terms are left out.

    Exact for every function that is linear in each size alone; ValueError where a further point shows it is not.
    """
    grid = np.array(
        [count(dict(zip(symbols, point))) for point in itertools.product((2, 3), repeat=len(symbols))], object
    )
    grid = grid.reshape((2,) * len(symbols))
    for axis in range(len(symbols)):
        at_two, at_three = np.take(grid, 0, axis), np.take(grid, 1, axis)
        grid = np.stack([3 * at_two - 2 * at_three, at_three - at_two], axis)  # the line through both: offset, slope
    terms = {
        "*".join(name for name, used in zip(symbols, chosen) if used): int(grid[chosen])
        for chosen in itertools.product((0, 1), repeat=len(symbols))
        if grid[chosen]
    }
    check = {name: 5 + 2 * i for i, name in enumerate(symbols)}
    fitted = sum(value * math.prod(check[name] for name in term.split("*") if name) for term, value in terms.items())
    if fitted != count(check):
        raise ValueError(f"the cost is no sum of products of {', '.join(symbols)}")
    return terms


@dataclass(frozen=True)
class _Value:
    shape: Shape
    itemsize: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * self.itemsize


def node_flops(node: Any, shapes: Mapping[str, Shape]) -> int | None:
    """Floating-point operations of one ONNX node, two a multiply-add, biases left out; None for an uncounted operator.

    shapes: of every input and output of the node.
    """
    kind = node.op_type
    if kind not in ("Conv", "ConvTranspose", "MatMul", "Gemm", "Attention"):
        return None
    first, second, out = shapes[node.input[0]], shapes[node.input[1]], shapes[node.output[0]]
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    if kind == "Conv":  # weight M, C/group, k…: what one output number sums over
        return 2 * math.prod(out) * math.prod(second[1:])
    if kind == "ConvTranspose":  # weight C, M/group, k…: what one input number is spread over
        return 2 * math.prod(first) * math.prod(second[1:])
    if kind == "MatMul":
        return 2 * math.prod(out) * first[-1]
    if kind == "Gemm":
        return 2 * math.prod(out) * first[0 if attributes.get("transA") else 1]
    third = shapes[node.input[2]]
    if len(first) == 4:  # batch, heads, length, width
        batch, heads, queries, width = first
        keys, value_width = second[2], third[3]
    else:  # batch, length, heads·width
        batch, queries, heads = first[0], first[1], attributes["q_num_heads"]
        width, keys, value_width = first[2] // heads, second[1], third[2] // attributes["kv_num_heads"]
    return 2 * batch * heads * queries * keys * (width + value_width)


def _measure(model: Any, sizes: Mapping[str, int]) -> tuple[int, int]:
    """(FLOPs, bytes of activations) of a model whose free sizes have these values."""
    graph, values = _sized(model, sizes)
    weights = {tensor.name for tensor in graph.initializer}
    flops, traffic = 0, sum(values[value.name].bytes for value in (*graph.input, *graph.output))
    shapes = {name: value.shape for name, value in values.items()}
    for node in graph.node:
        counted = node_flops(node, shapes)
        if counted is not None:
            flops += counted
            traffic += sum(values[name].bytes for name in (*node.input, *node.output) if name and name not in weights)
    return flops, traffic


def _sized(model: Any, sizes: Mapping[str, int]) -> tuple[Any, dict[str, _Value]]:
    """The graph and every value's shape and item size, with the free sizes set."""
    import onnx
    from onnx import helper

    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    del sized.graph.value_info[:]
    for value in (*sized.graph.input, *sized.graph.output):
        for axis in value.type.tensor_type.shape.dim:
            if axis.HasField("dim_param"):
                axis.dim_value = sizes[axis.dim_param]
    _fold_sizes(sized.graph)
    graph = onnx.shape_inference.infer_shapes(sized, strict_mode=True, data_prop=True).graph

    def item(kind: int) -> int:
        return int(np.dtype(helper.tensor_dtype_to_np_dtype(kind)).itemsize)

    values = {tensor.name: _Value(tuple(tensor.dims), item(tensor.data_type)) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        tensor = value.type.tensor_type
        if all(axis.HasField("dim_value") for axis in tensor.shape.dim):
            shape = tuple(axis.dim_value for axis in tensor.shape.dim)
            values.setdefault(value.name, _Value(shape, item(tensor.elem_type)))
    for node in graph.node:
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise ValueError(f"{node.op_type} holds a subgraph, whose cost is not counted")
        if unknown := [name for name in (*node.input, *node.output) if name and name not in values]:
            raise ValueError(f"the shape of {unknown[0]} ({node.op_type}) cannot be inferred")
    return graph, values


def _fold_sizes(graph: Any) -> None:
    """Replace arithmetic on the inputs' sizes by its results, in place: ONNX's inference does not follow products."""
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    known = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.data_type == tensor.INT64 and math.prod(tensor.dims) * 8 <= _KEPT_BYTES
    }
    shapes = {value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in graph.input}
    left = []
    for node in graph.node:
        if node.op_type == "Shape" and node.input[0] in shapes:
            between = {attribute.name: attribute.i for attribute in node.attribute}
            axes = shapes[node.input[0]][between.get("start", 0) : between.get("end")]
            results = [np.array(axes, np.int64)]
        elif node.input and all(name in known for name in node.input):
            results = ReferenceEvaluator(node).run(None, {name: known[name] for name in node.input})
        else:
            left.append(node)
            continue
        for name, result in zip(node.output, results, strict=True):
            known[name] = result
            graph.initializer.append(numpy_helper.from_array(result, name))
    del graph.node[:]
    graph.node.extend(left)


def _weights(model: Any) -> tuple[int, int]:
    """(parameters, their bytes): floating-point and 8-bit initializers; integers that hold shapes are none."""
    from onnx import helper

    parameters, size = 0, 0
    for tensor in model.graph.initializer:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
        if dtype.kind not in "iu" or dtype.itemsize == 1:
            parameters += math.prod(tensor.dims)
            size += math.prod(tensor.dims) * dtype.itemsize
    return parameters, size

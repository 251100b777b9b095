"""Matrix products in fp32 for Turing cards (compute capability 7.5), which TensorRT-RTX cannot compile as such.

TensorRT-RTX 1.7 says "Cannot compile operation for Turing (SM75): FP32 GEMM is not supported". Convolutions in fp32 and
everything in fp16 compile. A product is written as multiply and sum instead, which the compiler fuses.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

TURING = (7, 5)


def replace_products(trt: ModuleType, network: Any) -> int:
    """Replace every fp32 matrix product of a parsed network, A·B = Σ_k A[…, m, k] B[…, k, n]. Returns how many."""
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    readers: dict[str, list[tuple[Any, int]]] = defaultdict(list)
    for layer in layers:
        for i in range(layer.num_inputs):
            if (tensor := layer.get_input(i)) is not None:
                readers[tensor.name].append((layer, i))
    replaced = 0
    for layer in layers:
        if layer.type != trt.LayerType.MATRIX_MULTIPLY or layer.get_input(0).dtype != trt.float32:
            continue
        layer.__class__ = trt.IMatrixMultiplyLayer  # the bindings' way to reach op0 and op1
        before = layer.get_output(0)
        after = _multiply_and_sum(trt, network, layer)
        for reader, i in readers[before.name]:
            reader.set_input(i, after)
            readers[after.name].append((reader, i))
        if before.is_network_output:
            name, before.name = before.name, f"{before.name} (unused)"
            network.unmark_output(before)
            after.name = name
            network.mark_output(after)
        replaced += 1
    return replaced


def _multiply_and_sum(trt: ModuleType, network: Any, layer: Any) -> Any:
    left, right = (
        _plain(trt, network, layer.get_input(i), operation) for i, operation in enumerate((layer.op0, layer.op1))
    )
    rank = len(left.shape)
    left, right = _with_axis(trt, network, left, rank), _with_axis(trt, network, right, rank - 2)
    product = network.add_elementwise(left, right, trt.ElementWiseOperation.PROD).get_output(0)
    return network.add_reduce(product, trt.ReduceOperation.SUM, 1 << (rank - 1), False).get_output(0)


def _plain(trt: ModuleType, network: Any, tensor: Any, operation: Any) -> Any:
    """The operand with its transposition carried out, so that rows come before columns."""
    if operation == trt.MatrixOperation.NONE:
        return tensor
    if operation != trt.MatrixOperation.TRANSPOSE:
        raise ValueError("a product of a vector is not expected from the ONNX parser")
    rank = len(tensor.shape)
    shuffle = network.add_shuffle(tensor)
    shuffle.first_transpose = trt.Permutation([*range(rank - 2), rank - 1, rank - 2])
    return shuffle.get_output(0)


def _with_axis(trt: ModuleType, network: Any, tensor: Any, axis: int) -> Any:
    axes = network.add_constant((1,), trt.Weights(_axes(axis))).get_output(0)
    return network.add_unsqueeze(tensor, axes).get_output(0)


@cache
def _axes(axis: int) -> NDArray[np.int64]:
    """An array that outlives the build: the network only borrows its constants."""
    return np.array([axis], np.int64)

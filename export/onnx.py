"""A graph case to a checked ONNX file, and the numbers PyTorch gave for it."""

from __future__ import annotations

import io
import logging
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge_ad.bundle import Graph, Precision, TensorSpec
from edge_ad.export.costs import graph_cost
from edge_ad.export.graphs.case import GraphCase
from edge_ad.export.targets import INLINE_LIMIT

OPSET = 18


def torch_outputs(case: GraphCase) -> dict[str, NDArray[Any]]:
    """What PyTorch computes for the case's example, by output name."""
    with torch.no_grad():
        results = case.module(**case.inputs)
    results = results if isinstance(results, tuple) else (results,)
    return {name: result.numpy() for name, result in zip(case.outputs, results, strict=True)}


def write_graph(case: GraphCase, folder: Path, precision: Precision, row_bytes: int) -> Graph:
    """Export a case to `folder`/graphs/<name>.onnx (and .data beside it when large) and return its manifest entry."""
    relative = f"graphs/{case.name}.onnx"
    path = folder / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    size = sum(p.numel() * p.element_size() for p in case.module.parameters())
    external = size > INLINE_LIMIT
    symbols: dict[str, Any] = {}
    dynamic = {
        name: {
            axis: symbols.setdefault(label, torch.export.Dim(label)) for axis, label in case.axes.get(name, {}).items()
        }
        for name in case.inputs
    }
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), torch.no_grad(), _quiet():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            case.module,
            kwargs=case.inputs,
            dynamo=True,
            dynamic_shapes=dynamic,
            input_names=list(case.inputs),
            output_names=list(case.outputs),
            opset_version=OPSET,
            optimize=True,
            verbose=False,
        )
        assert program is not None  # it is only without dynamo
        _strip(program.model)
        program.save(str(path), external_data=external)
    data = f"{relative}.data"
    inputs, outputs = _check(path)
    return Graph(
        file=relative,
        data=data if (folder / data).exists() else None,
        inputs=inputs,
        outputs=outputs,
        precision=precision,
        row_bytes=row_bytes,
        cost=graph_cost(path),
        tolerance=case.tolerance,
    )


def _strip(model: Any) -> None:
    """Remove the exporter's notes: stack traces with paths of this machine, large and of no use at the edge."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
            value.doc_string = None
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


def write_reference(case: GraphCase, expected: dict[str, NDArray[Any]], folder: Path) -> str:
    """Store the example inputs and PyTorch's outputs, thinned out, as verify/<name>.npz; returns that path."""
    from edge_ad.runtime.verify import thinned

    relative = f"verify/{case.name}.npz"
    (folder / relative).parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"in:{name}": value.numpy() for name, value in case.inputs.items()}
    arrays |= {f"out:{name}": thinned(np.asarray(value)) for name, value in expected.items()}
    np.savez_compressed(folder / relative, allow_pickle=False, **arrays)
    return relative


def _check(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Run ONNX's checker on a file and read its inputs and outputs; ValueError for an operator outside the standard."""
    import onnx

    onnx.checker.check_model(str(path))
    model = onnx.load(str(path), load_external_data=False)
    foreign = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
    if foreign:
        raise ValueError(f"{path.name} has operators of {', '.join(sorted(foreign))}")
    return tuple(map(_spec, model.graph.input)), tuple(map(_spec, model.graph.output))


def _spec(value: Any) -> TensorSpec:
    from onnx import helper

    tensor = value.type.tensor_type
    shape = tuple(axis.dim_param or axis.dim_value for axis in tensor.shape.dim)
    dtype: Any = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    return TensorSpec(name=value.name, dtype=dtype, shape=shape)


class _quiet:  # noqa: N801 - a context manager used once
    """The exporter logs every pass; only errors are of use."""

    def __enter__(self) -> None:
        self._loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
        self._levels = [logger.level for logger in self._loggers]
        for logger in self._loggers:
            logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        for logger, level in zip(self._loggers, self._levels):
            logger.setLevel(level)

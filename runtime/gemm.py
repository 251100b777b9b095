"""This machine's peak: large matrix products through the same provider that runs the graphs.

A chain of products with constant matrices, like the layers of a network, written as an ONNX file by hand: the edge has
no onnx package, and the format's wire encoding needs a few lines.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_ad.bundle import Graph, Precision, TensorSpec
from edge_ad.runtime.sessions.base import Feed, Session, SessionOptions
from edge_ad.runtime.sessions.choose import open_session

# ONNX TensorProto.DataType
_TYPES = {"float32": 1, "float16": 10}


@dataclass(frozen=True)
class GemmPeak:
    """flops_per_second: of the fastest of several runs. size: of the square matrices. precision: computed in."""

    flops_per_second: float
    size: int
    precision: Precision


def measure_peak(
    provider: str,
    *,
    half: bool = False,
    threads: int | None = None,
    size: int | None = None,
    depth: int = 16,
    seconds: float = 1,
) -> GemmPeak:
    """FLOP/s of `depth` products of size x size matrices in a row, the fastest of the runs that fit `seconds`.

    size: None for 1024, and 4096 on a card, which smaller matrices do not fill. What is multiplied stays on the device.
    provider: as `choose_provider` returns it. half: weights in fp16, as a bundle exported in fp16 has them; False
    leaves the precision to the provider, which is bf16 for OpenVINO where the processor has it, as in the denoiser.
    Raises OptionError where the provider cannot run an ONNX graph here.
    """
    size = size or (4096 if provider in ("cuda", "tensorrt") else 1024)
    with tempfile.TemporaryDirectory(prefix="edge-ad-gemm-") as folder:
        session = gemm_session(Path(folder), provider, size, depth, half=half, threads=threads)
        value: Feed = np.ones((size, size), session.graph.inputs[0].dtype)
        value = session.run_kept({"x": value})["y"]
        best, began = float("inf"), time.perf_counter()
        while best == float("inf") or time.perf_counter() - began < seconds:
            start = time.perf_counter()
            value = session.run_kept({"x": value})["y"]
            best = min(best, time.perf_counter() - start)
    return GemmPeak(2 * depth * size**3 / best, size, session.precision)


def gemm_session(
    folder: Path, provider: str, size: int, depth: int, *, half: bool = False, threads: int | None = None
) -> Session:
    """A session of `gemm_model`, x to y, both size,size, whose file is put into `folder`. See `measure_peak`."""
    dtype = "float16" if half else "float32"
    spec = TensorSpec(name="x", dtype=dtype, shape=(size, size))
    graph = Graph(file="gemm.onnx", inputs=(spec,), outputs=(spec.model_copy(update={"name": "y"}),),
                  precision="fp16" if half else "fp32")  # fmt: skip
    path = folder / graph.file
    path.write_bytes(gemm_model(size, depth, dtype))
    return open_session("denoiser", path, graph, provider, SessionOptions(threads=threads))


def gemm_model(size: int, depth: int, dtype: str) -> bytes:
    """An ONNX file: y = x·W·…·W, `depth` products with one constant orthogonal-like W of size x size, opset 17."""
    # a random matrix over the root of its size keeps the magnitude of what it is multiplied with
    weights = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32) / np.sqrt(np.float32(size))
    names = ["x", *(f"y{i}" for i in range(1, depth)), "y"]
    nodes = [
        _bytes(1, b"".join([_text(1, before), _text(1, "w"), _text(2, after), _text(4, "MatMul")]))
        for before, after in itertools.pairwise(names)
    ]
    kind = _TYPES[dtype]
    raw = np.ascontiguousarray(weights, dtype=f"<{np.dtype(dtype).str[1:]}").tobytes()
    tensor = _number(1, size) + _number(1, size) + _number(2, kind) + _text(8, "w") + _bytes(9, raw)
    shape = _bytes(2, 2 * _bytes(1, _number(1, size)))
    value = _bytes(2, _bytes(1, _number(1, kind) + shape))  # TypeProto.tensor_type
    graph = b"".join(
        [
            *nodes,
            _text(2, "gemm"),
            _bytes(5, tensor),
            _bytes(11, _text(1, "x") + value),
            _bytes(12, _text(1, "y") + value),
        ]
    )
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, _text(1, "") + _number(2, 17))


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _number(field: int, value: int) -> bytes:
    """A protobuf field of wire type 0."""
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    """A protobuf field of wire type 2."""
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())

"""Which layers pay in int8 on this processor: convolutions, products with weights, both; and the cards' layout.

    python benchmarks/quantized_kinds.py BUNDLE [--graph denoiser] [--rows 14] [--runs 5]

BUNDLE has fp32 graphs and activation ranges (edge-ad calibrate --ranges). Prints milliseconds of processor time a run
in ONNX Runtime with one thread, which other work on the machine disturbs little, and the relative error on the graph's
stored example, whose rows are repeated.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
import onnx
import onnxruntime as ort
from script import run

from edge_ad.bundle_files import Bundle
from edge_ad.calibration.layers import find_layers, kept_by_rule
from edge_ad.calibration.ranges import bundle_ranges
from edge_ad.export.quantize_scheme import Scheme
from edge_ad.export.quantize_sensitivity import relative_error
from edge_ad.export.quantize_write import quantized_model

ROWS = {
    "convolutions": (Scheme("int8", "cpu"), ("Conv",)),
    "products": (Scheme("int8", "cpu"), ("MatMul", "Gemm")),
    "both": (Scheme("int8", "cpu"), ("Conv", "MatMul", "Gemm")),
    "both, tensorrt layout": (Scheme("int8", "tensorrt"), ("Conv", "MatMul", "Gemm")),
}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--graph", "name", default="denoiser", show_default=True)
@click.option("--rows", default=14, show_default=True, type=click.IntRange(1))
@click.option("--runs", default=5, show_default=True, type=click.IntRange(1))
def main(bundle: Path, name: str, rows: int, runs: int) -> None:
    """Time a graph of BUNDLE."""
    with Bundle.open(bundle) as opened:
        graph = opened.graph(name)
        model = onnx.load(str(opened.file(graph.file)))
        ranges = bundle_ranges(opened, name, "mse")
        example = np.load(opened.file(str(graph.reference)), allow_pickle=False)
        axis = next(axis for spec in graph.outputs for axis in spec.shape[:1] if isinstance(axis, str))
        feeds = {}
        for spec in graph.inputs:
            value = example[f"in:{spec.name}"]
            feeds[spec.name] = np.resize(value, (rows, *value.shape[1:])) if spec.shape[:1] == (axis,) else value
    layers = find_layers(model)
    rule = kept_by_rule(model, layers)
    settings = ort.SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = 1
    expected = None
    for label, (scheme, kinds) in {"fp32": (None, ()), **ROWS}.items():
        chosen = [layer for layer in layers if layer.name not in rule and layer.kind in kinds]
        made = model if scheme is None else quantized_model(model, chosen, ranges, scheme)
        session = ort.InferenceSession(made.SerializeToString(), settings, providers=["CPUExecutionProvider"])
        times = []
        for _ in range(runs + 1):  # the first warms up
            began = time.process_time()
            found = session.run(None, feeds)[:1]
            times.append(time.process_time() - began)
        expected = found if expected is None else expected
        error = relative_error(expected, found)
        click.echo(f"{label}: {len(chosen)} layers, {1000 * min(times[1:]):.0f} ms, relative error {error:.4f}")


if __name__ == "__main__":
    run(main)

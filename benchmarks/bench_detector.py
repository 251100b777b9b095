"""The detector on nano, the base as it is, on two drawn products: `make bench`.

Whole inspections by provider, batch and plan, the graphs that take the time, loading, `edge-ad inspect` from start to
end, and large matrix products: the yardstick by which `compare.py` tells a slower program from a slower machine.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_ad.bundle_files import Bundle
from edge_ad.dataset import load_dataset
from edge_ad.export.pipeline import export_run
from edge_ad.images import read_image
from edge_ad.runtime import Detector
from edge_ad.runtime.gemm import gemm_model
from edge_ad.runtime.sessions.base import SessionOptions
from edge_ad.runtime.sessions.choose import open_session
from edge_ad.training.pretrain.draw.demo import write_demo_set
from edge_ad.training.train import TrainSettings, train

PROVIDERS = ["cpu", "openvino"]
# rows as the grouped plan gives them for one image
ROWS = {"encoder": 1, "denoiser": 13, "decoder": 4, "features": 1}
PLANS = ("grouped", "grouped-2", "grouped-1")


@pytest.fixture(scope="session")
def station(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle of nano without fine-tuning, and the data set it was made for."""
    folder = tmp_path_factory.mktemp("station")
    write_demo_set(folder / "data", shots=4, good=2, bad=2, categories=["gel_pod", "filter_cloth"])
    settings = TrainSettings()
    settings = replace(
        settings, denoiser=replace(settings.denoiser, steps=0), decoder=replace(settings.decoder, steps=0)
    )
    train(folder / "data", folder / "run", settings)
    export_run(folder / "run", folder / "bundle", log=lambda line: None, plans=PLANS)
    return folder / "bundle", folder / "data"


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    """Each provider that is installed."""
    if request.param == "openvino":
        pytest.importorskip("openvino")
    return str(request.param)


@pytest.mark.parametrize("count", [1, 4])
def test_inspect(benchmark: Any, station: tuple[Path, Path], provider: str, count: int) -> None:
    """`inspect_batch` of `count` images, after one warm-up."""
    bundle, data = station
    detector = Detector.load(bundle, provider=provider)
    images = [read_image(sample.path) for sample in load_dataset(data)["gel_pod"].test[:count]]
    assert len(images) == count
    found = benchmark.pedantic(
        detector.inspect_batch, args=(images, ["gel_pod"] * count), rounds=5, warmup_rounds=1, iterations=1
    )
    assert len(found) == count


@pytest.mark.parametrize("plan", PLANS)
def test_plan(benchmark: Any, station: tuple[Path, Path], provider: str, plan: str) -> None:
    """One picture under a plan, after one warm-up."""
    bundle, data = station
    detector = Detector.load(bundle, provider=provider, plan=plan)
    image = read_image(load_dataset(data)["gel_pod"].test[0].path)
    benchmark.pedantic(detector.inspect, args=(image, "gel_pod"), rounds=5, warmup_rounds=1, iterations=1)


def test_cold_start(benchmark: Any, station: tuple[Path, Path], provider: str, tmp_path: Path) -> None:
    """`edge-ad inspect` of one picture in a process of its own; what a provider compiles is in the user's cache."""
    bundle, data = station
    picture = load_dataset(data)["gel_pod"].test[0].path
    command = [sys.executable, "-m", "edge_ad", "inspect", bundle, picture, "--category", "gel_pod",
               "--provider", provider, "--out", tmp_path / "out"]  # fmt: skip
    settings = {"check": True, "capture_output": True, "cwd": tmp_path}
    arguments = ([str(part) for part in command],)
    benchmark.pedantic(subprocess.run, args=arguments, kwargs=settings, rounds=5, warmup_rounds=1, iterations=1)


@pytest.mark.parametrize("graph", ROWS)
def test_graph(benchmark: Any, station: tuple[Path, Path], provider: str, graph: str) -> None:
    """One run of one graph."""
    with Bundle.open(station[0]) as opened:
        entry = opened.graph(graph)
        session = open_session(graph, opened.file(entry.file), entry, provider, SessionOptions())
    sizes = dict.fromkeys("BNKV", ROWS[graph]) | {"P": 1}
    feeds = {
        spec.name: np.zeros([axis if isinstance(axis, int) else sizes[axis] for axis in spec.shape], spec.dtype)
        for spec in entry.inputs
    }
    benchmark.pedantic(session.run, args=(feeds,), rounds=5, warmup_rounds=1, iterations=1)


def test_load(benchmark: Any, station: tuple[Path, Path], provider: str) -> None:
    """From the bundle's folder to a detector that is ready: hashes checked, graphs compiled."""
    benchmark.pedantic(Detector.load, args=(station[0],), kwargs={"provider": provider}, rounds=5, warmup_rounds=1)


def test_yardstick(benchmark: Any, tmp_path: Path, provider: str) -> None:
    """Sixteen products of 1,024 x 1,024 matrices through the same provider."""
    from edge_ad.bundle import Graph, TensorSpec

    (tmp_path / "gemm.onnx").write_bytes(gemm_model(1024, 16, "float32"))
    spec = TensorSpec(name="x", dtype="float32", shape=(1024, 1024))
    entry = Graph(file="gemm.onnx", inputs=(spec,), outputs=(spec.model_copy(update={"name": "y"}),))
    session = open_session("denoiser", tmp_path / "gemm.onnx", entry, provider, SessionOptions())
    feeds = {"x": np.ones((1024, 1024), np.float32)}
    benchmark.pedantic(session.run, args=(feeds,), rounds=9, warmup_rounds=1, iterations=1)

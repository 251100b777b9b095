"""The detector on nano, the base as it is, on two drawn products: `make bench`.

Whole inspections by provider, batch and plan, the graphs that take the time, loading, and `edge-ad inspect` from start
to end. Before every round large matrix products are timed through the same provider: the yardstick by which compare.py
tells a slower program from a slower machine; a shared one changes by the minute.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
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
from edge_ad.runtime.gemm import gemm_session
from edge_ad.runtime.sessions.base import SessionOptions
from edge_ad.runtime.sessions.choose import open_session
from edge_ad.training.pretrain.draw.demo import write_demo_set
from edge_ad.training.train import TrainSettings, train

PROVIDERS = ["cpu", "openvino"]
# rows as the grouped plan gives them for one image
ROWS = {"encoder": 1, "denoiser": 13, "decoder": 4, "features": 1}
PLANS = ("grouped", "grouped-2", "grouped-1")
ROUNDS = 7
#: Matrix products a yardstick, of 1,024 × 1,024 in fp32 or what the provider makes of it.
PRODUCTS = 48


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


@pytest.fixture
def timed(benchmark: Any, provider: str, tmp_path: Path) -> Callable[..., Any]:
    """Calls something in rounds after one warm-up, and keeps each round's time over that of the yardstick before it."""
    session = gemm_session(tmp_path, provider, 1024, PRODUCTS)
    feeds = {"x": np.ones((1024, 1024), np.float32)}
    session.run(feeds)

    def rounds(call: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        beside: list[float] = []

        def before() -> tuple[Any, Any]:
            began = time.perf_counter()
            session.run(feeds)
            beside.append(time.perf_counter() - began)
            return arguments, keywords

        found = benchmark.pedantic(call, setup=before, rounds=ROUNDS, warmup_rounds=1)
        times = benchmark.stats.stats.data
        benchmark.extra_info["ratios"] = [time / yardstick for time, yardstick in zip(times, beside[-ROUNDS:])]
        return found

    return rounds


@pytest.mark.parametrize("count", [1, 4])
def test_inspect(timed: Any, station: tuple[Path, Path], provider: str, count: int) -> None:
    """`inspect_batch` of `count` images."""
    bundle, data = station
    detector = Detector.load(bundle, provider=provider)
    images = [read_image(sample.path) for sample in load_dataset(data)["gel_pod"].test[:count]]
    assert len(images) == count
    assert len(timed(detector.inspect_batch, images, ["gel_pod"] * count)) == count


@pytest.mark.parametrize("plan", PLANS)
def test_plan(timed: Any, station: tuple[Path, Path], provider: str, plan: str) -> None:
    """One picture under a plan."""
    bundle, data = station
    detector = Detector.load(bundle, provider=provider, plan=plan)
    image = read_image(load_dataset(data)["gel_pod"].test[0].path)
    timed(detector.inspect, image, "gel_pod")


def test_cold_start(timed: Any, station: tuple[Path, Path], provider: str, tmp_path: Path) -> None:
    """`edge-ad inspect` of one picture in a process of its own; what a provider compiles is in the user's cache."""
    bundle, data = station
    picture = load_dataset(data)["gel_pod"].test[0].path
    command = [sys.executable, "-m", "edge_ad", "inspect", bundle, picture, "--category", "gel_pod",
               "--provider", provider, "--out", tmp_path / "out"]  # fmt: skip
    timed(subprocess.run, [str(part) for part in command], check=True, capture_output=True, cwd=tmp_path)


@pytest.mark.parametrize("graph", ROWS)
def test_graph(timed: Any, station: tuple[Path, Path], provider: str, graph: str) -> None:
    """One run of one graph."""
    with Bundle.open(station[0]) as opened:
        entry = opened.graph(graph)
        session = open_session(graph, opened.file(entry.file), entry, provider, SessionOptions())
    sizes = dict.fromkeys("BNKV", ROWS[graph]) | {"P": 1}
    feeds = {
        spec.name: np.zeros([axis if isinstance(axis, int) else sizes[axis] for axis in spec.shape], spec.dtype)
        for spec in entry.inputs
    }
    timed(session.run, feeds)


def test_load(timed: Any, station: tuple[Path, Path], provider: str) -> None:
    """From the bundle's folder to a detector that is ready: hashes checked, graphs compiled."""
    timed(Detector.load, station[0], provider=provider)

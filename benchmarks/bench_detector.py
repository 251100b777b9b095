"""Seconds of the grouped plan on nano, one image and four: `make bench`. The base as it is, on two drawn products."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_ad.dataset import load_dataset
from edge_ad.export.pipeline import export_run
from edge_ad.images import read_image
from edge_ad.runtime import Detector
from edge_ad.training.pretrain.draw.demo import write_demo_set
from edge_ad.training.train import TrainSettings, train


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
    export_run(folder / "run", folder / "bundle", log=lambda line: None, plans=("grouped",))
    return folder / "bundle", folder / "data"


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_inspect(benchmark, station: tuple[Path, Path], provider: str, count: int) -> None:
    """`inspect_batch` of `count` images, after one warm-up."""
    bundle, data = station
    detector = Detector.load(bundle, provider=provider)
    category = load_dataset(data)["gel_pod"]
    images = [read_image(sample.path) for sample in category.test[:count]]
    found = benchmark.pedantic(
        detector.inspect_batch, args=(images, ["gel_pod"] * count), rounds=5, warmup_rounds=1, iterations=1
    )
    assert len(found) == count

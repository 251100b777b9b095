"""A station with a cascade: what the prototypes decide is recorded without an inpainted picture."""

import asyncio
import shutil

import numpy as np
import pytest

from edge_ad.bundle import Calibration, CascadeLimits
from edge_ad.bundle_files import read_manifest, write_manifest
from edge_ad.errors import EdgeAdError
from edge_ad.runtime.serve.options import StationOptions
from edge_ad.runtime.serve.station import Station

IMAGE = np.zeros((70, 90, 3), np.uint8)


def options(folder):
    return StationOptions(folder, provider="cpu", threads=1, max_batch=1, deadline=60, cascade=True)


@pytest.fixture
def sure(tiny_bundle, tmp_path):
    """A bundle in which the prototypes call everything of "ring" good, and nothing of "weave"."""
    copy = shutil.copytree(tiny_bundle, tmp_path / "sure")
    manifest = read_manifest(copy)
    for name, lower in (("ring", 1e6), ("weave", 0.0)):
        limits = CascadeLimits(lower=lower, upper=1e6, miss_rate=0.02, defects=99, tried=99, pictures=1, decided=1)
        calibration = Calibration(rule="estimate", created="now", target=0.01, cascade=limits)
        manifest.categories[name].thresholds = {"grouped": {"fp32": 1e6}}
        manifest.categories[name].calibrations = {"grouped": {"fp32": calibration}}
    write_manifest(copy, manifest)
    return copy


def test_what_prototypes_decide_has_no_inpainted_picture(sure, tmp_path):
    async def story():
        station = Station(options(tmp_path / "records"), {"line": sure})
        await station.start()
        try:
            made = [await station.inspect(IMAGE, name) for name in ("ring", "weave")]
            kept = [await station.records.get(one.record_id) for one in made]
            return *made, kept, station.metrics.text().decode()
        finally:
            await station.close()

    early, whole, kept, metrics = asyncio.run(story())
    assert kept == [early, whole]
    assert (early.stage, whole.stage) == ("prototypes", "inpainting")
    assert 'edge_ad_decided_by_total{category="ring",product="line",stage="prototypes"} 1.0' in metrics
    assert (early.verdict, whole.verdict) == ("good", "good")
    assert set(early.pictures) == {"image", "map"}
    assert set(whole.pictures) == {"image", "map", "inpainted"}
    assert "denoise" in whole.times
    assert "denoise" not in early.times


def test_a_bundle_without_limits_is_not_loaded(tiny_bundle, tmp_path):
    copy = shutil.copytree(tiny_bundle, tmp_path / "b")
    manifest = read_manifest(copy)
    for entry in manifest.categories.values():
        entry.thresholds = {"grouped": {"fp32": 1.0}}
    write_manifest(copy, manifest)

    async def story():
        station = Station(options(tmp_path / "records"), {"line": copy})
        try:
            await station.start()
        finally:
            await station.close()

    with pytest.raises(EdgeAdError, match=r"--cascade: category .ring. has no limits"):
        asyncio.run(story())

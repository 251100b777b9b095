"""A detector that runs for long takes no more memory than after its first pictures."""

import gc
import sys

import numpy as np
import pytest

from edge_ad.runtime import Detector

pytestmark = pytest.mark.slow


def resident():
    """Bytes of this process that are in memory now."""
    import os

    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_memory_is_steady(tiny_bundle, draw_picture, provider):
    if provider == "openvino":
        pytest.importorskip("openvino", reason="the openvino extra is not installed")
    detector = Detector.load(tiny_bundle, provider=provider, threads=1)
    pictures = [draw_picture(seed, size) for seed, size in enumerate((64, 80, 96, 120))]
    marks = []
    for number in range(300):
        detector.inspect(pictures[number % 4], ("ring", "weave")[number % 2], inpainted=number % 3 == 0)
        if number % 50 == 49:
            gc.collect()
            marks.append(resident())
    growth = np.array(marks[1:]) - marks[1]
    assert growth.max() < 8e6, f"resident bytes every 50 pictures: {marks}"

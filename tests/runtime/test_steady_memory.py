"""A detector that runs for long takes no more memory than after its first pictures."""

import gc
import os
import sys

import numpy as np
import pytest

from edge_ad.runtime import Detector
from edge_ad.runtime.serve.usage import resident_bytes

pytestmark = pytest.mark.slow


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
            marks.append(resident_bytes(os.getpid()))
    growth = np.array(marks[1:]) - marks[1]
    assert growth.max() < 8e6, f"resident bytes every 50 pictures: {marks}"

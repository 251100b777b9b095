"""Region labelling against a slow flood fill."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_ad.regions import (
    Region,
    find_regions,
    label,
    region_areas,
    region_boxes,
    region_peaks,
    rescale_region,
)

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14))


def flood_fill(mask):
    """Labels in raster order, one pixel at a time."""
    labels = np.zeros(mask.shape, int)
    count = 0
    for start in zip(*np.nonzero(mask)):
        if labels[start]:
            continue
        count += 1
        stack = [start]
        while stack:
            y, x = stack.pop()
            if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x] and not labels[y, x]:
                labels[y, x] = count
                stack += [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return labels, count


@settings(max_examples=300, deadline=None)
@given(MASKS)
def test_label_is_a_flood_fill(mask):
    labels, count = label(mask)
    expected, expected_count = flood_fill(mask)
    assert count == expected_count
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, expected)


@settings(max_examples=100, deadline=None)
@given(MASKS, st.integers(0, 1000))
def test_boxes_areas_and_peaks(mask, seed):
    values = np.random.default_rng(seed).normal(size=mask.shape).astype(np.float32)
    labels, count = label(mask)
    areas, boxes, peaks = region_areas(labels, count), region_boxes(labels, count), region_peaks(labels, count, values)
    for i in range(count):
        rows, columns = np.nonzero(labels == i + 1)
        assert areas[i] == len(rows)
        assert tuple(boxes[i]) == (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
        assert peaks[i] == values[rows, columns].max()


def test_a_spiral_is_one_region():
    size = 61
    mask = np.zeros((size, size), bool)
    y = x = 0
    dy, dx = 0, 1
    mask[0, 0] = True
    for _ in range(size * size):  # walk, turning right before touching what is already drawn
        ahead = (y + dy, x + dx)
        beyond = (y + 2 * dy, x + 2 * dx)
        outside = not (0 <= ahead[0] < size and 0 <= ahead[1] < size)
        if outside or (0 <= beyond[0] < size and 0 <= beyond[1] < size and mask[beyond]):
            dy, dx = dx, -dy
            if mask[min(max(y + 2 * dy, 0), size - 1), min(max(x + 2 * dx, 0), size - 1)]:
                break
            continue
        y, x = ahead
        mask[y, x] = True
    assert mask.sum() > 1500
    assert label(mask)[1] == 1


@pytest.mark.parametrize("density", [0.05, 0.4, 0.6])
def test_labelling_512_by_512_is_fast(density):
    mask = np.random.default_rng(0).random((512, 512)) < density
    times = []
    for _ in range(5):
        start = time.process_time()
        label(mask)
        times.append(time.process_time() - start)
    assert min(times) < 0.1  # 15 ms on an idle core; the bound leaves room for a busy one


def test_find_regions_orders_by_peak_and_drops_small_ones():
    values = np.zeros((10, 12))
    values[1:3, 1:4] = 0.6
    values[6:8, 5:12] = 0.7
    values[7, 11] = 0.9
    values[0, 11] = 1.0  # one pixel
    assert find_regions(values, 0.5, min_area=2) == [Region(5, 6, 7, 2, 14, 0.9), Region(1, 1, 3, 2, 6, 0.6)]
    assert find_regions(values, 0.5)[0] == Region(11, 0, 1, 1, 1, 1.0)
    assert find_regions(values, 2.0) == []


@given(
    st.integers(0, 63),
    st.integers(0, 63),
    st.integers(1, 64),
    st.integers(1, 64),
    st.integers(1, 400),
    st.integers(1, 400),
)
def test_a_rescaled_region_stays_inside(x, y, width, height, target_height, target_width):
    region = Region(x, y, min(width, 64 - x), min(height, 64 - y), 1, 0.5)
    scaled = rescale_region(region, (64, 64), (target_height, target_width))
    assert scaled.x >= 0
    assert scaled.y >= 0
    assert scaled.width >= 1
    assert scaled.height >= 1
    assert scaled.x + scaled.width <= target_width
    assert scaled.y + scaled.height <= target_height


def test_label_refuses_other_dimensions():
    with pytest.raises(ValueError, match="two dimensions"):
        label(np.zeros((2, 2, 2), bool))

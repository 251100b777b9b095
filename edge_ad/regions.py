"""Connected regions of a mask: labels, boxes, areas, peaks. NumPy only, since the edge and the PRO metric both use it.

Labelling is by runs: each row is cut into runs of set pixels, runs that touch in neighbouring rows are joined, and the
components of that small graph are found by hooking and pointer jumping. No Python loop runs over pixels or rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Region:
    """One connected region: its box in pixels (`x`, `y` top left), area in pixels and the highest value inside it."""

    x: int
    y: int
    width: int
    height: int
    area: int
    peak: float


def label(mask: NDArray[Any]) -> tuple[Ints, int]:
    """Number the 8-connected regions of `mask`.

    Args:
        mask: H,W; bool, or any dtype where non-zero is set.

    Returns:
        labels: int32 H,W, 0 outside, 1..count inside, numbered in the raster order of each region's first pixel.
        count: the number of regions.

    Raises:
        ValueError: `mask` is not two-dimensional.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f"a mask has two dimensions, this array has {mask.ndim}")
    mask = mask.astype(bool, copy=False)
    labels = np.zeros(mask.shape, np.int32)
    starts, stops = _runs(mask)
    if len(starts) == 0:
        return labels, 0
    roots = _components(len(starts), *_touching(starts, stops, stride=mask.shape[1] + 1))
    # A root is the first run of its component, so the sorted roots are in raster order.
    unique, numbers = np.unique(roots, return_inverse=True)
    labels[mask] = np.repeat((numbers.reshape(-1) + 1).astype(np.int32), stops - starts)
    return labels, len(unique)


def region_areas(labels: Ints, count: int) -> NDArray[np.int64]:
    """Pixels in each region: int64 `count`, for labels 1..count."""
    return np.bincount(labels.ravel(), minlength=count + 1)[1 : count + 1]


def region_boxes(labels: Ints, count: int) -> NDArray[np.int64]:
    """Bounding boxes (x, y, width, height) in pixels: int64 `count`,4, for labels 1..count."""
    rows, columns = np.nonzero(labels)
    owner = labels[rows, columns] - 1
    low = np.full((count, 2), np.iinfo(np.int64).max, np.int64)
    high = np.full((count, 2), -1, np.int64)
    for axis, values in enumerate((columns, rows)):
        np.minimum.at(low[:, axis], owner, values)
        np.maximum.at(high[:, axis], owner, values)
    return np.concatenate([low, high - low + 1], axis=1)


def region_peaks(labels: Ints, count: int, values: NDArray[Any]) -> NDArray[np.float64]:
    """The highest of `values` (H,W) in each region: float64 `count`, for labels 1..count."""
    peaks = np.full(count, -np.inf)
    inside = labels > 0
    np.maximum.at(peaks, labels[inside] - 1, values[inside].astype(np.float64))
    return peaks


def find_regions(values: NDArray[Any], threshold: float, min_area: int = 1) -> list[Region]:
    """Regions where `values` (float H,W) is at least `threshold`, the highest peak first.

    Regions of fewer than `min_area` pixels are left out. Boxes and areas are in pixels of `values`.
    """
    labels, count = label(values >= threshold)
    if count == 0:
        return []
    areas, boxes, peaks = region_areas(labels, count), region_boxes(labels, count), region_peaks(labels, count, values)
    found = []
    for i in np.argsort(-peaks, kind="stable"):
        if areas[i] >= min_area:
            x, y, width, height = (int(value) for value in boxes[i])
            found.append(Region(x, y, width, height, int(areas[i]), float(peaks[i])))
    return found


def rescale_region(region: Region, source: tuple[int, int], target: tuple[int, int]) -> Region:
    """The same region in an image of another size; `source` and `target` are (H, W).

    The box grows outwards to whole pixels and stays inside the target; the area is scaled, and at least 1.
    """
    sy, sx = target[0] / source[0], target[1] / source[1]
    x0, y0 = int(np.floor(region.x * sx)), int(np.floor(region.y * sy))
    x1 = min(target[1], max(x0 + 1, int(np.ceil((region.x + region.width) * sx))))
    y1 = min(target[0], max(y0 + 1, int(np.ceil((region.y + region.height) * sy))))
    return Region(x0, y0, x1 - x0, y1 - y0, max(1, round(region.area * sx * sy)), region.peak)


def _runs(mask: Bools) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and one-past-last positions of each horizontal run, in a raster with one empty column after each row."""
    height, width = mask.shape
    flat = np.zeros(height * (width + 1) + 1, np.int8)
    flat[1:].reshape(height, width + 1)[:, :width] = mask  # flat[0] stays empty: a run may start at position 0
    edges = np.flatnonzero(np.diff(flat, append=np.int8(0)))
    return edges[0::2], edges[1::2]


def _touching(
    starts: NDArray[np.int64], stops: NDArray[np.int64], stride: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (run, run of the row above) that share an edge or a corner."""
    # Above a run [s, e) an 8-neighbour [s', e') has s' <= e and e' >= s. The empty column keeps rows apart.
    first = np.searchsorted(stops, starts - stride, side="left")
    last = np.searchsorted(starts, stops - stride, side="right")
    counts = np.maximum(last - first, 0)
    lower = np.repeat(np.arange(len(starts)), counts)
    offsets = np.arange(len(lower)) - np.repeat(np.cumsum(counts) - counts, counts)
    return lower, first[lower] + offsets


def _components(count: int, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each of `count` nodes, the smallest node of its component in the graph with edges (a, b)."""
    parent = np.arange(count)
    while len(a):
        np.minimum.at(parent, np.maximum(a, b), np.minimum(a, b))
        while True:
            grand = parent[parent]
            if np.array_equal(grand, parent):
                break
            parent = grand
        # Edges between the roots are all that is left to do.
        a, b = parent[a], parent[b]
        apart = a != b
        a, b = a[apart], b[apart]
    return parent

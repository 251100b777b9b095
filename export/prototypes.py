"""The prototype bank of a category (AnomalySD, eq. 13) and what its own good pictures measure against it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edge_ad.calibration.vary import as_good
from edge_ad.runtime.prototypes import PrototypeBank

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]

# degrees by which a shot is turned for the bank. Quarter turns for every product, as the paper's Aug of eq. 13: patches
# of a turned product are good patches more often than they hide a fault (docs/accuracy.md)
ROTATIONS = (0.0, 90.0, 180.0, 270.0)
FREE_ROTATIONS = tuple(45.0 * i for i in range(8))
BANK_SIZE = 4096
#: How often a single shot is taken once more, slightly moved and turned, to find its level.
VARIATIONS = 4


def bank_rotations(turn: str) -> tuple[float, ...]:
    """Degrees for a category's turn (`edge_ad.training.prompts.Turn`): every 45 where it lies freely, else quarters."""
    return FREE_ROTATIONS if turn == "free" else ROTATIONS


def rotated(image: Image, degrees: float) -> Image:
    """uint8 S,S,3 turned anticlockwise about its centre; quarter turns exactly, others with mirrored borders."""
    quarters, rest = divmod(degrees, 90)
    if rest == 0:
        return np.ascontiguousarray(np.rot90(image, int(quarters) % 4))
    from PIL import Image as Pillow

    side = len(image)
    margin = side // 2  # enough for any angle: the corners reach (√2 - 1)/2 of the side beyond the border
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
    turned = Pillow.fromarray(padded).rotate(degrees, resample=Pillow.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(turned)[margin : margin + side, margin : margin + side])


def shot_features(net: nn.Module, shots: Sequence[Image], rotations: Sequence[float] = ROTATIONS) -> list[Floats]:
    """ψ(Aug(x)) of every shot as rows: one float32 (rotations·h·w),C a shot. shots: uint8 S,S,3, resized already."""
    found = []
    for shot in shots:
        batch = torch.from_numpy(np.stack([rotated(shot, angle) for angle in rotations]))
        with torch.no_grad():
            features = torch.cat([net(part) for part in batch.split(4)])
        found.append(features.permute(0, 2, 3, 1).flatten(0, 2).numpy())
    return found


def coreset(rows: Floats, size: int, *, seed: int = 0, projected: int = 64) -> NDArray[np.int64]:
    """Indices of a greedy k-centre coreset (Sener and Savarese 2018; PatchCore): int64 up to `size`.

    rows: float32 M,C. Each centre is the row farthest from those chosen so far, the first the one nearest to the mean.
    Distances are taken after a random projection to `projected` dimensions, which keeps them within a few per cent
    (Johnson-Lindenstrauss). Ends early when every row coincides with a centre. All rows where there are no more than
    `size`.
    """
    if len(rows) <= size:
        return np.arange(len(rows))
    points = torch.from_numpy(rows - rows.mean(axis=0))
    if rows.shape[1] > projected:
        matrix = np.random.default_rng(seed).standard_normal((rows.shape[1], projected), dtype=np.float32)
        points = points @ torch.from_numpy(matrix / np.float32(np.sqrt(projected)))
    norms = (points * points).sum(1)
    chosen = [int(norms.argmin())]
    nearest = torch.full((len(points),), float("inf"))
    while True:
        centre = chosen[-1]
        distance = norms + norms[centre] - 2 * (points @ points[centre])
        distance[centre] = 0
        nearest = torch.minimum(nearest, distance)
        farthest = int(nearest.argmax())
        if len(chosen) == size or nearest[farthest] <= 1e-6 * float(norms.max()):
            return np.array(chosen)
        chosen.append(farthest)


def prototype_bank(features: Sequence[Floats], size: int = BANK_SIZE, *, seed: int = 0) -> NDArray[np.float16]:
    """P_c of eq. 13, reduced to at most `size` rows: float16 M,C. features: rows of every shot, as `shot_features`."""
    return prototypes_of_shots(features, size, seed=seed)[0]


def prototypes_of_shots(
    features: Sequence[Floats], size: int = BANK_SIZE, *, seed: int = 0
) -> tuple[NDArray[np.float16], NDArray[np.int16]]:
    """As `prototype_bank`, and the shot that each prototype comes from: int16 M."""
    rows = np.concatenate(list(features))
    chosen = coreset(rows, size, seed=seed)
    limit = float(np.finfo(np.float16).max)
    bank: NDArray[np.float16] = np.clip(rows[chosen], -limit, limit).astype(np.float16)
    shot = np.repeat(np.arange(len(features), dtype=np.int16), [len(part) for part in features])
    return bank, shot[chosen]


def error_level(features: Sequence[Floats], positions: int, again: Sequence[Floats] = ()) -> float:
    """What E measures on a good picture: the 99th percentile, each shot against the others' prototypes, averaged.

    features: rows of every shot, the unturned picture's `positions` rows first. again: rows of other pictures of the
    same part, which a single shot is compared with, as nothing can be held out; 1 where there are none either.
    """
    if len(features) > 1:
        pairs = [([*features[:i], *features[i + 1 :]], rows[:positions]) for i, rows in enumerate(features)]
    else:
        pairs = [([*features], rows) for rows in again]
    if not pairs:
        return 1.0
    levels = []
    for bank, rows in pairs:
        error = PrototypeBank(np.concatenate(bank)).error_map(np.ascontiguousarray(rows.T)[:, :, None])
        levels.append(float(np.quantile(error, 0.99)))
    return max(float(np.mean(levels)), 1e-6)


def category_arrays(
    net: nn.Module, shots: Sequence[Image], *, size: int = BANK_SIZE, rotations: Sequence[float] = ROTATIONS
) -> dict[str, Any]:
    """`bank` float16 M,C, `shots` int16 M and `level` of a category from its shots, uint8 S,S,3 of bundle size."""
    features = shot_features(net, shots, rotations)
    positions = len(features[0]) // len(rotations)
    again: list[Floats] = []
    if len(shots) == 1:
        rng = np.random.default_rng(0)
        again = shot_features(net, [as_good(shots[0], rng) for _ in range(VARIATIONS)], (0.0,))
    bank, origin = prototypes_of_shots(features, size)
    return {"bank": bank, "shots": origin, "level": error_level(features, positions, again)}

"""How good generated pairs are: IC-LPIPS (diversity), distance to the training pictures (copies), mask alignment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edge_ad.dataset import Sample, category_names, load_dataset, load_known
from edge_ad.errors import InputError
from edge_ad.images import Mask, Picture, read_image, read_mask, resize_image, resize_mask
from edge_ad.progress import Step, progress
from edge_ad.training.dual.alignment import Alignment
from edge_ad.training.dual.generator import load_generator
from edge_ad.training.dual.pairs import Pair, defect_samples, first_third, read_pair, to_tensor
from edge_ad.training.features import FeatureNet
from edge_ad.training.perceptual import PerceptualNet, best_available

GOOD_USED = 8


@dataclass(frozen=True)
class Reference:
    """What generated pairs of one defect are compared with: training pairs, and good pictures uint8 S,S,3."""

    pairs: list[Pair]
    good: list[Picture]


def lpips_vectors(net: PerceptualNet, images: Sequence[Picture]) -> Tensor:
    """Vectors whose squared Euclidean distance is LPIPS, float32 N,D: uint8 S,S,3 each, S at least 64.

    LPIPS (Zhang et al. 2018) is Σ_l mean_hw Σ_c w_lc (φ_lc - φ'_lc)², so features times √(w_lc / h_l w_l) do.
    """
    with torch.inference_mode():
        layers = net.features(to_tensor(np.stack(images)))
        scaled = [
            layer
            * (getattr(net, f"lin{i}").clamp_min(0) / (layer.shape[2] * layer.shape[3])).sqrt()[None, :, None, None]
            for i, layer in enumerate(layers)
        ]
    return torch.cat([layer.flatten(1) for layer in scaled], 1)


def squared_distances(a: Tensor, b: Tensor) -> npt.NDArray[np.float64]:
    """Squared Euclidean distances N,M of rows N,D and M,D."""
    return np.stack([((b - row) ** 2).sum(1, dtype=torch.float64).numpy() for row in a])


def ic_lpips(
    net: PerceptualNet, generated: Sequence[Picture], training: Sequence[Picture], *, limit: int, tick: Step
) -> dict[str, Any]:
    """IC-LPIPS (Ojha et al. 2021): pictures are given to the nearest training picture; the mean LPIPS of pairs in each
    cluster, averaged over clusters of two or more.

    Args:
        net: LPIPS.
        generated: pictures uint8 S,S,3.
        training: training pictures of the same size, the clusters' centres.
        limit: pictures of a cluster that are compared with each other, at most.
        tick: progress, called once a picture.

    Returns:
        `ic_lpips` (None where no cluster has two pictures), `clusters` (pictures in each), `nearest`: mean LPIPS to
        the nearest training picture; near 0 the generator copies.
    """
    centres = lpips_vectors(net, training)
    owners, nearest = [], []
    for picture in generated:
        distances = squared_distances(lpips_vectors(net, [picture]), centres)[0]
        owners.append(int(distances.argmin()))
        nearest.append(float(distances.min()))
        tick()
    means = []
    for cluster in range(len(training)):
        members = [generated[i] for i, owner in enumerate(owners) if owner == cluster][:limit]
        if len(members) > 1:
            vectors = torch.cat([lpips_vectors(net, [member]) for member in members])
            pairs = squared_distances(vectors, vectors)[np.triu_indices(len(members), 1)]
            means.append(float(pairs.mean()))
    return {
        "ic_lpips": float(np.mean(means)) if means else None,
        "clusters": np.bincount(owners, minlength=len(training)).tolist(),
        "nearest": float(np.mean(nearest)),
    }


def score(folder: Path, reference: Path, *, size: int = 256, limit: int = 50) -> dict[str, Any]:
    """Score every defect of a generated data set against the pairs its generator was trained on.

    Args:
        folder: data set in the layout of MVTec AD, as `synthesize generate` writes it.
        reference: the generator's folder, or the data set with the real pairs; of that, the first third of each
            defect's pairs is taken.
        size: side in px that pictures are compared at.
        limit: pictures of a cluster that are compared with each other, at most.

    Returns:
        One entry "category/defect" each: see `ic_lpips`, and `alignment` with `alignment_real` (None without good
        pictures).

    Raises:
        InputError: a folder is not what it must be, or holds no pairs to compare.
    """
    known_names = [load_generator(reference).category] if _is_generator(reference) else category_names(reference)
    lpips = PerceptualNet(best_available())
    features = FeatureNet("lite0")
    result: dict[str, Any] = {}
    for category in load_known(folder, known_names, need_test=True):
        for defect in sorted({sample.defect for sample in category.test if sample.is_bad}):
            known = _reference(reference, category.name, defect, size)
            if known is None:
                continue
            generated = list(_pairs(defect_samples(category, defect), size))
            with progress(f"scoring {category.name}/{defect}", len(generated)) as tick:
                found = ic_lpips(
                    lpips, [pair.image for pair in generated], [pair.image for pair in known.pairs],
                    limit=limit, tick=tick,
                )  # fmt: skip
            aligned = Alignment(features, known.good).of_pairs if known.good else None
            result[f"{category.name}/{defect}"] = {
                "pairs": len(generated),
                "training_pairs": len(known.pairs),
                "lpips": lpips.kind,
                **found,
                "alignment": aligned and _mean(aligned(generated)),
                "alignment_real": aligned and _mean(aligned(known.pairs)),
            }
    if not result:
        raise InputError(f"--reference {reference} has none of the defects of {folder}; give the generator's folder")
    return result


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _pairs(samples: Sequence[Sample], size: int) -> Iterator[Pair]:
    for sample in samples:
        if sample.mask is not None:
            picture = read_image(sample.path)
            mask: Mask = resize_mask(read_mask(sample.mask, picture.shape[:2]), size)
            yield Pair(sample.path.stem, resize_image(picture, size), mask)


def _is_generator(path: Path) -> bool:
    return (path / "generator.json").is_file()


def _reference(path: Path, category: str, defect: str, size: int) -> Reference | None:
    """The real pairs and good pictures of one defect; None where the reference does not have it."""
    if _is_generator(path):
        generator = load_generator(path)
        if (generator.category, generator.defect) != (category, defect):
            return None
        pairs = [
            Pair(pair.name, resize_image(pair.image, size), resize_mask(pair.mask, size)) for pair in generator.pairs()
        ]
        return Reference(pairs, [resize_image(picture, size) for picture in generator.good()])
    found = load_dataset(path, [category], need_test=True)[category]
    if defect not in {sample.defect for sample in found.test}:
        return None
    train, _ = first_third(defect_samples(found, defect))
    pairs = [read_pair(sample.path, sample.mask, size) for sample in train if sample.mask is not None]
    return Reference(pairs, [resize_image(read_image(p), size) for p in found.train_good[:GOOD_USED]])

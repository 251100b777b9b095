"""What heads learn from: pairs of data sets by category and kind of defect, good pictures, and batches of views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from edge_ad.dataset import category_names, load_known
from edge_ad.errors import InputError
from edge_ad.images import Mask, Picture, read_image, read_mask, resize_image, shrink_mask
from edge_ad.training.augment import augment
from edge_ad.training.prompts import CategoryInfo

CACHE = 2 << 30
"""Bytes of decoded pictures that are kept in memory."""

Files = tuple[Path, Path | None]
"""A picture and its mask; None where nothing is defective."""


@dataclass(frozen=True)
class Material:
    """Files of pairs by category and kind of defect, and of good pictures by category; both sorted by name."""

    pairs: dict[str, dict[str, list[Files]]]
    good: dict[str, list[Files]]

    @property
    def kinds(self) -> dict[str, list[str]]:
        """The kinds of defects of each category."""
        return {category: list(kinds) for category, kinds in self.pairs.items()}

    def names(self) -> list[str]:
        """Every file, for the key of a training."""
        lists = [found for kinds in self.pairs.values() for found in kinds.values()] + list(self.good.values())
        return [str(path) for found in lists for files in found for path in files if path]


def gather(pairs: Sequence[Path], good: Path | None, categories: Sequence[str] | None = None) -> Material:
    """Find pairs and good pictures.

    Args:
        pairs: data sets in the layout of MVTec AD with masks, as `synthesize generate` writes them; the same category
            and kind in several of them are put together.
        good: data set whose good training pictures are used; None for none.
        categories: only these; None takes all.

    Raises:
        InputError: there are no pairs, a defect picture has no mask, or `good` has none of the categories.
    """
    found: dict[str, dict[str, list[Files]]] = {}
    for folder in pairs:
        for category in load_known(folder, categories, need_test=True):
            for sample in category.test:
                if not sample.is_bad:
                    continue
                if sample.mask is None:
                    raise InputError(f"{sample.path}: has no mask; heads learn from pairs, give it one in ground_truth")
                found.setdefault(category.name, {}).setdefault(sample.defect, []).append((sample.path, sample.mask))
    if missing := sorted(set(categories or ()) - set(found)):
        raise InputError(f"--categories: there are no pairs of {missing[0]}; there are of: {', '.join(sorted(found))}")
    if not found:
        raise InputError(f"{pairs[0]}: has no defect pictures in test/; give what edge-ad synthesize generate wrote")
    fine: dict[str, list[Files]] = {}
    if good is not None:
        fine = {one.name: [(path, None) for path in one.train_good] for one in load_known(good, found)}
        if not fine:
            raise InputError(
                f"--good {good} has none of the categories {', '.join(sorted(found))}; it has: "
                f"{', '.join(category_names(good))}"
            )
    ordered = {name: dict(sorted(kinds.items())) for name, kinds in sorted(found.items())}
    return Material(ordered, dict(sorted(fine.items())))


class Reader:
    """Reads pictures and masks at one size, the last ones from memory."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._cached = lru_cache(maxsize=max(CACHE // (4 * size * size), 1))(self._read)

    def __call__(self, files: Files) -> tuple[Picture, Mask]:
        """uint8 S,S,3 and bool S,S, all False without a mask. InputError names a file that cannot be read."""
        return self._cached(files)

    def _read(self, files: Files) -> tuple[Picture, Mask]:
        path, mask_path = files
        picture = read_image(path)
        shape = picture.shape[:2]
        mask = np.zeros(shape, bool) if mask_path is None else read_mask(mask_path, shape)
        return resize_image(picture, self.size), shrink_mask(mask, self.size)


class Views:
    """Batches of augmented pictures; a batch follows from the seed and its number alone.

    Args:
        material: the files.
        infos: which augmentations leave each category what it is.
        size: side in px.
        seed: of choice and augmentation.
    """

    def __init__(self, material: Material, infos: dict[str, CategoryInfo], size: int, seed: int) -> None:
        self.material = material
        self.infos = infos
        self.seed = seed
        self.reader = Reader(size)

    def pair(self, rng: np.random.Generator, categories: Sequence[str]) -> tuple[str, str, Picture, Mask]:
        """One view of a pair: category and kind each equally likely, then the pair. Category, kind, picture, mask."""
        category = str(rng.choice(list(categories)))
        kinds = self.material.pairs[category]
        kind = str(rng.choice(list(kinds)))
        files = kinds[kind][int(rng.integers(len(kinds[kind])))]
        return category, kind, *self._view(files, category, rng)

    def segmentation(self, step: int, count: int, good_share: float) -> tuple[Picture, Mask]:
        """A batch with about `good_share` good pictures: uint8 N,S,S,3 and bool N,S,S."""
        rng = np.random.default_rng([self.seed, step, 21])
        good, found = self.material.good, []
        for _ in range(count):
            if good and rng.random() < good_share:
                category = str(rng.choice(list(good)))
                files = good[category][int(rng.integers(len(good[category])))]
                found.append(self._view(files, category, rng))
            else:
                found.append(self.pair(rng, list(self.material.pairs))[2:])
        return np.stack([picture for picture, _ in found]), np.stack([mask for _, mask in found])

    def kinds(self, step: int, count: int, categories: Sequence[str]) -> tuple[Picture, list[tuple[str, str]]]:
        """A batch of pairs' pictures, uint8 N,S,S,3, and the category and kind of each."""
        rng = np.random.default_rng([self.seed, step, 22])
        found = [self.pair(rng, categories) for _ in range(count)]
        return np.stack([picture for _, _, picture, _ in found]), [(category, kind) for category, kind, _, _ in found]

    def _view(self, files: Files, category: str, rng: np.random.Generator) -> tuple[Picture, Mask]:
        picture, mask = self.reader(files)
        seen, found = augment(picture, mask, self.infos[category], rng)
        return (seen, found) if found.any() or not mask.any() else (picture, mask)  # the defect would be gone

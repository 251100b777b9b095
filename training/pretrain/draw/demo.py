"""The demo data set: four products that pretraining never draws, good and defective, with exact masks.

Written in the layout of MVTec AD (Bergmann et al., CVPR 2019):
`<category>/train/good/000.png`, `<category>/test/<good or defect>/000.png`,
`<category>/ground_truth/<defect>/000_mask.png` (grey, 0 or 255).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from edge_ad.errors import OptionError
from edge_ad.files import atomic_folder
from edge_ad.training.pretrain.draw.defects import settle
from edge_ad.training.pretrain.draw.demo_designs import DEMO, Category
from edge_ad.training.pretrain.draw.fields import coords

SPACE = 0x656467652D6164_64656D6F
"""First number of every demo seed ("edge-ad" "demo"), three 32-bit words; pretraining's whole seeds are no longer."""

_SPLITS = ("train", "good", "bad")


def generator(seed: int, category: str, split: str, number: int) -> np.random.Generator:
    """The generator of one demo picture; split is train, good or bad."""
    return np.random.default_rng(entropy(seed, category, split, number))


def entropy(seed: int, category: str, split: str, number: int) -> list[int]:
    """What seeds one demo picture: a sequence that no other picture, of the demo or of pretraining, is seeded with."""
    # category and split count from 1: NumPy takes a sequence and the same with zeros after it for the same seed
    return [SPACE, sorted(DEMO).index(category) + 1, _SPLITS.index(split) + 1, number, seed]


def station(
    rng: np.random.Generator, category: str, image: npt.NDArray[np.float32], grey: bool
) -> npt.NDArray[np.uint8]:
    """Photograph a picture with the category's own camera: its blur, vignetting and white balance are fixed.

    Exposure drifts by about 2 % and the noise is new in each picture. Nothing moves, so a mask stays exact.

    Args:
        rng: the picture's generator.
        category: whose camera.
        image: float32 H,W,3 in 0..1.
        grey: a monochrome camera: three equal channels.

    Returns:
        uint8 H,W,3.
    """
    style = np.random.default_rng([SPACE, sorted(DEMO).index(category)])
    blur, corner = style.uniform(0.35, 0.6), style.uniform(0.03, 0.1)
    balance = style.uniform(0.97, 1.03, 3).astype(np.float32)
    shot, read = style.uniform(0.006, 0.012), style.uniform(0.003, 0.006)
    size = image.shape[0]
    y, x = coords(size)
    gain = np.float32(1 + rng.normal(0, 0.015)) * (1 - np.float32(corner) * (y * y + x * x) / 2)
    seen = ndimage.gaussian_filter(image, (blur * size / 256, blur * size / 256, 0), truncate=3)
    seen = seen * gain[..., None] * balance
    if grey:
        seen = seen @ np.asarray([0.299, 0.587, 0.114], np.float32)
        seen = np.repeat(seen[..., None], 3, 2)
    noise = rng.standard_normal((size, size, 1 if grey else 3), np.float32)
    seen = seen + noise * (np.float32(read) + np.float32(shot) * np.sqrt(np.clip(seen, 0, 1)))
    return (np.clip(seen, 0, 1) * 255 + 0.5).astype(np.uint8)


def good_picture(seed: int, name: str, split: str, number: int, size: int = 256) -> npt.NDArray[np.uint8]:
    """One picture of a good product: uint8 S,S,3."""
    category, rng = DEMO[name], generator(seed, name, split, number)
    return station(rng, name, category.draw(rng, size, None).image.astype(np.float32), category.grey)


def bad_picture(
    seed: int, name: str, kind: str, number: int, size: int = 256
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """One picture of a product with a defect of a kind, and its mask: uint8 S,S,3 and bool S,S, never empty."""
    category, rng = DEMO[name], generator(seed, name, "bad", number)
    # a mark may come out too faint to see, on a highlight or a shadow: it is drawn again
    for _ in range(20):
        image, mask = _spoil(category, kind, rng, size)
        if mask.sum() >= 1.5e-4 * size * size:
            return station(rng, name, image, category.grey), mask
    raise RuntimeError(f"the demo defect {kind} of {name} stayed invisible in 20 drawings")


def _spoil(
    category: Category, kind: str, rng: np.random.Generator, size: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    state = rng.bit_generator.state
    good = category.draw(rng, size, None)
    image = good.image.astype(np.float32)
    if kind in category.flaws:
        rng.bit_generator.state = state
        image, mask = settle(image, category.draw(rng, size, kind).image.astype(np.float32))
    else:
        image, mask = category.marks[kind](image, good.foreground, rng)
    return image, mask


def write_demo_set(
    folder: Path,
    *,
    seed: int = 0,
    shots: int = 8,
    good: int = 20,
    bad: int = 24,
    size: int = 256,
    categories: Sequence[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Write the demo data set, whole or not at all; the same arguments give the same files.

    Args:
        folder: where; it must not exist or be empty.
        seed: another seed gives other pictures of the same products.
        shots: good pictures to train on, a category.
        good: good test pictures, a category.
        bad: defective test pictures a category, spread evenly over its kinds of defect.
        size: side of the pictures in px, at least 64.
        categories: names in DEMO; None for all.
        progress: called with the category's name after each picture.

    Raises:
        OptionError: the folder holds something, a number is out of range, or a category is not in DEMO.
    """
    folder = Path(folder)
    names = list(DEMO) if categories is None else list(categories)
    for name in names:
        if name not in DEMO:
            raise OptionError(f"--categories: there is no demo category {name!r}; choose from {', '.join(DEMO)}.")
    if not names:
        raise OptionError(f"--categories: name at least one of {', '.join(DEMO)}.")
    for option, value, least in (("seed", seed, 0), ("shots", shots, 1), ("good", good, 0), ("bad", bad, 0)):
        if value < least:
            raise OptionError(f"--{option} must be at least {least}, not {value}.")
    if not 64 <= size <= 2048:
        raise OptionError(f"--size must be from 64 to 2048 px, not {size}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OptionError(f"{folder} exists and is not an empty folder: name another, or remove it first.")
    with atomic_folder(folder) as root:
        for name in names:
            _write_category(root / name, name, (seed, shots, good, bad, size), progress or (lambda _: None))


def _write_category(
    root: Path, name: str, numbers: tuple[int, int, int, int, int], progress: Callable[[str], None]
) -> None:
    seed, shots, good, bad, size = numbers
    for split, place, count in (("train", "train/good", shots), ("good", "test/good", good)):
        for number in range(count):
            _save(root / place / f"{number:03d}.png", good_picture(seed, name, split, number, size))
            progress(name)
    kinds = DEMO[name].kinds
    for number in range(bad):
        kind, index = kinds[number % len(kinds)], number // len(kinds)
        picture, mask = bad_picture(seed, name, kind, number, size)
        _save(root / "test" / kind / f"{index:03d}.png", picture)
        _save(root / "ground_truth" / kind / f"{index:03d}_mask.png", mask.astype(np.uint8) * np.uint8(255))
        progress(name)


def _save(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)

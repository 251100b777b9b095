"""The pictures to calibrate with: which are held out, which were trained on, which are bad, which come twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edge_ad.bundle_files import Bundle
from edge_ad.dataset import Category
from edge_ad.errors import BundleError, OptionError
from edge_ad.images import picture_hash, read_image, resize_image

SPLITS = ("all", "train", "test")


@dataclass(frozen=True)
class Item:
    """One picture file and the hash of its pixels at the bundle's size. mask: of the defect, if there is one."""

    path: Path
    hash: str
    mask: Path | None = None


@dataclass
class Material:
    """What a category is calibrated with. held_out: good and seen by nothing so far. shots: good, of the training.

    repeated: files left out since the same picture is there already.
    """

    category: str
    held_out: list[Item] = field(default_factory=list)
    shots: list[Item] = field(default_factory=list)
    bad: list[Item] = field(default_factory=list)
    repeated: list[Path] = field(default_factory=list)


def gather(bundle: Bundle, category: Category, split: str = "all") -> Material:
    """Sort a category's pictures.

    Args:
        bundle: knows the hashes of the pictures it was trained on.
        category: of the data set.
        split: which folders count: "train", "test" or "all".

    Raises:
        BundleError: the bundle does not say what it was trained on.
        InputError: a picture cannot be read.
        OptionError: an unknown split.
    """
    if split not in SPLITS:
        raise OptionError(f"--split {split}: use one of {', '.join(SPLITS)}")
    trained = bundle.category(category.name).shots
    if trained is None:
        raise BundleError(
            f'"{bundle.source}" does not say which pictures of {category.name} it was trained on, so that they '
            "cannot be left out; export the run again"
        )
    good = [] if split == "test" else list(category.train_good)
    samples = [] if split == "train" else category.test
    good += [sample.path for sample in samples if not sample.is_bad]
    found, known, size = Material(category.name), set(trained), bundle.manifest.image_size
    seen: set[str] = set()
    for path in good:
        item = Item(path, _hash(path, size))
        if item.hash in seen:
            found.repeated.append(path)
        elif item.hash in known:
            found.shots.append(item)
        else:
            found.held_out.append(item)
        seen.add(item.hash)
    for sample in samples:
        if sample.is_bad:
            item = Item(sample.path, _hash(sample.path, size), sample.mask)
            if item.hash in seen:
                found.repeated.append(sample.path)
            else:
                found.bad.append(item)
            seen.add(item.hash)
    return found


def _hash(path: Path, size: int) -> str:
    return picture_hash(resize_image(read_image(path), size))

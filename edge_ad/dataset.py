"""Folders of pictures as data sets: the MVTec AD layout, category folders of good pictures, or one such folder.

Only names are read here, no pixels; `edge_ad.images` reads those.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_ad.errors import InputError, OptionError
from edge_ad.images import SUFFIXES, list_images

#: The name of the folder, in `train/` and `test/`, that holds pictures of good parts.
GOOD = "good"
#: Folders that make a folder a category of the MVTec AD layout.
_PARTS = ("train", "test", "ground_truth")


@dataclass(frozen=True)
class Sample:
    """A test picture: `defect` is its folder's name (`good` for a good one), `mask` its defect mask if there is one."""

    path: Path
    defect: str
    mask: Path | None
    is_bad: bool


@dataclass(frozen=True)
class Category:
    """One product: its good training pictures and its test pictures, sorted by path."""

    name: str
    train_good: list[Path]
    test: list[Sample]


@dataclass(frozen=True)
class Dataset:
    """The categories found under `path`, sorted by name or in the order they were asked for."""

    path: Path
    categories: list[Category]

    @property
    def names(self) -> list[str]:
        """Names of the categories, in order."""
        return [category.name for category in self.categories]

    def __getitem__(self, name: str) -> Category:
        """The category of that name; InputError, listing the names there are, if there is none."""
        for category in self.categories:
            if category.name == name:
                return category
        raise _unknown(self.path, [name], self.names)


def load_dataset(path: str | Path, categories: Sequence[str] | None = None, *, need_test: bool = False) -> Dataset:
    """Find the pictures of a data set.

    Three layouts are known; which one it is follows from the folder:

    - MVTec AD: `<category>/train/good/*`, `<category>/test/good/*`, `<category>/test/<defect>/*` and
      `<category>/ground_truth/<defect>/<name>_mask.png` (or `<name>.png`), for many categories, or one category's
      folder itself. A category without `ground_truth` has no masks; one that has it must have a mask for every defect
      picture.
    - A folder of category folders, each holding good pictures.
    - One folder of good pictures; the category has the folder's name.

    Args:
        path: the folder.
        categories: the categories wanted, in that order; None takes all.
        need_test: also require test pictures in every category; good training pictures are then not required.

    Returns:
        The data set; no picture has been opened.

    Raises:
        InputError: no pictures, an unknown category, a missing mask, or layouts mixed in one folder.
    """
    path = Path(path)
    folders = _category_folders(path)
    if categories is not None:
        wanted = list(dict.fromkeys(categories))
        if not wanted:
            raise OptionError("no category was asked for; name at least one, or leave the option out to take all")
        unknown = [name for name in wanted if name not in folders]
        if unknown:
            raise _unknown(path, unknown, list(folders))
        folders = {name: folders[name] for name in wanted}
    return Dataset(path, [_category(name, folder, need_test) for name, folder in folders.items()])


def load_known(path: str | Path, known: Container[str] | None, *, need_test: bool = False) -> list[Category]:
    """Those categories of a data set that are `known`, None: all. What is amiss in the others does not matter.

    Errors as `load_dataset`; none where none is known.
    """
    names = [name for name in category_names(path) if known is None or name in known]
    return load_dataset(path, names, need_test=need_test).categories if names else []


def category_names(path: str | Path) -> list[str]:
    """Names of the categories under `path`, sorted; the layouts and errors are those of `load_dataset`."""
    return list(_category_folders(Path(path)))


def shots(category: Category, count: int, seed: int = 0) -> list[Path]:
    """Choose the few good training pictures of a few-shot run.

    Args:
        category: where to choose from.
        count: how many, at least 1.
        seed: 0 takes the first `count` by path; any other seed a random choice without replacement, sorted by path.

    Returns:
        `count` paths.

    Raises:
        OptionError: `count` is below 1, or above the number of good training pictures.
    """
    have = len(category.train_good)
    if count < 1:
        raise OptionError(f"{count} good images a category were asked for; at least 1 is needed")
    if count > have:
        raise OptionError(f"category {category.name} has {have} good training images, {count} were asked for")
    if seed == 0:
        return category.train_good[:count]
    chosen = np.random.default_rng(seed).choice(have, count, replace=False)
    return [category.train_good[i] for i in sorted(chosen)]


def _unknown(path: Path, unknown: Sequence[str], known: Sequence[str]) -> InputError:
    plural = "category" if len(unknown) == 1 else "categories"
    return InputError(f"{path} has no {plural} {', '.join(unknown)}; it has: {', '.join(known)}")


def _subfolders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _is_mvtec(folder: Path) -> bool:
    """Whether a folder is a category of the MVTec AD layout: folders `train` or `test` with folders inside."""
    return any((folder / part).is_dir() and _subfolders(folder / part) for part in _PARTS[:2])


def _category_folders(path: Path) -> dict[str, Path]:
    """Name to folder of every category under `path`, all of one layout."""
    if not path.exists():
        raise InputError(f"{path}: no such folder")
    if not path.is_dir():
        raise InputError(f"{path}: is a file; a folder of images is needed")
    loose = list_images(path)
    children = _subfolders(path)
    if _is_mvtec(path):
        strange = [child.name for child in children if child.name not in _PARTS and list_images(child, recursive=True)]
        if loose or strange:
            what = loose[0].name if loose else strange[0] + "/"
            raise InputError(f"{path} mixes layouts: train/ or test/ beside {what}; move the images into train/good")
        return {path.resolve().name: path}
    mvtec = [child for child in children if _is_mvtec(child)]
    plain = [child for child in children if child not in mvtec and list_images(child)]
    if loose and (mvtec or plain):
        raise InputError(
            f"{path} mixes layouts: images ({loose[0].name}) beside folders of images ({(mvtec + plain)[0].name}/); "
            "give each category a folder of its own"
        )
    if mvtec and plain:
        raise InputError(
            f"{path} mixes layouts: {mvtec[0].name}/ has train/ or test/ folders, {plain[0].name}/ has images; "
            "put the images into train/good"
        )
    if loose:
        return {path.resolve().name: path}
    found = mvtec or plain
    if not found:
        raise InputError(
            f"{path}: no images found ({', '.join(SUFFIXES)}), neither directly, nor in category folders, nor in "
            "<category>/train/good"
        )
    return {child.name: child for child in found}


def _category(name: str, folder: Path, need_test: bool) -> Category:
    if _is_mvtec(folder):
        train = folder / "train" / GOOD
        train_good = list_images(train) if train.is_dir() else []
        test = _test_samples(folder)
    else:
        train, train_good, test = folder, list_images(folder), []
    if need_test and not test:
        raise InputError(
            f"{folder}: category {name} has no test images; put them into test/good and test/<name of the defect>"
        )
    if not need_test and not train_good:
        raise InputError(f"{train}: category {name} has no good training images; put some there")
    return Category(name, train_good, test)


def _test_samples(folder: Path) -> list[Sample]:
    samples: list[Sample] = []
    test, truth = folder / "test", folder / "ground_truth"
    for kind in _subfolders(test) if test.is_dir() else []:
        is_bad = kind.name != GOOD
        masks = _masks(truth / kind.name) if is_bad and truth.is_dir() else None
        for path in list_images(kind):
            mask = None
            if masks is not None:
                mask = masks.get(f"{path.stem}_mask") or masks.get(path.stem)
                if mask is None:
                    raise InputError(
                        f"{path}: its mask {truth / kind.name / (path.stem + '_mask.png')} is missing; "
                        "add it, or take ground_truth away to do without masks"
                    )
            samples.append(Sample(path, kind.name, mask, is_bad))
    return samples


def _masks(folder: Path) -> dict[str, Path]:
    """Mask files by stem; empty if the folder is missing."""
    return {path.stem: path for path in list_images(folder)} if folder.is_dir() else {}

"""The openly licensed photographs that installed packages carry: scikit-image, scikit-learn, matplotlib."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

_NAMES: dict[str, tuple[tuple[str, str], ...]] = {
    "skimage/data": (
        ("astronaut.png", "a portrait photograph of an astronaut"),
        ("brick.png", "a brick wall"),
        ("camera.png", "a photographer with a camera"),
        ("chelsea.png", "a cat"),
        ("coffee.png", "a cup of coffee on a table"),
        ("coins.png", "rows of old coins on a dark background"),
        ("grass.png", "a texture of grass"),
        ("gravel.png", "a texture of gravel"),
        ("hubble_deep_field.jpg", "galaxies on a black sky"),
        ("ihc.png", "a stained tissue"),
        ("moon.png", "the surface of the moon"),
        ("motorcycle_left.png", "a motorcycle in a workshop"),
        ("page.png", "a printed page"),
        ("retina.jpg", "a retina"),
        ("rocket.jpg", "a rocket"),
        ("text.png", "handwritten text"),
        ("clock_motion.png", "a blurred clock"),
        ("cell.png", "a cell"),
    ),
    "sklearn/datasets/images": (("china.jpg", "a temple"), ("flower.jpg", "a red flower")),
    "matplotlib/mpl-data/sample_data": (("grace_hopper.jpg", "a portrait photograph"),),
}


def photographs() -> list[tuple[str, npt.NDArray[np.uint8], str]]:
    """Name, uint8 H,W,3 and caption of every photograph that is installed; a package that is missing adds none."""
    from PIL import Image

    from edge_ad.training.weights import package_file

    found = []
    for folder, names in _NAMES.items():
        package, *rest = folder.split("/")
        for name, caption in names:
            path: Path | None = package_file(package, *rest, name)
            if path is not None:
                with Image.open(path) as picture:
                    found.append((name, np.asarray(picture.convert("RGB")), caption))
    return found


def crop(photo: npt.NDArray[np.uint8], size: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A random crop of a photograph, resized to size,size,3: between 40 % of the shorter side and all of it."""
    from PIL import Image

    height, width = photo.shape[:2]
    side = int(min(height, width) * rng.uniform(0.4, 1.0))
    top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
    part = Image.fromarray(photo[top : top + side, left : left + side])
    return np.asarray(part.resize((size, size), Image.Resampling.LANCZOS))

"""How often a picture is rightly taken for a texture or for an object: every drawn family, and your own folders.

    python benchmarks/foreground.py [--pictures 4] [--textures FOLDER ...] [--objects FOLDER ...] [--sheet sheet.png]

Each drawn picture is a product of its own, judged alone. Prints the accuracy of the shipped weights over surfaces and
over products, that of weights fitted without the family they are tried on, and the fitted weights. Folders hold good
pictures of one product each; they are judged together, as the shots of a training are, and take no part in the fit.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import torch

from edge_ad.images import list_images, read_image, resize_image, write_image
from edge_ad.progress import progress
from edge_ad.training.features import FeatureNet
from edge_ad.training.foreground import (
    TEXTURE_EVIDENCE,
    foregrounds,
    padded_features,
    texture_signs,
)
from edge_ad.training.pretrain.draw.families import PRETRAIN, SURFACES, draw

SIZE = 256


def accuracy(right: npt.NDArray[np.bool_], texture: npt.NDArray[np.bool_]) -> str:
    """Per cent right over textures and objects, and the mean of both."""
    first, second = 100 * right[texture].mean(), 100 * right[~texture].mean()
    return f"textures {first:.1f} %, objects {second:.1f} %, mean {(first + second) / 2:.1f} %"


def fitted(values: npt.NDArray[np.float64], texture: npt.NDArray[np.bool_], names: npt.NDArray[np.str_]) -> None:
    """Print a fit of the weights, and its accuracy on families it was not fitted to."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict

    model = LogisticRegression(class_weight="balanced")
    guess = cross_val_predict(model, values, texture, groups=names, cv=GroupKFold(10))
    model.fit(values, texture)
    weights = ", ".join(f"{value:.1f}" for value in (model.intercept_[0], *model.coef_[0]))
    click.echo(f"fitted to nine tenths of the families, tried on the tenth: {accuracy(guess == texture, texture)}")
    click.echo(f"fitted weights: {weights}; shipped: {', '.join(map(str, TEXTURE_EVIDENCE))}")


def shaded(image: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """The picture with its background in red, half as large."""
    red = np.where(mask[..., None], image, (image * 0.4 + np.array([153, 0, 0])).astype(np.uint8))
    return red[::2, ::2].astype(np.uint8)


@click.command()
@click.option("--pictures", default=4, show_default=True, type=click.IntRange(1), help="Of each drawn family.")
@click.option("--textures", multiple=True, type=click.Path(path_type=Path), help="A folder of pictures of a texture.")
@click.option("--objects", multiple=True, type=click.Path(path_type=Path), help="A folder of pictures of an object.")
@click.option("--shots", default=4, show_default=True, type=click.IntRange(1), help="Pictures used of a folder.")
@click.option("--sheet", type=click.Path(path_type=Path), help="Write found foregrounds of the folders as a picture.")
def main(pictures: int, textures: tuple[Path, ...], objects: tuple[Path, ...], shots: int, sheet: Path | None) -> None:
    """Measure the decision between texture and object."""
    torch.set_num_threads(1)
    net = FeatureNet("lite0")
    rows = []
    for folder in (*textures, *objects):
        images = [resize_image(read_image(path), SIZE) for path in list_images(folder)[:shots]]
        masks, found = foregrounds(images, net)
        right = found == (folder in textures)
        click.echo(f"{folder}: {'texture' if found else 'object'}, {'right' if right else 'WRONG'}")
        rows.append(np.concatenate([shaded(image, mask) for image, mask in zip(images, masks)], 1))
    if sheet and rows:
        wide = max(row.shape[1] for row in rows)
        write_image(sheet, np.concatenate([np.pad(row, ((0, 0), (0, wide - row.shape[1]), (0, 0))) for row in rows]))
    values, names = [], []
    with progress("drawing", pictures * len(PRETRAIN)) as tick:
        for name in PRETRAIN:
            for seed in range(pictures):
                image = np.asarray(draw(seed, name, SIZE)[1].image)
                values.append(texture_signs(padded_features([image], net)[0]))
                names.append(name)
                tick(1, name)
    numbers, families = np.array(values), np.array(names)
    texture = np.array([name in SURFACES for name in names])
    constant, *weights = TEXTURE_EVIDENCE
    right = (constant + numbers @ np.array(weights) > 0) == texture
    click.echo(f"shipped weights, {len(numbers)} drawn pictures: {accuracy(right, texture)}")
    wrong = {name: int(count) for name, count in zip(*np.unique(families[~right], return_counts=True))}
    click.echo("wrong: " + ", ".join(f"{name} {count}" for name, count in wrong.items()))
    fitted(numbers, texture, families)


if __name__ == "__main__":
    main()

"""The bar: nearest prototype on EfficientNet-Lite0 features (the idea of PatchCore), same shots, no inpainting.

    python benchmarks/nearest_prototype.py DATA --shots 4 --seeds 0,1,2 [--features pair] --json bar.json

Prints metrics in per cent a category and seed. E of eq. 14 over the unturned shots, upsampled, Gaussian of
σ = 4 px at 512; the image score is the maximum.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import torch

from edge_ad.dataset import Category, load_dataset, shots
from edge_ad.files import write_json
from edge_ad.images import read_image, read_mask, resize_image, resize_mask
from edge_ad.metrics import image_metrics, mean_metrics, pixel_metrics
from edge_ad.runtime.prototypes import PrototypeBank
from edge_ad.training.features import FeatureForm, FeatureNet

Floats = npt.NDArray[np.float32]


def features(net: FeatureNet, images: npt.NDArray[np.uint8]) -> Floats:
    """float32 N,C,h,w of uint8 N,S,S,3."""
    with torch.inference_mode():
        return torch.cat([net(part) for part in torch.from_numpy(images).split(16)]).numpy()


def upsampled(errors: Floats, size: int) -> Floats:
    """E of every image, float32 N,h,w, upsampled bilinearly to N,S,S and blurred."""
    from scipy import ndimage

    maps = torch.nn.functional.interpolate(torch.from_numpy(errors)[:, None], size=(size, size), mode="bilinear")[:, 0]
    return np.stack([ndimage.gaussian_filter(one, 4 * size / 512) for one in maps.numpy()])


def measure(net: FeatureNet, category: Category, count: int, seed: int, size: int) -> dict[str, float | None]:
    """Metrics of one category."""
    good = np.stack([resize_image(read_image(path), size) for path in shots(category, count, seed)])
    bank = PrototypeBank(features(net, good).transpose(0, 2, 3, 1).reshape(-1, net_channels(net)))
    originals = [read_image(sample.path) for sample in category.test]
    found = features(net, np.stack([resize_image(image, size) for image in originals]))
    maps = upsampled(np.stack([bank.error_map(one) for one in found]), size)
    masks = [
        resize_mask(read_mask(sample.mask, image.shape[:2]), size) if sample.mask else np.zeros((size, size), bool)
        for sample, image in zip(category.test, originals)
    ]
    labels = np.array([sample.is_bad for sample in category.test])
    return {**image_metrics(labels, maps.max((1, 2))), **pixel_metrics(list(maps), masks)}


def net_channels(net: FeatureNet) -> int:
    """Channels of ψ."""
    with torch.inference_mode():
        return int(net(torch.zeros(1, 64, 64, 3, dtype=torch.uint8)).shape[1])


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--shots", "count", default=4, show_default=True)
@click.option("--seeds", default="0", show_default=True)
@click.option("--size", default=256, show_default=True)
@click.option("--features", "form", type=click.Choice(["paper", "unit", "pair"]), default="paper", show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(data: Path, count: int, seeds: str, size: int, form: FeatureForm, json_file: Path | None) -> None:
    """Measure the bar on DATA."""
    net = FeatureNet("lite0", form)
    dataset = load_dataset(data, need_test=True)
    result = {}
    for seed in (int(part) for part in seeds.split(",")):
        found = {category.name: measure(net, category, count, seed, size) for category in dataset.categories}
        found["mean"] = mean_metrics(list(found.values()))
        result[str(seed)] = found
        for name, entry in found.items():
            click.echo(
                f"seed {seed} {name:20} " + " ".join(f"{key} {100 * (value or 0):.1f}" for key, value in entry.items())
            )
    if json_file:
        write_json(json_file, result)


if __name__ == "__main__":
    main()

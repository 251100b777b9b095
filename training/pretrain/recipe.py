"""Nano's recipe, one command from one seed: pictures, autoencoder, latents, tokenizer, denoiser, diffusers folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edge_ad.errors import InputError
from edge_ad.files import atomic_folder, write_json
from edge_ad.training.base import Base, decode, encode_mean, save_base
from edge_ad.training.perceptual import PerceptualNet, best_available
from edge_ad.training.pretrain.architecture import build_nano
from edge_ad.training.pretrain.autoencoder import AutoencoderSettings, train_autoencoder
from edge_ad.training.pretrain.denoiser import DenoiserSettings, train_denoiser
from edge_ad.training.pretrain.latents import make_latents
from edge_ad.training.pretrain.pictures import make_pictures
from edge_ad.training.pretrain.tokenizer import train_tokenizer


@dataclass(frozen=True)
class Recipe:
    """Everything that decides nano's weights.

    Attributes:
        seed: of pictures, weights, batches, masks and noise.
        pictures: how many are drawn.
        views: latents kept of each picture, each turned or mirrored at random.
        size: side of the pictures in px.
        autoencoder: its training.
        denoiser: its training.
    """

    seed: int = 1
    pictures: int = 14000
    views: int = 1
    size: int = 256
    autoencoder: AutoencoderSettings = field(default_factory=AutoencoderSettings)
    denoiser: DenoiserSettings = field(default_factory=DenoiserSettings)


def pretrain(
    recipe: Recipe,
    work: Path,
    out: Path,
    *,
    check: dict[str, npt.NDArray[np.uint8]] | None = None,
    notes: str = "",
    log: Callable[[str], None] = print,
) -> Base:
    """Run the recipe; every stage is resumed from `work` when it was interrupted.

    Args:
        recipe: what to do.
        work: folder for pictures, latents and checkpoints (3 GB for 14,000 pictures).
        out: the diffusers folder that is written.
        check: pictures by name, uint8 N,S,S,3, on which the card reports the autoencoder's error; never trained on.
        notes: a paragraph for the model card (machine, time).
        log: receives progress lines.

    Returns:
        The trained base.

    Raises:
        InputError: `out` holds something else, or `work` was begun with another recipe.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is not a folder; name a folder")
    if out.exists() and not (out / "model_index.json").is_file() and any(out.iterdir()):
        raise InputError(f"--out {out} is not empty and holds no model; name another folder")
    _take_up(work, recipe)
    pictures, captions = make_pictures(work, recipe.pictures, seed=recipe.seed, size=recipe.size, log=log)
    base = build_nano(recipe.seed, tokenizer=_tokenizer(work, captions), image_size=recipe.size)
    vae: Any = base.vae
    train_autoencoder(vae, pictures, work, recipe.autoencoder, seed=recipe.seed, log=log)
    latents = make_latents(vae, pictures, work / "latents.npy", views=recipe.views, seed=recipe.seed, log=log)
    train_denoiser(base, latents, captions, work, recipe.denoiser, seed=recipe.seed, log=log)
    errors = {name: reconstruction_error(vae, images) for name, images in (check or {}).items()}
    base.card = {"recipe": asdict(recipe), "reconstruction": errors}
    with atomic_folder(out) as folder:
        save_base(base, folder)
        (folder / "README.md").write_text(model_card(recipe, errors, notes), encoding="utf-8")
    return base


def _take_up(work: Path, recipe: Recipe) -> None:
    """InputError when `work` was begun with another recipe: its pictures and latents would not fit; denoiser aside."""
    key = json.loads(json.dumps({name: value for name, value in asdict(recipe).items() if name != "denoiser"}))
    path = work / "recipe.json"
    if not path.is_file():
        write_json(path, key)
        return
    try:
        begun = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); name another --work folder, or remove it") from error
    if begun != key:
        raise InputError(
            f"--work {work} was begun with another seed, number of pictures or autoencoder; name another folder, or "
            "remove it first"
        )


def _tokenizer(work: Path, captions: list[str]) -> Any:
    """The tokenizer of a recipe that was begun, else a new one: the text encoder's checkpoint hangs on its numbers."""
    folder = work / "tokenizer"
    if not folder.is_dir():
        if (work / "denoiser.safetensors").is_file():
            raise InputError(
                f"--work {work} holds a text encoder but not its tokenizer; put it into {folder}, or remove "
                "denoiser.safetensors"
            )
        with atomic_folder(folder) as temporary:
            train_tokenizer(captions).save_pretrained(temporary)
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder)


@torch.no_grad()
def reconstruction_error(vae: Any, images: npt.NDArray[np.uint8]) -> dict[str, float]:
    """PSNR (dB, of the mean squared error of each picture, averaged) and LPIPS of decode(encode(x)); uint8 N,S,S,3."""
    perceptual = PerceptualNet(best_available())
    psnr, distance = [], []
    for start in range(0, len(images), 8):
        x = torch.from_numpy(np.ascontiguousarray(images[start : start + 8])).permute(0, 3, 1, 2).float() / 127.5 - 1
        y = decode(vae, encode_mean(vae, x)).clamp(-1, 1)
        error = (y - x).square().mean((1, 2, 3))
        psnr += (10 * torch.log10(4.0 / error)).tolist()
        distance += perceptual(x, y).tolist()
    return {
        "psnr": round(float(np.mean(psnr)), 2),
        "lpips": round(float(np.mean(distance)), 4),
        "pictures": len(images),
    }


def model_card(recipe: Recipe, errors: dict[str, dict[str, float]], notes: str) -> str:
    """The card that lies beside the weights: data, steps, losses, and the reconstruction error on real pictures."""
    rows = "\n".join(
        f"| {name} | {entry['pictures']:.0f} | {entry['psnr']:.2f} | {entry['lpips']:.4f} |"
        for name, entry in errors.items()
    )
    table = (
        f"\n| pictures | number | PSNR (dB) | LPIPS |\n|---|---|---|---|\n{rows}\n" if errors else "\nnot measured\n"
    )
    ae, unet = recipe.autoencoder, recipe.denoiser
    return f"""# nano: a small Stable Diffusion inpainting model for inspection

The classes of Stable Diffusion 1.5 inpainting (UNet2DConditionModel with 9 input channels, AutoencoderTiny,
CLIPTextModel, CLIPTokenizer, DDIM) at a small width, {recipe.size} px.
`StableDiffusionInpaintPipeline.from_pretrained` loads this folder. Licence: Apache-2.0.

## Data
{recipe.pictures} pictures of {recipe.size} px: 24 of 25 drawn by `edge_ad.training.pretrain.draw` (surfaces and
products, with captions), the rest crops of openly licensed photographs that scikit-image, scikit-learn and matplotlib
carry. No data set of inspection images was used.

## Recipe
`edge-ad pretrain` with seed {recipe.seed}.
- Autoencoder: {ae.steps} steps of {ae.batch} crops of {ae.crop} px, MSE + {ae.lpips} LPIPS,
  latent noise {ae.latent_noise}.
- Denoiser and text encoder: {unet.steps} steps of {unet.batch} latents ({recipe.views} views a picture), loss (8) of
  AnomalySD, masks: rectangles, several rectangles, checkerboard groups, free shapes, the full mask.

{notes}

## Reconstruction error on pictures it was not trained on
{table}
## Limits
It paints product-like texture and shape at {recipe.size} px from context; it is no general image model, and its text
encoder knows the words of its captions only.
"""

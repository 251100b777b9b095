"""The whole of `edge-ad train`: read shots, cache views, fine-tune denoiser and decoder, write the run."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from edge_ad.dataset import category_names, load_dataset, shots
from edge_ad.errors import InputError, OptionError
from edge_ad.files import write_json, write_text
from edge_ad.progress import progress
from edge_ad.training.base import Base, load_base
from edge_ad.training.decoder import DecoderTuning, tune_decoder
from edge_ad.training.features import FeatureNet
from edge_ad.training.finetune import DenoiserTuning, check_targets, tune_denoiser
from edge_ad.training.prompts import CategoryInfo, Mode, category_info, read_table
from edge_ad.training.run import write_run
from edge_ad.training.views import Shots, make_views, read_shots, write_shots


@dataclass(frozen=True)
class TrainSettings:
    """What a training is asked to do.

    Attributes:
        base: "nano", a diffusers folder or a hub id.
        shots: good images a category.
        views: augmented views a category.
        image_size: side in px; None takes the base's.
        prompts: "designed", "simple" or "none" (table 4 of the paper).
        categories_file: the user's own category table (TOML), or None.
        seed: of the choice of shots (0 takes the first), views, batches, masks and noise.
        device: "auto" (a card where there is one), "cpu" or "cuda".
        denoiser: its fine-tuning.
        decoder: its fine-tuning.
    """

    base: str = "nano"
    shots: int = 4
    views: int = 48
    image_size: int | None = None
    prompts: Mode = "designed"
    categories_file: Path | None = None
    seed: int = 0
    device: str = "auto"
    denoiser: DenoiserTuning = field(default_factory=DenoiserTuning)
    decoder: DecoderTuning = field(default_factory=DecoderTuning)


def default_settings(base: str) -> TrainSettings:
    """The defaults for a base: LoRA for a large one; nano is small enough to train whole, which measures far better."""
    if base != "nano":
        return TrainSettings(base=base)
    return TrainSettings(denoiser=DenoiserTuning(full=True, steps=500, learning_rate=4e-4))


def train(data: Path, out: Path, settings: TrainSettings, categories: list[str] | None = None) -> Path:
    """Fine-tune one model for all categories of a data set and write the run; an interrupted one is taken up again.

    Args:
        data: MVTec-AD style folder, or a folder of category folders of good images.
        out: the run's folder; an existing one is only taken up when it was begun with the same settings and shots.
        settings: what to do.
        categories: their names; None takes all.

    Returns:
        `out`.

    Raises:
        InputError: pictures or base cannot be read, or `out` holds something else.
        OptionError: options that cannot be.
    """
    if settings.denoiser.steps < 0 or settings.decoder.steps < 0:
        raise OptionError("--steps and --decoder-steps must be 0 or more")
    dataset = load_dataset(data, category_names(data) if categories is None else categories)
    names = dataset.names
    chosen = {name: shots(dataset[name], settings.shots, settings.seed) for name in names}
    table = read_table(settings.categories_file)
    infos = {name: category_info(name, table, settings.prompts) for name in names}
    device = _device(settings.device)
    key = _key(settings, chosen, infos)
    _check_out(out, key)
    base = load_base(settings.base)
    if not settings.denoiser.full:
        check_targets(base.unet, settings.denoiser.targets)
    if settings.image_size:
        if settings.image_size % 32:
            raise OptionError(f"--size {settings.image_size} is not a multiple of 32; take 256, 384 or 512")
        base.image_size = settings.image_size
    for module in (base.vae, base.unet, base.text_encoder):
        module.to(device)
    work = out / "work"

    net = FeatureNet("lite0")
    read: dict[str, Shots] = {}
    with progress("reading shots", len(names)) as tick:
        for name in names:
            read[name] = read_shots(chosen[name], infos[name], base.image_size, net)
            tick(1, name)
    write_text(work / "key", key)  # from here on the folder is this run's
    entries = {name: _entry(out, name, found) for name, found in read.items()}
    losses = _losses(work)
    if settings.denoiser.steps or settings.decoder.steps:
        with progress("encoding views", settings.views * len(names)) as tick:
            views, pictures = make_views(base, list(read.values()), settings.views, seed=settings.seed, tick=tick)
    if settings.denoiser.steps:
        with progress("fine-tuning the denoiser", settings.denoiser.steps) as tick:
            checkpoint = work / "denoiser.safetensors"
            losses |= tune_denoiser(base, views, settings.denoiser, checkpoint, seed=settings.seed, tick=tick, key=key)
        write_json(work / "losses.json", losses)
        _save_denoiser(base, out, settings.denoiser.full)
    if settings.decoder.steps:
        with progress("fine-tuning the decoder", settings.decoder.steps) as tick:
            losses |= tune_decoder(
                base, pictures, views.latents, settings.decoder, work / "decoder.safetensors",
                seed=settings.seed, tick=tick, key=key,
            )  # fmt: skip
        _save_state(base.vae.decoder, out / "decoder.safetensors")
    write_run(
        out,
        base_id=settings.base,
        image_size=base.image_size,
        categories=entries,
        settings=_plain(settings),
        losses=losses,
    )
    shutil.rmtree(work, ignore_errors=True)
    return out


def _entry(out: Path, name: str, found: Shots) -> dict[str, Any]:
    files = write_shots(out / "shots" / name, found)
    return {
        "prompts": list(found.info.prompts),
        "shots": [f"shots/{name}/{file}" for file in files],
        "texture": found.texture,
        "turn": found.info.turn,
        "foreground_share": float(sum(mask.mean() for mask in found.foregrounds) / len(found.foregrounds)),
    }


def _save_denoiser(base: Base, out: Path, full: bool) -> None:
    if full:
        _save_state(base.unet, out / "unet.safetensors")
        return
    unet: Any = base.unet
    unet.save_lora_adapter(out / "adapter", safe_serialization=True)


def _save_state(module: torch.nn.Module, path: Path) -> None:
    from safetensors.torch import save_file

    from edge_ad.files import atomic_path

    with atomic_path(path) as temporary:
        save_file({name: value.contiguous().cpu() for name, value in module.state_dict().items()}, temporary)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise OptionError("--device cuda: PyTorch finds no CUDA card here; use --device cpu or see edge-ad doctor")
    return torch.device(name)


def _plain(settings: TrainSettings) -> dict[str, Any]:
    """Settings as JSON can hold them."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(settings), default=str))
    return plain


def _losses(work: Path) -> dict[str, float]:
    """Losses of the parts that an interrupted training had finished."""
    path = work / "losses.json"
    found: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _key(settings: TrainSettings, chosen: dict[str, list[Path]], infos: dict[str, CategoryInfo]) -> str:
    pictures = {name: [str(path) for path in paths] for name, paths in chosen.items()}
    text = json.dumps([_plain(settings), pictures, {name: asdict(info) for name, info in infos.items()}])
    return hashlib.sha256(text.encode()).hexdigest()


def _check_out(out: Path, key: str) -> None:
    """InputError unless the run's folder is new, empty, or was begun with the same settings."""
    begun = out / "work" / "key"
    if out.exists():
        if not out.is_dir():
            raise InputError(f"--out {out} is a file; name a folder")
        if (out / "run.json").exists():
            raise InputError(f"--out {out} holds a finished run; name another folder, or remove it first")
        if any(out.iterdir()) and not (begun.is_file() and begun.read_text(encoding="utf-8") == key):
            raise InputError(f"--out {out} is not empty and was not begun with these settings; name another folder")

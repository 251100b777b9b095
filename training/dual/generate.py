"""The whole of `edge-ad synthesize generate`: pairs in the layout of MVTec AD, a manifest and a contact sheet.

```
out/<category>/test/<defect>/00000.png                the pictures, named by the number that seeds them
out/<category>/ground_truth/<defect>/00000_mask.png   their masks
out/synthesis/<category>-<defect>/manifest.json       settings, seeds, every attempt and why it was rejected
out/synthesis/<category>-<defect>/contact.png         the first pairs: picture, picture with the mask's outline, part
out/synthesis/<category>-<defect>/rejected.png        the same of pairs that were rejected, if any were
out/synthesis/<category>-<defect>/parts/00000.png     the anomaly parts the masks were made from
```
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_ad.errors import EdgeAdError, InputError, OptionError
from edge_ad.files import write_json
from edge_ad.images import Mask, Picture, read_image, read_mask, write_image
from edge_ad.progress import progress
from edge_ad.runtime.sessions.choose import PROVIDERS
from edge_ad.training.base import Base, load_base
from edge_ad.training.dual.alignment import Alignment
from edge_ad.training.dual.generator import CHANNELS, Generator, load_generator, load_model
from edge_ad.training.dual.masks import (
    MaskKind,
    MaskRules,
    PartSegmenter,
    SalientObject,
    agreement,
    attention_mask,
    rejection,
    threshold_mask,
    visible,
)
from edge_ad.training.dual.pairs import anomaly_part, encode, to_tensor
from edge_ad.training.dual.sam import SegmentAnything
from edge_ad.training.dual.sample import Drawn, Painter, Sampling, TorchPainter, draw
from edge_ad.training.dual.sheet import contact_sheet, outlined
from edge_ad.training.dual.start import make_start
from edge_ad.training.features import FeatureNet
from edge_ad.training.foreground import foregrounds
from edge_ad.training.machine import find_device
from edge_ad.version import __version__

SHEET = 24
"""Pairs on a contact sheet."""
REMOVED = "removed"
"""The reason of pairs that were accepted, and whose files are gone."""


@dataclass(frozen=True)
class GenerateSettings:
    """What a generation is asked to do.

    Attributes:
        count: accepted pairs.
        sampling: how they are drawn.
        batch: pairs drawn at once; it changes nothing but the speed.
        masks: where masks come from: "threshold" of the part, "attention", "u2net" (with rembg), or "sam".
        sam_model: folder or hub id of a Segment Anything model, for "sam".
        rules: of masks and rejections.
        tries: at most this many pairs are drawn for each that is asked for.
        device: "auto", "cpu" or "cuda".
        provider: "torch", or what runs the generator's exported graphs, see `edge_ad.training.dual.exported`. Pictures
            differ by rounding only, so several may fill one folder.
    """

    count: int = 500
    sampling: Sampling = field(default_factory=Sampling)
    batch: int = 4
    masks: MaskKind = "threshold"
    sam_model: str = "facebook/sam-vit-base"
    rules: MaskRules = field(default_factory=MaskRules)
    tries: int = 4
    device: str = "auto"
    provider: str = "torch"


@dataclass(frozen=True)
class Places:
    """Where the files of one category's defect lie under `out`."""

    out: Path
    category: str
    defect: str

    @property
    def notes(self) -> Path:
        """Folder of the manifest and the contact sheet."""
        return self.out / "synthesis" / f"{self.category}-{self.defect}"

    @property
    def manifest(self) -> Path:
        """The manifest."""
        return self.notes / "manifest.json"

    def image(self, number: int) -> Path:
        """A picture."""
        return self.out / self.category / "test" / self.defect / f"{number:05}.png"

    def mask(self, number: int) -> Path:
        """Its mask."""
        return self.out / self.category / "ground_truth" / self.defect / f"{number:05}_mask.png"

    def part(self, number: int) -> Path:
        """Its anomaly part."""
        return self.notes / "parts" / f"{number:05}.png"


def generate(gen: Path, out: Path, settings: GenerateSettings) -> dict[str, Any]:
    """Draw pairs until `count` are accepted; an interrupted or smaller generation is taken up again.

    Pairs whose files were removed since count as rejected, and others are drawn for them.

    Args:
        gen: a generator's folder.
        out: data set to write; several generators may write into one.
        settings: what to do.

    Returns:
        The manifest: `counts` has "accepted" and one number a reason of rejection.

    Raises:
        InputError: `gen` is no generator, or `out` holds pictures that other settings made.
        OptionError: options that cannot be.
        EdgeAdError: too few pairs could be accepted; those that were are kept.
    """
    _check(settings)
    generator = load_generator(gen)
    places = Places(out, generator.category, generator.defect)
    key = _key(generator, settings)
    records = _taken_up(places, key)
    rejects: list[list[Picture]] = []
    accepted = sum(record["rejected"] is None for record in records)
    if accepted < settings.count:
        judge = Judge(generator, settings, places)
        base, painter = _painter(generator, settings)
        backgrounds = _backgrounds(generator, base) if generator.shape.background else None
        begin = make_start(generator, base, settings.sampling)
        limit = settings.count * settings.tries
        _write_manifest(places, generator, settings, key, records)  # from here on the folder is this generation's
        with progress(f"drawing {generator.defect}", settings.count) as tick:
            tick(accepted, "taken up") if accepted else None
            while accepted < settings.count and len(records) < limit:
                numbers = list(range(len(records), min(len(records) + settings.batch, limit)))
                drawn = draw(
                    base, painter, numbers, settings.sampling,
                    backgrounds=backgrounds, begin=begin, attention=settings.masks == "attention",
                )  # fmt: skip
                for row, number in enumerate(numbers):
                    if accepted == settings.count:
                        break
                    record, mask = judge(drawn, row, number)
                    records.append(record)
                    if record["rejected"]:
                        rejects = [*rejects[: SHEET - 1], _column(drawn.pictures[row], mask, drawn.parts[row])]
                    else:
                        accepted += 1
                        tick(1, f"{len(records) - accepted} rejected")
                _write_manifest(places, generator, settings, key, records)
    manifest = _write_manifest(places, generator, settings, key, records)
    if rejects:
        write_image(places.notes / "rejected.png", contact_sheet(rejects))
    if accepted:
        _write_sheet(places, records)
    if accepted < settings.count:
        reasons = ", ".join(f"{name} {count}" for name, count in manifest["counts"].items() if name != "accepted")
        raise EdgeAdError(
            f"only {accepted} of {settings.count} pairs were accepted in {len(records)} drawings ({reasons}): "
            f"look at {places.notes / 'rejected.png'}, then train longer or with other settings"
        )
    return manifest


class Judge:
    """Makes the mask of a drawn pair, accepts or rejects it, and writes it if it is accepted.

    Args:
        generator: its good pictures and training pairs tell what a visible defect is.
        settings: what to do.
        places: where files go.
    """

    def __init__(self, generator: Generator, settings: GenerateSettings, places: Places) -> None:
        self._texture = generator.texture
        self._settings = settings
        self._places = places
        self._salient = _segmenter(settings)
        self._net = FeatureNet("lite0")
        good = generator.good() if settings.rules.visible > 0 else []
        self._alignment = Alignment(self._net, good) if good else None
        real = self._alignment.of_pairs(generator.pairs()) if self._alignment else []
        self._least = visible(real, settings.rules)

    def __call__(self, drawn: Drawn, row: int, number: int) -> tuple[dict[str, Any], Mask]:
        """The record and the mask of one pair of a batch; `number` is the pair's."""
        picture, part, rules = drawn.pictures[row], drawn.parts[row], self._settings.rules
        if self._salient is not None:
            mask = self._salient(part, rules)
        elif drawn.maps is not None:
            mask = attention_mask(drawn.maps[row], len(picture), rules)
        else:
            mask = threshold_mask(part, rules)
        # each picture is segmented by itself, so that the batch changes nothing
        front = None if self._texture else foregrounds([picture], self._net, "object")[0][0]
        alike = agreement(picture, part, mask)
        alignment = self._alignment(picture, mask) if self._alignment else None
        reason = rejection(mask, front, alike, alignment, self._least, rules)
        record: dict[str, Any] = {
            "number": number,
            "rejected": reason,
            "mask_share": round(float(mask.mean()), 6),
            "agreement": alike,
            "alignment": None if alignment is None else round(alignment, 4),
        }
        if reason is None:
            places = self._places
            write_image(places.part(number), part)
            write_image(places.mask(number), mask)
            write_image(places.image(number), picture)
            record["image"] = places.image(number).relative_to(places.out).as_posix()
            record["mask"] = places.mask(number).relative_to(places.out).as_posix()
        return record, mask


def _painter(generator: Generator, settings: GenerateSettings) -> tuple[Base, Painter]:
    """The base, which encodes what pairs start from, and what draws."""
    if settings.provider == "torch":
        base, model = load_model(generator, find_device(settings.device))
        return base, TorchPainter(base, model, generator.prompts)
    from edge_ad.training.dual.exported import GraphPainter

    painter = GraphPainter(generator, settings.provider)
    base = load_base(generator.base_id, channels=CHANNELS)
    base.image_size = generator.image_size
    return base, painter


def _segmenter(settings: GenerateSettings) -> PartSegmenter | None:
    """The network that cuts masks out of parts, where one is asked for."""
    if settings.masks == "u2net":
        return SalientObject()
    return SegmentAnything(settings.sam_model, find_device(settings.device)) if settings.masks == "sam" else None


def _backgrounds(generator: Generator, base: Any) -> Tensor:
    """Latents of the good pictures' backgrounds I_b = (1 - M_f) × I, M,4,h,w."""
    good = generator.good()
    if not good:
        raise InputError(f"{generator.folder} has no good pictures to take backgrounds from; train it again")
    masks, _ = foregrounds(good, FeatureNet("lite0"), "object")
    behind = ~torch.from_numpy(np.stack(masks))[:, None]
    return encode(base, anomaly_part(to_tensor(np.stack(good)), behind))


def _key(generator: Generator, settings: GenerateSettings) -> str:
    made_of = [generator.digest, asdict(settings.sampling), settings.masks, asdict(settings.rules)]
    if settings.masks == "sam":
        made_of.append(settings.sam_model)
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()


def _taken_up(places: Places, key: str) -> list[dict[str, Any]]:
    """The attempts recorded so far. InputError where the folder holds pictures that other settings made."""
    if places.out.exists() and not places.out.is_dir():
        raise InputError(f"--out {places.out} is a file; name a folder")
    if not places.manifest.is_file():
        folder = places.image(0).parent
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(f"{folder} holds pictures already, and no manifest says they were generated; name another")
        return []
    try:
        manifest = json.loads(places.manifest.read_text(encoding="utf-8"))
        found: list[dict[str, Any]] = manifest["attempts"]
        if manifest["key"] == key:
            for record in found:  # pairs may be sorted out by hand, and put back
                if record["rejected"] in (None, REMOVED):
                    there = places.image(record["number"]).is_file() and places.mask(record["number"]).is_file()
                    record["rejected"] = None if there else REMOVED
            return found
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{places.manifest} is damaged ({error}); remove {places.notes}, and generate anew") from error
    raise InputError(
        f"--out {places.out} holds {places.category}/{places.defect} generated with other settings or by another "
        "generator; name another folder"
    )


def _write_manifest(
    places: Places, generator: Generator, settings: GenerateSettings, key: str, records: list[dict[str, Any]]
) -> dict[str, Any]:
    counts = Counter(record["rejected"] or "accepted" for record in records)
    manifest = {
        "edge_ad": __version__,
        "key": key,
        "generator": {"category": generator.category, "defect": generator.defect, "base": generator.base_id,
                      "prompts": list(generator.prompts), "adapter_sha256": generator.digest},
        "sampling": asdict(settings.sampling),
        "masks": settings.masks,
        "rules": asdict(settings.rules),
        "seeds": "the noise of pair number n comes from numpy.random.default_rng([seed, n, 13])",
        "counts": {"accepted": counts.pop("accepted", 0), **dict(sorted(counts.items()))},
        "attempts": records,
    }  # fmt: skip
    write_json(places.manifest, manifest)
    return manifest


def _column(picture: Picture, mask: Mask, part: Picture) -> list[Picture]:
    return [picture, outlined(picture, mask), part]


def _write_sheet(places: Places, records: list[dict[str, Any]]) -> None:
    columns = []
    numbers = [record["number"] for record in records if record["rejected"] is None]
    files = [(places.image(number), places.mask(number), places.part(number)) for number in numbers]
    for image, mask, part in [found for found in files if all(path.is_file() for path in found)][:SHEET]:
        picture = read_image(image)
        columns.append(_column(picture, read_mask(mask, picture.shape[:2]), read_image(part)))
    if columns:
        write_image(places.notes / "contact.png", contact_sheet(columns))


def _check(settings: GenerateSettings) -> None:
    if settings.count < 1 or settings.batch < 1 or settings.tries < 1:
        raise OptionError("--count, --batch and --tries must be 1 or more")
    if settings.provider not in ("torch", *PROVIDERS):
        raise OptionError(f'--provider "{settings.provider}" is not known; use torch, {", ".join(PROVIDERS)}')
    if settings.provider != "torch" and settings.masks == "attention":
        raise OptionError("--masks attention needs --provider torch: exported graphs give no attention maps")
    if settings.sampling.cfg < 1:
        raise OptionError("--cfg must be 1 or more; 1 draws without guidance")

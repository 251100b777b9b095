"""Hierarchical prompts (AnomalySD, section 4.1): T¹ "A perfect [c]." and T², the detailed normal pattern."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import tomllib

from edge_ad.errors import InputError

SHIPPED = Path(__file__).resolve().parent / "categories.toml"
Turn = Literal["free", "quarter", "small", "none"]
Mode = Literal["designed", "simple", "none"]
_KINDS = ("object", "texture", "auto")


@dataclass(frozen=True)
class CategoryInfo:
    """What is known of a category before its pictures are seen.

    Attributes:
        name: how prompts call it.
        prompts: T_c = T¹ ∪ T², the coarse prompt first.
        kind: "object", "texture", or "auto" (decided from the pictures).
        turn: the rotation that augmentation may apply.
        mirror: whether a mirrored product is a normal product.
        scale: whether size and place in the picture may vary a little.
        colour: whether brightness and contrast may vary.
    """

    name: str
    prompts: tuple[str, ...]
    kind: str = "auto"
    turn: Turn = "small"
    mirror: bool = False
    scale: bool = True
    colour: bool = True


def read_table(path: Path | None = None) -> dict[str, dict[str, Any]]:
    """The category table: the shipped one, with the sections of `path` laid over it.

    Raises:
        InputError: the file is missing, is not TOML, or a key or its value is not one of the table's.
    """
    table: dict[str, dict[str, Any]] = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))
    if path is not None:
        try:
            own = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read as a category table ({error}): it must be a TOML file") from error
        for name, section in own.items():
            if not isinstance(section, dict):
                raise InputError(f"{path}: {name} must be a section ([{name}]) with keys such as name and detail")
            _check(path, name, section)
            table[name] = {**table.get(name, {}), **section}
    return table


def _check(path: Path, name: str, section: dict[str, Any]) -> None:
    """InputError names the first key of a user's section that is unknown or whose value cannot be."""
    detail = section.get("detail", [])
    texts = isinstance(detail, list) and all(isinstance(text, str) for text in detail)
    wrong = {
        "name": not isinstance(section.get("name", ""), str) and "a text",
        "detail": not texts and 'a list of texts (["…", "…"])',
        "kind": section.get("kind", "auto") not in _KINDS and f"one of {', '.join(_KINDS)}",
        "turn": section.get("turn", "none") not in get_args(Turn) and f"one of {', '.join(get_args(Turn))}",
        "mirror": not isinstance(section.get("mirror", True), bool) and "true or false",
        "scale": not isinstance(section.get("scale", True), bool) and "true or false",
        "colour": not isinstance(section.get("colour", True), bool) and "true or false",
    }
    for key in section:
        if key not in wrong:
            raise InputError(f"{path}: [{name}] has an unknown key {key}; the keys are {', '.join(wrong)}")
        if wrong[key]:
            raise InputError(f"{path}: [{name}] {key} must be {wrong[key]}")


def category_info(
    category: str, table: dict[str, dict[str, Any]] | None = None, mode: Mode = "designed"
) -> CategoryInfo:
    """Prompts and switches of a category; one that the table does not know gets the default T² templates.

    Args:
        category: folder name of the category.
        table: from `read_table`; None reads the shipped one.
        mode: "designed" (T¹ ∪ T²), "simple" ("A photo of [c].") or "none" (the empty prompt): table 4 of the paper.
    """
    table = table or read_table()
    entry = {**table["default"], **table.get(category, {})}
    name = str(entry.get("name") or category.replace("_", " ").replace("-", " ").strip())
    if mode == "none":
        prompts: tuple[str, ...] = ("",)
    elif mode == "simple":
        prompts = (f"A photo of {name}.",)
    else:
        prompts = (f"A perfect {name}.", *(str(text).replace("{name}", name) for text in entry["detail"]))
    return CategoryInfo(
        name=name,
        prompts=prompts,
        kind=entry["kind"],
        turn=entry["turn"],
        mirror=bool(entry["mirror"]),
        scale=bool(entry["scale"]),
        colour=bool(entry["colour"]),
    )


def shipped_texts() -> list[str]:
    """Every prompt that the shipped table can give, for the tokenizer's vocabulary."""
    table = read_table()
    return [prompt for name in table if name != "default" for prompt in category_info(name, table).prompts]


def averaged_prompt(base: Any, prompts: list[str] | tuple[str, ...]) -> npt.NDArray[np.float32]:
    """Avg({τ(y) | y ∈ T_c}), the condition at inference (section 4.2): float32 L,D."""
    from edge_ad.training.base import encode_prompts

    mean: npt.NDArray[np.float32] = encode_prompts(base, list(prompts)).mean(0).cpu().numpy().astype(np.float32)
    return mean

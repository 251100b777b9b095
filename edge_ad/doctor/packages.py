"""Which packages of edge-ad's extras are installed, and in which version: from their metadata, nothing is imported."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from edge_ad.doctor.check import Check

# one module in several wheels: whichever is installed will do
ALTERNATIVES = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "cuda-bindings": ("cuda-bindings", "cuda-python"),
    "tensorrt": ("tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
    "tensorrt-rtx": ("tensorrt-rtx", "tensorrt-rtx-cu12", "tensorrt-rtx-cu13"),
}
_SAME = {other: name for name, others in ALTERNATIVES.items() for other in others}
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)(\[[^\]]*\])?\s*\(?([^;)]*)\)?\s*(?:;(.*))?$")


@dataclass(frozen=True)
class Requirement:
    """A line of Requires-Dist.

    `minimum` is the lower bound or "", `extra` is "base" for what every install needs; `some_platforms` says that the
    package is asked for on some platforms only.
    """

    name: str
    minimum: str
    extra: str
    some_platforms: bool


def parse_requirement(line: str) -> Requirement | None:
    """Read one Requires-Dist line; None for a line that names edge-ad's own extras."""
    match = _REQUIREMENT.match(line.strip())
    if match is None or match[1].lower() == "edge-ad":
        return None
    extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", match[4] or "")
    minimum = re.search(r">=\s*([0-9][0-9A-Za-z.]*)", match[3])
    name = match[1].lower().replace("_", "-")
    platform = re.search(r"platform_machine|sys_platform", match[4] or "") is not None
    return Requirement(_SAME.get(name, name), minimum[1] if minimum else "", extra[1] if extra else "base", platform)


def as_numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparing with a lower bound: "2.14.1+cpu" is (2, 14, 1)."""
    match = re.match(r"\d+(\.\d+)*", text)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def installed(name: str) -> str | None:
    """The version of an installed distribution (or of one of its alternatives), or None."""
    for candidate in ALTERNATIVES.get(name, (name,)):
        try:
            return version(candidate)
        except PackageNotFoundError:
            continue
    return None


def requirements() -> list[Requirement]:
    """What this edge-ad asks for, each name once an extra; empty when edge-ad has no metadata (not installed)."""
    try:
        lines = requires("edge-ad") or []
    except PackageNotFoundError:
        return []
    parsed = [parse_requirement(line) for line in lines]
    return list(dict.fromkeys(item for item in parsed if item is not None))


def check_packages() -> dict[str, list[Check]]:
    """A list of checks for each extra ("base" first).

    A missing or too old package is wrong in an extra whose first package is installed; otherwise it is a plain fact.
    """
    groups: dict[str, list[Requirement]] = {"base": []}
    for item in requirements():
        if item.extra != "all":
            groups.setdefault(item.extra, []).append(item)
    if not groups["base"]:
        mend = "install it: pip install edge-ad, or pip install -e . in a checkout"
        return {"base": [Check("edge-ad", False, "not installed, it runs from a folder", mend)]}
    result: dict[str, list[Check]] = {}
    for extra, items in groups.items():
        versions = {item.name: installed(item.name) for item in items}
        # extras share packages, so one of them is no sign that an extra was asked for: its first line is
        wanted = extra == "base" or versions[items[0].name] is not None
        result[extra] = [_check(item, versions[item.name], wanted) for item in items]
    return result


def _check(item: Requirement, found: str | None, wanted: bool) -> Check:
    mend = "pip install edge-ad" if item.extra == "base" else f'pip install "edge-ad[{item.extra}]"'
    if found is None:
        wrong = wanted and (item.extra == "base" or not item.some_platforms)
        return Check(item.name, False if wrong else None, "not installed", mend)
    if item.minimum and as_numbers(found) < as_numbers(item.minimum):
        old = f"{found} is older than {item.minimum}"
        return Check(item.name, False if wanted else None, old, f"pip install --upgrade {item.name}")
    return Check(item.name, True, found)

"""The wheel holds every module and data file of the checkout, under the name it is imported by."""

from __future__ import annotations

import zipfile
from pathlib import Path

PARTS = ("edge_ad", "training", "export", "calibration", "runtime")


def test_the_wheel_holds_every_file_of_the_parts(source: Path, wheel: Path) -> None:
    files = [path.relative_to(source) for part in PARTS for path in (source / part).rglob("*") if path.is_file()]
    names = [path.as_posix() for path in files if ".egg-info" not in path.as_posix()]
    expected = {name if name.startswith("edge_ad/") else f"edge_ad/{name}" for name in names}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    missing = sorted(expected - held)
    assert not missing, f"add them to [tool.setuptools] packages or package-data: {missing}"
    assert not sorted(held - expected)


def test_nothing_generic_lands_in_site_packages(wheel: Path) -> None:
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"edge_ad"}


def test_every_folder_with_modules_is_a_package(source: Path) -> None:
    for part in PARTS:
        for module in (source / part).rglob("*.py"):
            assert (module.parent / "__init__.py").is_file(), f"{module.parent} needs an __init__.py"

"""A generator's folder: what its record vouches for, and what is made into paths when pairs are drawn."""

import json

import pytest

pytest.importorskip("diffusers")

from edge_ad.errors import BundleError
from edge_ad.training.dual.generator import Generator, load_generator, write_generator
from edge_ad.training.dual.model import DualShape


@pytest.fixture
def folder(tmp_path):
    for name in ("adapter.safetensors", "pairs/images/000.png", ".adapter.safetensors.k3x", "work/key"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    write_generator(
        tmp_path, Generator(tmp_path, "nano", 64, "filter_cloth", "oil stain", ("a", "b"), DualShape(), True, 2.5)
    )
    return tmp_path


def test_what_a_kill_left_behind_is_no_part_of_it(folder):
    assert list(json.loads((folder / "generator.json").read_text())["files"]) == [
        "adapter.safetensors", "pairs/images/000.png"
    ]  # fmt: skip
    (folder / ".adapter.safetensors.k3x").unlink()
    found = load_generator(folder)
    assert (found.category, found.defect) == ("filter_cloth", "oil stain")


@pytest.mark.parametrize("key", ["category", "defect"])
@pytest.mark.parametrize("name", ["../../e", "/etc/x", "..", "", "a/b", "a\\b"])
def test_a_name_that_is_a_path_is_refused(folder, key, name):
    path = folder / "generator.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: name}))
    with pytest.raises(BundleError, match=rf"generator\.json: the {key} '.*' is no name of a folder"):
        load_generator(folder)

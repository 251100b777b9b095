import json
import shutil

import pytest

from edge_ad.errors import BundleError, InputError
from edge_ad.training.out_folder import file_hashes
from edge_ad.training.run import SCHEMA, load_run, write_run


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    for name in ("shots/ring/000.png", "adapter/pytorch_lora_weights.safetensors", "decoder.safetensors", "work/key"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    categories = {"ring": {"prompts": ["A perfect ring."], "shots": ["shots/ring/000.png"], "texture": True}}
    write_run(
        folder, base_id="nano", image_size=64, categories=categories, settings={"steps": 3}, losses={"denoiser": 0.5}
    )
    return folder


def change(run, **entries):
    path = run / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_what_was_written_is_read(run):
    found = load_run(run)
    assert (found.base_id, found.image_size, found.settings, found.losses) == (
        "nano", 64, {"steps": 3}, {"denoiser": 0.5}
    )  # fmt: skip
    ring = found.categories["ring"]
    assert (ring.prompts, ring.texture, ring.turn) == (["A perfect ring."], True, "small")
    assert [shot.read_bytes() for shot in ring.shots] == [b"shots/ring/000.png"]
    assert (found.adapter, found.unet, found.decoder) == (run / "adapter", None, run / "decoder.safetensors")


def test_checkpoints_are_no_part_of_a_run(run):
    assert "work/key" not in json.loads((run / "run.json").read_text())["files"]
    shutil.rmtree(run / "work")
    load_run(str(run))


def test_what_a_kill_left_behind_is_no_part_of_a_run(run):
    for name in (".unet.safetensors.k3x", "adapter/.state.x1y", "shots/ring/.000.png.ab2", ".shots.old/000.png"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_bytes(b"half a file")
    assert list(file_hashes(run, "run.json")) == list(json.loads((run / "run.json").read_text())["files"])
    load_run(run)


@pytest.mark.parametrize("name", ["../ring", "/etc/ring", "..", ".", "", "a/b", "a\\b", "C:ring"])
def test_a_category_whose_name_is_a_path_is_refused(run, name):
    """Export makes a folder of it."""
    change(run, categories={name: {"prompts": ["A ring."], "shots": []}})
    with pytest.raises(BundleError, match=r"run\.json: the category '.*' is no name of a folder"):
        load_run(run)


@pytest.mark.parametrize(
    "name", ["shots/ring/000.png", "adapter/pytorch_lora_weights.safetensors", "decoder.safetensors"]
)
def test_a_damaged_or_missing_file_is_named(run, name):
    (run / name).write_bytes(b"other")
    with pytest.raises(BundleError, match=name) as caught:
        load_run(run)
    assert "damaged" in str(caught.value)
    (run / name).unlink()
    with pytest.raises(BundleError, match=name) as caught:
        load_run(run)
    assert "missing" in str(caught.value)


def test_a_newer_schema_says_so(run):
    change(run, schema=SCHEMA + 1)
    with pytest.raises(BundleError, match=r"newer edge-ad.*upgrade"):
        load_run(run)


@pytest.mark.parametrize("name", ["../outside.png", "/etc/hostname", "shots/../../outside.png"])
def test_nothing_outside_the_run_is_read(run, name):
    (run.parent / "outside.png").write_bytes(b"x")
    change(run, files={name: "0" * 64})
    with pytest.raises(BundleError, match="outside the run"):
        load_run(run)
    change(run, files={}, categories={"ring": {"prompts": [], "shots": [name]}})
    with pytest.raises(BundleError, match="outside the run"):
        load_run(run)


def test_a_link_out_of_the_run_is_not_followed(run):
    (run.parent / "outside.png").write_bytes(b"x")
    (run / "shots" / "ring" / "000.png").unlink()
    (run / "shots" / "ring" / "000.png").symlink_to(run.parent / "outside.png")
    with pytest.raises(BundleError, match="outside the run"):
        load_run(run)


@pytest.mark.parametrize("name", ["unet.safetensors", "adapter/adapter_config.json"])
def test_weights_that_no_hash_vouches_for_are_named(run, name):
    (run / name).write_bytes(b"slipped in")
    with pytest.raises(BundleError, match=f"{name} is not listed in run.json"):
        load_run(run)


def test_only_what_a_hash_vouches_for_is_handed_on(run):
    files = json.loads((run / "run.json").read_text())["files"]
    (run / "notes.txt").write_text("which line took these pictures")
    load_run(run)
    change(run, files={name: digest for name, digest in files.items() if not name.startswith("shots")})
    with pytest.raises(BundleError, match=r"no SHA-256 of shots/ring/000\.png"):
        load_run(run)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": "x"}', '{"schema": 1}', '{"schema": 1, "files": 3}', "\xff"]
)
def test_a_damaged_run_json_is_one_sentence(run, text):
    (run / "run.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BundleError, match=r"run\.json is damaged"):
        load_run(run)


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        load_run(tmp_path / "none")
    with pytest.raises(InputError, match=r"no run\.json"):
        load_run(tmp_path)

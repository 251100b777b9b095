import gc
import io
import json
import shutil
import tarfile

import pytest

from edge_ad.bundle import DIGEST, MANIFEST, SCHEMA_VERSION
from edge_ad.bundle_files import Bundle, pack, read_manifest, replaced, unpack, write_manifest
from edge_ad.errors import BundleError
from edge_ad.runtime import Detector


@pytest.fixture
def copy(tiny_bundle, tmp_path):
    return shutil.copytree(tiny_bundle, tmp_path / "copy")


def refused(path):
    with pytest.raises(BundleError) as caught:
        Bundle.open(path)
    return str(caught.value)


def test_a_bundle_opens_and_lists_every_file(tiny_bundle):
    opened = Bundle.open(tiny_bundle)
    present = {p.relative_to(tiny_bundle).as_posix() for p in tiny_bundle.rglob("*") if p.is_file()}
    assert set(opened.manifest.files) == present - {MANIFEST, DIGEST}
    assert opened.array(opened.category("ring").prompt).ndim == 2
    with pytest.raises(BundleError, match=r'no category "nut"; it has ring, weave'):
        opened.category("nut")
    with pytest.raises(BundleError, match=r'no plan "fast"; it has grouped, paper'):
        opened.plan("fast")


def test_a_damaged_byte_in_any_file_is_named(tiny_bundle, copy):
    for path in sorted(p for p in tiny_bundle.rglob("*") if p.is_file()):
        relative = path.relative_to(tiny_bundle).as_posix()
        target = copy / relative
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 1
        target.write_bytes(raw)
        assert f'"{relative}"' in refused(copy)
        target.write_bytes(path.read_bytes())
    Bundle.open(copy)


def test_missing_and_unlisted_files_are_named(copy):
    stray = copy / "graphs" / "extra.onnx"
    stray.write_bytes(b"x")
    assert "graphs/extra.onnx" in refused(copy)
    stray.unlink()
    (copy / "categories" / "ring" / "prompt.npy").unlink()
    assert "categories/ring/prompt.npy" in refused(copy)


def test_a_link_is_refused(copy, tmp_path):
    (copy / "link").symlink_to(tmp_path)
    assert "link" in refused(copy)


def test_a_newer_schema_says_upgrade(copy):
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["schema_version"] = SCHEMA_VERSION + 1
    manifest["unheard_of"] = True
    (copy / MANIFEST).write_text(json.dumps(manifest))
    message = refused(copy)
    assert "newer edge-ad" in message
    assert f"schema {SCHEMA_VERSION + 1}" in message
    assert "upgrade" in message


@pytest.mark.parametrize("content", ["", "[]", "{", '{"schema_version": 1}'])
def test_a_manifest_that_is_none_is_refused(copy, content):
    (copy / MANIFEST).write_text(content)
    assert MANIFEST in refused(copy)


def test_a_manifest_that_names_what_is_not_there_is_refused(copy):
    manifest = read_manifest(copy)
    manifest.default_plan = "grouped"
    manifest.categories["ring"].prompt = "categories/ring/other.npy"
    with pytest.raises(BundleError, match=r"other\.npy"):
        write_manifest(copy, manifest)


def test_no_bundle_at_all(tmp_path):
    assert MANIFEST in refused(tmp_path)
    assert "no bundle" in refused(tmp_path / "nowhere")
    (tmp_path / "file").write_text("hello")
    assert "not a readable .tar" in refused(tmp_path / "file")


def test_a_tar_opens_and_leaves_nothing(tiny_bundle, tmp_path):
    packed = pack(tiny_bundle, tmp_path / "b.tar")
    with Bundle.open(packed) as opened:
        folder = opened.folder
        assert opened.manifest == Bundle.open(tiny_bundle).manifest
    assert not folder.exists()


def test_a_link_to_a_tar_stays_one_when_the_bundle_is_replaced(tiny_bundle, tmp_path):
    (tmp_path / "current.tar").symlink_to(pack(tiny_bundle, tmp_path / "v3.tar"))
    (tmp_path / "v3.tar").chmod(0o600)
    with replaced(tmp_path / "current.tar") as folder:
        shutil.copytree(tiny_bundle, folder, dirs_exist_ok=True)
    assert (tmp_path / "current.tar").is_symlink()
    assert (tmp_path / "v3.tar").stat().st_mode & 0o777 == 0o644  # another file
    assert Bundle.open(tmp_path / "current.tar").manifest == Bundle.open(tiny_bundle).manifest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current.tar", "v3.tar"]


def test_an_array_of_another_bundle_at_the_same_place_is_refused(copy):
    opened = Bundle.open(copy)
    prompt = opened.category("ring").prompt
    shutil.copy(copy / opened.category("weave").prompt, copy / prompt)
    write_manifest(copy, opened.manifest)
    with pytest.raises(BundleError, match=r"ring/prompt\.npy.* has changed since the bundle was opened"):
        opened.array(prompt)
    (copy / prompt).unlink()
    with pytest.raises(BundleError, match=r"has changed since"):
        opened.array(prompt)


@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_graphs_of_another_bundle_at_the_same_place_are_not_run(copy, provider, tmp_path, monkeypatch):
    if provider == "openvino":
        pytest.importorskip("openvino", reason="the openvino extra is not installed")
    monkeypatch.setenv("EDGE_AD_CACHE", str(tmp_path / "cache"))
    opened = Bundle.open(copy)
    decoder = copy / opened.graph("decoder").file
    shutil.copy(copy / opened.graph("encoder").file, decoder)
    with pytest.raises(BundleError, match=r"decoder\.onnx.* has changed since the bundle was opened"):
        Detector.load(opened, provider=provider, threads=1)
    if provider == "openvino":  # nor is it kept as what it is not
        assert len(list((tmp_path / "cache" / "openvino").glob("*.blob"))) < len(opened.manifest.graphs)


def test_a_variant_keeps_the_folder_that_a_tar_was_unpacked_to(tiny_bundle, tiny_picture, tmp_path):
    packed = pack(tiny_bundle, tmp_path / "bundle.tar")
    variant = Detector.load(packed, provider="cpu", threads=1).variant()
    gc.collect()
    assert variant.error_map(tiny_picture, "ring").max() > 0
    folder = variant.bundle.folder
    del variant
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "c:\\evil", "a\\..\\evil"])
def test_paths_that_leave_a_tar_are_refused(tmp_path, name):
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(BundleError, match="leaves the bundle"):
        unpack(tmp_path / "evil.tar", tmp_path / "out")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("name", ["d/" * 2000 + "x", "n" * 300])
def test_paths_that_no_disk_takes_are_refused(tmp_path, name):
    with tarfile.open(tmp_path / "long.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(BundleError, match="too long"):
        unpack(tmp_path / "long.tar", tmp_path / "out")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    info = tarfile.TarInfo("graphs/x.onnx")
    info.type, info.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        tar.addfile(info)
    with pytest.raises(BundleError, match="not a plain file"):
        unpack(tmp_path / "evil.tar", tmp_path / "out")


def test_the_manifest_survives_being_written_again(copy):
    manifest = read_manifest(copy)
    manifest.categories["ring"].thresholds = {"grouped": {"fp32": 0.25}}
    write_manifest(copy, manifest)
    assert Bundle.open(copy).category("ring").thresholds["grouped"]["fp32"] == 0.25

"""`bundle show`, `pack`, `unpack` and `profile` through the command line's own entry."""

import io
import json
import os
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from edge_ad.bundle import MANIFEST, Calibration
from edge_ad.bundle_files import Bundle, read_manifest, write_manifest
from edge_ad.cli import run
from edge_ad.units import seconds, si


@pytest.fixture
def copy(tiny_bundle, tmp_path):
    return shutil.copytree(tiny_bundle, tmp_path / "copy")


def said(capsys) -> str:
    return capsys.readouterr().err


def test_show_prints_a_page(tiny_bundle, capsys):
    assert run(["bundle", "show", str(tiny_bundle)]) == 0
    page = capsys.readouterr().out
    for word in ("denoiser", "latents float32 B,4,8,8", "grouped (default)", "1720", "ring", "calibrate sets them"):
        assert word in page
    assert "all as their hashes say" in page


def test_show_as_json_adds_up(tiny_bundle, capsys):
    assert run(["bundle", "show", str(tiny_bundle), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    manifest = read_manifest(tiny_bundle)
    assert content["bytes"] == sum(path.stat().st_size for path in tiny_bundle.rglob("*") if path.is_file())
    assert content["files"] == len(manifest.files) + 2
    assert set(content["graphs"]) == set(manifest.graphs)
    assert content["graphs"]["denoiser"]["flops"] == manifest.graphs["denoiser"].cost.flops
    assert content["plans"]["paper"]["evaluations"] == 1720
    assert content["plans"]["paper"]["flops"] > content["plans"]["grouped"]["flops"] > 0
    rows, channels = content["categories"]["ring"]["prototypes"]
    assert (rows, channels) == np.load(tiny_bundle / manifest.categories["ring"].prototypes).shape


def test_show_what_was_measured_and_an_older_bundle(copy, capsys):
    manifest = read_manifest(copy)
    for graph in manifest.graphs.values():
        graph.cost = None  # as bundles were before costs were counted
    ring = manifest.categories["ring"]
    ring.thresholds = {"grouped": {"fp32": 0.25}, "paper": {"fp32": 3.5}}
    made = Calibration(rule="conformal", created="2026-11-22", target=0.01, promised=0.01, images=120)
    ring.calibrations = {"grouped": {"fp32": made}}
    entry = {"plan": "grouped", "precision": "fp32", "data": "shop", "categories": {}, "mean": {"image_auroc": 0.987}}
    manifest.metrics["evaluation"] = [entry]
    write_manifest(copy, manifest)
    assert run(["bundle", "show", str(copy)]) == 0
    page = capsys.readouterr().out
    for word in ("image_auroc", "98.7", "shop", "paper fp32 3.5", "1720"):
        assert word in page
    assert "grouped fp32 0.25 (conformal of 120 images, at most 1 % of good parts rejected)" in page


def test_evaluate_keeps_what_it_measured(copy, tmp_path, tiny_shots, capsys):
    for kind, paths in (("good", tiny_shots["ring"][:1]), ("spot", tiny_shots["weave"][:1])):
        folder = tmp_path / "data" / "ring" / "test" / kind
        folder.mkdir(parents=True)
        for path in paths:
            shutil.copy(path, folder)
    arguments = ["evaluate", str(copy), str(tmp_path / "data"), "--plan", "grouped", "--provider", "cpu", "--record"]
    assert run(arguments) == 0
    assert run(arguments) == 0  # in place of the first
    (entry,) = Bundle.open(copy).manifest.metrics["evaluation"]
    assert (entry["plan"], entry["precision"], entry["data"], entry["images"]) == ("grouped", "fp32", "data", 2)
    assert 0 <= entry["mean"]["image_auroc"] <= 1
    assert run(["bundle", "pack", str(copy)]) == 0
    assert run(["evaluate", f"{copy}.tar", str(tmp_path / "data"), "--record"]) == 2
    assert "unpack" in said(capsys)


def test_a_damaged_bundle_is_not_shown_or_packed(copy, tmp_path, capsys):
    path = copy / "graphs" / "compose.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert run(["bundle", "show", str(copy)]) == 1
    assert "graphs/compose.onnx" in said(capsys)
    assert run(["bundle", "pack", str(copy), "--out", str(tmp_path / "b.tar")]) == 1
    assert not (tmp_path / "b.tar").exists()


def test_packed_and_unpacked_is_the_same(tiny_bundle, copy, tmp_path, capsys):
    assert run(["bundle", "pack", str(copy)]) == 0
    packed = tmp_path / "copy.tar"
    assert capsys.readouterr().out.strip() == str(packed)
    out = tmp_path / "station" / "line 1"
    assert run(["bundle", "unpack", str(packed), "--out", str(out)]) == 0
    assert Bundle.open(out).manifest == Bundle.open(tiny_bundle).manifest
    assert run(["bundle", "unpack", str(packed), "--out", str(out)]) == 0  # a bundle there is replaced
    assert [path.name for path in out.parent.iterdir()] == ["line 1"]
    if os.name == "posix":
        assert out.stat().st_mode & 0o055 == 0o055  # a service of another user may read it


def test_a_tar_of_the_folder_itself_unpacks_too(tiny_bundle, tmp_path):
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        tar.add(tiny_bundle, arcname="some-name")
    assert run(["bundle", "unpack", str(tmp_path / "b.tar"), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / MANIFEST).is_file()


@pytest.mark.parametrize("arguments", [["pack", "nowhere"], ["unpack", "nowhere.tar", "--out", "x"]])
def test_what_is_not_there_is_named(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["bundle", *arguments]) == 1
    assert "nowhere" in said(capsys)
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be(copy, tmp_path, capsys):
    assert run(["bundle", "pack", str(copy), "--out", str(copy / "b.tar")]) == 2
    assert "inside the bundle" in said(capsys)
    assert run(["bundle", "pack", str(copy), "--out", str(tmp_path)]) == 2
    assert run(["bundle", "pack", str(copy)]) == 0
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("x")
    assert run(["bundle", "unpack", f"{copy}.tar", "--out", str(tmp_path / "precious")]) == 2
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "x"
    Bundle.open(copy)


def entries(*named):
    """Bytes of a tar of (name, type, content) entries."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, kind, content in named:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content), "/etc/passwd"
            tar.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def sparse(name, size):
    """Bytes of a tar of one sparse file of `size` zeros that takes 1 KB, in the old GNU format."""
    header = bytearray(entries((name, tarfile.GNUTYPE_SPARSE, b""))[:512])
    header[257:265] = b"ustar  \0"
    header[386:482] = b"\0" * 96  # no data blocks
    header[483:495] = b"\x80" + size.to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + b"\0" * 1024


HOSTILE = {
    "parent": entries(("../evil", tarfile.REGTYPE, b"x")),
    "parent inside": entries(("graphs/../../evil", tarfile.REGTYPE, b"x")),
    "absolute": entries(("/tmp/evil", tarfile.REGTYPE, b"x")),
    "drive": entries(("c:\\evil", tarfile.REGTYPE, b"x")),
    "link": entries(("evil", tarfile.SYMTYPE, b""), ("evil/passwd", tarfile.REGTYPE, b"x")),
    "hard link": entries(("evil", tarfile.LNKTYPE, b"")),
    "character device": entries(("evil", tarfile.CHRTYPE, b"")),
    "block device": entries(("evil", tarfile.BLKTYPE, b"")),
    "pipe": entries(("evil", tarfile.FIFOTYPE, b"")),
    "twice": entries(("evil", tarfile.REGTYPE, b"x"), ("evil", tarfile.REGTYPE, b"y")),
    "below a file": entries(("evil", tarfile.REGTYPE, b"x"), ("evil/more", tarfile.REGTYPE, b"y")),
    "terabytes of zeros": sparse("evil", 1 << 43),
    "longer than the archive": entries(("evil", tarfile.REGTYPE, b"x" * 5000))[:2048],
    "no tar": b"hello" * 500,
    "compressed": b"\x1f\x8b" + b"\0" * 100,
    "empty": b"",
    "no bundle": entries(("readme", tarfile.REGTYPE, b"x")),
    "unlisted file": entries((MANIFEST, tarfile.REGTYPE, b"{}"), ("run.py", tarfile.REGTYPE, b"print()")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused_and_leave_nothing(name, tmp_path, capsys):
    place = tmp_path / "place"
    place.mkdir()
    archive = tmp_path / "evil.tar"
    archive.write_bytes(HOSTILE[name])
    assert run(["bundle", "unpack", str(archive), "--out", str(place / "out")]) == 1
    assert str(archive) in said(capsys)
    assert not list(place.iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"place", "evil.tar"}


def test_the_sparse_archive_is_one_python_would_unpack(tmp_path):
    (tmp_path / "s.tar").write_bytes(sparse("zeros", 4096))
    with tarfile.open(tmp_path / "s.tar", "r:") as tar:
        (entry,) = tar.getmembers()
        assert entry.isfile()
        assert entry.size == 4096
        assert tar.extractfile(entry).read() == b"\0" * 4096


def test_profile_prints_stages_and_json(tiny_bundle, tmp_path, capsys):
    Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save(tmp_path / "part.png")
    common = ["profile", str(tiny_bundle), "--plan", "grouped", "--provider", "cpu", "--threads", "1", "--repeats", "1"]
    assert run([*common, "--image", str(tmp_path / "part.png"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["image"] == str(tmp_path / "part.png")
    assert [row["stage"] for row in result["plans"]["grouped"]["stages"]][-1] == "total"
    assert result["category"] == "ring"
    assert run(common) == 0
    page = capsys.readouterr().out
    for word in ("drawn", "denoise", "of the peak", "peak memory", "GFLOP/s"):
        assert word in page


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (["--plan", "fast"], 1, "fast"),
        (["--category", "nut"], 1, "nut"),
        (["--provider", "abacus"], 2, "abacus"),
        (["--image", "nowhere.png"], 1, "nowhere.png"),
        (["--repeats", "0"], 2, "repeats"),
    ],
)
def test_profile_says_what_is_wrong(tiny_bundle, options, code, word, capsys):
    assert run(["profile", str(tiny_bundle), *options]) == code
    assert word in said(capsys)


def test_units():
    assert [si(value) for value in (0, 7, 999, 1000, 999_499, 999_500, 3_046_719_488, 1.5)] == [
        "0", "7", "999", "1.00 k", "999 k", "1.00 M", "3.05 G", "1.50",
    ]  # fmt: skip
    assert si(8.25e12, "FLOP") == "8.25 TFLOP"
    assert [seconds(value) for value in (0.0005, 0.0572, 0.57, 1.234, 123.4)] == [
        "0.5 ms", "57.2 ms", "570 ms", "1.23 s", "123.4 s",
    ]  # fmt: skip


def test_verify_holds_bf16_to_the_tolerance_of_half_precision(tiny_bundle, capsys):
    pytest.importorskip("openvino", reason="the openvino extra is not installed")
    assert run(["verify", str(tiny_bundle), "--provider", "openvino", "--threads", "1", "--json"]) == 0
    rows = {row["graph"]: row for row in json.loads(capsys.readouterr().out)["graphs"]}
    assert rows["features"]["tolerance"] == 1e-3
    assert rows["denoiser"]["tolerance"] in (1e-3, 2e-2)  # as the processor has bf16 or not


def test_an_output_of_another_shape_is_null_in_json(copy, capsys):
    path = copy / "verify" / "compose.npz"
    with np.load(path) as stored:
        arrays = {name: array[:-1] if name.startswith("out:") else array for name, array in stored.items()}
    np.savez(path, **arrays)
    write_manifest(copy, read_manifest(copy))
    assert run(["verify", str(copy), "--threads", "1", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["graphs"]
    assert [row["graph"] for row in rows if row["max_error"] is None] == ["compose"]
    assert [row["graph"] for row in rows if not row["passed"]] == ["compose"]

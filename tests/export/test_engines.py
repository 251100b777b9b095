"""Engines are really built, with TensorRT-RTX and without a card; only running them needs one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

trt = pytest.importorskip("tensorrt_rtx", reason="needs the trt-rtx extra")

from edge_ad.bundle import REQUIRED_GRAPHS, Graph, TensorSpec  # noqa: E402
from edge_ad.bundle_files import Bundle, pack, read_manifest, write_manifest  # noqa: E402
from edge_ad.errors import BundleError, InputError, OptionError  # noqa: E402
from edge_ad.runtime.engines import make  # noqa: E402
from edge_ad.runtime.engines.build import BuildError, BuildOptions  # noqa: E402
from edge_ad.runtime.engines.cache import EngineCache  # noqa: E402
from edge_ad.runtime.engines.header import header_problem  # noqa: E402
from edge_ad.runtime.engines.make import EngineOptions, add_engines  # noqa: E402
from edge_ad.runtime.engines.worker import Builder  # noqa: E402
from edge_ad.runtime.sessions.card import card_capability  # noqa: E402

TARGET = "trt-rtx-sm86-fp32"
no_card = pytest.mark.skipif(card_capability() is not None, reason="this machine has a card")


@pytest.fixture(scope="module")
def cache_home(tmp_path_factory):
    """A cache of this module's own, in the environment so that worker processes and commands see it too."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("EDGE_AD_CACHE")
    os.environ["EDGE_AD_CACHE"] = str(folder)
    yield folder
    os.environ.pop("EDGE_AD_CACHE")
    if before is not None:
        os.environ["EDGE_AD_CACHE"] = before


@pytest.fixture(scope="module")
def plain(tmp_path_factory, tiny_bundle) -> Path:
    """The tiny bundle with one plan, which halves what is compiled."""
    folder = shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("plain") / "bundle")
    manifest = read_manifest(folder)
    write_manifest(folder, manifest.model_copy(update={"plans": {"grouped": manifest.plans["grouped"]}}))
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory, plain, cache_home) -> tuple[Path, list[str]]:
    """A copy with engines for compute capability 8.6, and what was said while they were built."""
    folder = shutil.copytree(plain, tmp_path_factory.mktemp("built") / "bundle")
    lines: list[str] = []
    add_engines(folder, EngineOptions("trt-rtx", ((8, 6),)), log=lines.append)
    return folder, lines


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_graph_is_compiled_and_written_down(built):
    from edge_ad.runtime.verify import verify_engines

    folder, lines = built
    assert not [line for line in lines if "from the cache" in line]
    with Bundle.open(folder) as opened:
        (entry,) = opened.manifest.engines.values()
        assert set(opened.manifest.engines) == {TARGET}
        assert (entry.library, entry.version, entry.compute_capability) == ("trt-rtx", trt.__version__, "8.6")
        assert entry.precision == "fp32"
        assert set(entry.files) == set(entry.build_seconds) == set(REQUIRED_GRAPHS)
        assert min(entry.build_seconds.values()) > 0
        assert entry.profiles["denoiser"][0]["B"] == (1, 14, 14)
        for name in entry.files:
            assert header_problem(trt, opened.file(entry.files[name])) == ""
        assert header_problem(trt, opened.file(opened.graph("decoder").file)) == "it is no engine of this library"
        checks = list(verify_engines(opened))
    assert {check.graph for check in checks} == set(REQUIRED_GRAPHS)
    assert all(check.passed and check.state in ("read", "ran") for check in checks)
    assert {path.name for path in folder.parent.iterdir()} == {"bundle"}


def test_an_unchanged_graph_is_not_built_again(built, plain, tmp_path):
    folder = shutil.copytree(plain, tmp_path / "bundle")
    archive = pack(folder, tmp_path / "bundle.tar")
    kept = EngineCache()
    notes = sorted(kept.folder.glob("*.json"))
    assert len(notes) == len(REQUIRED_GRAPHS)
    smallest = min(kept.folder.glob("*.engine"), key=lambda path: path.stat().st_size)
    content = bytearray(smallest.read_bytes())
    content[len(content) // 2] ^= 1
    smallest.write_bytes(content)  # a damaged entry is built again, and mended
    for target in (folder, archive):
        lines: list[str] = []
        add_engines(target, EngineOptions("trt-rtx", ((8, 6),)), log=lines.append)
        fresh = [line for line in lines if "MB, built in" in line]
        assert len(fresh) == (1 if target is folder else 0), lines
        with Bundle.open(target) as opened:
            assert set(opened.manifest.engines) == {TARGET}
            assert opened.manifest.engines[TARGET].build_seconds["denoiser"] > 0
    assert kept.size()[0] == len(REQUIRED_GRAPHS)


def test_what_changed_meanwhile_is_kept(built, plain, tmp_path):
    folder = shutil.copytree(plain, tmp_path / "bundle")

    def calibrate(line: str) -> None:
        if "score" in line:
            manifest = read_manifest(folder)
            write_manifest(folder, manifest.model_copy(update={"metrics": {"told": "meanwhile"}}))

    def replace_graph(line: str) -> None:
        if "score" in line:
            shutil.copy(folder / "graphs" / "compose.onnx", folder / "graphs" / "score.onnx")
            write_manifest(folder, read_manifest(folder))

    add_engines(folder, EngineOptions("trt-rtx", ((8, 6),)), log=calibrate)
    manifest = read_manifest(folder)
    assert (manifest.metrics, set(manifest.engines)) == ({"told": "meanwhile"}, {TARGET})
    with pytest.raises(BundleError, match="other graphs"):
        add_engines(folder, EngineOptions("trt-rtx", ((8, 6),)), log=replace_graph)
    assert {path.name for path in tmp_path.iterdir()} == {"bundle"}


def test_what_is_built_of_another_graph_is_not_kept_as_this_ones(plain, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_AD_CACHE", str(tmp_path / "cache"))
    onnx = pytest.importorskip("onnx")
    folder = shutil.copytree(plain, tmp_path / "bundle")

    def replace_next(line: str) -> None:
        if "encoder" in line:  # the first of the graphs; the next is prepare
            model = onnx.load(folder / "graphs" / "prepare.onnx")
            model.doc_string = "exported again"
            onnx.save(model, folder / "graphs" / "prepare.onnx")

    with pytest.raises(BundleError, match=r"prepare\.onnx.* got other content while engines were built"):
        add_engines(folder, EngineOptions("trt-rtx", ((8, 6),)), log=replace_next)
    assert EngineCache().size()[0] == 1


def test_a_link_in_the_cache_is_not_followed(built, tmp_path):
    folder = EngineCache().folder
    note = next(folder.glob("*.json"))
    own = EngineCache(tmp_path / "own")
    own.folder.mkdir()
    shutil.copy(note, own.folder)
    (own.folder / f"{note.stem}.engine").symlink_to(folder / f"{note.stem}.engine")
    assert own.fetch(note.stem, tmp_path / "x") is None
    assert not (tmp_path / "x").exists()
    assert own.size() == (0, 0)
    assert (folder / f"{note.stem}.engine").is_file()


def test_a_damaged_byte_in_any_file_is_named(built, tmp_path):
    folder = shutil.copytree(built[0], tmp_path / "copy")
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with open(path, "r+b") as file:
            middle = path.stat().st_size // 2
            file.seek(middle)
            (byte,) = file.read(1)
            for value in (byte ^ 1, byte):
                file.seek(middle)
                file.write(bytes([value]))
                file.flush()
                if value != byte:
                    with pytest.raises(BundleError, match=path.name):
                        Bundle.open(folder)
    Bundle.open(folder).close()


def product_graph(folder: Path, dtype: str) -> Graph:
    """An ONNX file of one matrix product of two inputs with a transposed and a plain operand, batch free."""
    import onnx
    from onnx import TensorProto, helper

    kind = TensorProto.FLOAT if dtype == "float32" else TensorProto.FLOAT16
    nodes = [
        helper.make_node("Transpose", ["a"], ["at"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["at", "b"], ["c"]),
        helper.make_node("MatMul", ["c", "w"], ["d"]),
        helper.make_node("Relu", ["d"], ["e"]),
    ]
    weight = helper.make_tensor("w", kind, (5, 6), np.ones(30, dtype))
    values = {"a": ("B", 3, 4), "b": ("B", 3, 5), "d": ("B", 4, 6), "e": ("B", 4, 6)}
    infos = {name: helper.make_tensor_value_info(name, kind, shape) for name, shape in values.items()}
    graph = helper.make_graph(nodes, "g", [infos["a"], infos["b"]], [infos["d"], infos["e"]], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), folder / "g.onnx")
    specs = {name: TensorSpec(name=name, dtype=dtype, shape=shape) for name, shape in values.items()}
    return Graph(file="g.onnx", inputs=(specs["a"], specs["b"]), outputs=(specs["d"], specs["e"]))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("capability", [(7, 5), (12, 0)])
def test_matrix_products_compile_for_turing_too(dtype, capability, tmp_path):
    pytest.importorskip("onnx")
    graph = product_graph(tmp_path, dtype)
    phases: list[str] = []
    with Builder("trt-rtx") as builder:
        builder.build(
            tmp_path / "g.onnx", graph, tmp_path / "g.engine", capability=capability,
            profiles=[{"B": (1, 2, 3)}], options=BuildOptions(weight_streaming=True), on_phase=phases.append,
        )  # fmt: skip
    assert "Building engine" in phases
    assert header_problem(trt, tmp_path / "g.engine") == ""


def test_a_half_precision_graph_is_compiled(tiny_base, tmp_path):
    from edge_ad.export.graphs.decoder import decoder_case
    from edge_ad.export.onnx import write_graph

    base = tiny_base()
    base.vae.half()
    case = decoder_case(base.vae, 4, 8, np.random.default_rng(0))
    graph = write_graph(case, tmp_path, "fp16", 0)
    with Builder("trt-rtx") as builder:
        for capability in ((7, 5), (8, 9)):
            builder.build(
                tmp_path / graph.file, graph, tmp_path / "x.engine", capability=capability,
                profiles=[{"K": (1, 5, 5)}], options=BuildOptions(),
            )  # fmt: skip
            assert header_problem(trt, tmp_path / "x.engine") == ""


def test_a_graph_that_cannot_be_compiled_says_why(tmp_path):
    pytest.importorskip("onnx")
    graph = product_graph(tmp_path, "float32")
    (tmp_path / "g.onnx").write_bytes(b"no graph")
    with Builder("trt-rtx") as builder, pytest.raises(BuildError, match=r"cannot build g\.onnx: .{10}"):
        builder.build(
            tmp_path / "g.onnx", graph, tmp_path / "g.engine", capability=(8, 6), profiles=[], options=BuildOptions()
        )
    assert [path.name for path in tmp_path.iterdir()] == ["g.onnx"]


def test_a_file_in_the_temporary_folder_is_not_run(tmp_path, monkeypatch):
    """Anybody may write there, and the worker is started by a module's name."""
    (tmp_path / "json.py").write_text("raise SystemExit('planted')")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    graph = Graph(file="g.onnx", inputs=(), outputs=())
    with Builder("trt-rtx") as builder, pytest.raises(BuildError, match=r"cannot build no\.onnx"):
        builder.build(
            tmp_path / "no.onnx", graph, tmp_path / "x", capability=(8, 6), profiles=[], options=BuildOptions()
        )


def test_a_worker_that_is_killed_is_reported(plain, tmp_path):
    """What the system does to a process that takes too much memory."""
    manifest = read_manifest(plain)
    graph = manifest.graphs["score"]
    profiles = make._profiles(plain, manifest, "score", 1)
    with Builder("trt-rtx") as builder, pytest.raises(BuildError, match=r"score\.onnx: .*SIGKILL.*memory"):
        builder.build(
            plain / graph.file, graph, tmp_path / "x", capability=(8, 6), profiles=profiles, options=BuildOptions(),
            on_phase=lambda _: os.kill(builder._process.pid, signal.SIGKILL),
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_an_interrupted_build_leaves_nothing(plain, tmp_path):
    folder = shutil.copytree(plain, tmp_path / "bundle")
    before = tree(folder)
    environment = {**os.environ, "EDGE_AD_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_ad", "engines", "build", str(folder), "--sm", "8.6"],
        stderr=subprocess.PIPE, text=True, cwd="/", env=environment,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "prepare" in line:  # the denoiser, the longest, is next
            break
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert tree(folder) == before
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", "cache"}
    assert len(list((tmp_path / "cache" / "engines").glob("*.json"))) == 2  # what was finished need not be built again


@no_card
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (EngineOptions("trt-rtx", ((9, 0),)), r"--sm 9\.0: .*builds for 7\.5.*tensorrt"),
        (EngineOptions("trt-rtx"), "--sm is needed, as this machine has no card"),
        (EngineOptions("tensorrt"), "tensorrt"),
        (EngineOptions("trt-rtx", ((8, 6),), images=0), "--max-batch"),
        (EngineOptions("trt-rtx", ((8, 6),), build=BuildOptions(stripped=True)), "--strip"),
        (EngineOptions("cuda"), '--library "cuda" is not known'),
    ],
)
def test_what_cannot_be_built_is_refused_before_any_work(options, sentence, plain):
    with pytest.raises(OptionError, match=sentence):
        add_engines(plain, options)


def test_another_precision_or_too_little_memory_is_refused(plain, monkeypatch):
    options = EngineOptions("trt-rtx", ((8, 6),))
    with pytest.raises(OptionError, match="--precision fp16: the graphs of bundle are fp32"):
        add_engines(plain, options, precision="fp16")
    before = tree(plain)
    monkeypatch.setattr(make, "available_bytes", lambda: 1 << 20)
    with pytest.raises(InputError, match=r"needs about \d\.\d GiB of memory and 1 MiB is free"):
        add_engines(plain, options)
    assert tree(plain) == before


@pytest.mark.parametrize(
    ("text", "expected"), [("8.6", (8, 6)), ("86", (8, 6)), ("sm_75", (7, 5)), ("SM120", (12, 0)), (" 12.1", (12, 1))]
)
def test_compute_capabilities_are_read(text, expected):
    from edge_ad.runtime.engines.library import parse_capabilities, parse_capability

    assert parse_capability(text) == expected
    assert parse_capabilities((f"{text},{text}", "7.5,")) == tuple(dict.fromkeys((expected, (7, 5))))
    for wrong in ("", "x", "8.", "8.6.1", "-8.6"):
        with pytest.raises(OptionError, match="--sm"):
            parse_capability(wrong)

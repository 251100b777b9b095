"""Choosing an engine and a profile; running one needs a card."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ad.bundle import Engine
from edge_ad.bundle_files import Bundle, read_manifest, write_manifest
from edge_ad.errors import BundleError, EdgeAdError, OptionError
from edge_ad.runtime.detector import default_memory
from edge_ad.runtime.engines.profiles import axis_sizes, choose_profile, graph_profiles, plan_rows
from edge_ad.runtime.plan import grouped_plan, layout, paper_plan
from edge_ad.runtime.sessions.base import SessionOptions
from edge_ad.runtime.sessions.card import card_capability, card_count, card_memory
from edge_ad.runtime.sessions.choose import open_sessions
from edge_ad.runtime.sessions.engine import select_engine

no_card = pytest.mark.skipif(card_count() > 0, reason="this machine has a card")
gpu = pytest.mark.skipif(card_count() == 0, reason="needs an NVIDIA card")

ENGINES = {
    "trt-rtx-sm86-fp16": Engine(library="trt-rtx", version="1.7.1", compute_capability="8.6"),
    "trt-rtx-sm89-fp16": Engine(library="trt-rtx", version="1.7.1", compute_capability="8.9"),
    "tensorrt-sm87-fp16": Engine(library="tensorrt", version="10.3.0", compute_capability="8.7"),
}


@pytest.mark.parametrize(
    ("library", "version", "capability", "expected"),
    [
        ("trt-rtx", "1.7.1", (8, 6), "trt-rtx-sm86-fp16"),
        ("trt-rtx", "1.7.1", (8, 9), "trt-rtx-sm89-fp16"),
        ("tensorrt", "10.3.0", (8, 7), "tensorrt-sm87-fp16"),
    ],
)
def test_the_engine_of_this_machine_is_chosen(library, version, capability, expected):
    assert select_engine(ENGINES, library, version, capability) == expected


@pytest.mark.parametrize(
    ("engines", "library", "version", "capability", "sentence"),
    [
        ({}, "trt-rtx", "1.7.1", (8, 6), "no trt-rtx engine; run edge-ad engines build BUNDLE --library trt-rtx"),
        (ENGINES, "trt-rtx", "1.7.1", None, "no NVIDIA card; use --provider cpu"),
        (ENGINES, "trt-rtx", "1.7.1", (12, 0), r"12\.0, the bundle's engines are for 8\.6, 8\.9; run .* --sm 12\.0"),
        (ENGINES, "trt-rtx", "1.8.0", (8, 6), r"built by trt-rtx 1\.7\.1, this machine has 1\.8\.0; run edge-ad engin"),
        (ENGINES, "tensorrt", "10.3.0", (8, 6), r"8\.6, the bundle's engines are for 8\.7"),
    ],
)
def test_another_engine_is_refused_with_what_to_run(engines, library, version, capability, sentence):
    with pytest.raises(OptionError, match=sentence):
        select_engine(engines, library, version, capability)


def sizes_of_run(plan, rows_of_images: list[int], limit: int) -> list[dict[str, int]]:
    """The free sizes of prepare and denoiser when the detector runs these images, chunk by chunk."""
    draws = range(plan.noise_draws)
    owners = [(image, draw) for image, rows in enumerate(rows_of_images) for draw in draws for _ in range(rows)]
    found = []
    for start in range(0, len(owners), limit):
        chunk = owners[start : start + limit]
        images = len(set(chunk))
        visible = len(chunk) if plan.masked_latents == "encoded" else images
        found.append({"B": len(chunk), "N": images, "P": images, "V": visible})
    return found


@given(
    plans=st.sampled_from([("grouped",), ("paper",), ("grouped", "paper"), ("paper", "grouped")]),
    run=st.integers(0, 1),
    images=st.integers(1, 3),
    bare=st.lists(st.booleans(), min_size=1, max_size=20),
    draws=st.integers(1, 3),
)
def test_every_batch_of_the_detector_fits_a_profile(tiny_manifest, plans, run, images, bare, draws):
    made = {"grouped": grouped_plan, "paper": paper_plan}
    chosen = [made[name](name) for name in plans]
    chosen[0].noise_draws = draws
    plan = chosen[run % len(chosen)]
    for name in ("prepare", "denoiser"):
        graph = tiny_manifest.graphs[name]
        profiles = graph_profiles(name, graph, chosen, 32, images, {})
        limit = max(profile["B"][2] for profile in profiles)
        rows = [plan_rows(plan, 32) - without for without in bare]
        for sizes in sizes_of_run(plan, rows, limit):
            own = {axis: size for axis, size in sizes.items() if axis in profiles[0]}
            assert choose_profile(profiles, own) is not None, (own, profiles)


@pytest.fixture(scope="module")
def tiny_manifest(tiny_bundle):
    return read_manifest(tiny_bundle)


@pytest.mark.parametrize(("plan", "rows", "pictures"), [(grouped_plan, 14, 5), (paper_plan, 86, 86)])
def test_profiles_have_the_sizes_of_the_plan(tiny_manifest, plan, rows, pictures):
    made = layout(plan("x"), 32, np.ones((32, 32), np.float32))
    assert (made.inpaintings, made.pictures) == (rows, pictures)
    for name, axes in {
        "denoiser": {"B": rows, "P": 1},
        "compose": {"B": rows, "K": pictures},
        "decoder": {"K": pictures},
        "score": {"K": pictures, "R": 4},
        "features": {"N": 1},
    }.items():
        (profile,) = graph_profiles(name, tiny_manifest.graphs[name], [plan("x")], 32, 1, {})
        assert {axis: sizes[1] for axis, sizes in profile.items()} == axes
    first, second = graph_profiles("denoiser", tiny_manifest.graphs["denoiser"], [plan("x")], 32, 4, {"P": 99})
    assert (first["B"], second["B"]) == ((1, rows, rows), (1, 4 * rows, 4 * rows))
    assert second["P"][1:] == (4, 99)


def test_sizes_that_disagree_are_found(tiny_manifest):
    graph = tiny_manifest.graphs["decoder"]
    assert axis_sizes(graph.inputs, {"latents": (5, 4, 8, 8)}) == {"K": 5}
    with pytest.raises(ValueError, match="latents"):
        axis_sizes(graph.inputs, {"latents": (5, 4, 8, 9)})
    compose = tiny_manifest.graphs["compose"]
    with pytest.raises(ValueError, match="along B"):
        axis_sizes(compose.inputs, {"results": (3, 4, 8, 8), "masks": (2, 1, 8, 8), "assignment": (2, 3)})


def test_a_bundle_without_engines_says_how_to_get_them(tiny_bundle):
    with Bundle.open(tiny_bundle) as opened, pytest.raises(OptionError, match="edge-ad engines build"):
        open_sessions(opened, "trt-rtx", SessionOptions())


def with_engine(bundle, folder, **fields):
    """A copy whose manifest lists an engine: the decoder's ONNX file in the place of an engine's."""
    copy = shutil.copytree(bundle, folder / "copy")
    manifest = read_manifest(copy)
    (copy / "engines" / "x").mkdir(parents=True)
    files = {}
    for name in manifest.graphs:
        shutil.copy(copy / manifest.graphs["compose"].file, copy / "engines" / "x" / f"{name}.engine")
        files[name] = f"engines/x/{name}.engine"
    write_manifest(copy, manifest.model_copy(update={"engines": {"x": Engine(files=files, **fields)}}))
    return copy


def test_what_is_no_engine_is_found(tiny_bundle, tmp_path):
    trt = pytest.importorskip("tensorrt_rtx", reason="needs the trt-rtx extra")
    from edge_ad.runtime.verify import verify_engines

    copy = with_engine(tiny_bundle, tmp_path, library="trt-rtx", version=trt.__version__, compute_capability="8.6")
    with Bundle.open(copy) as opened:
        assert {(check.state, check.passed) for check in verify_engines(opened)} == {("broken", False)}


def test_an_engine_of_another_version_is_not_read(tiny_bundle, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="needs the trt-rtx extra")
    from edge_ad.runtime.verify import verify_engines

    copy = with_engine(tiny_bundle, tmp_path, library="trt-rtx", version="0.9", compute_capability="8.6")
    with Bundle.open(copy) as opened:
        checks = list(verify_engines(opened))
    assert {check.state for check in checks} == {"unread"}
    assert "trt-rtx 0.9 built it, this machine has" in checks[0].reason


def test_a_library_without_a_driver_reads_nothing(tmp_path):
    from types import SimpleNamespace

    from edge_ad.runtime.engines.header import header_problem

    def runtime(logger):
        raise TypeError("pybind11::init(): factory function returned nullptr")

    assert header_problem(SimpleNamespace(ILogger=object, Runtime=runtime), tmp_path) is None


@no_card
def test_without_a_card_every_way_in_says_so(tiny_bundle, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="needs the trt-rtx extra")
    from edge_ad.runtime.sessions.cuda import card

    assert card_capability() is None
    assert card_memory() is None
    assert default_memory("trt-rtx") == default_memory("cpu") == 1 << 30
    copy = with_engine(tiny_bundle, tmp_path, library="trt-rtx", version="1", compute_capability="8.6")
    with Bundle.open(copy) as opened, pytest.raises(OptionError, match="no NVIDIA card"):
        open_sessions(opened, "trt-rtx", SessionOptions())
    with pytest.raises(EdgeAdError, match="edge-ad"):
        card(0)


@no_card
def test_tensorrt_without_engines_is_onnx_runtimes(tiny_bundle):
    with Bundle.open(tiny_bundle) as opened, pytest.raises(OptionError, match="TensorrtExecutionProvider"):
        open_sessions(opened, "tensorrt", SessionOptions())


@pytest.fixture(scope="module")
def engines_here(tmp_path_factory, tiny_bundle):
    """The tiny bundle with engines for this machine's card."""
    pytest.importorskip("tensorrt_rtx", reason="needs the trt-rtx extra")
    from edge_ad.runtime.engines.make import EngineOptions, add_engines

    copy = shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("here") / "bundle")
    add_engines(copy, EngineOptions("trt-rtx"), log=lambda line: None)
    return copy


@gpu
@pytest.mark.gpu
def test_engines_compute_what_the_graphs_do(engines_here):
    from edge_ad.runtime.verify import verify_engines

    with Bundle.open(engines_here) as opened:
        for check in verify_engines(opened):
            assert check.state == "ran"
            assert check.passed, check


@gpu
@pytest.mark.gpu
def test_a_card_gives_half_of_its_memory():
    assert default_memory("trt-rtx") == max(card_memory() // 2, 1 << 30)
    assert default_memory("cpu") == 1 << 30


@gpu
@pytest.mark.gpu
def test_an_engine_of_another_bundle_at_the_same_place_is_not_run(engines_here, tmp_path):
    copy = shutil.copytree(engines_here, tmp_path / "copy")
    with Bundle.open(copy) as opened:
        (entry,) = opened.manifest.engines.values()
        shutil.copy(copy / entry.files["encoder"], copy / entry.files["decoder"])
        with pytest.raises(BundleError, match=r"decoder\.engine.* has changed since the bundle was opened"):
            open_sessions(opened, "trt-rtx", SessionOptions())


@gpu
@pytest.mark.gpu
def test_the_detector_runs_on_engines(engines_here, tiny_picture):
    from edge_ad.runtime import Detector

    expected = Detector.load(engines_here, provider="cpu").inspect(tiny_picture, "ring")
    detector = Detector.load(engines_here, provider="trt-rtx")
    for _ in range(4):  # the first run is plain, later ones are replayed
        found = detector.inspect(tiny_picture, "ring")
        assert np.corrcoef(found.score_map.ravel(), expected.score_map.ravel())[0, 1] >= 0.9999
    assert detector.precision == "fp32"

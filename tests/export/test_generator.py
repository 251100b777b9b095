"""`edge-ad synthesize export`: a generator's graphs draw what PyTorch draws, and are refused where they do not fit."""

import importlib.util
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("onnxscript")

from edge_ad.cli import run as edge_ad  # noqa: E402
from edge_ad.commands.synthesize import command  # noqa: E402
from edge_ad.errors import BundleError, InputError, OptionError  # noqa: E402
from edge_ad.export import generator as exporting  # noqa: E402
from edge_ad.export.generator import GeneratorOptions, export_generator  # noqa: E402
from edge_ad.images import read_image  # noqa: E402
from edge_ad.training.dual.exported import GraphPainter, load_exported  # noqa: E402
from edge_ad.training.dual.generate import GenerateSettings, generate  # noqa: E402
from edge_ad.training.dual.generator import Generator, load_generator, load_model, write_generator  # noqa: E402
from edge_ad.training.dual.masks import MaskRules  # noqa: E402
from edge_ad.training.dual.model import DualModel, DualShape  # noqa: E402
from edge_ad.training.dual.sample import Sampling, TorchPainter, draw  # noqa: E402

TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "conv1", "ff.net.2")
RULES = MaskRules(smallest=0.0, largest=1.0, agreement=0.0, visible=0.0)


def write(folder, base_folder, tiny_base, background):
    """A generator whose weights are not at their start."""
    from safetensors.torch import save_file

    shape = DualShape(rank=2, targets=TARGETS, background=background)
    model = DualModel(tiny_base(), shape)
    noise = torch.Generator().manual_seed(1)
    state = {name: value + 0.1 * torch.randn(value.shape, generator=noise) for name, value in model.trained.items()}
    folder.mkdir()
    save_file({name: value.detach().contiguous() for name, value in state.items()}, folder / "adapter.safetensors")
    made = Generator(
        folder=folder, base_id=str(base_folder), image_size=64, category="lid", defect="dent",
        prompts=("a vfx with sks", "sks"), shape=shape, texture=True, cfg=2.0,
    )  # fmt: skip
    write_generator(folder, made)
    return folder


@pytest.fixture(scope="module")
def gen(tmp_path_factory, base_folder, tiny_base):
    folder = write(tmp_path_factory.mktemp("gen") / "dent", base_folder, tiny_base, False)
    result = CliRunner().invoke(command, ["export", str(folder)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "verified drawing" in result.output
    return folder


def drawn_both_ways(folder, provider, sampling, **options):
    generator = load_generator(folder)
    base, model = load_model(generator)
    painters = TorchPainter(base, model, generator.prompts), GraphPainter(generator, provider)
    return [draw(base, painter, [0, 1, 2], sampling, **options) for painter in painters]


def difference(one, other):
    pictures = [np.concatenate([drawn.pictures, drawn.parts]).astype(int) for drawn in (one, other)]
    assert np.ptp(pictures[0]) > 20  # there is something to compare
    return abs(pictures[0] - pictures[1])


@pytest.mark.parametrize("solver", ["ddim", "dpmsolver++"])
@pytest.mark.parametrize("cfg", [1.0, 2.0])
def test_graphs_draw_what_pytorch_draws(gen, solver, cfg):
    assert difference(*drawn_both_ways(gen, "cpu", Sampling(steps=4, cfg=cfg, solver=solver, start="noise"))).max() <= 1


def test_openvino_draws_the_same(gen):
    pytest.importorskip("openvino")
    both = drawn_both_ways(gen, "openvino", Sampling(steps=4, cfg=2.0, start="noise"))
    assert difference(*both).mean() < 1


def test_backgrounds_go_through_the_graph(tmp_path, base_folder, tiny_base):
    folder = write(tmp_path / "gen", base_folder, tiny_base, True)
    export_generator(folder, GeneratorOptions(), log=lambda _: None)
    backgrounds = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    both = drawn_both_ways(folder, "cpu", Sampling(steps=3, cfg=2.0, start="noise"), backgrounds=backgrounds)
    assert difference(*both).max() <= 1


@pytest.fixture(scope="module")
def half(gen, tmp_path_factory):
    """A copy exported again, in fp16 and with engines where they can be built; and what was said."""
    folder, lines = shutil.copytree(gen, tmp_path_factory.mktemp("half") / "gen"), []
    options = GeneratorOptions(precision="fp16", batch=2)
    if importlib.util.find_spec("tensorrt_rtx"):
        options = replace(options, targets=("onnx", "trt-rtx"), capabilities=((8, 6),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_AD_CACHE", str(tmp_path_factory.mktemp("cache")))
        export_generator(folder, options, log=lines.append)  # replaces what was there
    return folder, lines


def test_half_precision_is_verified_and_near(half):
    folder, lines = half
    assert sum(line.startswith("verified") for line in lines) == 2
    record = load_exported(load_generator(folder))
    assert record.precision == record.graphs["drawing"].precision == "fp16"
    both = drawn_both_ways(folder, "cpu", Sampling(steps=4, cfg=2.0, start="noise"))
    assert difference(*both).mean() < 1


def test_engines_are_built_of_the_graphs(half):
    trt = pytest.importorskip("tensorrt_rtx", reason="needs the trt-rtx extra")
    from edge_ad.runtime.engines.header import header_problem
    from edge_ad.runtime.sessions.card import card_capability

    generator = load_generator(half[0])
    (entry,) = load_exported(generator).engines.values()
    assert (entry.compute_capability, entry.version) == ("8.6", trt.__version__)
    assert entry.profiles["drawing"] == [{"B": (1, 2, 3), "C": (1, 2, 2)}]
    for file in entry.files.values():
        assert header_problem(trt, half[0] / "exported" / file) == ""
    if card_capability() is None:
        with pytest.raises(OptionError, match="no NVIDIA card"):
            GraphPainter(generator, "trt-rtx")


def test_pairs_may_come_from_both(gen, tmp_path):
    """A folder that PyTorch began is gone on with by the graphs: the same numbers, the same pictures."""
    settings = GenerateSettings(count=2, sampling=Sampling(steps=2, start="noise"), batch=2, rules=RULES, device="cpu")
    generate(gen, tmp_path / "one", replace(settings, count=1))
    generate(gen, tmp_path / "one", replace(settings, provider="cpu"))
    generate(gen, tmp_path / "two", settings)
    for number in range(2):
        name = f"lid/test/dent/{number:05}.png"
        pictures = [read_image(tmp_path / out / name).astype(int) for out in ("one", "two")]
        assert abs(pictures[0] - pictures[1]).max() <= 1


def test_what_does_not_fit_is_refused(gen, tmp_path, capsys, monkeypatch):
    def said(*words):
        code = edge_ad(["synthesize", *map(str, words)])
        return code, capsys.readouterr().err.strip().splitlines()[-1]

    plain = shutil.copytree(gen, tmp_path / "plain", ignore=shutil.ignore_patterns("exported"))
    out = ("--out", tmp_path / "out", "--provider")
    assert said("generate", plain, *out, "cpu") == (
        1,
        f"edge-ad: {plain} has no exported graphs; run edge-ad synthesize export {plain} first, or draw with "
        "--provider torch",
    )
    assert "--masks attention needs --provider torch" in said("generate", gen, *out, "cpu", "--masks", "attention")[1]
    code, sentence = said("generate", gen, *out, "abacus")
    assert code == 2
    assert 'abacus" is not known; use torch, auto' in sentence
    code, sentence = said("generate", gen, *out, "trt-rtx")
    assert code == 2
    assert f"the generator has no trt-rtx engine; run edge-ad synthesize export {gen} --target trt-rtx" in sentence
    assert said("export", tmp_path / "nothing")[0] == 1
    assert not (tmp_path / "out").exists()

    copy = shutil.copytree(gen, tmp_path / "copy")
    graph = copy / "exported" / "graphs" / "drawing.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1])
    with pytest.raises(BundleError, match=r"drawing\.onnx is missing or damaged; run edge-ad synthesize export"):
        load_exported(load_generator(copy))
    graph.write_bytes(whole)
    record = copy / "exported" / "exported.json"
    entry = json.loads(record.read_text())
    record.write_text(json.dumps({**entry, "schema_version": 99}))
    with pytest.raises(BundleError, match="newer edge-ad"):
        load_exported(load_generator(copy))
    record.write_text(json.dumps({**entry, "adapter": "0" * 64}))
    with pytest.raises(InputError, match="another training"):
        load_exported(load_generator(copy))
    record.write_text(json.dumps({**entry, "files": {}}))
    with pytest.raises(BundleError, match="does not list all of its files"):
        load_exported(load_generator(copy))
    record.write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        load_exported(load_generator(copy))

    # a failed export leaves what was there
    monkeypatch.setattr(exporting, "HALF_TOLERANCE", 1e-12)
    with pytest.raises(BundleError, match="differs from PyTorch"):
        export_generator(gen, GeneratorOptions(precision="fp16"), log=lambda _: None)
    assert load_exported(load_generator(gen)).precision == "fp32"
    with pytest.raises(OptionError, match="--max-batch"):
        export_generator(gen, GeneratorOptions(batch=0))

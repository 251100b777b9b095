import json

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from edge_ad.errors import InputError, OptionError  # noqa: E402


def test_every_graph_is_standard_onnx_and_agrees_with_torch(tiny_bundle):
    import onnx

    from edge_ad.bundle import REQUIRED_GRAPHS
    from edge_ad.bundle_files import Bundle
    from edge_ad.runtime.verify import verify_graphs

    opened = Bundle.open(tiny_bundle)
    checks = {check.graph: check for check in verify_graphs(opened, threads=1)}
    assert set(checks) == set(REQUIRED_GRAPHS)
    for check in checks.values():
        assert check.max_error <= 1e-3
        assert check.passed
    for graph in opened.manifest.graphs.values():
        model = onnx.load(str(opened.file(graph.file)))
        assert {node.domain for node in model.graph.node} == {""}
        assert str(tiny_bundle.parent).encode() not in model.SerializeToString()
        assert b"site-packages" not in model.SerializeToString()  # no stack traces of the build machine


def test_the_manifest_says_what_the_graphs_take(tiny_bundle):
    from edge_ad.bundle_files import Bundle

    manifest = Bundle.open(tiny_bundle).manifest
    denoiser = manifest.graphs["denoiser"]
    shapes = {spec.name: spec.shape for spec in (*denoiser.inputs, *denoiser.outputs)}
    assert shapes["latents"] == shapes["next"] == ("B", 4, 8, 8)
    assert shapes["prompts"][0] == "P"
    assert denoiser.row_bytes > 4 * 8 * 8 * 4
    assert manifest.schedules["paper"].steps == 20
    assert manifest.schedules["grouped"].steps == 2
    assert manifest.categories["ring"].levels.error > 0
    assert json.loads((tiny_bundle / "manifest.json").read_text())["schedules"]["paper"]["lambda"] == 0.4


def test_verify_finds_a_graph_that_computes_something_else(tiny_bundle, tmp_path):
    import shutil

    import onnx
    from onnx import numpy_helper

    from edge_ad.bundle_files import read_manifest, write_manifest
    from edge_ad.commands.verify import command
    from edge_ad.errors import BundleError

    copy = shutil.copytree(tiny_bundle, tmp_path / "copy")
    good = CliRunner().invoke(command, [str(copy), "--threads", "1", "--json"])
    assert good.exit_code == 0
    assert all(row["passed"] for row in json.loads(good.output)["graphs"])
    path = copy / "graphs" / "decoder.onnx"
    model = onnx.load(str(path))
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.5, weight.name))
    onnx.save(model, str(path))
    write_manifest(copy, read_manifest(copy))
    bad = CliRunner().invoke(command, [str(copy), "--threads", "1"])
    assert isinstance(bad.exception, BundleError)
    assert "decoder" in str(bad.exception)


@pytest.mark.parametrize("form", ["diffusers", "prefixed", "peft"])
def test_a_fused_adapter_computes_what_the_adapter_did(form, tiny_base, tmp_path):
    from diffusers import StableDiffusionInpaintPipeline
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    from edge_ad.training.fuse import fuse_adapter

    config = LoraConfig(r=4, lora_alpha=8, target_modules=["to_q", "to_k", "to_v", "to_out.0"])
    adapted = tiny_base().unet
    wrapped = get_peft_model(adapted, config) if form == "peft" else None
    if wrapped is None:
        adapted.add_adapter(config)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    if wrapped is not None:
        wrapped.save_pretrained(tmp_path)
    elif form == "diffusers":
        adapted.save_lora_adapter(tmp_path)
    else:
        layers = {k: v.contiguous() for k, v in get_peft_model_state_dict(adapted).items()}
        StableDiffusionInpaintPipeline.save_lora_weights(
            tmp_path, unet_lora_layers=layers, unet_lora_adapter_metadata=config.to_dict()
        )
    inputs = (torch.randn(2, 9, 8, 8), torch.tensor([301.0, 1.0]), torch.randn(2, 5, 32))
    with torch.no_grad():
        before = tiny_base().unet(*inputs).sample
        expected = adapted(*inputs).sample
        fused = fuse_adapter(tiny_base().unet, tmp_path)
        found = fused(*inputs).sample
    assert not any("lora" in name for name, _ in fused.named_modules())
    assert (expected - before).abs().max() > 1e-2
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_no_adapter_is_said(tmp_path):
    from edge_ad.training.fuse import fuse_adapter

    with pytest.raises(InputError, match="no adapter"):
        fuse_adapter(None, tmp_path)


def test_impossible_options_are_refused_before_any_work(tmp_path):
    from edge_ad.export.pipeline import export_run

    for options, word in (
        ({"precision": "int8"}, "calibrate B DATA --ranges"),
        ({"precision": "fp8"}, "calibrate B DATA --ranges"),
        ({"plans": ("fast",)}, "fast"),
        ({"plans": ()}, "--plan"),
        ({"bank_size": 0}, "bank"),
        ({"targets": ("onnx", "coreml")}, "coreml"),
        ({"capabilities": ((8, 6),)}, "--sm is for --target trt-rtx"),
    ):
        with pytest.raises(OptionError, match=word):
            export_run(tmp_path / "none", tmp_path / "out", **options)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("x")
    with pytest.raises(OptionError, match="no bundle"):
        export_run(tmp_path / "none", tmp_path / "precious")
    assert not (tmp_path / "out").exists()


def test_noise_draws_are_those_of_grouped_plans(tiny_base):
    from edge_ad.export.pipeline import ExportOptions, _plans

    plans = _plans(tiny_base(), ExportOptions(plans=("grouped-1", "paper"), noise_draws=2))[1]
    assert (plans["grouped-1"].noise_draws, plans["paper"].noise_draws) == (2, 1)


def test_steps_that_a_strength_has_no_room_for_are_refused_before_any_work(tiny_run, tmp_path):
    from edge_ad.export.pipeline import export_run

    said = []
    with pytest.raises(OptionError, match="no room for 500 steps"):
        export_run(tiny_run, tmp_path / "b", log=said.append, steps=500)
    assert not any(line.startswith(("category", "graph")) for line in said)
    assert list(tmp_path.iterdir()) == []


def test_engines_that_cannot_be_built_are_refused_before_any_work(tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="needs the trt-rtx extra")
    from edge_ad.cli import run

    line = ["export", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    for options in (["--sm", "9.0"], ["--sm", "8.6,abc"], ["--max-batch", "0"]):
        assert run([*line, "--target", "onnx,trt-rtx", *options]) == 2
    assert not (tmp_path / "out").exists()


def test_another_size_than_the_runs_is_refused(tiny_run, tmp_path):
    from edge_ad.export.pipeline import export_run

    with pytest.raises(OptionError, match="--size 512: the run was trained at 64 px"):
        export_run(tiny_run, tmp_path / "out", size=512)
    assert not (tmp_path / "out").exists()


def test_half_precision_is_close(tiny_base, tmp_path):
    """fp16 on the small graphs: the numbers of PyTorch in fp32 within the stated tolerance."""
    from edge_ad.export.graphs.decoder import decoder_case
    from edge_ad.export.onnx import torch_outputs, write_graph
    from edge_ad.runtime.sessions.base import SessionOptions
    from edge_ad.runtime.sessions.onnx import OnnxSession
    from edge_ad.runtime.verify import compare

    base = tiny_base()
    case = decoder_case(base.vae, 4, 8, np.random.default_rng(0))
    expected = torch_outputs(case)["image"]
    base.vae.half()
    graph = write_graph(case, tmp_path, "fp16", 0)
    session = OnnxSession(tmp_path / graph.file, graph, SessionOptions(threads=1))
    found = session.run({"latents": case.inputs["latents"].numpy()})["image"]
    assert graph.outputs[0].dtype == "float32"
    assert compare(expected, found)[0] < 2e-2

"""The ablation script from data to tables and curve, on a tiny base; taken up again it does nothing twice."""

import importlib.util
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("onnxscript")
pytest.importorskip("matplotlib")

from edge_ad.errors import OptionError  # noqa: E402
from edge_ad.training.train import default_settings  # noqa: E402

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "ablation.py"


@pytest.fixture(scope="module")
def ablation():
    spec = importlib.util.spec_from_file_location("ablation", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["ablation"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_row_of_the_papers_tables_is_there(ablation):
    labels = {table: [row.label for row in ablation.rows_of(table, (0.2, 0.4))] for table in ablation.TABLES}
    assert labels == {
        "3": ["no fine-tuning", "decoder", "denoiser", "both"],
        "4": ["random masks", "designed masks", "no prompt", "simple prompt", "designed prompts"],
        "5": ["one full mask", "multi-scale", "multi-scale + prototype"],
        "noise": ["λ = 0.2", "λ = 0.4"],
        "beyond": [
            "as in table 3",
            "eq. 15 by Otsu's threshold",
            "eq. 15 by the level of good pictures",
            "mean of 2 noise draws",
            "mean of 4 noise draws",
        ],
    }
    rows = [row for table in ablation.TABLES for row in ablation.rows_of(table, (0.2, 0.4))]
    assert all(row.bundle in ablation.BUNDLES for row in rows)
    assert len({(row.bundle, row.variant) for row in rows}) == 14  # the whole method is in five tables, measured once


def test_what_each_training_changes(ablation):
    settings = default_settings("nano")
    assert ablation.settings_of("main", settings) == settings
    for name, masks, prompts in (
        ("random", "random", "designed"),
        ("simple", "designed", "simple"),
        ("none", "designed", "none"),
    ):
        changed = ablation.settings_of(name, settings)
        assert (changed.denoiser.masks, changed.prompts, changed.decoder.steps) == (masks, prompts, 0)
        assert changed.denoiser.steps == settings.denoiser.steps


def test_steps_are_in_proportion_to_the_noise_strength(ablation):
    from edge_ad.training.pretrain.architecture import SCHEDULER

    for plan, steps in (("grouped", (2, 4, 8)), ("paper", (10, 20, 40))):
        found = [ablation.schedule_of(plan, SCHEDULER, value, 4) for value in (0.2, 0.4, 0.8)]
        assert tuple(schedule.steps for schedule in found) == steps
        assert [schedule.noise_strength for schedule in found] == [0.2, 0.4, 0.8]


def test_bundles_are_put_together_from_the_trainings(ablation, base_folder, tmp_path):
    """Every bundle's denoiser, decoder and prompts are those of the training it names, or the base's."""
    from dataclasses import replace

    from edge_ad.training.base import load_base
    from edge_ad.training.pretrain.draw.demo import write_demo_set
    from edge_ad.training.train import train

    write_demo_set(tmp_path / "data", shots=1, good=1, bad=1, size=64, categories=("gel_pod",))
    settings = default_settings(str(base_folder))
    settings = replace(
        settings, shots=1, views=2, device="cpu", denoiser=replace(settings.denoiser, steps=1, batch=1),
        decoder=replace(settings.decoder, steps=1, batch=1),
    )  # fmt: skip
    for number, name in enumerate(("main", "random", "simple", "none")):
        asked = ablation.settings_of(name, replace(settings, seed=number))  # seeds: the trainings differ in any case
        train(tmp_path / "data", tmp_path / "runs" / name, replace(asked, shots=1), log=lambda line: None)

    def weights(base):
        return base.unet.conv_in.weight.detach(), base.vae.decoder.state_dict()["layers.0.weight"]

    untouched = weights(load_base(str(base_folder)))
    found = {name: ablation.assemble(tmp_path, name) for name in ablation.BUNDLES}
    unets, decoders = ({name: weights(base)[part] for name, (base, _) in found.items()} for part in (0, 1))
    assert torch.equal(unets["base"], untouched[0])
    assert torch.equal(unets["decoder"], untouched[0])
    assert torch.equal(unets["denoiser"], unets["both"])
    different = [unets[name] for name in ("base", "both", "random", "simple", "none")]
    assert all(not torch.equal(a, b) for i, a in enumerate(different) for b in different[:i])
    assert torch.equal(decoders["base"], untouched[1])
    assert torch.equal(decoders["denoiser"], untouched[1])
    assert not torch.equal(decoders["both"], untouched[1])
    assert all(torch.equal(decoders[name], decoders["both"]) for name in ("decoder", "random", "simple", "none"))
    prompts = {name: list(products["gel_pod"].prompts) for name, (_, products) in found.items()}
    assert prompts["none"] == [""]
    assert prompts["simple"] == ["A photo of gel pod."]
    for name in ("base", "decoder", "denoiser", "both", "random"):
        assert prompts[name][0] == "A perfect gel pod."
        assert len(prompts[name]) > 1


@pytest.mark.slow
def test_tables_and_curve_from_data(ablation, base_folder, tmp_path, monkeypatch):
    from edge_ad.training.pretrain.draw.demo import write_demo_set

    write_demo_set(tmp_path / "data", shots=1, good=2, bad=2, size=64, categories=("gel_pod",))
    out = tmp_path / "out"
    words = [str(tmp_path / "data"), "--out", str(out), "--base", str(base_folder), "--shots", "1", "--steps", "2",
             "--decoder-steps", "1", "--plan-steps", "1", "--strengths", "0.4,0.8", "--provider", "cpu",
             "--tables", "5,noise"]  # fmt: skip
    result = CliRunner().invoke(ablation.main, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found = json.loads((out / "ablation.json").read_text())["tables"]
    assert list(found) == ["5", "noise"]
    for row in (*found["5"].values(), *found["noise"].values()):
        for score in ("plan", "paper"):
            assert set(row[score]["categories"]) == {"gel_pod"}
            assert row[score]["settings"]["images"] == 4
    assert found["5"]["multi-scale + prototype"]["plan"] == found["noise"]["λ = 0.4"]["plan"]
    text = (out / "ablation.md").read_text()
    assert "| one full mask |" in text
    assert "84.9 / 89.6" in text  # the paper's
    with Image.open(out / "ablation.png") as curve:
        assert curve.size[0] > 500

    # taken up: nothing is trained, exported or measured again
    for name in ("train", "build_bundle", "evaluate"):
        monkeypatch.setattr(ablation, name, None)
    assert CliRunner().invoke(ablation.main, words, catch_exceptions=False).exit_code == 0
    with pytest.raises(OptionError, match="was begun with seed 0, not 1"):
        CliRunner().invoke(ablation.main, [*words, "--seed", "1"], catch_exceptions=False)
    with pytest.raises(OptionError, match="--tables 7"):
        CliRunner().invoke(ablation.main, [*words[:-1], "7"], catch_exceptions=False)

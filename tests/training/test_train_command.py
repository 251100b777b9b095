"""`edge-ad train` from pictures to a run that export and diffusers can read, for seconds, on a tiny base."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from edge_ad.cli import run as edge_ad  # noqa: E402
from edge_ad.commands.train import command  # noqa: E402
from edge_ad.errors import InputError  # noqa: E402
from edge_ad.training.base import load_base  # noqa: E402
from edge_ad.training.decoder import DecoderTuning  # noqa: E402
from edge_ad.training.distill import _info  # noqa: E402
from edge_ad.training.finetune import DenoiserTuning  # noqa: E402
from edge_ad.training.prompts import category_info, read_table  # noqa: E402
from edge_ad.training.run import load_run  # noqa: E402
from edge_ad.training.train import TrainSettings, train  # noqa: E402

CATEGORIES = ("flange_cover", "filter_cloth")
QUICK = ("--steps", "3", "--decoder-steps", "2", "--batch", "2", "--rank", "2", "--shots", "2", "--device", "cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from edge_ad.training.pretrain.draw.demo import write_demo_set

    folder = tmp_path_factory.mktemp("data") / "demo"
    write_demo_set(folder, shots=3, good=1, bad=1, size=64, categories=CATEGORIES)
    return folder


def arguments(data, base, out, *more):
    return [str(data), "--base", str(base), "--out", str(out), *QUICK, *more]


def invoke(data, base, out, *more):
    result = CliRunner().invoke(command, arguments(data, base, out, *more), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def refused(capsys, *words):
    """The exit code and the one sentence of a command line that is refused."""
    code = edge_ad(["train", *map(str, words)])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("edge-ad:", "Error:"))]
    assert len(said) == 1
    return code, said[0]


@pytest.fixture(scope="module")
def finished(data, base_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return out, invoke(data, base_folder, out)


def test_a_run_holds_what_was_asked_for(finished, base_folder):
    out, result = finished
    assert f"run: {out}" in result.output
    assert f"edge-ad export {out}" in result.output
    found = load_run(out)
    assert (found.base_id, found.image_size) == (str(base_folder), 64)
    assert tuple(sorted(found.categories)) == tuple(sorted(CATEGORIES))
    for name, category in found.categories.items():
        assert len(category.shots) == 2
        assert category.prompts[0] == f"A perfect {name.replace('_', ' ')}."
    assert set(found.losses) >= {"denoiser", "decoder"}
    assert all(np.isfinite(value) for value in found.losses.values())
    assert found.settings["denoiser"]["steps"] == 3
    assert found.adapter is not None
    assert found.decoder is not None
    assert not (out / "work").exists()
    files = [path.suffix for path in out.rglob("*") if path.is_file()]
    assert set(files) <= {".json", ".png", ".safetensors"}  # no pickle


def test_diffusers_loads_the_adapter_and_it_changes_the_denoiser(finished, base_folder):
    found = load_run(finished[0])
    unet = load_base(str(base_folder)).unet
    inputs = (torch.randn(1, 9, 8, 8), torch.tensor([300]), torch.randn(1, 32, 32))
    with torch.no_grad():
        before = unet(*inputs).sample
        unet.load_lora_adapter(str(found.adapter), prefix=None, weight_name="pytorch_lora_weights.safetensors")
        after = unet(*inputs).sample
    assert sum("lora_A" in name for name, _ in unet.named_parameters()) >= 8
    assert (after - before).abs().max() > 0


def test_the_decoder_fits_the_base(finished, base_folder):
    from safetensors.torch import load_file

    vae = load_base(str(base_folder)).vae
    state = load_file(str(load_run(finished[0]).decoder))
    before = {name: value.clone() for name, value in vae.decoder.state_dict().items()}
    vae.decoder.load_state_dict(state)
    assert any((state[name] != before[name]).any() for name in before)


def test_no_steps_make_a_run_of_the_base_alone(data, base_folder, tmp_path):
    result = CliRunner().invoke(
        command, [str(data), "--base", str(base_folder), "--out", str(tmp_path / "run"), "--steps", "0", "--shots", "1"]
    )
    assert result.exit_code == 0, result.output
    found = load_run(tmp_path / "run")
    assert (found.adapter, found.unet, found.decoder, found.losses) == (None, None, None, {})
    assert len(found.categories) == 2


def test_full_writes_the_whole_denoiser(data, base_folder, tmp_path):
    from safetensors.torch import load_file

    words = [str(data), "--base", str(base_folder), "--out", str(tmp_path / "run"), "--steps", "2", "--batch", "2",
             "--decoder-steps", "0", "--full", "--shots", "1", "--categories", "filter_cloth"]  # fmt: skip
    result = CliRunner().invoke(command, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found = load_run(tmp_path / "run")
    assert (found.adapter, found.decoder, list(found.categories)) == (None, None, ["filter_cloth"])
    unet = load_base(str(base_folder)).unet
    before = unet.conv_in.weight.clone()
    unet.load_state_dict(load_file(str(found.unet)))
    assert (unet.conv_in.weight != before).any()


def test_options_reach_the_settings(base_folder):
    """What is given goes over the base's defaults; the rest stays."""
    from edge_ad.commands.train import _settings
    from edge_ad.training.train import default_settings

    def settings(*words):
        context = command.make_context("train", ["data", "--out", "run", *words])
        return _settings({name: value for name, value in context.params.items() if name not in ("data", "out")})

    assert settings() == default_settings("nano")
    assert settings("--base", str(base_folder)) == replace(default_settings("nano"), base=str(base_folder))
    assert settings("--lora") == default_settings("nano", full=False)
    found = settings(
        "--views", "9", "--epochs", "7", "--batch", "4", "--lr", "0.1", "--ema", "0.5", "--masks", "random",
        "--clip", "2", "--plan-mask-share", "0.25", "--decoder-epochs", "3", "--decoder-batch", "2",
        "--decoder-lr", "0.2", "--decoder-crop", "64", "--foreground", "masks",
        "--foreground-method", "object", "--mixed-precision", "no",
        "--accumulate", "2", "--gradient-checkpointing", "--rank", "3", "--targets", "to_q, to_v", "--size", "96",
    )  # fmt: skip
    assert found.denoiser == replace(
        default_settings("nano", full=False).denoiser, epochs=7, batch=4, learning_rate=0.1, average=0.5,
        masks="random", clip=2, plan_mask_share=0.25, checkpointing=True, rank=3, targets=("to_q", "to_v"),
    )  # fmt: skip
    assert found.decoder == replace(
        default_settings("nano").decoder, epochs=3, batch=2, learning_rate=0.2, crop=64, clip=2, checkpointing=True
    )
    assert (found.views, found.image_size, found.foreground, found.foreground_method) == (
        9,
        96,
        Path("masks"),
        "object",
    )
    assert (found.mixed_precision, found.accumulate) == ("no", 2)
    large = settings("--base", "some/base", "--steps", "5")
    assert (large.denoiser.steps, large.denoiser.epochs, large.decoder.epochs) == (5, 0, 200)
    assert settings("--base", "some/base", "--steps", "0").decoder == replace(
        default_settings("some/base").decoder, steps=0, epochs=0
    )


def test_checkpointed_activations_change_memory_only(data, base_folder, tmp_path):
    """The same weights with and without, and with the user's foregrounds; one run each, in float32."""
    from safetensors.torch import load_file

    for path in sorted((data / "filter_cloth" / "train" / "good").iterdir()):
        (tmp_path / "masks").mkdir(exist_ok=True)
        mask = np.zeros(np.asarray(Image.open(path)).shape[:2], np.uint8)
        mask[16:48, 16:48] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"{path.stem}.png")
    words = ("--categories", "filter_cloth", "--foreground", str(tmp_path / "masks"), "--mixed-precision", "no")
    invoke(data, base_folder, tmp_path / "plain", *words)
    invoke(data, base_folder, tmp_path / "again", *words, "--gradient-checkpointing")
    plain, again = load_run(tmp_path / "plain"), load_run(tmp_path / "again")
    assert not plain.categories["filter_cloth"].texture
    assert json.loads((tmp_path / "plain" / "run.json").read_text())["categories"]["filter_cloth"][
        "foreground_share"
    ] == pytest.approx(0.25)
    for file in ("adapter/pytorch_lora_weights.safetensors", "decoder.safetensors"):
        first, second = load_file(plain.folder / file), load_file(again.folder / file)
        assert all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)


def test_a_users_category_table_reaches_the_run(data, base_folder, tmp_path):
    table = tmp_path / "mine.toml"
    limits = 'turn = "none"\nmirror = true\nscale = false\ncolour = false\n'
    table.write_text(f'[filter_cloth]\nname = "press cloth"\ndetail = ["A {{name}}."]\nkind = "texture"\n{limits}')
    words = ["--steps", "0", "--shots", "1", "--categories", "filter_cloth", "--categories-file", str(table)]
    result = CliRunner().invoke(
        command, [str(data), "--base", str(base_folder), "--out", str(tmp_path / "run"), *words], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    category = load_run(tmp_path / "run").categories["filter_cloth"]
    assert category.prompts == ["A perfect press cloth.", "A press cloth."]
    assert category.texture
    assert (category.turn, category.mirror, category.scale, category.colour) == ("none", True, False, False)
    # and from the run to its distillation
    told = category_info("filter_cloth", read_table(table))
    assert _info("filter_cloth", category) == replace(told, name="filter_cloth")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--full", "--rank", "4"], 2, "--full"),
        (["--full", "--targets", "to_q"], 2, "--full"),
        (["--targets", "nonsense"], 2, "nonsense"),
        (["--size", "100"], 2, "--size 100 is not a multiple of 32"),
        (["--size", "32"], 2, "--size"),
        (["--shots", "99"], 2, "99 were asked for"),
        (["--shots", "0"], 2, "--shots"),
        (["--categories", ","], 2, "no category was asked for"),
        (["--categories", "unicorn"], 1, "unicorn"),
        (["--steps", "-1"], 2, "--steps"),
        (["--lr", "0"], 2, "--lr"),
        (["--masks", "circles"], 2, "--masks"),
        (["--steps", "3", "--epochs", "2"], 2, "--steps and --epochs say the same thing"),
        (["--decoder-steps", "3", "--decoder-epochs", "2"], 2, "--decoder-steps and --decoder-epochs"),
        (["--accumulate", "3"], 2, "--batch 16 cannot be split into 3"),
        (["--mixed-precision", "fp16", "--device", "cpu"], 2, "fp16 needs a CUDA card"),
        (["--plan-mask-share", "1.5"], 2, "--plan-mask-share"),
        (["--foreground", "no such"], 1, "no such"),
        (["--foreground-method", "magic"], 2, "--foreground-method"),
        (["--prompts", "long"], 2, "--prompts"),
        (["--categories-file", "no such.toml"], 1, "no such.toml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_options_are_refused_before_any_work(words, code, says, data, base_folder, tmp_path, capsys):
    found, said = refused(capsys, data, "--base", base_folder, "--out", tmp_path / "run", "--shots", "1", *words)
    assert found == code
    assert says in said
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card here")
def test_a_card_that_is_not_there(data, base_folder, tmp_path, capsys):
    code, said = refused(
        capsys, data, "--base", base_folder, "--out", tmp_path / "run", "--shots", "1", "--device", "cuda"
    )
    assert code == 2
    assert "no CUDA card" in said


def test_a_finished_run_is_not_written_over(finished, data, base_folder, capsys):
    out = finished[0]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    code, said = refused(capsys, *arguments(data, base_folder, out))
    assert code == 1
    assert "finished run" in said
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_folder_of_other_things_is_not_touched(data, base_folder, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("x")
    code, said = refused(capsys, *arguments(data, base_folder, tmp_path))
    assert code == 1
    assert "not empty" in said
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    code, said = refused(capsys, *arguments(data, base_folder, tmp_path / "thesis.txt"))
    assert code == 1
    assert "is a file" in said


def test_an_unreadable_picture_is_named_and_leaves_no_run(base_folder, tmp_path, capsys):
    folder = tmp_path / "data" / "ring"
    folder.mkdir(parents=True)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n")
    code, said = refused(
        capsys, tmp_path / "data", "--base", base_folder, "--out", tmp_path / "run", "--shots", "1", "--steps", "1"
    )
    assert code == 1
    assert "broken.png" in said
    assert not (tmp_path / "run").exists()


def test_a_begun_run_is_taken_up_with_the_same_pictures_and_masks_only(data, base_folder, tmp_path):
    """By content: a shot or a mask painted over under its old name makes another training."""
    shots = shutil.copytree(data / "filter_cloth" / "train" / "good", tmp_path / "data" / "filter_cloth")
    (tmp_path / "masks").mkdir()
    for path in shots.iterdir():
        Image.new("L", (64, 64), 255).save(tmp_path / "masks" / f"{path.stem}.png")
    settings = TrainSettings(
        base=str(base_folder), shots=1, foreground=tmp_path / "masks", device="cpu", denoiser=DenoiserTuning(steps=0),
        decoder=DecoderTuning(steps=0),
    )  # fmt: skip

    def interrupted(line):
        raise KeyboardInterrupt

    def begin():
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "data", tmp_path / "run", settings, log=interrupted)

    begin()
    begin()
    for changed in (min(shots.iterdir()), min((tmp_path / "masks").iterdir())):
        before = changed.read_bytes()
        with Image.open(changed) as image:
            image.transpose(Image.Transpose.ROTATE_90).point(lambda value: 255 - value // 2).save(changed)
        with pytest.raises(InputError, match="not begun with these options and files"):
            train(tmp_path / "data", tmp_path / "run", settings)
        changed.write_bytes(before)
    begin()


SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from edge_ad.training.decoder import DecoderTuning
from edge_ad.training.finetune import DenoiserTuning
from edge_ad.training.train import TrainSettings, train
settings = TrainSettings(
    base=sys.argv[2], shots=1, views=4, device="cpu",
    denoiser=DenoiserTuning(steps=30, batch=2, rank=2, save_every=4), decoder=DecoderTuning(steps=2, batch=1),
)
train(Path(sys.argv[1]), Path(sys.argv[3]), settings, ["flange_cover"])
"""


def test_killed_and_started_again_it_ends_with_the_same_weights(data, base_folder, tmp_path):
    """SIGKILL amid the denoiser's training, then the same again: the weights are those of an undisturbed run."""
    from safetensors.torch import load_file

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(out):
        words = [sys.executable, "-c", SCRIPT, str(data), str(base_folder), str(out)]
        return subprocess.Popen(words, cwd="/", env=environment, stderr=subprocess.PIPE, text=True)

    killed, checkpoint = start(tmp_path / "killed"), tmp_path / "killed" / "work" / "denoiser.safetensors"
    while not checkpoint.is_file():
        assert killed.poll() is None, killed.stderr.read()
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "run.json").exists()
    for name in ("killed", "whole"):
        done = start(tmp_path / name)
        said = done.communicate()[1]
        assert done.returncode == 0, said
        assert ("resumed" in said) <= (name == "killed")
    # tensors, not bytes: safetensors writes its notes in the order of a hash table
    for file in ("adapter/pytorch_lora_weights.safetensors", "decoder.safetensors"):
        ours, theirs = load_file(tmp_path / "killed" / file), load_file(tmp_path / "whole" / file)
        assert set(ours) == set(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)

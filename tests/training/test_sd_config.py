"""The networks of Stable Diffusion 1.5 inpainting, random weights and 64-pixel images: nothing here is nano's."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from edge_ad.training import fit as fitting  # noqa: E402
from edge_ad.training.base import load_base  # noqa: E402
from edge_ad.training.run import load_run  # noqa: E402
from edge_ad.training.train import TrainSettings, default_settings, train  # noqa: E402

WIDTHS = (320, 640, 1280, 1280)


def settings(base, full):
    """Two steps of each part, a checkpoint after every one."""
    found = default_settings(str(base), full)
    return replace(
        found, shots=1, views=2, device="cpu", foreground_method="texture",
        denoiser=replace(found.denoiser, steps=2, epochs=0, batch=1, rank=4, save_every=1, checkpointing=True),
        decoder=replace(found.decoder, steps=2, epochs=0, batch=1, save_every=1, checkpointing=True),
    )  # fmt: skip


def stop_after_first(monkeypatch):
    """KeyboardInterrupt once the first checkpoint of a part is on disk."""
    real = fitting.save_checkpoint

    def save(path, module, average, optimiser, step, *more):
        real(path, module, average, optimiser, step, *more)
        if step == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "save_checkpoint", save)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("widths", "full"), [(WIDTHS, False), (tuple(width // 2 for width in WIDTHS), True)], ids=["lora", "full"]
)
def test_two_steps_of_denoiser_and_decoder_interrupted_and_taken_up(
    widths, full, tmp_path, tiny_shots, monkeypatch, stable_diffusion
):
    base = stable_diffusion(tmp_path / "base", widths)
    data = tmp_path / "data" / "ring"
    data.mkdir(parents=True)
    (data / "0.png").write_bytes(tiny_shots["ring"][0].read_bytes())
    asked, out = settings(base, full), tmp_path / "run"
    for part in ("denoiser", "decoder"):
        with monkeypatch.context() as patched:
            stop_after_first(patched)
            with pytest.raises(KeyboardInterrupt):
                train(tmp_path / "data", out, asked)
        assert fitting.read_notes(out / "work" / f"{part}.safetensors")["step"] == "1"
    train(tmp_path / "data", out, asked)
    run = load_run(out)
    assert set(run.losses) >= {"denoiser", "decoder"}
    assert (run.adapter is None, run.unet is None) == (full, not full)
    unet = load_base(str(base)).unet
    if full:
        from safetensors.torch import load_file

        before = unet.conv_in.weight.clone()
        unet.load_state_dict(load_file(str(run.unet)))
        assert (unet.conv_in.weight != before).any()
    else:
        unet.load_lora_adapter(str(run.adapter), prefix=None, weight_name="pytorch_lora_weights.safetensors")
        assert any(value.abs().max() > 0 for name, value in unet.named_parameters() if "lora_B" in name)


def test_the_papers_defaults_for_a_large_base(tmp_path):
    """Section 5.1: Adam at 1e-4, batch 8, 4,000 epochs of the shots and 200 of the decoder; LoRA unless asked."""
    from edge_ad.training.train import _with_steps

    found = default_settings("stable-diffusion-v1-5/stable-diffusion-inpainting")
    assert (found.denoiser.full, found.denoiser.learning_rate, found.denoiser.batch) == (False, 1e-4, 8)
    assert (found.decoder.learning_rate, found.decoder.batch, found.decoder.beta) == (1e-4, 8, 0.1)
    made = _with_steps(found, 15)  # one shot of each of MVTec's 15 categories
    assert (made.denoiser.steps, made.decoder.steps) == (7500, 375)
    assert _with_steps(found, 1).decoder.steps == 25
    assert default_settings("some/base", full=True).denoiser.full
    small = default_settings("nano")
    assert small.denoiser.full
    assert _with_steps(small, 99).denoiser.steps == 500
    assert default_settings("nano", full=False) == TrainSettings()

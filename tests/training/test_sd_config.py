"""The networks of Stable Diffusion 1.5 inpainting, random weights and 64-pixel images: nothing here is nano's."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from edge_ad.training import fit as fitting  # noqa: E402
from edge_ad.training.base import Base, load_base, save_base  # noqa: E402
from edge_ad.training.run import load_run  # noqa: E402
from edge_ad.training.train import TrainSettings, default_settings, train  # noqa: E402

WIDTHS = (320, 640, 1280, 1280)


def stable_diffusion(folder, widths):
    """The configuration of stable-diffusion-v1-5/stable-diffusion-inpainting, its denoiser at given widths."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from edge_ad.training.pretrain.architecture import SCHEDULER
    from edge_ad.training.pretrain.tokenizer import train_tokenizer

    torch.manual_seed(0)
    tokenizer = train_tokenizer([])
    tokenizer.model_max_length = 77
    unet = UNet2DConditionModel(
        sample_size=64, in_channels=9, out_channels=4, layers_per_block=2, block_out_channels=widths,
        down_block_types=(*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
        up_block_types=("UpBlock2D", *("CrossAttnUpBlock2D",) * 3), cross_attention_dim=768, attention_head_dim=8,
    )  # fmt: skip
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, sample_size=512,
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, scaling_factor=0.18215,
    )  # fmt: skip
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            max_position_embeddings=77,
            projection_dim=768,
            hidden_act="quick_gelu",
            bos_token_id=0,
            eos_token_id=1,
        )
    )
    base = Base(
        vae, unet, text_encoder, tokenizer, dict(SCHEDULER), name=str(folder), image_size=64, feature_kind="b6",
        licence="test",
    )  # fmt: skip
    save_base(base, folder)
    return folder


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
def test_two_steps_of_denoiser_and_decoder_interrupted_and_taken_up(widths, full, tmp_path, tiny_shots, monkeypatch):
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

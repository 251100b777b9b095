"""Distillation: its formulas against slow ones, a student that is nearer to the teacher's many steps, the command."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from edge_ad.cli import run as cli  # noqa: E402
from edge_ad.runtime.schedule import ddim_rows  # noqa: E402
from edge_ad.training.diffusion import Diffusion, blend, unet_input  # noqa: E402
from edge_ad.training.distill import DistillSettings, consistency, distill_denoiser, solver_step  # noqa: E402
from edge_ad.training.finetune import Views  # noqa: E402
from edge_ad.training.run import load_run  # noqa: E402

CONFIG = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}


def test_the_teachers_step_is_that_of_the_schedule_and_ends_clean():
    diffusion, generator = Diffusion(CONFIG), torch.Generator().manual_seed(0)
    z, noise = (torch.randn(3, 4, 2, 2, generator=generator) for _ in range(2))
    now, after = torch.tensor([399, 199, 19]), torch.tensor([379, 179, -1])
    found = solver_step(z, noise, now, after, diffusion)
    table = diffusion.alphas_cumprod.double().tolist()
    for i, (t, s) in enumerate(zip(now.tolist(), after.tolist())):
        ((a, b, *_),) = ddim_rows([(table[t], table[s] if s >= 0 else 1.0)])
        torch.testing.assert_close(found[i], a * z[i] + b * noise[i], rtol=1e-4, atol=1e-5)


def test_a_consistency_function_keeps_what_is_clean_and_else_says_the_clean_latent():
    diffusion, generator = Diffusion(CONFIG), torch.Generator().manual_seed(1)
    clean, noise = (torch.randn(2, 4, 2, 2, generator=generator) for _ in range(2))
    zero = torch.zeros(2, dtype=torch.int64)
    torch.testing.assert_close(consistency(clean, noise, zero, diffusion), clean)
    late = torch.tensor([399, 599])
    found = consistency(diffusion.add_noise(clean, noise, late), noise, late, diffusion)
    torch.testing.assert_close(found, clean, rtol=1e-3, atol=1e-3)


def many_steps(unet, views, diffusion, noise, mask, stride=20, start=399):
    """The teacher's DDIM from `start` down, step by step: the clean latent."""
    z = views.latents[: len(noise)]
    hidden, text = blend(z, views.blank, mask), views.prompts[0][:1].expand(len(z), -1, -1)
    x, t = diffusion.add_noise(z, noise, torch.full((len(z),), start)), start
    with torch.no_grad():
        while t >= 0:
            now = torch.full((len(z),), t)
            x = solver_step(x, unet(unet_input(x, mask, hidden), now, text).sample, now, now - stride, diffusion)
            t -= stride
    return x


@pytest.mark.parametrize(("lora", "rate", "share"), [(False, 3e-4, 0.85), (True, 1e-3, 0.97)])
def test_one_step_of_the_student_is_nearer_to_the_teachers_many(tiny_base, tmp_path, lora, rate, share):
    base = tiny_base()
    with torch.no_grad():  # random weights predict next to nothing, and then one step is as good as many
        base.unet.conv_out.weight.mul_(4)
    diffusion, generator = Diffusion(base.scheduler_config), torch.Generator().manual_seed(2)
    latents = torch.randn(8, 4, 8, 8, generator=generator)
    width = base.unet.config.cross_attention_dim
    views = Views(
        latents, np.ones((8, 8, 8), bool), np.zeros(8, np.int64), [torch.randn(1, 4, width, generator=generator)],
        torch.zeros(1, 4, 8, 8),
    )  # fmt: skip
    noise, mask = torch.randn(8, 4, 8, 8, generator=generator), torch.zeros(8, 1, 8, 8)
    mask[:, :, :4] = 1
    goal = many_steps(base.unet, views, diffusion, noise, mask)
    before = many_steps(base.unet, views, diffusion, noise, mask, stride=400)
    settings = DistillSettings(
        steps=100, batch=8, learning_rate=rate, strength=0.4, average=0.9, rank=8, device="cpu", mixed_precision="no"
    )
    loss = distill_denoiser(base, views, settings, tmp_path / "c.safetensors", lora=lora, tick=lambda *_: None)
    after = many_steps(base.unet, views, diffusion, noise, mask, stride=400)
    assert np.isfinite(loss)
    assert (after - goal).square().mean() < share * (before - goal).square().mean()
    assert not [name for name, _ in base.unet.named_parameters() if "lora" in name]


@pytest.mark.parametrize("lora", [False, True])
def test_in_bf16_the_students_convolutions_train_too(tiny_base, tmp_path, lora):
    """On a PyTorch before its pull request 165068 they would not, but for the cleared cache."""
    base, generator = tiny_base(), torch.Generator().manual_seed(3)
    names = [name for name, _ in base.unet.named_modules() if name.endswith((".conv1", ".conv2"))]
    before = {name: base.unet.get_submodule(name).weight.detach().clone() for name in names}
    width = base.unet.config.cross_attention_dim
    views = Views(
        torch.randn(2, 4, 8, 8, generator=generator), np.ones((2, 8, 8), bool), np.zeros(2, np.int64),
        [torch.randn(1, 4, width, generator=generator)], torch.zeros(1, 4, 8, 8),
    )  # fmt: skip
    settings = DistillSettings(steps=2, batch=2, learning_rate=1e-2, rank=2, device="cpu", mixed_precision="bf16")
    distill_denoiser(base, views, settings, tmp_path / "c.safetensors", lora=lora, tick=lambda *_: None)
    assert names
    for name in names:
        assert (base.unet.get_submodule(name).weight - before[name]).abs().max() > 1e-5, name


def test_the_command_writes_a_run_that_can_be_read(tiny_run, tmp_path, capsys):
    out = tmp_path / "student"
    options = ["--steps", "2", "--batch", "2", "--views", "2", "--device", "cpu", "--mixed-precision", "no"]
    assert cli(["distill", str(tiny_run), "--out", str(out), *options]) == 0
    made, source = load_run(out), load_run(tiny_run)
    assert made.unet is not None
    assert made.adapter is None
    assert made.settings["distilled"]["steps"] == 2
    assert {name: len(one.shots) for name, one in made.categories.items()} == {
        name: len(one.shots) for name, one in source.categories.items()
    }
    assert not (out / "work").exists()
    assert cli(["distill", str(tiny_run), "--out", str(out), *options]) != 0
    assert "holds a finished run" in capsys.readouterr().err

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edge_ad.training.diffusion import Diffusion, blend, unet_input  # noqa: E402
from edge_ad.training.pretrain.architecture import SCHEDULER  # noqa: E402


def test_alphas_by_a_loop():
    found = Diffusion(SCHEDULER).alphas_cumprod
    start, end, product = math.sqrt(SCHEDULER["beta_start"]), math.sqrt(SCHEDULER["beta_end"]), 1.0
    for t in range(1000):
        product *= 1 - (start + (end - start) * t / 999) ** 2
        assert abs(float(found[t]) - product) < 1e-6
    assert len(found) == 1000


def test_eq_1_and_7_by_a_loop():
    """z_t = z √ᾱ_t + ε √(1 - ᾱ_t), every element of every picture with its own timestep."""
    diffusion = Diffusion(SCHEDULER)
    generator = torch.Generator().manual_seed(0)
    z, noise = torch.randn(3, 4, 2, 2, generator=generator), torch.randn(3, 4, 2, 2, generator=generator)
    timesteps = torch.tensor([0, 399, 999])
    found = diffusion.add_noise(z, noise, timesteps)
    for b in range(3):
        alpha = float(diffusion.alphas_cumprod[timesteps[b]])
        for place in np.ndindex(4, 2, 2):
            slow = float(z[b][place]) * math.sqrt(alpha) + float(noise[b][place]) * math.sqrt(1 - alpha)
            assert abs(float(found[b][place]) - slow) < 1e-6


def test_noise_of_many_small_steps_is_that_of_one():
    """Eq. 1 step by step, z_t = √(1 - β_t) z_{t-1} + √β_t ε_t: mean and variance are those of the closed form."""
    diffusion = Diffusion(SCHEDULER)
    mean, variance, before = 1.0, 0.0, 1.0
    for alpha in diffusion.alphas_cumprod[:400].double().tolist():
        beta = 1 - alpha / before
        mean, variance, before = mean * math.sqrt(1 - beta), variance * (1 - beta) + beta, alpha
    found = diffusion.add_noise(torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), torch.tensor([399]))
    spread = diffusion.add_noise(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), torch.tensor([399]))
    assert abs(float(found) - mean) < 1e-5
    assert abs(float(spread) ** 2 - variance) < 1e-5


def test_blend_takes_blank_where_hidden():
    z, blank = torch.randn(2, 4, 3, 3), torch.randn(1, 4, 3, 3)
    mask = torch.zeros(2, 1, 3, 3)
    mask[0, 0, 1] = 1
    found = blend(z, blank, mask)
    for b, c, y, x in np.ndindex(2, 4, 3, 3):
        expected = blank[0, c, y, x] if mask[b, 0, y, x] else z[b, c, y, x]
        assert abs(float(found[b, c, y, x] - expected)) < 1e-6


def test_channels_are_in_the_order_of_diffusers_inpainting_pipeline(base_folder):
    """What StableDiffusionInpaintPipeline hands to its UNet is what eq. 8's loss is computed on."""
    from diffusers import StableDiffusionInpaintPipeline
    from PIL import Image

    from edge_ad.training.base import encode_mean

    pipeline = StableDiffusionInpaintPipeline.from_pretrained(base_folder)
    pipeline.set_progress_bar_config(disable=True)
    seen = []
    pipeline.unet.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].clone()))
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    hidden = np.zeros((64, 64), np.uint8)
    hidden[16:40, 8:32] = 255
    pipeline(
        prompt="A perfect ring.", image=Image.fromarray(pixels), mask_image=Image.fromarray(hidden), height=64,
        width=64,
        num_inference_steps=2, strength=0.6, guidance_scale=1.0, output_type="latent",
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    mask = torch.from_numpy(hidden > 0)[None, None].float()
    with torch.no_grad():
        masked = encode_mean(pipeline.vae, x * (1 - mask))
    expected = unet_input(seen[0][:, :4], mask[..., ::8, ::8], masked)
    assert expected.shape == seen[0].shape == (1, 9, 8, 8)
    torch.testing.assert_close(seen[0], expected, atol=1e-4, rtol=1e-3)

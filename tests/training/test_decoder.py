from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from edge_ad.training.base import encode_mean  # noqa: E402
from edge_ad.training.decoder import DecoderTuning, decoder_loss, tune_decoder  # noqa: E402
from edge_ad.training.perceptual import PerceptualNet  # noqa: E402

TUNING = DecoderTuning(steps=5, batch=2, crop=64, save_every=2)


def quiet(count=1, note=""):
    pass


@pytest.fixture
def make(tiny_base, tiny_picture):
    """The function that makes a base, its pictures (72 px) and their latents."""

    def build():
        base = tiny_base()
        pictures = np.stack([tiny_picture[:72, :72], tiny_picture[8:, 8:]])
        x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.no_grad():
            return base, pictures, encode_mean(base.vae, x)

    return build


def state(module):
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def test_eq_9():
    """L_MSE + β L_LPIPS, the mean over the batch."""
    net = PerceptualNet("alexnet")
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1 for _ in range(2))
    mse = sum(float(((x[i] - y[i]).double() ** 2).mean()) for i in range(2)) / 2
    lpips = sum(float(net(x[i : i + 1], y[i : i + 1])) for i in range(2)) / 2
    for beta in (0.0, 0.1, 2.0):
        assert abs(float(decoder_loss(x, y, net, beta)) - (mse + beta * lpips)) < 1e-5


def test_interrupted_and_taken_up_it_ends_bit_for_bit_the_same(make, tmp_path):
    whole, again = make(), make()
    tune_decoder(*whole, TUNING, tmp_path / "whole", seed=1, tick=quiet, key="k")
    calls = []

    def interrupt(count=1, note=""):
        calls.append(count)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_decoder(*make(), TUNING, tmp_path / "part", seed=1, tick=interrupt, key="k")
    done = []
    tune_decoder(
        *again, TUNING, tmp_path / "part", seed=1, tick=lambda count=1, note="": done.append((count, note)), key="k"
    )
    assert done[0] == (2, "resumed")
    ours, theirs = state(again[0].vae), state(whole[0].vae)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_only_the_decoder_is_trained(make, tmp_path):
    base, pictures, latents = make()
    before = state(base.vae)
    losses = tune_decoder(base, pictures, latents, TUNING, tmp_path / "c", seed=0, tick=quiet)
    after = state(base.vae)
    assert np.isfinite(losses["decoder"])
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("encoder"))
    assert any((after[name] != before[name]).any() for name in before if name.startswith("decoder"))
    assert not any(value.requires_grad for value in base.vae.parameters())


def test_the_loss_falls_and_a_crop_larger_than_the_picture_is_the_picture(make, tmp_path):
    tuning = replace(TUNING, crop=512, learning_rate=3e-3)
    first = tune_decoder(*make(), replace(tuning, steps=3), tmp_path / "a", seed=0, tick=quiet)
    last = tune_decoder(*make(), replace(tuning, steps=70), tmp_path / "b", seed=0, tick=quiet)
    assert last["decoder"] < 0.9 * first["decoder"]

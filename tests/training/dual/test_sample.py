"""Drawing pairs against diffusers' DDIM with guidance written out branch by branch."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from edge_ad.errors import OptionError  # noqa: E402
from edge_ad.training.base import decode  # noqa: E402
from edge_ad.training.dual.model import DualModel, DualShape  # noqa: E402
from edge_ad.training.dual.sample import Sampling, TorchPainter, draw  # noqa: E402
from edge_ad.training.pretrain.architecture import SCHEDULER  # noqa: E402

PROMPTS = ("a vfx with sks", "sks")


@pytest.fixture(scope="module")
def dual(tiny_base, disturb):
    base = tiny_base()
    return base, disturb(DualModel(base, DualShape(rank=2, saim="plain")))


@pytest.fixture(scope="module")
def painter(dual):
    return TorchPainter(*dual, PROMPTS)


def test_it_is_ddim_with_guidance_in_both_branches(dual, painter):
    from diffusers import DDIMScheduler

    base, model = dual
    drawn = draw(base, painter, [7], Sampling(steps=5, cfg=2.0, seed=3))
    scheduler = DDIMScheduler.from_config(SCHEDULER | {"timestep_spacing": "trailing"})
    scheduler.set_timesteps(5)
    x = torch.from_numpy(np.random.default_rng([3, 7, 13]).standard_normal((2, 4, 8, 8), dtype=np.float32))
    with torch.no_grad():
        empty, asked = model.encode(("", "")), model.encode(PROMPTS)
        for t in scheduler.timesteps:
            without, wanted = model(x, t[None], empty), model(x, t[None], asked)
            x = scheduler.step(without + 2.0 * (wanted - without), t, x).prev_sample
        pictures = ((decode(base.vae, x).clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1).numpy()
    assert abs(drawn.pictures[0] - pictures[0]).max() <= 1
    assert abs(drawn.parts[0] - pictures[1]).max() <= 1


def test_a_number_gives_its_pair_whatever_the_batch(dual, painter):
    base, model = dual
    sampling = Sampling(steps=2)
    together = draw(base, painter, [0, 1, 2], sampling, attention=True)
    alone = draw(base, painter, [1], sampling, attention=True)
    assert abs(together.pictures[1].astype(int) - alone.pictures[0]).max() <= 1
    assert abs(together.parts[1].astype(int) - alone.parts[0]).max() <= 1
    np.testing.assert_allclose(together.maps[1], alone.maps[0], rtol=1e-3)
    assert together.maps.shape == (3, 8, 8)
    assert all(processor.maps is None for processor in model.cross)
    other = draw(base, painter, [1], replace(sampling, seed=1))
    assert abs(other.pictures[0].astype(int) - alone.pictures[0]).max() > 1


def test_guidance_of_one_is_none(dual, painter):
    """Nearly: ε_u + 1·(ε_c - ε_u) is ε_c."""
    near, one = (draw(dual[0], painter, [0], Sampling(steps=2, cfg=cfg)) for cfg in (1.0000001, 1.0))
    assert abs(near.pictures.astype(int) - one.pictures).max() <= 1


def test_backgrounds_are_chosen_by_the_pair(tiny_base, disturb):
    base = tiny_base()
    model = disturb(DualModel(base, DualShape(rank=2, background=True)), 0.2)
    backgrounds, painter = torch.randn(3, 4, 8, 8), TorchPainter(base, model, PROMPTS)
    two = draw(base, painter, [0, 1], Sampling(steps=2), backgrounds=backgrounds)
    one = draw(base, painter, [1], Sampling(steps=2), backgrounds=backgrounds)
    assert abs(two.pictures[1].astype(int) - one.pictures[0]).max() <= 1


def test_too_many_steps(dual, painter):
    with pytest.raises(OptionError, match="--steps 2000"):
        draw(dual[0], painter, [0], Sampling(steps=2000))

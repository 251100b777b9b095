"""Two steps on the networks of Stable Diffusion 1.5, inpainting and text-to-image, random weights, 64-pixel images."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from dataclasses import replace  # noqa: E402

from edge_ad.errors import InputError  # noqa: E402
from edge_ad.training.base import load_base  # noqa: E402
from edge_ad.training.dual.generate import GenerateSettings, generate  # noqa: E402
from edge_ad.training.dual.generator import load_generator, load_model  # noqa: E402
from edge_ad.training.dual.masks import MaskRules  # noqa: E402
from edge_ad.training.dual.sample import Sampling  # noqa: E402
from edge_ad.training.dual.train import default_settings, train_generator  # noqa: E402

ACCEPTS_ALL = MaskRules(floor=0, smallest=0, largest=1, on_object=0, agreement=0, visible=0)
NARROW = (32, 32, 64, 64)


def two_steps(base, data, out):
    """A generator of two steps with the defaults of Stable Diffusion, and a pair that it drew."""
    found = default_settings(str(base))
    tuning = replace(found.tuning, steps=2, batch=1, views=2, save_every=1)
    train_generator(data, out, "filter_cloth", "stain", replace(found, tuning=tuning, device="cpu"))
    made = generate(out, out.parent / "pairs", GenerateSettings(
        count=1, sampling=Sampling(steps=1), batch=1, rules=ACCEPTS_ALL, device="cpu"))  # fmt: skip
    assert made["counts"]["accepted"] == 1
    return load_generator(out)


def test_a_text_to_image_base_trains_and_draws(stable_diffusion, pairs_data, tmp_path):
    base = stable_diffusion(tmp_path / "base", NARROW, 4)
    generator = two_steps(base, pairs_data, tmp_path / "gen")
    _, model = load_model(generator)
    assert model.unet.config.in_channels == 4
    with pytest.raises(InputError, match="has 4 input channels; an inpainting checkpoint has 9"):
        load_base(str(base))


@pytest.mark.slow
@pytest.mark.parametrize("channels", [9, 4], ids=["inpainting", "text-to-image"])
def test_two_steps_on_the_real_configuration(channels, stable_diffusion, pairs_data, tmp_path):
    base = stable_diffusion(tmp_path / "base", (320, 640, 1280, 1280), channels)
    generator = two_steps(base, pairs_data, tmp_path / "gen")
    assert generator.shape.rank == 32
    _, model = load_model(generator)
    ups = [value.abs().max() for name, value in model.trained.items() if ".up." in name]
    assert max(ups) > 0  # two steps have moved LoRA from its start

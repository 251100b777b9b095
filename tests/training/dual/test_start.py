"""What lies under the first noise: equation 7 by hand, crop-and-paste, and what cannot be."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from dataclasses import replace  # noqa: E402

from edge_ad.errors import InputError, OptionError  # noqa: E402
from edge_ad.runtime.schedule import alphas_cumprod, make_schedule  # noqa: E402
from edge_ad.training.dual.generator import load_generator, load_model  # noqa: E402
from edge_ad.training.dual.model import DualShape  # noqa: E402
from edge_ad.training.dual.pairs import Pair  # noqa: E402
from edge_ad.training.dual.sample import Sampling, TorchPainter, _noise, draw  # noqa: E402
from edge_ad.training.dual.start import crop_paste, make_start, pair_latents  # noqa: E402
from edge_ad.training.dual.train import DualSettings, DualTuning, train_generator  # noqa: E402


@pytest.fixture(scope="module")
def generator(tmp_path_factory, base_folder, pairs_data):
    settings = DualSettings(
        base=str(base_folder), shape=DualShape(rank=2), tuning=DualTuning(steps=1, batch=1, views=2), device="cpu"
    )
    folder = train_generator(pairs_data, tmp_path_factory.mktemp("gen") / "gen", "filter_cloth", "stain", settings)
    return load_generator(folder)


def test_the_first_step_sees_the_start_noised_as_in_training(tiny_base):
    base = tiny_base()
    schedule = make_schedule(base.scheduler_config, 0.6, 4, "ddim")
    alpha = float(alphas_cumprod(base.scheduler_config)[int(schedule.timesteps[0])])
    clean = torch.randn(2, 4, 8, 8)
    x, _, _ = _noise([3, 5], 0, 8, None, lambda rng: clean, schedule.start)
    for row, number in enumerate((3, 5)):
        fresh = torch.from_numpy(np.random.default_rng([0, number, 13]).standard_normal((2, 4, 8, 8), dtype=np.float32))
        for branch in (0, 1):
            wanted = alpha**0.5 * clean[branch] + (1 - alpha) ** 0.5 * fresh[branch]
            torch.testing.assert_close(x[row, branch], wanted, atol=1e-5, rtol=1e-5)


def test_what_each_start_is(generator):
    base, _ = load_model(generator)
    rng = np.random.default_rng(0)
    assert make_start(generator, base, Sampling(start="noise")) is None
    mean = make_start(generator, base, Sampling(start="mean"))(rng)
    pairs = [pair_latents(base, pair.image, pair.mask) for pair in generator.pairs()]
    by_hand = sum(latents.mean((2, 3)) for latents in pairs) / len(pairs)
    torch.testing.assert_close(mean, by_hand[:, :, None, None].expand_as(mean), atol=1e-5, rtol=1e-5)
    good = make_start(generator, base, Sampling(start="good", strength=0.5))(rng)
    blank = pair_latents(base, generator.good()[0], np.zeros((64, 64), bool))[1]
    torch.testing.assert_close(good[1], blank)
    picture, part = make_start(generator, base, Sampling(start="paste", strength=0.5))(rng)
    assert picture.shape == part.shape == (4, 8, 8)
    assert not torch.equal(part, blank)


def test_pasted_pixels_are_the_defects_and_the_others_the_good_pictures():
    rng = np.random.default_rng(1)
    image, picture = (rng.integers(0, 256, (16, 16, 3), np.uint8) for _ in range(2))
    mask = np.zeros((16, 16), bool)
    mask[2:5, 9:11] = True
    made, found = crop_paste(picture, Pair("a", image, mask), rng, anywhere=False)
    np.testing.assert_array_equal(found, mask)
    np.testing.assert_array_equal(made[mask], image[mask])
    np.testing.assert_array_equal(made[~mask], picture[~mask])
    made, found = crop_paste(picture, Pair("a", image, mask), rng, anywhere=True)
    assert found.sum() == mask.sum()
    assert sorted(map(tuple, made[found])) == sorted(map(tuple, image[mask]))
    np.testing.assert_array_equal(made[~found], picture[~found])


def test_a_pair_is_the_same_in_any_batch(generator):
    base, model = load_model(generator)
    sampling = Sampling(steps=2, cfg=1, start="paste", strength=0.5)
    begin, painter = make_start(generator, base, sampling), TorchPainter(base, model, generator.prompts)
    both = draw(base, painter, [0, 1], sampling, begin=begin)
    alone = draw(base, painter, [1], sampling, begin=begin)
    assert np.abs(both.pictures[1].astype(int) - alone.pictures[0]).max() <= 1


def test_what_cannot_be_is_named(generator, tmp_path):
    base, _ = load_model(generator)
    with pytest.raises(
        OptionError, match=r"--strength 0\.5 keeps the outline of a picture: give --start good or paste"
    ):
        make_start(generator, base, Sampling(strength=0.5))
    with pytest.raises(InputError, match="has no good pictures; --start good begins with one"):
        make_start(replace(generator, folder=tmp_path), base, Sampling(start="good"))

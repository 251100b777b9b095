import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from edge_ad.dataset import Sample, load_dataset  # noqa: E402
from edge_ad.errors import InputError  # noqa: E402
from edge_ad.images import write_image  # noqa: E402
from edge_ad.training.base import encode_mean  # noqa: E402
from edge_ad.training.dual.pairs import (  # noqa: E402
    Pair,
    anomaly_part,
    defect_samples,
    first_third,
    make_pair_views,
    read_pair,
    to_tensor,
    view_of,
)
from edge_ad.training.prompts import CategoryInfo  # noqa: E402

FREE = CategoryInfo("x", (), turn="free", mirror=True, colour=False)


@given(st.integers(1, 60))
def test_the_first_third_trains_and_the_rest_tests(count):
    samples = [Sample(path, "crack", None, True) for path in range(count)]
    train, rest = first_third(samples)
    assert train + rest == samples
    assert len(train) == max(1, count // 3)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_a_view_moves_picture_and_mask_alike(seed):
    """The picture is its own mask: after any move they still agree but for the rim that resampling blurs."""
    mask = np.zeros((64, 64), bool)
    mask[20:38, 26:46] = True
    image = np.repeat(mask[..., None], 3, 2).astype(np.uint8) * 200
    view = view_of(Pair("a", image, mask), FREE, [seed])
    assert ((view.image[..., 0] > 100) != view.mask).mean() < 0.01
    assert view.mask.any()


def test_what_is_not_the_defect_is_mid_grey():
    x = to_tensor(np.full((1, 4, 4, 3), 255, np.uint8))
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    part = anomaly_part(x, mask)
    assert torch.equal(part[..., :2], torch.ones(1, 3, 4, 2))
    assert torch.equal(part[..., 2:], torch.zeros(1, 3, 4, 2))


def test_views_are_the_latents_of_picture_part_and_background(tiny_base):
    base = tiny_base()
    rng = np.random.default_rng(0)
    mask, front = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    mask[10:20, 10:20], front[5:60, 5:60] = True, True
    pairs = [Pair("a", rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), mask)]
    done = []
    views = make_pair_views(base, pairs, [front], FREE, 3, seed=0, tick=lambda *_: done.append(1))
    assert len(done) == 3
    assert views.picture.shape == views.part.shape == views.background.shape == (3, 4, 8, 8)
    x = to_tensor(pairs[0].image[None])  # the first is the pair as it is
    with torch.no_grad():
        for ours, inside in ((views.picture, np.ones_like(mask)), (views.part, mask), (views.background, ~front)):
            wanted = encode_mean(base.vae, x * torch.from_numpy(inside))
            torch.testing.assert_close(ours[:1], wanted, atol=1e-5, rtol=1e-4)
    assert not torch.equal(views.picture[1], views.picture[0])
    again = make_pair_views(base, pairs, None, FREE, 3, seed=0, tick=lambda *_: None)
    torch.testing.assert_close(again.picture, views.picture, atol=1e-5, rtol=1e-4)
    assert again.background is None


def test_reading(pairs_data, tmp_path):
    category = load_dataset(pairs_data, need_test=True)["filter_cloth"]
    samples = defect_samples(category, "stain")
    pair = read_pair(samples[0].path, samples[0].mask, 32)
    assert pair.image.shape == (32, 32, 3)
    assert pair.mask.shape == (32, 32)
    with pytest.raises(InputError, match=r"no defect rust; it has: .*stain"):
        defect_samples(category, "rust")
    write_image(tmp_path / "empty.png", np.zeros((64, 64), bool))
    with pytest.raises(InputError, match=r"empty\.png: no pixel"):
        read_pair(samples[0].path, tmp_path / "empty.png", 32)
    (samples[0].mask.parent.rename(tmp_path / "away"))
    try:
        samples[0].mask.parent.parent.rename(tmp_path / "truth")
        category = load_dataset(pairs_data, need_test=True)["filter_cloth"]
        with pytest.raises(InputError, match="has no mask"):
            defect_samples(category, "stain")
    finally:
        (tmp_path / "truth").rename(samples[0].mask.parent.parent)
        (tmp_path / "away").rename(samples[0].mask.parent)

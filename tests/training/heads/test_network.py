"""The networks and their losses, against slow references."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from edge_ad.training.heads.network import (  # noqa: E402
    TOP_SHARE,
    Classifier,
    Segmenter,
    SegmenterGraph,
    multiple,
    of_category,
    segmentation_loss,
)


def pictures(count, size=64, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8))


@pytest.mark.parametrize("size", ["small", "large"])
def test_shapes_and_that_pictures_do_not_see_each_other(size):
    torch.manual_seed(0)
    side = 2 * multiple(size)
    both = pictures(2, side)
    with torch.no_grad():
        for net in (Segmenter(size).eval(), Classifier(5, size).eval()):
            together, alone = net(both), net(both[1:])
            assert together.shape == ((2, side, side) if isinstance(net, Segmenter) else (2, 5))
            torch.testing.assert_close(together[1:], alone, atol=1e-4, rtol=1e-4)


def test_the_loss_is_cross_entropy_and_dice_by_the_pixel():
    logits, mask = torch.randn(2, 3, 4), torch.rand(2, 3, 4) > 0.5
    entropy = overlap = likely = defective = 0.0
    for value, truth in zip(logits.flatten().tolist(), mask.flatten().tolist()):
        p = 1 / (1 + math.exp(-value))
        entropy -= math.log(p if truth else 1 - p) / 24
        overlap, likely, defective = overlap + p * truth, likely + p, defective + truth
    wanted = entropy + 1 - (2 * overlap + 1) / (likely + defective + 1)
    assert float(segmentation_loss(logits, mask)) == pytest.approx(wanted, rel=1e-5)


def test_an_empty_mask_has_a_finite_loss():
    assert math.isfinite(float(segmentation_loss(torch.full((1, 8, 8), -40.0), torch.zeros(1, 8, 8, dtype=torch.bool))))


def test_only_the_kinds_of_a_category_are_likely():
    allowed = torch.tensor([[True, False, True], [False, True, False]])
    likely = of_category(torch.tensor([[1.0, 9.0, 2.0], [3.0, -9.0, 5.0]]), allowed).softmax(1)
    torch.testing.assert_close(likely[0], torch.tensor([1 / (1 + math.e), 0, math.e / (1 + math.e)]))
    torch.testing.assert_close(likely[1], torch.tensor([0.0, 1, 0]))


def test_the_score_is_the_mean_of_the_highest_pixels():
    torch.manual_seed(1)
    with torch.no_grad():
        found, score = SegmenterGraph(Segmenter().eval())(pictures(2))
    count = round(TOP_SHARE * 64 * 64)
    for one, value in zip(found, score):
        assert float(value) == pytest.approx(sum(sorted(one.flatten().tolist())[-count:]) / count, rel=1e-5)
    assert found.min() >= 0
    assert found.max() <= 1

import numpy as np
import pytest

pytest.importorskip("torch")

from edge_ad.errors import InputError
from edge_ad.training.dual.masks import (
    MaskRules,
    SalientObject,
    agreement,
    attention_mask,
    clean,
    rejection,
    threshold_mask,
    visible,
)

RULES = MaskRules()


def part_of(mask, colour=(30, 60, 20), noise=3.0):
    """An anomaly part as a generator draws one: mid-grey with a little noise, and the defect."""
    rng = np.random.default_rng(0)
    part = np.where(mask[..., None], np.array(colour), 128) + rng.normal(0, noise, (*mask.shape, 3))
    return np.clip(part, 0, 255).astype(np.uint8)


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("colour", [(30, 60, 20), (250, 250, 250), (128, 128, 200)])
def test_the_mask_is_where_the_part_is_not_mid_grey(colour):
    y, x = np.mgrid[:128, :128]
    mask = (np.hypot(x - 40, y - 70) < 15) | (abs(x - 100) < 3)
    assert iou(threshold_mask(part_of(mask, colour), RULES), mask) > 0.75


def test_faint_edges_belong_to_the_defect():
    y, x = np.mgrid[:128, :128]
    fade = np.clip(1.5 - np.hypot(x - 64, y - 64) / 20, 0, 1)
    part = (128 - 100 * fade[..., None] * np.ones(3)).astype(np.uint8)
    found = threshold_mask(part, RULES)
    assert iou(found, fade > 0.3) > 0.8


def test_a_ground_that_is_not_quite_grey_changes_nothing():
    y, x = np.mgrid[:128, :128]
    mask = np.hypot(x - 40, y - 70) < 15
    part = part_of(mask)
    part[~mask] = (part[~mask] + np.array([20, 5, -25])).astype(np.uint8)
    assert iou(threshold_mask(part, RULES), mask) > 0.8
    everything = part_of(np.ones((64, 64), bool), (230, 230, 230))
    assert threshold_mask(everything, RULES).mean() > 0.9  # a part that is all defect stays one


def test_nothing_but_grey_is_empty():
    assert not threshold_mask(part_of(np.zeros((64, 64), bool)), RULES).any()


def test_holes_are_filled_and_specks_dropped():
    mask = np.zeros((64, 64), bool)
    mask[10:40, 10:40] = True
    wanted = mask.copy()
    mask[20:24, 20:24] = False
    mask[60, 60] = True
    assert np.array_equal(clean(mask, RULES), wanted)
    assert not clean(np.zeros((64, 64), bool), RULES).any()


def test_attention_maps_become_masks():
    weights = np.ones((8, 8), np.float32)
    weights[2:5, 3:6] = 4
    found = attention_mask(weights, 64, RULES)
    wanted = np.kron(weights > 1, np.ones((8, 8), bool))
    assert iou(found, wanted) > 0.7


def test_reasons_to_reject():
    size = 100
    front = np.zeros((size, size), bool)
    front[:, :50] = True

    def box(left, width, height=50):
        mask = np.zeros((size, size), bool)
        mask[:height, left : left + width] = True
        return mask

    def reason(mask, front, alike, alignment=None, least=0.7):
        return rejection(mask, front, alike, alignment, least, RULES)

    assert reason(box(0, 0), front, 0.9) == "empty"
    assert reason(box(0, 90, 90), front, 0.9) == "whole"
    assert reason(box(60, 20), front, 0.9) == "off-object"
    assert reason(box(60, 20), None, 0.9) is None
    assert reason(box(45, 10), front, 0.9) is None
    assert reason(box(45, 10), front, 0.5) == "apart"
    assert reason(box(45, 10), front, 0.9, 0.69) == "faint"
    assert reason(box(45, 10), front, 0.9, 0.7) is None


def test_no_pair_must_be_more_visible_than_the_training_pairs():
    assert visible([0.99, 0.95], RULES) == RULES.visible
    assert visible([0.99, 0.6], RULES) == 0.6
    assert visible([], RULES) == RULES.visible


def test_agreement_by_the_pixel():
    rng = np.random.default_rng(0)
    picture, part = (rng.integers(0, 256, (6, 6, 3), np.uint8) for _ in range(2))
    mask = rng.random((6, 6)) > 0.5
    values = [abs(int(picture[y, x, c]) - int(part[y, x, c])) for y, x in zip(*np.nonzero(mask)) for c in range(3)]
    assert agreement(picture, part, mask) == pytest.approx(1 - np.mean(values) / 255, abs=1e-4)
    assert agreement(picture, part, np.zeros((6, 6), bool)) is None


def test_u2net_says_what_to_install():
    try:
        import rembg  # noqa: F401
    except (ImportError, SystemExit):
        with pytest.raises(InputError, match="pip install rembg"):
            SalientObject()

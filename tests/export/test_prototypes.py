import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edge_ad.export.prototypes import (  # noqa: E402
    bank_rotations,
    category_arrays,
    coreset,
    error_level,
    prototype_bank,
    rotated,
    shot_features,
)


def test_a_coreset_is_greedy_k_centre():
    """Against the definition, without projection: each new centre is the row farthest from those chosen."""
    rows = np.random.default_rng(0).standard_normal((60, 5)).astype(np.float32)
    chosen = coreset(rows, 12).tolist()
    expected = [int(((rows - rows.mean(0)) ** 2).sum(1).argmin())]
    while len(expected) < 12:
        nearest = [min(((row - rows[c]) ** 2).sum() for c in expected) for row in rows]
        expected.append(int(np.argmax(nearest)))
    assert chosen == expected


def test_a_coreset_covers_better_than_chance():
    """Of 40 kinds of position, most of them rare, the coreset misses none; the first rows miss some."""
    rng = np.random.default_rng(1)
    kinds = np.minimum(rng.geometric(0.1, 800) - 1, 39)
    kinds[-40:] = np.arange(40)
    rows = (10 * rng.standard_normal((40, 100))[kinds] + rng.standard_normal((800, 100))).astype(np.float32)

    def radius(indices):
        return max(((row - rows[indices]) ** 2).sum(1).min() for row in rows)

    assert set(kinds[coreset(rows, 80)]) == set(range(40))
    assert radius(coreset(rows, 80)) < 0.2 * radius(np.arange(80))


def test_a_coreset_of_copies_ends_early_and_small_sets_stay_whole():
    rows = np.repeat(np.eye(3, 8, dtype=np.float32), 50, axis=0)
    assert len(coreset(rows, 20)) == 3
    assert coreset(rows[:10], 20).tolist() == list(range(10))


def test_every_product_is_turned_by_quarters_and_a_free_one_by_eighths():
    assert bank_rotations("none") == bank_rotations("small") == bank_rotations("quarter") == (0, 90, 180, 270)
    assert bank_rotations("free") == (0, 45, 90, 135, 180, 225, 270, 315)


def test_quarter_turns_are_exact_and_small_angles_stay_in_the_picture():
    image = np.random.default_rng(2).integers(60, 200, (32, 32, 3), np.uint8)
    np.testing.assert_array_equal(rotated(image, 90), np.rot90(image))
    np.testing.assert_array_equal(rotated(rotated(image, 270), 90), image)
    turned = rotated(np.full((32, 32, 3), 90, np.uint8), 10)
    assert turned.shape == image.shape
    assert (turned == 90).all()  # mirrored borders, no black corners


def test_a_bank_holds_the_turned_shots():
    from edge_ad.training.features import FeatureNet

    torch.set_num_threads(1)
    net = FeatureNet("lite0")
    shots = list(np.random.default_rng(3).integers(0, 256, (2, 64, 64, 3), np.uint8))
    features = shot_features(net, shots, (0.0, 90.0))
    assert [rows.shape for rows in features] == [(128, 152)] * 2
    with torch.no_grad():
        plain = net(torch.from_numpy(shots[1][None]))[0].flatten(1).T.numpy()
    np.testing.assert_allclose(features[1][:64], plain, atol=1e-3)
    bank = prototype_bank(features, 50)
    assert bank.shape == (50, 152)
    assert bank.dtype == np.float16
    assert error_level(features, 64) > 0
    assert error_level(features[:1], 64) == 1.0
    assert error_level([features[0], features[0]], 64) < 1e-2  # a shot seen twice has nothing new
    # a single shot is taken once more: something new, but less than another picture is
    alone = category_arrays(net, shots[:1], rotations=(0.0, 90.0))["level"]
    assert 0 < alone < category_arrays(net, shots, rotations=(0.0, 90.0))["level"]

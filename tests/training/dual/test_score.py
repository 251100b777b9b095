import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edge_ad.training.dual.alignment import Alignment  # noqa: E402
from edge_ad.training.dual.pairs import to_tensor  # noqa: E402
from edge_ad.training.dual.score import ic_lpips, lpips_vectors, squared_distances  # noqa: E402
from edge_ad.training.dual.sheet import contact_sheet, outlined  # noqa: E402
from edge_ad.training.features import FeatureNet  # noqa: E402
from edge_ad.training.perceptual import PerceptualNet, best_available  # noqa: E402


@pytest.fixture(scope="module")
def net():
    return PerceptualNet(best_available())


def pictures(count, seed=0, size=64):
    rng = np.random.default_rng(seed)
    return [
        np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((size // 8, size // 8, 1))).astype(np.uint8)
        for _ in range(count)
    ]


def lpips(net, a, b):
    return float(net(to_tensor(a[None]), to_tensor(b[None])))


def test_distances_of_vectors_are_lpips(net):
    found = pictures(3)
    vectors = lpips_vectors(net, found)
    distances = squared_distances(vectors, vectors)
    for i in range(3):
        for j in range(3):
            assert distances[i, j] == pytest.approx(lpips(net, found[i], found[j]), rel=1e-3, abs=1e-6)


def test_ic_lpips_is_the_mean_within_clusters(net):
    training = pictures(3, seed=1)
    rng = np.random.default_rng(2)
    generated = [
        np.clip(training[k] + rng.integers(-60, 60, training[k].shape), 0, 255).astype(np.uint8)
        for k in (0, 0, 0, 1, 1, 2)
    ]
    found = ic_lpips(net, generated, training, limit=10, tick=lambda *_: None)
    owners = [min(range(3), key=lambda k: lpips(net, picture, training[k])) for picture in generated]
    means = []
    for cluster in range(3):
        members = [picture for picture, owner in zip(generated, owners) if owner == cluster]
        values = [lpips(net, a, b) for i, a in enumerate(members) for b in members[i + 1 :]]
        if values:
            means.append(sum(values) / len(values))
    assert owners == [0, 0, 0, 1, 1, 2]
    assert found["clusters"] == [3, 2, 1]
    assert found["ic_lpips"] == pytest.approx(np.mean(means), rel=1e-3)
    nearest = [min(lpips(net, picture, centre) for centre in training) for picture in generated]
    assert found["nearest"] == pytest.approx(np.mean(nearest), rel=1e-3)
    copies = ic_lpips(net, training, training, limit=10, tick=lambda *_: None)
    assert copies["nearest"] == pytest.approx(0, abs=1e-6)
    assert copies["ic_lpips"] is None


def test_alignment_is_high_for_the_true_mask_and_chance_for_another():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:128, :128]

    def cloth():
        wave = 128 + 40 * np.sin(x / 3) * np.sin(y / 3) + rng.normal(0, 4, (128, 128))
        return np.repeat(wave[..., None], 3, 2).clip(0, 255).astype(np.uint8)

    image, mask = cloth(), np.hypot(x - 80, y - 40) < 18
    image[mask] = (200, 30, 30)
    features = FeatureNet("lite0")
    good = [cloth(), cloth()]
    assert Alignment(features, good)(image, mask) > 0.95
    assert Alignment(features, good)(image, mask[::-1, ::-1]) < 0.7


def test_contact_sheets():
    columns = [[np.full((20, 20, 3), 10 * k, np.uint8)] * 2 for k in range(5)]
    sheet = contact_sheet(columns, side=16, across=3)
    assert sheet.shape == (2 * (2 * 20 + 8) - 8 - 4, 3 * 20 - 4, 3)
    for k in range(5):
        band, place = divmod(k, 3)
        assert (sheet[band * 48 + 8, place * 20 + 8] == 10 * k).all()
        assert (sheet[band * 48 + 28, place * 20 + 8] == 10 * k).all()
    mask = np.zeros((64, 64), bool)
    mask[20:30, 20:30] = True
    drawn = outlined(np.zeros((64, 64, 3), np.uint8), mask)
    assert (drawn[19, 25] == (255, 40, 40)).all()
    assert (drawn[mask] == 0).all()
    assert (drawn[17, 25] == 0).all()

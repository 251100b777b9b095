import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from edge_ad.training.features import FeatureNet  # noqa: E402
from edge_ad.training.foreground import border_distance, foregrounds, otsu, texture_evidence  # noqa: E402
from edge_ad.training.masks import iou  # noqa: E402


@pytest.fixture(scope="module")
def net():
    return FeatureNet("lite0")


def demo(name, count):
    from edge_ad.training.pretrain.draw.demo import generator, good_picture
    from edge_ad.training.pretrain.draw.demo_designs import DEMO

    truth = [DEMO[name].draw(generator(0, name, "train", i), 256, None).foreground for i in range(count)]
    return [good_picture(0, name, "train", i) for i in range(count)], truth


@pytest.mark.parametrize("family", ["tube", "brush", "board", "capsule", "battery"])
def test_one_drawn_product_is_found(net, family):
    from edge_ad.training.pretrain.draw.families import draw

    _, picture = draw(5, family, 256)
    found, texture = foregrounds([np.asarray(picture.image)], net)
    assert not texture
    assert found[0].shape == (256, 256)
    assert found[0].dtype == bool
    assert iou(found[0], picture.foreground) > 0.6


@pytest.mark.parametrize("name", ["flange_cover", "control_board", "gel_pod"])
def test_the_products_of_the_demo_are_found(net, name):
    images, truth = demo(name, 2)
    found, texture = foregrounds(images, net)
    assert not texture
    assert min(iou(a, b) for a, b in zip(found, truth, strict=True)) > 0.75


@pytest.mark.parametrize("family", ["twill", "granite", "printed", "ribbed_metal", "perforated_metal"])
def test_a_surface_is_judged_a_texture_and_is_all_foreground(net, family):
    from edge_ad.training.pretrain.draw.families import draw

    found, texture = foregrounds([np.asarray(draw(5, family, 256)[1].image)], net)
    assert texture
    assert found[0].all()


def test_the_cloth_of_the_demo_is_a_texture(net):
    images, _ = demo("filter_cloth", 2)
    found, texture = foregrounds(images, net)
    assert texture
    assert all(mask.all() for mask in found)


def test_what_the_table_says_goes_before_the_picture(net):
    images, truth = demo("gel_pod", 1)
    found, texture = foregrounds(images, net, "texture")
    assert texture
    assert found[0].all()
    cloth, _ = demo("filter_cloth", 1)
    assert foregrounds(cloth, net, "object")[1] is False
    assert iou(foregrounds(images, net, "object")[0][0], truth[0]) > 0.75


def test_where_nothing_is_found_every_rectangle_may_be_used(net):
    found, _ = foregrounds([np.full((64, 64, 3), 90, np.uint8)], net, "object")
    assert found[0].shape == (64, 64)
    assert found[0].all() or 0.02 < found[0].mean() < 0.98


def test_border_distance_by_loops():
    side = 8
    generator = torch.Generator().manual_seed(0)
    features = [torch.randn(5, side, side, generator=generator) for _ in range(2)]
    units = [f.double().numpy() / np.linalg.norm(f.double().numpy(), axis=0) for f in features]
    border = [(r, c) for r in range(side) for c in range(side) if r in (0, side - 1) or c in (0, side - 1)]
    maps = border_distance(features)
    assert maps.dtype == np.float32
    slow = np.full((2, side, side), np.inf)
    for shot in range(2):
        for r in range(side):
            for c in range(side):
                for other in range(2):
                    for y, x in border:
                        if other == shot and max(abs(y - r), abs(x - c)) < side / 4:
                            continue
                        distance = 1 - units[shot][:, r, c] @ units[other][:, y, x]
                        slow[shot, r, c] = min(slow[shot, r, c], distance)
    np.testing.assert_allclose(maps, slow, atol=1e-5)


def test_texture_evidence_by_sorting():
    rng = np.random.default_rng(0)
    distance = rng.random((16, 16)).astype(np.float32)
    border = sorted(float(distance[r, c]) for r in range(16) for c in range(16) if min(r, c) == 0 or max(r, c) == 15)
    everywhere = sorted(float(value) for value in distance.flat)
    place = 0.95 * 255
    far = everywhere[int(place)] + (place - int(place)) * (everywhere[int(place) + 1] - everywhere[int(place)])
    median = (border[len(border) // 2 - 1] + border[len(border) // 2]) / 2
    expected = 6.2 - 3.3 * np.log(far / median) - 8.9 * far
    assert abs(texture_evidence(distance) - expected) < 1e-5


def test_what_speaks_for_an_object():
    """Something far from the border; not a very regular surface, whose borders hardly differ from each other."""
    flat = np.full((32, 32), 0.02, np.float32)
    regular, clear = flat.copy(), flat.copy()
    regular[8:24, 8:24] = 0.06
    clear[8:24, 8:24] = 0.7
    assert texture_evidence(flat) > 0
    assert texture_evidence(regular) > 0
    assert texture_evidence(clear) < 0


def test_otsu_separates_two_classes_as_every_threshold_tried_one_by_one():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0.2, 0.03, 700), rng.normal(0.7, 0.05, 300)]).astype(np.float32)
    level = otsu(values)
    assert 0.25 < level < 0.55
    assert abs((values > level).mean() - 0.3) < 0.01

    def between(threshold):
        low, high = values[values <= threshold], values[values > threshold]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2

    best = max(between(t) for t in np.linspace(values.min(), values.max(), 129)[1:-1])
    assert between(level) > 0.999 * best

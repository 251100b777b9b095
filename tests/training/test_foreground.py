import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from edge_ad.training.features import FeatureNet  # noqa: E402
from edge_ad.training.foreground import border_distance, foregrounds, otsu, ring, texture_evidence, texture_signs  # noqa: E402
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


@pytest.mark.parametrize("family", ["twill", "wire_mesh", "granite", "brushed_metal", "ribbed_metal"])
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
    maps = border_distance(features, ring(side, 0, 1))
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


@pytest.mark.parametrize(("side", "depth", "width"), [(32, 2, 1), (8, 0, 1), (64, 4, 2)])
def test_signs_and_evidence_by_loops(side, depth, width):
    """Also that the ring keeps its place relative to the picture."""
    features = torch.randn(4, side, side, generator=torch.Generator().manual_seed(side)) + 1

    def place(r, c):
        return min(r, c, side - 1 - r, side - 1 - c)

    cells = [(r, c) for r in range(side) for c in range(side)]
    border = [cell for cell in cells if depth <= place(*cell) < depth + width]
    assert {tuple(cell) for cell in np.argwhere(ring(side, depth, width)).tolist()} == set(border)
    units = (features / features.norm(dim=0)).numpy().astype(np.float64)
    bank = np.stack([units[:, r, c] for r, c in border])
    nearest = {}
    for r, c in cells:
        far_away = [max(abs(r - y), abs(c - x)) >= side / 4 for y, x in border]
        nearest[r, c] = 1 - (bank[far_away] @ units[:, r, c]).max()
    inside = sorted(value for cell, value in nearest.items() if place(*cell) >= depth)
    at = 0.95 * (len(inside) - 1)
    far = inside[int(at)] + (at - int(at)) * (inside[int(at) + 1] - inside[int(at)])
    near = np.median([nearest[cell] for cell in border])
    signs = texture_signs(features)
    assert signs == pytest.approx((np.log(far / near), far), abs=1e-4)
    assert texture_evidence(features) == pytest.approx(4.4 - 3.2 * signs[0] - 5.3 * signs[1], abs=1e-6)


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

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edge_ad.training.perceptual import PerceptualNet, best_available  # noqa: E402


@pytest.fixture(scope="module")
def net():
    return PerceptualNet("alexnet")


def pictures(seed, count=2, size=64):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_it_is_the_lpips_package_with_the_same_weights(net):
    lpips = pytest.importorskip("lpips")
    theirs = lpips.LPIPS(net="alex", pretrained=False, pnet_rand=True, verbose=False)
    convs = [layer for layer in theirs.net.modules() if isinstance(layer, torch.nn.Conv2d)]
    with torch.no_grad():
        for mine, conv in zip(net.convs, convs, strict=True):
            conv.weight.copy_(mine.weight)
            conv.bias.copy_(mine.bias)
        for i in range(5):
            getattr(theirs, f"lin{i}").model[-1].weight.copy_(getattr(net, f"lin{i}")[None, :, None, None])
        x, y = pictures(0, 3, 96), pictures(1, 3, 96)
        for a, b in ((x, y), (x, (x + 0.1 * y).clamp(-1, 1)), (x, x)):
            torch.testing.assert_close(net(a, b), theirs(a, b).flatten(), atol=1e-5, rtol=0)


def test_eq_10_and_16_by_loops(net):
    x, y = pictures(2, 1), pictures(3, 1)
    a, b = net.features(x), net.features(y)
    maps = net.distances(a, b)
    total = 0.0
    for layer, (first, second) in enumerate(zip(a, b)):
        w = np.sqrt(getattr(net, f"lin{layer}").numpy().astype(np.float64))
        first, second = first[0].numpy().astype(np.float64), second[0].numpy().astype(np.float64)
        height, width = first.shape[1:]
        for row in range(height):
            for column in range(width):
                difference = w * (first[:, row, column] - second[:, row, column])
                distance = float((difference**2).sum())
                assert abs(float(maps[layer][0, 0, row, column]) - distance) < 1e-6
                total += distance / (height * width)
    assert abs(float(net(x, y)) - total) < 1e-5


def test_features_have_unit_length(net):
    for layer in net.features(pictures(4)):
        length = layer.norm(dim=1)
        active = length > 0.01
        assert active.any()
        torch.testing.assert_close(length[active], torch.ones_like(length[active]), atol=1e-3, rtol=0)


def test_distance_is_zero_for_equal_pictures_and_its_gradient_finite(net):
    x = pictures(5)
    y = x.clone().requires_grad_(True)
    distance = net(x, y)
    distance.sum().backward()
    assert distance.abs().max() == 0
    assert torch.isfinite(y.grad).all()


def test_one_picture_against_many(net):
    """Batch sizes broadcast: the picture's features are computed once for all its reconstructions."""
    x, many = pictures(6, 1), pictures(7, 3)
    together = net.distances(net.features(x), net.features(many))
    for i in range(3):
        alone = net.distances(net.features(x), net.features(many[i : i + 1]))
        for all_maps, one in zip(together, alone):
            torch.testing.assert_close(all_maps[i : i + 1], one, atol=1e-6, rtol=1e-4)


def test_shift_tolerant_kind():
    """stLPIPS sees a shift of one pixel as a smaller change than LPIPS, against the distance to another picture."""
    tolerant, plain = PerceptualNet("stlpips"), PerceptualNet("alexnet")
    smooth = torch.nn.functional.interpolate(pictures(8, 2, 24), size=(104, 104), mode="bicubic").clamp(-1, 1)
    x, other, shifted = smooth[:1, :, 4:100, 4:100], smooth[1:, :, 4:100, 4:100], smooth[:1, :, 4:100, 5:101]
    share = {net.kind: float(net(x, shifted) / net(x, other)) for net in (tolerant, plain)}
    assert 0 < share["stlpips"] < share["alexnet"]


def test_the_default_is_lpips_proper_where_it_is_installed():
    assert best_available() == "alexnet"

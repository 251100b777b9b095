import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from edge_ad.errors import InputError  # noqa: E402
from edge_ad.training import weights  # noqa: E402
from edge_ad.training.features import FeatureNet, best_form  # noqa: E402


@pytest.fixture(scope="module")
def net():
    return FeatureNet("lite0")


def test_eq_12(net):
    """Stages at reductions 8 and 16, the second upsampled bilinearly to the first and concatenated."""
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8))
    with torch.no_grad():
        found = net(image)
        fine, coarse = net.net((image.permute(0, 3, 1, 2).float() - 127) / 128)
    assert found.shape == (2, 40 + 112, 8, 12)
    assert found.dtype == torch.float32
    assert (fine.shape, coarse.shape) == ((2, 40, 8, 12), (2, 112, 4, 6))
    torch.testing.assert_close(found[:, :40], fine)
    plane = coarse[1, 7].numpy()
    for row in range(8):
        for column in range(12):
            y, x = max((row + 0.5) / 2 - 0.5, 0), max((column + 0.5) / 2 - 0.5, 0)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, 3), min(left + 1, 5)
            upper = plane[top, left] * (1 - (x - left)) + plane[top, right] * (x - left)
            lower = plane[bottom, left] * (1 - (x - left)) + plane[bottom, right] * (x - left)
            assert abs(float(found[1, 47, row, column]) - (upper * (1 - (y - top)) + lower * (y - top))) < 1e-4


def test_the_weights_are_the_packages(net):
    """The package's tensors, in order, are timm's: as many, of the same shapes; the stages in use carry them."""
    import timm

    source = weights.efficientnet_lite(0)
    whole = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    assert [value.shape for value in whole.state_dict().values()] == [value.shape for value in source.values()]
    torch.testing.assert_close(net.net.conv_stem.weight, next(iter(source.values())))
    whole.load_state_dict(dict(zip(whole.state_dict(), source.values())))
    whole.eval()
    image = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8))
    with torch.no_grad():
        x = (
            whole.act1(whole.bn1(whole.conv_stem((image.permute(0, 3, 1, 2).float() - 127) / 128)))
            if hasattr(whole, "act1")
            else whole.bn1(whole.conv_stem((image.permute(0, 3, 1, 2).float() - 127) / 128))
        )
        for stage in whole.blocks[:3]:
            x = stage(x)
        torch.testing.assert_close(net(image)[:, :40], x, atol=1e-4, rtol=1e-4)


def test_it_is_not_trained(net):
    assert not any(value.requires_grad for value in net.parameters())
    assert not net.training


def test_b6_has_its_own_channels():
    net = FeatureNet("b6", load=False)
    with torch.no_grad():
        assert net(torch.zeros(1, 32, 32, 3, dtype=torch.uint8)).shape == (1, 72 + 200, 4, 4)


def test_the_unit_form():
    """Three stages of the doubled picture, each vector at unit length, averaged or interpolated to an eighth."""
    net = FeatureNet("lite0", "unit")
    image = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8))
    with torch.no_grad():
        found = net(image)
        x = (image.permute(0, 3, 1, 2).float() - 127) / 128
        stages = net.net(torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear"))
    assert found.shape == (2, 40 + 112 + 320, 8, 12)
    assert [tuple(stage.shape[1:]) for stage in stages] == [(40, 16, 24), (112, 8, 12), (320, 4, 6)]
    fine, middle, coarse = (stage.numpy() for stage in stages)
    for row in range(8):
        for column in range(12):
            four = [fine[0, :, 2 * row + i, 2 * column + j] for i in (0, 1) for j in (0, 1)]
            expected = np.mean([vector / np.linalg.norm(vector) for vector in four], axis=0)
            np.testing.assert_allclose(found[0, :40, row, column], expected, atol=1e-5)
            vector = middle[0, :, row, column]
            np.testing.assert_allclose(found[0, 40:152, row, column], vector / np.linalg.norm(vector), atol=1e-5)
    corner = coarse[1, :, 0, 0]
    np.testing.assert_allclose(found[1, 152:, 0, 0], corner / np.linalg.norm(corner), atol=1e-5)


def test_a_large_picture_is_not_doubled_in_the_unit_form():
    net = FeatureNet("lite0", "unit", load=False)
    seen = []
    net.net.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape[2:])))
    with torch.no_grad():
        for side in (480, 512):
            assert net(torch.zeros(1, side, side, 3, dtype=torch.uint8)).shape[2:] == (side // 8, side // 8)
    assert seen == [(960, 960), (512, 512)]


def test_the_pair_is_both_networks_in_the_unit_form():
    """Lite0's channels as in the unit form, then Lite2's three stages at unit length."""
    import timm

    pair, alone = FeatureNet("lite0", "pair"), FeatureNet("lite0", "unit")
    source = weights.efficientnet_lite(2)
    whole = timm.create_model("tf_efficientnet_lite2", pretrained=False)
    whole.load_state_dict(dict(zip(whole.state_dict(), source.values(), strict=True)))
    stages = timm.create_model("tf_efficientnet_lite2", features_only=True, out_indices=(2, 3, 4))
    stages.load_state_dict({key: whole.state_dict()[key] for key in stages.state_dict()})
    image = torch.from_numpy(np.random.default_rng(3).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8))
    with torch.no_grad():
        found = pair(image)
        torch.testing.assert_close(found[:, :472], alone(image))
        x = torch.nn.functional.interpolate(
            (image.permute(0, 3, 1, 2).float() - 127) / 128, scale_factor=2.0, mode="bilinear"
        )
        middle = stages.eval()(x)[1]
    assert found.shape == (2, 472 + 48 + 120 + 352, 8, 8)
    torch.testing.assert_close(found[:, 520:640], torch.nn.functional.normalize(middle, dim=1), atol=1e-5, rtol=1e-4)


def test_b6_has_no_partner():
    with pytest.raises(InputError, match="use unit"):
        FeatureNet("b6", "pair", load=False)
    assert (best_form("b6"), best_form("lite0")) == ("unit", "pair")

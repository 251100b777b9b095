import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from edge_ad.errors import InputError  # noqa: E402
from edge_ad.training.base import encode_mean, encode_prompts  # noqa: E402
from edge_ad.training.features import FeatureNet  # noqa: E402
from edge_ad.training.prompts import category_info  # noqa: E402
from edge_ad.training.views import blank_latents, make_views, read_shots, view_count, write_shots  # noqa: E402


@pytest.fixture(scope="module")
def net():
    return FeatureNet("lite0")


@pytest.fixture(scope="module")
def both(tiny_shots, net):
    return [read_shots(paths, category_info(name), 64, net) for name, paths in tiny_shots.items()]


def test_shots_are_read_resized_and_written_as_they_were_used(both, tmp_path):
    ring = both[0]
    assert [image.shape for image in ring.images] == [(64, 64, 3)] * 3
    names = write_shots(tmp_path / "shots", ring)
    assert names == ["000.png", "001.png", "002.png"]
    for name, image in zip(names, ring.images, strict=True):
        with Image.open(tmp_path / "shots" / name) as written:
            np.testing.assert_array_equal(np.asarray(written), image)


def test_an_unreadable_shot_is_named(tmp_path, net):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"bad\.png"):
        read_shots([tmp_path / "bad.png"], category_info("x"), 64, net)


def test_views_are_encoded_pictures_and_the_shots_come_first(both, tiny_base):
    base, done = tiny_base(), []
    views, pictures = make_views(base, both, 10, seed=3, tick=lambda count=1, note="": done.append(count))
    assert sum(done) == 20
    assert (pictures.shape, pictures.dtype) == ((20, 64, 64, 3), np.uint8)
    assert views.latents.shape == (20, 4, 8, 8)
    assert (views.foreground.shape, views.foreground.dtype) == ((20, 8, 8), bool)
    np.testing.assert_array_equal(views.category, [0] * 10 + [1] * 10)
    for shot in range(3):
        np.testing.assert_array_equal(pictures[shot], both[0].images[shot])
        np.testing.assert_array_equal(pictures[10 + shot], both[1].images[shot])
    for row in range(20):
        x = torch.from_numpy(pictures[row]).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.no_grad():
            torch.testing.assert_close(views.latents[row : row + 1], encode_mean(base.vae, x), atol=1e-4, rtol=1e-3)
    assert len({picture.tobytes() for picture in pictures}) == 20
    for number, shots in enumerate(both):
        torch.testing.assert_close(views.prompts[number], encode_prompts(base, list(shots.info.prompts)))
    torch.testing.assert_close(views.blank, blank_latents(base))
    again, same = make_views(base, both, 10, seed=3, tick=lambda count=1, note="": None)
    np.testing.assert_array_equal(same, pictures)
    assert torch.equal(again.latents, views.latents)
    _, other = make_views(base, both, 10, seed=4, tick=lambda count=1, note="": None)
    assert (other[3:10] != pictures[3:10]).any()


def test_no_shot_is_left_out_where_fewer_views_are_asked_for(both, tiny_base):
    done = []
    views, pictures = make_views(tiny_base(), both, 2, seed=0, tick=lambda count=1, note="": done.append(count))
    assert sum(done) == len(views.latents) == sum(view_count(shots, 2) for shots in both) == 6
    np.testing.assert_array_equal(views.category, [0] * 3 + [1] * 3)
    np.testing.assert_array_equal(pictures, both[0].images + both[1].images)


def test_a_latent_is_foreground_where_half_of_its_pixels_are(both, tiny_base):
    from dataclasses import replace

    rng = np.random.default_rng(0)
    mask = rng.random((64, 64)) < 0.5
    shots = replace(both[0], images=both[0].images[:1], foregrounds=[mask])
    views, _ = make_views(tiny_base(), [shots], 1, seed=0, tick=lambda count=1, note="": None)
    for y in range(8):
        for x in range(8):
            cell = mask[8 * y : 8 * y + 8, 8 * x : 8 * x + 8]
            assert views.foreground[0, y, x] == (cell.sum() >= 32)


def test_blank_latents_are_those_of_mid_grey(tiny_base):
    base = tiny_base()
    with torch.no_grad():
        torch.testing.assert_close(blank_latents(base), encode_mean(base.vae, torch.zeros(1, 3, 64, 64)))

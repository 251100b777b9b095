"""Nano's recipe at a tiny size: it runs, is taken up where it stopped, and writes a model with its card."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from edge_ad.commands.pretrain import command  # noqa: E402
from edge_ad.errors import InputError  # noqa: E402
from edge_ad.training.base import encode_mean, load_base  # noqa: E402
from edge_ad.training.pretrain.autoencoder import AutoencoderSettings, one_cycle, random_crops  # noqa: E402
from edge_ad.training.pretrain.denoiser import DenoiserSettings  # noqa: E402
from edge_ad.training.pretrain.latents import dihedral, make_latents  # noqa: E402
from edge_ad.training.pretrain.photos import crop, photographs  # noqa: E402
from edge_ad.training.pretrain.pictures import PHOTO_EVERY, make_picture, make_pictures  # noqa: E402
from edge_ad.training.pretrain.recipe import Recipe, pretrain, reconstruction_error  # noqa: E402


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    from edge_ad.training.pretrain.draw.demo import write_demo_set

    folder = tmp_path_factory.mktemp("check") / "demo"
    write_demo_set(folder, shots=1, good=2, bad=1, size=128, categories=["gel_pod"])
    return folder


def words(root, out, seed=1):
    return ["--work", str(root / "work"), "--out", str(root / out), "--pictures", "64", "--autoencoder-steps", "2",
            "--steps", "2", "--seed", str(seed)]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory, check):
    root = tmp_path_factory.mktemp("pretrain")
    result = CliRunner().invoke(
        command, [*words(root, "model"), "--check", str(check), "--notes", "Made by a test."], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return root, result.output


def test_the_command_writes_a_base(made):
    root, said = made
    assert f"model: {root / 'model'}" in said
    base = load_base(str(root / "model"))
    assert (base.image_size, base.feature_kind, base.licence) == (256, "lite0", "Apache-2.0")
    assert base.scaling > 0
    assert base.card["recipe"]["pictures"] == 64
    assert base.card["reconstruction"]["gel_pod"]["pictures"] == 2
    assert sum(path.stat().st_size for path in (root / "model").rglob("*.safetensors")) < 30e6


def test_the_card_states_data_steps_and_errors(made):
    root, _ = made
    card = (root / "model" / "README.md").read_text(encoding="utf-8")
    error = load_base(str(root / "model")).card["reconstruction"]["gel_pod"]
    for text in ("64 pictures", "2 steps of 16 crops", "2 steps of 32 latents", "Made by a test.", "Apache-2.0",
                 f"| gel_pod | 2 | {error['psnr']:.2f} | {error['lpips']:.4f} |"):  # fmt: skip
        assert text in card


def test_taken_up_it_does_nothing_twice_and_gives_the_same_weights(tmp_path):
    recipe = Recipe(
        pictures=64, size=64, autoencoder=AutoencoderSettings(steps=2, batch=2, crop=64),
        denoiser=DenoiserSettings(steps=2, batch=2),
    )  # fmt: skip
    first = pretrain(recipe, tmp_path / "work", tmp_path / "first", log=lambda line: None)
    stages = ("latents.npy", "autoencoder.safetensors", "denoiser.safetensors", "tokenizer")
    before = {name: (tmp_path / "work" / name).stat().st_mtime_ns for name in stages}
    again = pretrain(recipe, tmp_path / "work", tmp_path / "again", log=lambda line: None)
    assert {name: (tmp_path / "work" / name).stat().st_mtime_ns for name in stages} == before
    for part in ("vae", "unet", "text_encoder"):
        ours, theirs = getattr(again, part).state_dict(), getattr(first, part).state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert first.tokenizer.get_vocab() == again.tokenizer.get_vocab()
    assert load_base(str(tmp_path / "again")).tokenizer.get_vocab() == first.tokenizer.get_vocab()
    shutil.rmtree(tmp_path / "work" / "tokenizer")
    with pytest.raises(InputError, match="a text encoder but not its tokenizer"):
        pretrain(recipe, tmp_path / "work", tmp_path / "third", log=lambda line: None)


def test_another_recipe_does_not_take_up_this_ones_work(made):
    root, _ = made
    result = CliRunner().invoke(command, words(root, "other", seed=2))
    assert isinstance(result.exception, InputError)
    assert "begun with another seed, number of pictures or autoencoder" in str(result.exception)
    assert not (root / "other").exists()


def test_a_category_to_check_on_without_good_pictures_is_named_before_any_work(check, tmp_path):
    shutil.copytree(check, tmp_path / "check")
    shutil.rmtree(tmp_path / "check" / "gel_pod" / "test" / "good")
    result = CliRunner().invoke(command, [*words(tmp_path, "model"), "--check", str(tmp_path / "check")])
    assert isinstance(result.exception, InputError)
    assert "category gel_pod has no good test images" in str(result.exception)
    assert not (tmp_path / "work").exists()


def test_a_folder_of_other_things_is_not_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        pretrain(Recipe(pictures=64), tmp_path / "work", tmp_path / "out")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="not a folder"):
        pretrain(Recipe(pictures=64), tmp_path / "work", tmp_path / "file")
    assert not (tmp_path / "work").exists()


def test_pictures_are_taken_up_block_by_block(tmp_path):
    lines = []
    pictures, captions = make_pictures(tmp_path, 130, seed=3, size=32, workers=1, log=lines.append)
    assert (pictures.shape, pictures.dtype, len(captions)) == ((130, 32, 32, 3), np.uint8, 130)
    for index in (0, 1, 127, 128, 129):
        image, caption = make_picture(3, index, 32)
        np.testing.assert_array_equal(pictures[index], image)
        assert captions[index] == caption
    kept = np.array(pictures)
    path = tmp_path / "captions.json"
    notes = json.loads(path.read_text())
    del notes["blocks"]["0"]
    path.write_text(json.dumps(notes))
    before = tmp_path / "before.json"
    before.hardlink_to(path)
    del pictures
    again, same = make_pictures(tmp_path, 130, seed=3, size=32, workers=1, log=lines.append)
    np.testing.assert_array_equal(again, kept)
    assert same == captions
    assert json.loads(before.read_text()) == notes  # the notes were replaced, never written into
    path.write_text(path.read_text()[:50])
    with pytest.raises(InputError, match=r"captions\.json is damaged .* remove it"):
        make_pictures(tmp_path, 130, seed=3, size=32, workers=1, log=lines.append)


def test_a_picture_in_25_is_a_photograph():
    names = [name for name, _, _ in photographs()]
    assert len(names) >= 10
    _, caption = make_picture(1, PHOTO_EVERY, 64)
    assert caption.startswith("a photograph of ")
    assert not make_picture(1, PHOTO_EVERY + 1, 64)[1].startswith("a photograph of ")
    _, photo, _ = photographs()[0]
    part = crop(photo, 48, np.random.default_rng(0))
    assert (part.shape, part.dtype) == ((48, 48, 3), np.uint8)


def test_a_row_of_latents_belongs_to_its_picture(tiny_base, tmp_path):
    """Row view * count + index is an encoding of picture `index`, turned or mirrored."""
    vae, rng = tiny_base().vae, np.random.default_rng(0)
    pictures = np.kron(rng.integers(0, 256, (3, 8, 8, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)
    found = make_latents(vae, pictures, tmp_path / "l.npy", views=2, seed=0, log=lambda line: None)
    assert (found.shape, found.dtype) == ((6, 4, 8, 8), np.float16)

    def distance(row, index):
        x = np.stack([dihedral(pictures[index], turn) for turn in range(8)])
        with torch.no_grad():
            z = encode_mean(vae, torch.from_numpy(x).permute(0, 3, 1, 2).float() / 127.5 - 1).numpy()
        return np.abs(z - found[row].astype(np.float32)).mean((1, 2, 3)).min()

    for row in range(6):
        assert np.argmin([distance(row, index) for index in range(3)]) == row % 3
    again = make_latents(vae, pictures, tmp_path / "l.npy", views=2, seed=9, log=lambda line: None)
    np.testing.assert_array_equal(again, found)  # cached


def test_the_eight_turns_of_a_square_are_eight():
    square = np.arange(9).reshape(3, 3)
    assert len({dihedral(square, turn).tobytes() for turn in range(8)}) == 8
    assert all(sorted(dihedral(square, turn).ravel()) == list(range(9)) for turn in range(8))


def test_learning_rate_of_one_cycle():
    rates = [one_cycle(step, 1000) for step in range(1000)]
    assert rates[0] == 0.01
    assert max(rates) == 1.0
    assert rates[99:] == sorted(rates[99:], reverse=True)
    assert abs(one_cycle(1000, 1000) - 0.02) < 1e-9


def test_crops_lie_in_their_pictures():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    crops = random_crops(pictures, 6, 32, np.random.default_rng(1))
    assert crops.shape == (6, 3, 32, 32)
    assert -1 <= float(crops.min()) < -0.9
    values = {tuple(pixel) for picture in pictures for pixel in picture.reshape(-1, 3)}
    back = ((crops[0].permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).numpy()
    assert {tuple(pixel) for pixel in back.reshape(-1, 3)} <= values


def test_reconstruction_error_picture_by_picture(tiny_base, tiny_picture):
    from edge_ad.training.perceptual import PerceptualNet

    vae, net = tiny_base().vae, PerceptualNet("alexnet")
    images = np.stack([tiny_picture[i : i + 64, i : i + 64] for i in range(10)])
    psnr, distance = [], []
    for image in images:
        x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.no_grad():
            y = vae.decode(vae.encode(x).latents).sample.clamp(-1, 1)
        psnr.append(10 * np.log10(4 / float(((x - y) ** 2).mean())))
        distance.append(float(net(x, y)))
    found = reconstruction_error(vae, images)
    assert found["pictures"] == 10
    assert abs(found["psnr"] - np.mean(psnr)) < 0.01
    assert abs(found["lpips"] - np.mean(distance)) < 1e-3

"""The demo data set: exact masks, readable layout, determinism, and no overlap with pretraining."""

import hashlib
import zlib

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_ad.commands.demo_data import command
from edge_ad.errors import OptionError
from edge_ad.training.pretrain.draw import defects as df
from edge_ad.training.pretrain.draw.demo import SPACE, bad_picture, entropy, generator, good_picture, write_demo_set
from edge_ad.training.pretrain.draw.demo_designs import DEMO
from edge_ad.training.pretrain.draw.families import PRETRAIN

DEFECTS = (df.scratch, df.dent, df.stain, df.contamination, df.crack, df.chip, df.hole, df.colour_fault,
           df.thread_pull, df.misweave, df.bend, df.solder_bridge, df.smear)  # fmt: skip
KINDS = [(name, kind) for name, category in DEMO.items() for kind in category.kinds]


def _product(size=128):
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:size, 0:size]
    foreground = np.hypot(y - size / 2, x - size / 2) < size * 0.4
    image = np.where(foreground[..., None], 0.6 + 0.1 * np.sin(x / 2)[..., None], 0.15) + 0.02 * rng.random(
        (size, size, 3)
    )
    return image.astype(np.float32), foreground


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda f: f.__name__)
def test_defect_changes_what_its_mask_says(defect):
    image, foreground = _product()
    kept = image.copy()
    shares = []
    for seed in range(6):
        after, mask = defect(image, foreground, np.random.default_rng(seed))
        assert np.array_equal(image, kept), "the input was changed"
        assert after.dtype == np.float32
        assert 0 <= after.min() <= after.max() <= 1
        assert mask.dtype == bool
        differs = (after != image).any(-1)
        visible = np.abs(after - image).max(-1) > df.VISIBLE
        assert not (differs & ~mask).any()
        assert not (visible & ~mask).any()
        assert mask.any()
        assert mask.mean() < 0.25
        shares.append(visible.sum() / mask.sum())
        again, mask_again = defect(image, foreground, np.random.default_rng(seed))
        assert np.array_equal(again, after)
        assert np.array_equal(mask_again, mask)
    assert np.mean(shares) > 0.55  # the rest is enclosed by changed pixels


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda f: f.__name__)
def test_defect_on_awkward_products(defect):
    image = np.full((64, 64, 3), 0.5, np.float32)
    tiny = np.zeros((64, 64), bool)
    tiny[30:33, 0:2] = True
    for foreground in (np.ones((64, 64), bool), tiny):
        after, mask = defect(image, foreground, np.random.default_rng(1))
        assert np.isfinite(after).all()
        assert not ((after != image).any(-1) & ~mask).any()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_settle_leaves_the_rest_alone(seed):
    rng = np.random.default_rng(seed)
    before = rng.random((24, 24, 3), np.float32)
    after = before + (rng.random((24, 24, 1)) < 0.1) * rng.normal(0, 0.2, (24, 24, 3)).astype(np.float32)
    where = rng.random((24, 24)) < 0.7
    image, mask = df.settle(before, after, where)
    assert np.array_equal(image[~mask], before[~mask])
    assert not (mask & ~where).any()
    assert ((np.abs(np.clip(after, 0, 1) - before).max(-1) > df.VISIBLE) & where <= mask).all()


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_bad_picture(name, kind):
    for number in range(2):
        picture, mask = bad_picture(3, name, kind, number, 128)
        assert picture.dtype == np.uint8
        assert picture.shape == (128, 128, 3)
        assert mask.any()
        assert mask.mean() < 0.3
    again, mask_again = bad_picture(3, name, kind, 1, 128)
    assert np.array_equal(again, picture)
    assert np.array_equal(mask_again, mask)


@pytest.mark.parametrize("name", sorted(DEMO))
def test_a_flaw_changes_only_the_flaw(name):
    category = DEMO[name]
    for flaw in category.flaws:
        good = category.draw(generator(0, name, "bad", 1), 128, None)
        bad = category.draw(generator(0, name, "bad", 1), 128, flaw)
        share = (np.abs(good.image - bad.image).max(-1) > df.VISIBLE).mean()
        assert 0 < share < 0.25


@pytest.mark.parametrize("name", sorted(DEMO))
def test_good_pictures_vary_but_show_one_product(name):
    pictures = np.stack([good_picture(0, name, "train", k, 128) for k in range(3)]).astype(float)
    assert not np.array_equal(pictures[0], pictures[1])
    assert abs(pictures[0].mean() - pictures[1].mean()) < 20
    assert pictures.std() > 15
    assert not np.array_equal(pictures[0], good_picture(1, name, "train", 0, 128))
    assert not np.array_equal(pictures[0], good_picture(0, name, "good", 0, 128))
    if DEMO[name].grey:
        assert np.array_equal(pictures[..., 0], pictures[..., 2])


def test_kinds_of_defect():
    for category in DEMO.values():
        assert len(category.kinds) >= 3
        assert len(set(category.kinds)) == len(category.kinds)
        assert "good" not in category.kinds


def test_families_are_disjoint_from_pretraining():
    assert not set(DEMO) & set(PRETRAIN)
    drawers = {getattr(f, "__name__", "") for f in PRETRAIN.values()}
    assert not drawers & {category.draw.__name__ for category in DEMO.values()}


def test_seeds_are_disjoint_from_pretraining():
    # pretraining seeds a picture with [seed, word]: at most three 32-bit words for a seed below 2**64
    assert SPACE >= 2**64
    assert SPACE < 2**96
    demo = set()
    for name in DEMO:
        for split in ("train", "good", "bad"):
            for number in range(50):
                for seed in range(3):
                    words = entropy(seed, name, split, number)
                    assert words[1] > 0
                    assert words[2] > 0
                    demo.add(tuple(np.random.SeedSequence(words).generate_state(4)))
    assert len(demo) == len(DEMO) * 3 * 50 * 3
    tags = [0, *(zlib.crc32(name.encode()) for name in PRETRAIN)]
    seeds = [*range(200), 2**32, 2**63 - 1, SPACE % 2**64]
    pretrain = {tuple(np.random.SeedSequence([s, tag]).generate_state(4)) for s in seeds for tag in tags}
    assert not demo & pretrain


def _digests(folder):
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.png")}


def test_layout_and_determinism(tmp_path):
    arguments = {"seed": 4, "shots": 2, "good": 2, "bad": 6, "size": 64}
    write_demo_set(tmp_path / "a", **arguments)
    write_demo_set(tmp_path / "b", **arguments, categories=["gel_pod", "flange_cover"])
    a, b = _digests(tmp_path / "a"), _digests(tmp_path / "b")
    assert len(a) == len(DEMO) * (2 + 2 + 6 + 6)
    assert b == {path: digest for path, digest in a.items() if path.split("/")[0] in ("gel_pod", "flange_cover")}
    pictures = [digest for path, digest in a.items() if "_mask" not in path]
    assert len(set(pictures)) == len(pictures), "two pictures are the same"
    for name, category in DEMO.items():
        root = tmp_path / "a" / name
        assert sorted(p.name for p in (root / "train").iterdir()) == ["good"]
        assert sorted(p.name for p in (root / "test").iterdir()) == sorted(("good", *category.kinds))
        assert sorted(p.name for p in (root / "ground_truth").iterdir()) == list(category.kinds)
        for picture in (root / "test").rglob("*.png"):
            with Image.open(picture) as opened:
                assert opened.mode == "RGB"
                assert opened.size == (64, 64)
            if picture.parent.name != "good":
                place = root / "ground_truth" / picture.parent.name / f"{picture.stem}_mask.png"
                with Image.open(place) as opened:
                    mask = np.asarray(opened)
                assert mask.shape == (64, 64)
                assert set(np.unique(mask)) == {0, 255}
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_bad_arguments(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    with pytest.raises(OptionError, match="not an empty folder"):
        write_demo_set(tmp_path / "full")
    with pytest.raises(OptionError, match="no demo category 'bottle'"):
        write_demo_set(tmp_path / "x", categories=["bottle"])
    for wrong in ({"seed": -1}, {"shots": 0}, {"good": -1}, {"bad": -1}, {"size": 8}, {"categories": []}):
        with pytest.raises(OptionError):
            write_demo_set(tmp_path / "x", **wrong)
    assert (tmp_path / "full" / "mine.txt").read_text() == "keep"
    assert not (tmp_path / "x").exists()


def test_command(tmp_path):
    out = tmp_path / "demo"
    options = ["--images", "4", "--shots", "1", "--size", "64", "--categories", "filter_cloth"]
    result = CliRunner().invoke(command, [str(out), *options])
    assert result.exit_code == 0, result.output
    assert len(list((out / "filter_cloth").rglob("*.png"))) == 1 + 4 + 3
    assert isinstance(CliRunner().invoke(command, [str(out), *options]).exception, OptionError)

"""Pasted pairs: a data set that heads read, the same again, and taken up where it was left."""

import shutil

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")

from edge_ad.commands.synthesize import command  # noqa: E402
from edge_ad.dataset import load_dataset  # noqa: E402
from edge_ad.errors import InputError, OptionError  # noqa: E402
from edge_ad.images import read_image, read_mask, resize_image  # noqa: E402
from edge_ad.training.heads.baselines import write_pasted  # noqa: E402
from edge_ad.training.heads.pictures import gather  # noqa: E402


@pytest.mark.parametrize("kind", ["cut_paste", "noise_texture"])
def test_pairs_differ_from_the_good_picture_inside_the_mask_alone(head_data, tmp_path, kind):
    write_pasted(head_data, "ring", kind, tmp_path / "set", 3, size=64)
    assert gather([tmp_path / "set"], None).kinds == {"ring": [kind]}
    good = load_dataset(head_data, ["ring"])["ring"].train_good
    for number in range(3):
        made = read_image(tmp_path / "set" / "ring" / "test" / kind / f"{number:05}.png")
        mask = read_mask(tmp_path / "set" / "ring" / "ground_truth" / kind / f"{number:05}_mask.png", (64, 64))
        before = resize_image(read_image(good[number]), 64)
        assert mask.any()
        np.testing.assert_array_equal(made[~mask], before[~mask])
        assert (made[mask] != before[mask]).any(axis=1).all()


def test_a_larger_count_adds_to_what_is_there(head_data, tmp_path):
    out = tmp_path / "set"
    arguments = ["paste", str(head_data), "--category", "ring", "--kind", "scratch", "--size", "64", "--out", str(out)]
    CliRunner().invoke(command, [*arguments, "--count", "2"], catch_exceptions=False)
    first = {path: path.read_bytes() for path in out.rglob("*.png")}
    result = CliRunner().invoke(command, [*arguments, "--count", "3"], catch_exceptions=False)
    assert "3 pairs of ring/scratch" in result.output
    assert len(first) == 4
    assert len(list(out.rglob("*.png"))) == 6
    assert {path: path.read_bytes() for path in first} == first
    with pytest.raises(InputError, match="is a file; name a folder"):
        write_pasted(head_data, "ring", "scratch", next(out.rglob("*.png")), 1)


def test_pictures_of_other_settings_or_of_anybody_else_are_not_taken_up(head_data, tmp_path):
    out = tmp_path / "set"
    write_pasted(head_data, "ring", "scratch", out, 1, size=64)
    write_pasted(head_data, "ring", "cut_paste", out, 1, size=96, seed=5)  # another kind, beside it
    other = shutil.copytree(head_data, tmp_path / "other")
    good = other / "ring" / "train" / "good"
    shutil.copyfile(good / "001.png", good / "000.png")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    for data, settings in ((head_data, {"size": 96}), (head_data, {"size": 64, "seed": 5}), (other, {"size": 64})):
        with pytest.raises(InputError, match="of another --seed, --size or DATA"):
            write_pasted(data, "ring", "scratch", out, 2, **settings)
    shutil.rmtree(out / "synthesis")
    with pytest.raises(InputError, match=r"no paste\.json says they were pasted"):
        write_pasted(head_data, "ring", "scratch", out, 2, size=64)
    with pytest.raises(OptionError, match="would count as real ones"):
        write_pasted(other, "ring", "scratch", other, 1)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.png")} == before

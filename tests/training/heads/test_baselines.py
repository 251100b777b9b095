"""Pasted pairs: a data set that heads read, the same again, and taken up where it was left."""

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")

from edge_ad.commands.synthesize import command  # noqa: E402
from edge_ad.dataset import load_dataset  # noqa: E402
from edge_ad.errors import InputError  # noqa: E402
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

"""The cascade's lower limit keeps its rate, and the command writes limits that a detector decides by."""

import shutil

import numpy as np
import pytest

from edge_ad.bundle_files import read_manifest
from edge_ad.calibration.cascade import lower_limit
from edge_ad.cli import run
from edge_ad.images import read_image
from edge_ad.runtime import Detector

FAST = ("--provider", "cpu", "--threads", "1", "--lambda", "keep", "--fusion", "keep")


@pytest.mark.parametrize(("rate", "count"), [(0.1, 9), (0.1, 30), (0.25, 3)])
def test_a_new_defect_lies_below_the_limit_as_often_as_promised_at_most(rate, count):
    rng = np.random.default_rng(count)
    below = []
    for _ in range(4000):
        *known, new = rng.lognormal(size=count + 1)
        limit, kept = lower_limit(known, rate)
        below.append(new < limit)
    assert kept <= rate
    assert np.mean(below) == pytest.approx(kept, abs=0.02)


def test_too_few_defects_give_no_limit():
    assert lower_limit([1.0] * 8, 0.1) is None
    assert lower_limit([3.0, 1.0, 2.0], 0.25) == (1.0, 0.25)


def test_the_command_writes_limits_and_the_verdicts_agree(tiny_bundle, ring_data, tmp_path, capsys):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "b")
    command = ["calibrate", str(bundle), str(ring_data), "--false-reject", "0.2", *FAST]
    assert run([*command, "--cascade", "0.25"]) == 0
    said = capsys.readouterr().out
    calibration = read_manifest(bundle).categories["ring"].calibrations["grouped"]["fp32"]
    if calibration.cascade is None:
        assert "no cascade: the plan rejects" in said
        pytest.fail(said)
    limits = calibration.cascade
    assert 0 < limits.lower <= limits.upper
    assert limits.miss_rate <= 0.25
    assert "cascade: prototypes decide below" in said
    assert "of defects pasted into these 24 pictures" in said
    quick = Detector.load(bundle, provider="cpu", threads=1, cascade=True)
    whole = Detector.load(bundle, provider="cpu", threads=1)
    for path in sorted((ring_data / "ring/test/block").iterdir()):
        first, second = (one.inspect(read_image(path), "ring") for one in (quick, whole))
        if first.stage == "prototypes" and first.verdict == "bad":
            assert second.verdict == "bad"


def test_limits_with_a_segmenter_ask_it(tiny_bundle, ring_data, random_heads, tmp_path, capsys):
    """With the same pictures and defects: it can only take defects from those that E alone would pass."""
    pytest.importorskip("onnxscript", reason="exporting needs the export extra")
    from edge_ad.export.heads import add_heads

    (tmp_path / "heads").mkdir()
    found, calls = [], ("--false-reject", "0.2", *FAST, "--cascade", "0.25")
    bundle = shutil.copytree(tiny_bundle, tmp_path / "b")
    for with_heads in (False, True):
        if with_heads:
            add_heads(random_heads(tmp_path / "heads", 0), bundle, log=lambda line: None)
        assert run(["calibrate", str(bundle), str(ring_data), *calls]) == 0
        found.append(read_manifest(bundle).categories["ring"].calibrations["grouped"]["fp32"].cascade)
    without, limits = found
    assert without.segmenter is None
    assert limits.lower >= without.lower
    assert limits.decided >= without.decided
    assert (limits.upper, limits.miss_rate, limits.defects) == (without.upper, without.miss_rate, without.defects)
    assert "where the segmenter's score is at most" in capsys.readouterr().out
    detector = Detector.load(bundle, provider="cpu", threads=1, cascade=True)
    good = [read_image(path) for path in sorted((ring_data / "ring/test/good").iterdir())]
    opinions = [detector.first_opinion(picture, "ring") for picture in good]
    assert max(opinions) <= limits.segmenter.score * (1 + 1e-6)
    early = np.mean([one.stage == "prototypes" for one in detector.inspect_batch(good, ["ring"] * len(good))])
    assert early > 0


def test_a_plan_without_a_bound_and_a_wrong_rate_are_refused(tiny_bundle, ring_data, tmp_path, capsys):
    command = ["calibrate", str(tiny_bundle), str(ring_data), "--work", str(tmp_path / "w"), *FAST]
    assert run([*command, "--plan", "paper", "--cascade", "0.1"]) == 2
    assert "no lower bound of the score of plan paper" in capsys.readouterr().err
    assert run([*command, "--cascade", "2"]) == 2
    assert "between 0 and 1" in capsys.readouterr().err

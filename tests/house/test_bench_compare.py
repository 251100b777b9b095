"""The comparison of two saved benchmark runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "compare.py"


def saved(path, ratios, stamp):
    path.parent.mkdir(exist_ok=True)
    entry = {"name": "test_inspect[cpu-1]", "extra_info": {"ratios": ratios}}
    path.write_text(json.dumps({"benchmarks": [entry]}))
    os.utime(path, (stamp, stamp))


def compare(folder):
    return subprocess.run([sys.executable, SCRIPT, folder], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("ratios", "code"),
    [
        ([10.5, 10.9, 11.0, 10.9, 10.8], 0),
        ([11.9, 12.0, 12.1, 12.0, 30.0], 1),
        ([9.0, 10.0, 12.0, 12.4, 14.0], 0),
        ([8.0, 8.0, 8.0, 8.0, 40.0], 0),
    ],
    ids=["within the limit", "slower", "within the scatter", "disturbed once"],
)
def test_rounds_over_their_yardsticks_decide(tmp_path, ratios, code):
    saved(tmp_path / "m" / "0001.json", [9.9, 10.0, 10.1, 10.0, 10.3], 1000)
    saved(tmp_path / "m" / "0002.json", ratios, 2000)
    result = compare(tmp_path)
    assert result.returncode == code, result.stderr
    assert "test_inspect[cpu-1]" in result.stdout


def test_one_run_cannot_be_compared(tmp_path):
    saved(tmp_path / "m" / "0001.json", [1.0, 1.1, 1.2], 1000)
    result = compare(tmp_path)
    assert result.returncode == 1
    assert "run make bench" in result.stderr

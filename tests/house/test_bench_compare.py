"""The comparison of two saved benchmark runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "compare.py"


def saved(path, inspect, yardstick, stamp):
    path.parent.mkdir(exist_ok=True)
    entries = [
        {"name": name, "params": {"provider": "cpu"}, "stats": {"min": time}}
        for name, time in (("test_inspect[cpu-1]", inspect), ("test_yardstick[cpu]", yardstick))
    ]
    path.write_text(json.dumps({"benchmarks": entries}))
    os.utime(path, (stamp, stamp))


def compare(folder):
    return subprocess.run([sys.executable, SCRIPT, folder], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("inspect", "yardstick", "code"),
    [(2.0, 0.2, 0), (1.09, 0.1, 0), (1.2, 0.1, 1), (0.5, 0.02, 1)],
    ids=["slower machine", "within the limit", "slower program", "faster machine, slower program"],
)
def test_ratios_to_the_yardstick_decide(tmp_path, inspect, yardstick, code):
    saved(tmp_path / "m" / "0001.json", 1.0, 0.1, 1000)
    saved(tmp_path / "m" / "0002.json", inspect, yardstick, 2000)
    result = compare(tmp_path)
    assert result.returncode == code, result.stderr
    assert "test_inspect[cpu-1]" in result.stdout


def test_one_run_cannot_be_compared(tmp_path):
    saved(tmp_path / "m" / "0001.json", 1.0, 0.1, 1000)
    result = compare(tmp_path)
    assert result.returncode == 1
    assert "run make bench" in result.stderr

"""The benchmark of generated pairs from data to both tables, on a tiny base; taken up again it trains nothing twice."""

import importlib.util
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "synthesis.py"


@pytest.fixture(scope="module")
def synthesis():
    spec = importlib.util.spec_from_file_location("synthesis", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_from_data_to_tables(synthesis, tiny_base, tmp_path):
    from edge_ad.training.base import save_base
    from edge_ad.training.pretrain.draw.demo import write_demo_set

    torch.set_num_threads(1)
    save_base(tiny_base(), tmp_path / "base", half=False)
    write_demo_set(tmp_path / "demo", shots=2, good=2, bad=15, size=64, categories=("filter_cloth",))
    data, work = tmp_path / "demo", tmp_path / "work"
    arguments = [
        "--out", str(work), "--data", str(data), "--base", str(tmp_path / "base"), "--steps", "1", "--batch", "1",
        "--views", "2", "--defects", "filter_cloth/hole,filter_cloth/stain", "--count", "2", "--tries", "3",
        "--sampling-steps", "1", "--start", "paste", "--strength", "0.05", "--cfg", "1", "--heads", "--head-steps", "1",
        "--head-batch", "2", "--seeds", "2", "--sources", "real,crop_paste,cut_paste,dual,dual_all",
    ]  # fmt: skip
    CliRunner().invoke(synthesis.main, arguments, catch_exceptions=False)
    stored = json.loads((work / "synthesis.json").read_text())
    assert set(stored["pairs"]) == {
        f"filter_cloth/{defect}{sorting}" for defect in ("hole", "stain") for sorting in ("", ", faint ones too")
    }
    assert set(stored["heads"]) == {"real", "crop_paste", "cut_paste", "dual", "dual_all"}
    assert set(stored["heads"]["real"]) == {"0", "1"}
    assert 0 <= stored["heads"]["real"]["0"]["filter_cloth"]["accuracy"] <= 1
    assert stored["heads"]["cut_paste"]["0"]["filter_cloth"]["accuracy"] is None
    lines = (work / "synthesis.md").read_text().splitlines()
    assert sum(line.startswith("| filter_cloth | ") for line in lines) == 5
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*.safetensors")}
    CliRunner().invoke(synthesis.main, arguments, catch_exceptions=False)
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*.safetensors")} == before


def test_the_downstream_table_is_mean_and_deviation_over_seeds(synthesis):
    run = dict.fromkeys(synthesis.METRICS, 0.5)
    heads = {"real": {"0": {"cloth": run}, "1": {"cloth": run | {"accuracy": 0.7}}}, "dual": {"0": {}}}
    head, _, real, dual = synthesis.downstream_table(heads).splitlines()
    assert head.startswith("| category | trained on | seeds | image auroc |")
    assert real == "| cloth | real | 2 | " + " | ".join(["50.0 ± 0.0"] * 6) + " | 60.0 ± 10.0 |"
    assert dual == "| cloth | dual | 1 | " + " | ".join(["-"] * 7) + " |"

"""`edge-ad demo` into a folder that another one has begun."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

from edge_ad.cli import run as edge_ad
from edge_ad.training.pretrain.draw.demo import write_demo_set


def test_a_folder_is_taken_up_with_the_same_options_alone(tmp_path, capsys):
    data, out = tmp_path / "data", tmp_path / "out"
    write_demo_set(data, shots=1, good=1, bad=1, size=64, categories=("gel_pod",))

    def demo(*options):  # there is one good picture: every call ends there, or before
        code = edge_ad(["demo", "--out", str(out), "--data", str(data), *options])
        return code, capsys.readouterr().err

    assert "2 were asked for" in demo("--shots", "2")[1]
    assert "3 were asked for" in demo("--shots", "3")[1]  # nothing was begun
    (out / "run").mkdir()
    assert "3 were asked for" in demo("--shots", "3")[1]
    for options in (["--shots", "2"], ["--shots", "3", "--steps", "5"], ["--shots", "3", "--seed", "1"]):
        code, said = demo(*options)
        assert code == 2
        assert f"was begun with --data {data} --shots 3 --steps 400 --seed 0; give the same, or name another" in said
    (out / "demo.json").unlink()
    code, said = demo("--shots", "3")
    assert code == 2
    assert "has no demo.json that says how it was begun; remove it, or name another" in said

"""The front door: answers at once, and never with a traceback."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

import edge_ad.commands
from edge_ad import __version__
from edge_ad.cli import VERBS, cli, module_of, run

EDGE_AD = [sys.executable, "-m", "edge_ad"]
VERBS_HERE = cli.list_commands(None)  # type: ignore[arg-type]  # it does not look at the context


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*EDGE_AD, *arguments], capture_output=True, text=True, check=False, cwd="/")


def cpu_seconds_of_help() -> float:
    """Processor time, so that a busy machine does not fail the test."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert call("--help").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_answers_in_under_300_ms() -> None:
    call("--help")  # writes the byte code
    assert median(cpu_seconds_of_help() for _ in range(5)) < 0.3


def test_help_imports_no_verb_and_nothing_heavy() -> None:
    code = (
        "import sys; from edge_ad.cli import run; run(['--help']); "
        "heavy = ('numpy', 'torch', 'PIL', 'pydantic', 'rich'); "
        "print([m for m in sys.modules if m in heavy or m.startswith('edge_ad.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    loaded = done.stdout.strip().splitlines()[-1]
    light = {"edge_ad.version", "edge_ad.cli", "edge_ad.errors", "edge_ad.extras", "edge_ad.commands"}
    assert set(loaded.strip("[]").replace("'", "").split(", ")) == light


def test_help_lists_every_verb_module() -> None:
    files = {path.stem for path in Path(edge_ad.commands.__path__[0]).glob("*.py") if not path.stem.startswith("_")}
    assert files == {verb.replace("-", "_") for verb in VERBS_HERE}, "a module in edge_ad/commands is not in cli.VERBS"
    text = call("--help").stdout
    for verb in VERBS_HERE:
        assert f"  {verb} " in text


@pytest.mark.parametrize("verb", VERBS_HERE)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, "--help"]) == 0
    assert f"Usage: edge-ad {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS_HERE)
def test_a_verbs_help_imports_no_engine(verb: str) -> None:
    code = (
        f"import sys; from edge_ad.cli import run; run([{verb!r}, '--help']); "
        "print([m for m in sys.modules if m in ('torch', 'diffusers', 'onnxruntime', 'onnx', 'openvino')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_version() -> None:
    done = call("--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"edge-ad {__version__}")


@pytest.mark.parametrize("arguments", [["no-such-verb"], ["--no-such-option"], ["doctor", "--no-such-option"]])
def test_wrong_usage_is_exit_2_without_a_traceback(arguments: list[str]) -> None:
    done = call(*arguments)
    assert done.returncode == 2
    assert "no-such" in done.stderr.lower()
    assert "Traceback" not in done.stderr


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Add a verb `planted`, a real module in a folder of edge_ad.commands, that runs one statement."""

    def write(statement: str) -> None:
        (tmp_path / "planted.py").write_text(f"import click\n\n@click.command()\ndef command():\n    {statement}\n")
        monkeypatch.setattr(edge_ad.commands, "__path__", [*edge_ad.commands.__path__, str(tmp_path)])
        monkeypatch.setitem(VERBS, "planted", "A verb of this test.")
        monkeypatch.delitem(sys.modules, module_of("planted"), raising=False)

    yield write
    sys.modules.pop(module_of("planted"), None)


@pytest.mark.parametrize(
    ("statement", "code", "sentence"),
    [
        ("from edge_ad.errors import InputError; raise InputError('a.png: no image')", 1, "edge-ad: a.png: no image\n"),
        ("from edge_ad.errors import OptionError; raise OptionError('--a and --b')", 2, "edge-ad: --a and --b\n"),
        ("raise KeyboardInterrupt", 130, "\nedge-ad: interrupted\n"),
        ("open('/no/such/file')", 1, "edge-ad: /no/such/file: No such file or directory\n"),
        (
            "raise ModuleNotFoundError('x', name='torch.nn')",
            1,
            'edge-ad: needs the "train" extra, as torch is not installed: pip install "edge-ad[train]"\n',
        ),
        ("1 / 0", 1, "edge-ad: ZeroDivisionError: division by zero (run with --debug for the traceback)\n"),
    ],
)
def test_errors_are_one_sentence(plant, capsys, statement: str, code: int, sentence: str) -> None:
    plant(statement)
    assert run(["planted"]) == code
    assert capsys.readouterr().err == sentence


@pytest.mark.parametrize("arguments", [["--debug", "planted"], ["planted", "--debug"]])
def test_debug_shows_the_traceback(plant, capsys, arguments: list[str]) -> None:
    plant("1 / 0")
    assert run(arguments) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_closed_pipe_is_quiet() -> None:
    done = subprocess.run(
        f"{sys.executable} -m edge_ad doctor | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    assert done.stderr == ""


def test_the_readme_lists_the_verbs_in_order() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    rows = [line.split("`")[1].split()[1] for line in readme.splitlines() if line.startswith("| `edge-ad ")]
    assert rows == list(VERBS)


@pytest.mark.parametrize(
    "verb",
    [
        ["inspect", "B", "x.png", "--out", "o"],
        ["evaluate", "B", "data"],
        ["calibrate", "B", "data"],
        ["serve", "B"],
    ],
)
def test_a_negative_seed_is_refused_before_any_work(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*verb, "--seed", "-1"]) == 2
    assert "'--seed': -1 is not in the range x>=0" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_number_that_is_none_is_a_usage_error(value, capsys):
    """click's own ranges let NaN pass, with which no limit is ever exceeded."""
    for verb, option in (
        (["inspect", "b", "i", "--out", "o"], "--memory"),
        (["serve", "b"], "--keep-days"),
        (["export", "b", "--out", "o"], "--most-auroc-loss"),
        (["train", "d", "--out", "r"], "--clip"),
    ):
        assert run([*verb, option, value]) == 2
        assert option in capsys.readouterr().err

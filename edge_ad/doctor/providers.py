"""What ONNX Runtime and OpenVINO can really use here: a one-node graph is run on each provider."""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import Any

from edge_ad.doctor.check import Check
from edge_ad.doctor.machine import Machine

# providers that edge-ad uses; others in the package (Azure, …) are of no interest
PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")


def _field(number: int, payload: bytes | int) -> bytes:
    """One protobuf field: a varint below 128, or a message or string shorter than 128 bytes."""
    if isinstance(payload, int):
        return bytes([number << 3, payload])
    return bytes([number << 3 | 2, len(payload)]) + payload


def relu_model() -> bytes:
    """An ONNX model y = relu(x) of one float, written out by hand: the `onnx` package is not in the base install."""
    shape = _field(2, _field(1, _field(1, 1)))
    tensor = _field(2, _field(1, _field(1, 1) + shape))
    node = _field(1, b"x") + _field(2, b"y") + _field(4, b"Relu")
    graph = (
        _field(1, node) + _field(2, b"g") + _field(11, _field(1, b"x") + tensor) + _field(12, _field(1, b"y") + tensor)
    )
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 13))


def runs_on(runtime: Any, provider: str) -> str:
    """Empty when `provider` runs the one-node graph, else the reason."""
    import numpy as np

    options = runtime.SessionOptions()
    options.log_severity_level = 4
    try:
        with contextlib.redirect_stdout(sys.stderr):  # it prints of providers that fail, which would spoil --json
            session = runtime.InferenceSession(relu_model(), options, providers=[provider])
        if session.get_providers()[0] != provider:
            return "its libraries cannot be loaded"
        (value,) = session.run(None, {"x": np.array([-1.0], np.float32)})
    except Exception as error:
        return " ".join(str(error).split())[:200]
    return "" if value.tolist() == [0.0] else "it computes wrongly"


def check_onnxruntime(machine: Machine) -> list[Check]:
    """A check for each of `PROVIDERS`; a GPU provider on a machine without a card is a plain fact."""
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        reason = " ".join(str(error).split())[:200]
        return [Check("onnxruntime", False, f"cannot be imported: {reason}", "pip install edge-ad")]
    has_card = bool(machine.cards or machine.jetson)
    if has_card:
        from edge_ad.runtime.sessions.onnx import preload_cuda

        preload_cuda()
    packaged = runtime.get_available_providers()
    checks = []
    for provider in PROVIDERS:
        gpu = provider != "CPUExecutionProvider"
        if provider not in packaged:
            wrong = False if has_card and provider == "CUDAExecutionProvider" else None
            checks.append(Check(provider, wrong, "not in this onnxruntime package", "pip install onnxruntime-gpu"))
        elif gpu and not has_card:
            checks.append(Check(provider, None, "in the package, but this machine has no NVIDIA card"))
        elif reason := runs_on(runtime, provider):
            mend = {
                "TensorrtExecutionProvider": "install TensorRT's libraries, or use --provider cuda",
                "CUDAExecutionProvider": "install CUDA and cuDNN of the versions that onnxruntime-gpu names, "
                "or use --provider cpu",
            }.get(provider, "pip install --force-reinstall onnxruntime-gpu")
            optional = provider == "TensorrtExecutionProvider"
            checks.append(Check(provider, None if optional else False, reason, mend))
        else:
            checks.append(Check(provider, True, "runs"))
    return checks


def check_openvino() -> list[Check]:
    """OpenVINO's devices with the precisions each computes in; a plain fact when it is not installed."""
    try:
        openvino = importlib.import_module("openvino")
        core = openvino.Core()
        checks = []
        for device in core.available_devices:
            name = core.get_property(device, "FULL_DEVICE_NAME")
            kinds = sorted(
                set(core.get_property(device, "OPTIMIZATION_CAPABILITIES")) & {"FP32", "FP16", "BF16", "INT8"}
            )
            checks.append(Check(f"openvino {device}", True, f"{name}; {', '.join(kinds)}"))
    except ImportError:
        return [Check("openvino", None, "not installed", 'for PCs without a card: pip install "edge-ad[openvino]"')]
    except Exception as error:  # already the import fails so for an account without a home
        reason = " ".join(str(error).split())[:200]
        mend = "set HOME to a folder" if "home directory" in reason else "pip install --force-reinstall openvino"
        return [Check("openvino", False, reason, mend)]
    return checks or [Check("openvino", False, "finds no device", "pip install --force-reinstall openvino")]

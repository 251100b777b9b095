"""What ONNX Runtime is asked for on a card, as far as that can be seen without one."""

import onnxruntime
import pytest

from edge_ad.doctor.machine import Card, Machine
from edge_ad.doctor.providers import check_onnxruntime
from edge_ad.runtime.sessions.onnx import _chain, preload_cuda


def test_fp32_is_not_tf32_on_a_card():
    assert _chain("cpu", 1) == ["CPUExecutionProvider"]
    cuda = ("CUDAExecutionProvider", {"device_id": "1", "use_tf32": "0"})
    assert _chain("cuda", 1) == [cuda, "CPUExecutionProvider"]
    assert _chain("tensorrt", 1) == [("TensorrtExecutionProvider", {"device_id": "1"}), cuda, "CPUExecutionProvider"]


def test_cuda_is_loaded_before_a_provider_is_tried_and_nothing_is_printed(monkeypatch, capsys):
    if not hasattr(onnxruntime, "preload_dlls"):
        pytest.skip("this ONNX Runtime is older than 1.21")
    preload_cuda()  # with the arguments that it really takes
    tried = []
    available = onnxruntime.get_available_providers()

    def preload_dlls(cuda=True, cudnn=True, msvc=True, directory=None):
        print("Failed to load libcudart.so")
        tried.append("preload")

    monkeypatch.setattr(onnxruntime, "preload_dlls", preload_dlls)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: tried.append("ask") or available)
    check_onnxruntime(Machine("Linux", "cpu", 2, (), None, None, {}, (Card("RTX", (8, 6), "1", 1),), None))
    assert tried == ["preload", "ask"]
    printed = capsys.readouterr()
    assert (printed.out, "libcudart" in printed.err) == ("", True)

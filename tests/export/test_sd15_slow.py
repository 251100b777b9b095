"""The networks of Stable Diffusion 1.5 inpainting at 512 px with random weights, through the product's own commands.

LoRA trained one step, fused, exported in fp16, verified, and compiled for two cards where TensorRT-RTX is installed.
Needs 16 GB of memory, 25 GB of disk, and half an hour.
"""

import importlib.util
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

for module in ("torch", "diffusers", "transformers", "peft", "timm", "onnxscript"):
    pytest.importorskip(module, reason="needs the export extra")

from edge_ad.bundle_files import read_manifest  # noqa: E402

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def sd15():
    spec = importlib.util.spec_from_file_location("sd15", BENCHMARKS / "sd15.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def step(name, arguments, measured, **environment):
    """Run `edge-ad ARGUMENTS` in a process of its own; keeps its seconds and peak memory."""
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "edge_ad", *map(str, arguments)], stdout=subprocess.PIPE,
                               env={**os.environ, **environment}, text=True)  # fmt: skip
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    measured[name] = {"seconds": round(time.monotonic() - start), "peak_GB": round(usage.ru_maxrss * 1024 / 1e9, 1)}
    print(name, measured[name], flush=True)
    assert os.waitstatus_to_exitcode(status) == 0, output
    return output


@pytest.mark.slow
def test_sd15_is_trained_fused_exported_in_fp16_verified_and_compiled(tmp_path):
    architecture, measured = sd15(), {}
    start = time.monotonic()
    architecture.write_base(tmp_path / "base")
    architecture.write_feature_weights(tmp_path / "hub")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    measured["base"] = {"seconds": round(time.monotonic() - start), "peak_GB": round(peak, 1)}
    data = tmp_path / "data" / "ring"
    data.mkdir(parents=True)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    ring = 90 + 80 * (np.abs(np.hypot(x, y) - 0.6) < 0.15)[..., None] + rng.normal(0, 4, (512, 512, 3))
    Image.fromarray(np.clip(ring, 0, 255).astype(np.uint8)).save(data / "0.png")

    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub")}
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    small = ["--shots", 1, "--views", 1, "--steps", 1, "--batch", 1, "--decoder-steps", 0, "--device", "cpu"]
    train = ["train", tmp_path / "data", "--out", run, "--base", tmp_path / "base", *small, "--gradient-checkpointing",
             "--foreground-method", "texture"]  # fmt: skip
    step("train", train, measured, **offline)
    assert (run / "adapter").is_dir()  # LoRA, not all weights
    step("export", ["export", run, "--out", bundle, "--precision", "fp16"], measured, **offline)
    step("verify", ["verify", bundle], measured)
    content = json.loads(step("show", ["bundle", "show", bundle, "--json"], measured))

    graphs = content["graphs"]
    assert content["image_size"] == 512
    assert {name for name, graph in graphs.items() if graph["precision"] == "fp16"} == {
        "encoder", "denoiser", "decoder",
    }  # fmt: skip
    assert 859e6 < graphs["denoiser"]["parameters"] < 861e6
    assert 1.7e9 < graphs["denoiser"]["bytes"] < 1.75e9
    # PyTorch's own count of the wrapper on the meta device: benchmarks/plan_costs.py
    assert graphs["denoiser"]["flops"]["B"] == pytest.approx(803e9, rel=0.01)
    assert content["plans"]["paper"]["evaluations"] == 1720
    measured["sizes_MB"] = {name: round(graph["bytes"] / 1e6, 1) for name, graph in graphs.items()}
    measured["max_error"] = {name: graph["max_error"] for name, graph in graphs.items()}
    if importlib.util.find_spec("tensorrt_rtx"):
        cache = {"EDGE_AD_CACHE": str(tmp_path / "cache")}
        step("engines", ["engines", "build", bundle, "--sm", "8.6,8.9"], measured, **cache)
        engines = read_manifest(bundle).engines
        assert {engine.compute_capability for engine in engines.values()} == {"8.6", "8.9"}
        for name, engine in engines.items():
            assert set(engine.files) == set(graphs)
            assert engine.precision == "fp16"
            sizes = {graph: (bundle / file).stat().st_size for graph, file in engine.files.items()}
            assert sizes["denoiser"] > 1.7e9  # its weights are in it
            measured[name] = {
                graph: {"MB": round(size / 1e6, 1), "seconds": engine.build_seconds[graph]}
                for graph, size in sizes.items()
            }
        step("verify engines", ["verify", bundle], measured)
    print(json.dumps(measured, indent=1))

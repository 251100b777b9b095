"""Nano's engines for four compute capabilities in fp32 and fp16, and what fp16 costs: minutes of work."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("diffusers")
pytest.importorskip("tensorrt_rtx", reason="needs the trt-rtx extra")

CAPABILITIES = ((7, 5), (8, 6), (8, 9), (12, 0))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_nano_compiles_for_every_card(precision, tmp_path, monkeypatch, capsys):
    import torch

    from edge_ad.bundle import REQUIRED_GRAPHS
    from edge_ad.bundle_files import Bundle
    from edge_ad.export.pipeline import ExportOptions, Product, build_bundle
    from edge_ad.runtime.verify import verify_engines
    from edge_ad.training.base import load_base

    torch.set_num_threads(1)
    monkeypatch.setenv("EDGE_AD_CACHE", str(tmp_path / "cache"))
    shot = tmp_path / "shot.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(shot)
    options = ExportOptions(
        precision=precision, targets=("onnx", "trt-rtx"), capabilities=CAPABILITIES, bank_size=64, rotations=(0.0,)
    )
    lines: list[str] = []
    started = time.perf_counter()
    out = build_bundle(
        load_base("nano"), {"part": Product(["A perfect part."], [shot])}, tmp_path / "nano", options, log=lines.append
    )
    with capsys.disabled():
        print(f"\nnano {precision}, {time.perf_counter() - started:.0f} s with export, {os.cpu_count()} cores")
        print("\n".join(line for line in lines if line.startswith(("graph", "engine", "verified"))))
    with Bundle.open(out) as opened:
        engines = opened.manifest.engines
        assert {engine.compute_capability for engine in engines.values()} == {"7.5", "8.6", "8.9", "12.0"}
        for engine in engines.values():
            assert set(engine.files) == set(REQUIRED_GRAPHS)
            assert [profile["B"][1] for profile in engine.profiles["denoiser"]] == [14, 86]
        assert all(check.state in ("read", "ran") and check.passed for check in verify_engines(opened))


@pytest.mark.slow
def test_what_nano_loses_in_half_precision(capsys):
    """PyTorch's CPU rounds after every operator in fp16, as a card does; the stated limit is far above."""
    import torch

    from edge_ad.export.graphs.decoder import decoder_case
    from edge_ad.export.graphs.denoiser import denoiser_case
    from edge_ad.export.graphs.encoder import encoder_case
    from edge_ad.export.onnx import torch_outputs
    from edge_ad.export.pipeline import HALF_TOLERANCE
    from edge_ad.runtime.verify import compare, thinned
    from edge_ad.training.base import load_base

    torch.set_num_threads(1)
    base, rng = load_base("nano"), np.random.default_rng(0)
    prompt = (base.tokenizer.model_max_length, base.text_encoder.config.hidden_size)
    cases = [encoder_case(base.vae, 256, rng), denoiser_case(base.unet, 4, 32, prompt, rng)]
    cases.append(decoder_case(base.vae, 4, 32, rng))
    expected = [torch_outputs(case) for case in cases]
    base.vae.half()
    base.unet.half()
    for case, whole in zip(cases, expected, strict=True):
        half = torch_outputs(case)
        errors = [compare(thinned(whole[name]), thinned(half[name])) for name in whole]
        largest, mean = max(error[0] for error in errors), max(error[1] for error in errors)
        with capsys.disabled():
            print(f"\n{case.name}: largest error {largest:.1e}, mean {mean:.1e}, limit {HALF_TOLERANCE:.0e}")
        assert largest < HALF_TOLERANCE / 4

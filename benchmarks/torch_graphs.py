"""The exported graphs as they were before export: PyTorch modules behind the detector's session protocol.

What is compared is the way the arithmetic is run, so times are right and results are not: the weights are the base's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from edge_ad.bundle import Graph, Precision
from edge_ad.bundle_files import Bundle
from edge_ad.export.graphs.case import GraphCase
from edge_ad.export.graphs.compose import compose_case
from edge_ad.export.graphs.decoder import decoder_case
from edge_ad.export.graphs.denoiser import denoiser_case
from edge_ad.export.graphs.encoder import encoder_case
from edge_ad.export.graphs.features import features_case
from edge_ad.export.graphs.prepare import prepare_case
from edge_ad.export.graphs.score import score_case
from edge_ad.runtime import Detector
from edge_ad.runtime.detector import DEFAULT_MEMORY
from edge_ad.runtime.sessions.base import Array, Feed, Handle, HostTensor, Session, checked, to_host
from edge_ad.training.base import load_base
from edge_ad.training.features import FeatureNet
from edge_ad.training.perceptual import PerceptualNet

#: What is worth compiling: the rest takes next to no time.
HEAVY = ("encoder", "denoiser", "decoder", "features", "score")


class TorchSession:
    """One graph's module in PyTorch on the CPU, eager or compiled."""

    def __init__(self, module: Any, graph: Graph, *, compiled: bool):
        self._module = torch.compile(module, dynamic=False) if compiled else module
        self.graph = graph
        self.provider = "torch.compile" if compiled else "torch eager"
        self.precision: Precision = "fp32"
        self.max_rows: int | None = None

    def run(self, feeds: Mapping[str, Feed], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """See `Session.run`."""
        tensors = {
            name: torch.from_numpy(np.require(to_host(feed), requirements=["C", "W"]))
            for name, feed in checked(feeds, self.graph)
        }
        with torch.inference_mode():
            found = self._module(**tensors)
        found = found if isinstance(found, tuple) else (found,)
        named = {spec.name: one.numpy() for spec, one in zip(self.graph.outputs, found)}
        return {name: named[name] for name in outputs or named}

    def run_kept(self, feeds: Mapping[str, Feed], outputs: Sequence[str] | None = None) -> dict[str, Handle]:
        """See `Session.run_kept`; the device is the host here."""
        return {name: HostTensor(array) for name, array in self.run(feeds, outputs).items()}

    def iterate(
        self,
        fixed: Mapping[str, Feed],
        state: Mapping[str, Feed],
        steps: Sequence[Mapping[str, Array]],
        carry: Mapping[str, str],
    ) -> dict[str, Handle]:
        """See `Session.iterate`."""
        current = dict(state)
        for step in steps:
            found = self.run_kept({**fixed, **current, **step}, list(carry))
            current = {name: found[output] for output, name in carry.items()}
        return {output: HostTensor(to_host(current[name])) for output, name in carry.items()}


def torch_detector(bundle: Bundle, plan: str, base_name: str, *, compiled: bool) -> Detector:
    """A detector of a bundle's plan whose graphs run in PyTorch with the networks of a base model."""
    manifest, base = bundle.manifest, load_base(base_name)
    rng, size, latent, channels = (
        np.random.default_rng(0), manifest.image_size, manifest.latent_size, manifest.latent_channels
    )  # fmt: skip
    prompt = bundle.array(next(iter(manifest.categories.values())).prompt)
    named, _, form = manifest.features.rpartition("-")  # "lite0-unit"; the paper's form has no ending
    cases: list[GraphCase] = [
        encoder_case(base.vae, size, rng),
        prepare_case(channels, latent, rng),
        denoiser_case(base.unet, channels, latent, prompt.shape, rng),
        compose_case(channels, latent, rng),
        decoder_case(base.vae, channels, latent, rng),
        features_case(FeatureNet(base.feature_kind, form if named else "paper"), size, rng),
        score_case(PerceptualNet(manifest.perceptual), size, latent, rng),
    ]
    sessions: dict[str, Session] = {
        case.name: TorchSession(case.module.eval(), bundle.graph(case.name), compiled=compiled and case.name in HEAVY)
        for case in cases
    }
    name, chosen = bundle.plan(plan)
    return Detector(bundle, name, chosen, sessions, seed=0, memory=DEFAULT_MEMORY)

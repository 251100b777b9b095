"""A few rows of real inputs for each graph: what a detector feeds it while it inspects pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edge_ad.bundle import Graph
from edge_ad.bundle_files import Bundle
from edge_ad.calibration.material import Item
from edge_ad.calibration.observe import ObservedSession
from edge_ad.images import read_image
from edge_ad.runtime import Detector
from edge_ad.runtime.sessions.base import Array, Session, SessionOptions
from edge_ad.runtime.sessions.choose import open_session

#: Rows kept of a graph, fewer where each is a whole picture.
ROWS = {"denoiser": 8}
PICTURES = 4


def sample_inputs(
    bundle: Bundle,
    graphs: Sequence[str],
    pictures: Sequence[tuple[str, Item]],
    *,
    plan: str | None = None,
    threads: int | None = None,
) -> dict[str, dict[str, Array]]:
    """Inputs of a few rows for each of `graphs`, evenly spaced over all runs of a plan.

    pictures: (category, picture) each. One row is taken of every run, so that every timestep and category comes.
    """
    taken: dict[str, list[dict[str, Array]]] = {name: [] for name in graphs}
    rng = np.random.default_rng(0)

    def watch(name: str, feeds: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        taken[name].append(one_row(bundle.graph(name), feeds, rng))

    sessions: dict[str, Session] = {}
    for name, graph in bundle.manifest.graphs.items():
        session = open_session(name, bundle.file(graph.file), graph, "cpu", SessionOptions(threads=threads))
        sessions[name] = ObservedSession(name, session, graph, watch) if name in graphs else session
    chosen_name, chosen = bundle.plan(plan)
    detector = Detector(bundle, chosen_name, chosen, sessions, seed=0, memory=1 << 30)
    for category, item in pictures:
        detector.inspect(read_image(item.path), category)
    return {
        name: _joined(bundle.graph(name), found, ROWS.get(name, PICTURES)) for name, found in taken.items() if found
    }


def one_row(graph: Graph, feeds: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
    """One row of a batch: every input with a free first axis is cut to it, a prompt to the row's own."""
    axis = next(axis for spec in graph.outputs for axis in spec.shape[:1] if isinstance(axis, str))
    count = next(len(feeds[spec.name]) for spec in graph.inputs if spec.shape[:1] == (axis,))
    row = int(rng.integers(count))
    cut: dict[str, Array] = {}
    for spec in graph.inputs:
        value = feeds[spec.name]
        if spec.shape[:1] == (axis,):
            cut[spec.name] = value[row : row + 1].copy()
        else:
            cut[spec.name] = value
    if "prompt_index" in cut:
        index = int(cut["prompt_index"][0])
        cut["prompts"] = cut["prompts"][index : index + 1].copy()
        cut["prompt_index"] = np.zeros_like(cut["prompt_index"])
    return cut


def _joined(graph: Graph, rows: Sequence[dict[str, Array]], count: int) -> dict[str, Array]:
    """Some of the rows, evenly spaced, as one batch."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))
    chosen: list[dict[str, Any]] = [rows[i] for i in places]
    batch = {spec.name: np.concatenate([row[spec.name] for row in chosen]) for spec in graph.inputs}
    if "prompt_index" in batch:
        batch["prompt_index"] = np.arange(len(chosen), dtype=batch["prompt_index"].dtype)
    return batch

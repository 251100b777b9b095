"""What every way of running a graph has in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle import Graph, Precision

Array = NDArray[Any]


class Handle(Protocol):
    """A tensor that stays where the session computed it; `numpy()` copies it to the host."""

    def numpy(self) -> Array: ...  # noqa: D102


Feed = Array | Handle


@dataclass(frozen=True)
class SessionOptions:
    """How sessions run. threads: CPU threads of one session, None for the library's choice. device: card number."""

    threads: int | None = None
    device: int = 0


class Session(Protocol):
    """One loaded graph.

    provider: "cpu", "cuda", "tensorrt", "trt-rtx" or "openvino". precision: what it computes in. max_rows: the largest
    batch it takes, None for any.
    """

    graph: Graph
    provider: str
    precision: Precision
    max_rows: int | None

    def run(self, feeds: Mapping[str, Feed], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Run once. feeds: one array or handle an input. Returns the named outputs (all for None) on the host."""

    def run_kept(self, feeds: Mapping[str, Feed], outputs: Sequence[str] | None = None) -> dict[str, Handle]:
        """As `run`, but the outputs stay on the device."""

    def iterate(
        self,
        fixed: Mapping[str, Feed],
        state: Mapping[str, Feed],
        steps: Sequence[Mapping[str, Array]],
        carry: Mapping[str, str],
    ) -> dict[str, Handle]:
        """Run once a step, feeding outputs back without a copy to the host.

        fixed: inputs that are the same in every step. state: inputs of the first step that later steps take from the
        outputs. steps: the remaining inputs, a mapping a step. carry: {output: the state input it becomes}; both have
        the same shape and dtype. Returns the last step's carried outputs by output name.
        """


class Opener(Protocol):
    """Makes a session of one graph file."""

    def __call__(self, path: Path, graph: Graph, options: SessionOptions) -> Session: ...  # noqa: D102


@dataclass(frozen=True)
class HostTensor:
    """A handle to an array that is on the host already."""

    array: Array

    def numpy(self) -> Array:
        """The array itself."""
        return self.array


def to_host(feed: Feed) -> Array:
    """The array of a feed, copied to the host if it is not there."""
    return feed if isinstance(feed, np.ndarray) else feed.numpy()


def checked(feeds: Mapping[str, Feed], graph: Graph) -> Iterator[tuple[str, Feed]]:
    """The feeds in the graph's order; ValueError when one is missing, unknown, or of the wrong dtype or rank."""
    names = [spec.name for spec in graph.inputs]
    if set(feeds) != set(names):
        raise ValueError(f"{graph.file} takes {', '.join(names)}, not {', '.join(feeds)}")
    for spec in graph.inputs:
        feed = feeds[spec.name]
        if isinstance(feed, np.ndarray) and (feed.dtype != np.dtype(spec.dtype) or feed.ndim != len(spec.shape)):
            raise ValueError(
                f"{graph.file}: input {spec.name} is {spec.dtype} with {len(spec.shape)} axes, "
                f"not {feed.dtype} of shape {feed.shape}"
            )
        yield spec.name, feed

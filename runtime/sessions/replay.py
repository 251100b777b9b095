"""Which runs of an engine are captured as a CUDA graph, and which of those are launched again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class Replays:
    """The captured runs of one engine, one a combination of shapes and buffers; the least recently used goes first.

    A combination is run plainly the first time, since kernels are set up then, and captured the second time. TensorRT
    updates its state in the first run after a shape has changed, which must not be captured either.

    capture: what a call puts on the stream, as a graph. launch and discard: of such a graph. most: graphs kept.
    """

    def __init__(
        self,
        capture: Callable[[Callable[[], None]], Any],
        launch: Callable[[Any], None],
        discard: Callable[[Any], None],
        most: int = 16,
    ):
        self._capture, self._launch, self._discard = capture, launch, discard
        self._most = most
        self._seen: OrderedDict[Hashable, Any] = OrderedDict()
        self._settled: set[int] = set()

    def shapes_changed(self, context: int) -> None:
        """The shapes of an execution context were set to others than before."""
        self._settled.discard(context)

    def run(self, context: int, key: Hashable, enqueue: Callable[[], None]) -> None:
        """Run once. context: whose shapes are set. key: the same shapes and buffers have the same."""
        captured = self._seen.get(key)
        if captured is None and (key not in self._seen or context not in self._settled):
            enqueue()
            self._settled.add(context)
        else:
            if captured is None:
                captured = self._capture(enqueue)
            self._launch(captured)
        self._seen[key] = captured
        self._seen.move_to_end(key)
        if len(self._seen) > self._most:
            _, oldest = self._seen.popitem(last=False)
            if oldest is not None:
                self._discard(oldest)

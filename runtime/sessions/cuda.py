"""Memory, copies and graphs of one NVIDIA card, through cuda-python: just what an engine needs.

Everything goes through one stream a card, so that what one session computed another may read with no further wait.
Threads take turns: `Card.lock` is held by every call, and by a session around a run.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from typing import Any

import numpy as np

from edge_ad.errors import EdgeAdError, OptionError
from edge_ad.runtime.sessions.base import Array

# the card that CUDA's calls of a thread go to; each thread begins with card 0
_current = threading.local()


class CudaError(EdgeAdError):
    """A call of CUDA failed; exit code 1."""


class Card:
    """One card: a stream, and buffers that are used again. Make it with `card`."""

    def __init__(self, index: int):
        self._cuda = _runtime()
        self._index = index
        self.lock = threading.RLock()
        self.stream = int(self._call("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking))
        # the stream's order makes it safe to hand a buffer on while the card still works on its last use
        self._free: dict[int, list[int]] = defaultdict(list)

    def empty(self, shape: Sequence[int], dtype: Any) -> DeviceTensor:
        """A tensor whose content is not set."""
        return DeviceTensor(self, tuple(shape), np.dtype(dtype))

    def upload(self, array: Array, into: DeviceTensor | None = None) -> DeviceTensor:
        """Copy an array to the card, into a new tensor or one of the same shape."""
        array = np.ascontiguousarray(array)
        tensor = into or self.empty(array.shape, array.dtype)
        self._copy(tensor.pointer, array.ctypes.data, tensor.nbytes, self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice)
        return tensor

    def download(self, tensor: DeviceTensor) -> Array:
        """Copy a tensor to the host and wait for it."""
        array: Array = np.empty(tensor.shape, tensor.dtype)
        self._copy(array.ctypes.data, tensor.pointer, tensor.nbytes, self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost)
        self.wait()
        return array

    def copy(self, source: DeviceTensor, target: DeviceTensor) -> None:
        """Copy between tensors of the same size."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        self._copy(target.pointer, source.pointer, source.nbytes, kind)

    def wait(self) -> None:
        """Wait until the card has done everything."""
        self._call("cudaStreamSynchronize", self.stream)

    def capture(self, work: Callable[[], None]) -> Any:
        """What `work` puts on the stream, as a graph that can be launched again; it is not run yet."""
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeRelaxed
        with self.lock:  # what other threads put on the stream meanwhile would be captured, and not run
            self._call("cudaStreamBeginCapture", self.stream, mode)
            try:
                work()
            finally:
                graph = self._call("cudaStreamEndCapture", self.stream)
            executable = self._call("cudaGraphInstantiate", graph, 0)
            self._call("cudaGraphDestroy", graph)
            return executable

    def launch(self, executable: Any) -> None:
        """Run a graph of `capture`."""
        self._call("cudaGraphLaunch", executable, self.stream)

    def discard(self, executable: Any) -> None:
        """Free a graph of `capture`, once the card is done with it."""
        self.wait()
        self._call("cudaGraphExecDestroy", executable)

    def take(self, nbytes: int) -> int:
        """The address of a free buffer of this size."""
        with self.lock:
            free = self._free[nbytes]
            if free:
                return free.pop()
            try:
                return int(self._call("cudaMalloc", nbytes))
            except CudaError:
                self.release()  # buffers of other sizes may be what is in the way
                return int(self._call("cudaMalloc", nbytes))

    def give(self, pointer: int, nbytes: int) -> None:
        """Hand a buffer back."""
        with self.lock:
            self._free[nbytes].append(pointer)

    def release(self) -> None:
        """Give free buffers back to the driver."""
        with self.lock:
            self.wait()
            for pointers in self._free.values():
                while pointers:
                    self._call("cudaFree", pointers.pop())

    def _copy(self, target: int, source: int, nbytes: int, kind: Any) -> None:
        if nbytes:
            self._call("cudaMemcpyAsync", target, source, nbytes, kind, self.stream)

    def _call(self, name: str, *arguments: Any) -> Any:
        if getattr(_current, "index", 0) != self._index:
            _current.index = self._index
            self._call("cudaSetDevice", self._index)
        with self.lock:
            code, *values = getattr(self._cuda, name)(*arguments)
        if code != self._cuda.cudaError_t.cudaSuccess:
            mend = (
                "the card's memory is full: close other programs on it, or use a plan with fewer masks"
                if code == self._cuda.cudaError_t.cudaErrorMemoryAllocation
                else 'see "edge-ad doctor"'
            )
            raise CudaError(f"card {self._index}: {name} failed with {code.name}; {mend}")
        return values[0] if values else None


class DeviceTensor:
    """A tensor on a card; a handle in the sense of `Session`. Its buffer is handed back when it is no longer used."""

    def __init__(self, card: Card, shape: tuple[int, ...], dtype: np.dtype[Any]):
        self.shape = shape
        self.dtype = dtype
        self.nbytes = prod(shape) * dtype.itemsize
        self.card = card
        self._size = max(self.nbytes, 1)
        self.pointer = card.take(self._size)

    def numpy(self) -> Array:
        """Copy to the host."""
        return self.card.download(self)

    def __del__(self) -> None:
        if hasattr(self, "pointer"):
            self.card.give(self.pointer, self._size)


@cache
def card(index: int = 0) -> Card:
    """The card of this number, one object each. OptionError without cuda-python, CudaError where CUDA cannot start."""
    return Card(index)


def _runtime() -> Any:
    try:
        from cuda.bindings import runtime
    except ImportError:
        try:
            from cuda import cudart as runtime  # cuda-python before 12.6
        except ImportError as error:
            raise OptionError(
                'engines need cuda-python, which is not installed: pip install "edge-ad[trt-rtx]" '
                '(with a driver of CUDA 12: pip install "cuda-bindings<13")'
            ) from error
    return runtime

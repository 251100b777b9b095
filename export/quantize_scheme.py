"""How numbers become 8-bit codes: scales from ranges, and the codes of weights. Pure NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Range = tuple[float, float]
Kind = Literal["int8", "fp8"]
Layout = Literal["cpu", "tensorrt"]
#: The largest number of FP8 E4M3 (Micikevicius et al., "FP8 formats for deep learning", 2022, table 1).
E4M3_MAX = 448.0
_TINY = 1e-12


@dataclass(frozen=True)
class Scheme:
    """What 8 bits mean.

    kind: "int8", or "fp8" E4M3. layout: "cpu" is ONNX Runtime's: activations uint8 with a zero point, weights int8, a
    pair behind each layer too and biases in int32, or its kernels are not used. "tensorrt" is symmetric, biases stay.
    Weights have a scale an output channel in int8, one in all in fp8.
    """

    kind: Kind
    layout: Layout

    @property
    def outputs(self) -> bool:
        """Whether what a layer gives is quantized too."""
        return self.layout == "cpu"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of an activation's codes."""
        if self.kind == "fp8":
            return _e4m3()
        return np.dtype(np.uint8 if self.layout == "cpu" else np.int8)

    def activation(self, limits: Range, rounded: type[np.floating[Any]] = np.float32) -> tuple[float, int]:
        """(scale, zero point) of an activation with these limits, which are widened to hold 0.

        rounded: the dtype in which the scale will be kept.
        """
        low, high = min(limits[0], 0.0), max(limits[1], 0.0)
        if self.kind == "fp8":
            return _kept(max(-low, high) / E4M3_MAX, rounded), 0
        if self.layout == "tensorrt":
            return _kept(max(-low, high) / 127, rounded), 0
        scale = _kept((high - low) / 255, rounded)
        return scale, int(np.clip(round(-low / scale), 0, 255))

    def weight(
        self,
        weight: NDArray[Any],
        axis: int,
        rounded: type[np.floating[Any]] = np.float32,
        least: NDArray[np.float32] | float = 0.0,
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """(codes, scales) of a weight: codes of its shape, int8 or E4M3; scales float32 C, or one without axes in fp8.

        axis: of the output channels. least: what int8 scales may not fall below, one a channel or for all.
        """
        values = weight.astype(np.float32)
        if self.kind == "fp8":
            scale = np.float32(_kept(float(np.abs(values).max(initial=0)) / E4M3_MAX, rounded))
            codes = np.clip(values / scale, -E4M3_MAX, E4M3_MAX).astype(_e4m3())
            return codes, np.asarray(scale)
        others = tuple(i for i in range(values.ndim) if i != axis)
        largest = np.maximum(np.abs(values).max(axis=others, initial=0) / 127, least)
        scales = np.array([_kept(float(value), rounded) for value in largest], np.float32)
        shape = [1] * values.ndim
        shape[axis] = -1
        return np.clip(np.rint(values / scales.reshape(shape)), -127, 127).astype(np.int8), scales

    def bias_floor(self, bias: NDArray[Any], activation: float) -> NDArray[np.float32]:
        """The smallest weight scales, float32 C, at which int32 at the products' scale holds twice the bias."""
        floor: NDArray[np.float32] = (np.abs(bias.astype(np.float64)) / (activation * 2.0**30)).astype(np.float32)
        return floor

    def restored(self, codes: NDArray[Any], scales: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        """What codes of `weight` stand for, float32."""
        shape = [1] * codes.ndim
        if scales.ndim:
            shape[axis] = -1
        result: NDArray[np.float32] = codes.astype(np.float32) * scales.reshape(shape)
        return result


def _kept(scale: float, dtype: type[np.floating[Any]]) -> float:
    """The scale as `dtype` holds it, never 0: codes are computed with what is stored."""
    least = max(_TINY, float(np.finfo(dtype).smallest_normal))
    return float(dtype(max(scale, least)))


def _e4m3() -> np.dtype[Any]:
    from ml_dtypes import float8_e4m3fn  # comes with onnx

    return np.dtype(float8_e4m3fn)

"""The lean runtime: loads a bundle and decides on images, without PyTorch."""

from edge_ad.runtime.detector import Detector
from edge_ad.runtime.result import Inspection

__all__ = ["Detector", "Inspection"]

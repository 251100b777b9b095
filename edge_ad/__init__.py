"""edge-ad: from a handful of good photographs to a running inspection station."""

from edge_ad.version import __version__

__all__ = ["__version__"]

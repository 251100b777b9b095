"""The errors a person may cause, each one clear sentence that names the file or option and the mend."""

from __future__ import annotations


class EdgeAdError(Exception):
    """Something failed for a reason the user can act on; printed without a traceback, exit code 1."""

    exit_code = 1


class InputError(EdgeAdError):
    """A file or folder that the user handed in is not what it must be; exit code 1."""


class BundleError(EdgeAdError):
    """A bundle or run is damaged, of a newer schema, or lacks what was asked of it; exit code 1."""


class BundleUnavailable(BundleError):  # noqa: N818 - as Overloaded and Expired
    """A bundle cannot be had just now: it is not there, or there is no room to unpack it; exit code 1."""


class OptionError(EdgeAdError):
    """Options that cannot be used together, or an option's value that cannot be; exit code 2."""

    exit_code = 2

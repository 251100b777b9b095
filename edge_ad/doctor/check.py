"""One finding of the doctor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """A finding: `ok` True is fine, False is wrong and `mend` says what to do, None is a plain fact or not needed."""

    name: str
    ok: bool | None
    detail: str
    mend: str = ""

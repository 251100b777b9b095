"""Whose fault it is that a picture has no decision: its own, or the station's."""

from __future__ import annotations

from collections.abc import Container, Hashable

from edge_ad.runtime.serve.decision import InspectionFailed, WorkerDied

#: A picture is given up after so many attempts that count against it.
ATTEMPTS = 3
#: Seconds to wait after a failed inspection, doubled from the first to the second until one succeeds.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0


class Attempts:
    """Counts failed inspections against pictures, each named by whatever the source likes.

    A full disk, or a card short of memory, is no picture's fault and passes. So an attempt counts only if the worker
    died with the picture, or if others have been decided since the last attempt at it. pause: seconds to wait now.
    """

    def __init__(self) -> None:
        self.pause = FIRST_PAUSE / 2
        self._decided = 0
        self._failed: dict[Hashable, tuple[int, int]] = {}

    def __contains__(self, picture: Hashable) -> bool:
        """Whether it has failed: then it is to be inspected alone."""
        return picture in self._failed

    @property
    def failing(self) -> bool:
        """Whether a picture waits to be tried again, and none has been decided on since it failed."""
        return bool(self._failed) and self.pause >= FIRST_PAUSE

    def decided(self) -> None:
        """Some picture was decided on."""
        self._decided += 1
        self.pause = FIRST_PAUSE / 2

    def failed(self, picture: Hashable, error: InspectionFailed) -> bool:
        """A picture could not be decided on; whether it is to be given up."""
        count, decided = self._failed.get(picture, (0, -1))
        count += isinstance(error, WorkerDied) or self._decided > decided
        self._failed[picture] = count, self._decided
        self.pause = min(2 * self.pause, LONGEST_PAUSE)
        return count >= ATTEMPTS

    def keep(self, pictures: Container[Hashable]) -> None:
        """Forget all but these pictures."""
        self._failed = {picture: counted for picture, counted in self._failed.items() if picture in pictures}

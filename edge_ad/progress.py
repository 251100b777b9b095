"""Progress of a long step: a bar on a terminal, plain lines elsewhere (a log file, a build server)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

#: Without a terminal, a line at most this often (seconds); the last one always comes.
LINE_SECONDS = 10.0


class Step(Protocol):
    """What `progress` yields: call it after each piece of work."""

    def __call__(self, count: int = 1, note: str = "") -> None:
        """`count` more pieces are done; `note` is shown after the numbers (a loss, a file name)."""


@contextmanager
def progress(description: str, total: int, *, stream: TextIO | None = None) -> Iterator[Step]:
    """Show how far a step of `total` pieces has come, on standard error (or `stream`).

    Args:
        description: what is being done, a few words.
        total: how many pieces there are.
        stream: where to write.

    Yields:
        A function to call after each piece.
    """
    out = sys.stderr if stream is None else stream
    if out.isatty():
        with _bar(description, total, out) as step:
            yield step
    else:
        yield _lines(description, total, out)


@contextmanager
def _bar(description: str, total: int, out: TextIO) -> Iterator[Step]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(file=out)) as bar:
        task = bar.add_task(escape(description), total=total, note="")

        def step(count: int = 1, note: str = "") -> None:
            bar.update(task, advance=count, note=escape(note))

        yield step


def _lines(description: str, total: int, out: TextIO) -> Step:
    start = time.monotonic()
    done = 0
    written = start

    def step(count: int = 1, note: str = "") -> None:
        nonlocal done, written
        done += count
        now = time.monotonic()
        if done < total and now - written < LINE_SECONDS:
            return
        written = now
        left = (now - start) / done * (total - done) if done else 0.0
        rest = f", about {left:.0f} s left" if done < total else f" in {now - start:.0f} s"
        print(f"{description}: {done}/{total}{rest}{' · ' + note if note else ''}", file=out, flush=True)

    return step

"""Builds run in a process of their own, which Ctrl-C ends at once.

A library compiles a large graph in one call that cannot be interrupted, may crash, and keeps its memory. Parent and
worker speak JSON, a line a message: a request a build, answered with the phases it goes through and then `done` or
`error`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from edge_ad.bundle import Graph
from edge_ad.errors import EdgeAdError
from edge_ad.runtime.engines.build import BuildError, BuildOptions, Phase, build_engine
from edge_ad.runtime.engines.library import Capability, load_library
from edge_ad.runtime.engines.profiles import Profile


class Builder:
    """A worker process that builds engines with one library, one after another. Use it in `with`."""

    def __init__(self, library: str):
        self._library = library
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[str] | None = None

    def __enter__(self) -> Builder:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def build(
        self,
        onnx: Path,
        graph: Graph,
        target: Path,
        *,
        capability: Capability,
        profiles: Sequence[Profile],
        options: BuildOptions,
        on_phase: Phase | None = None,
    ) -> None:
        """As `build_engine`. Interrupted, it ends the process and leaves no file behind."""
        request = {
            "onnx": str(Path(onnx).absolute()),
            "graph": graph.model_dump(mode="json"),
            "target": str(Path(target).absolute()),
            "capability": capability,
            "profiles": profiles,
            "options": asdict(options),
        }
        try:
            process = self._started()
            assert process.stdin is not None  # both are pipes
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
                for line in process.stdout:
                    message = json.loads(line)
                    if "phase" not in message:
                        break
                    if on_phase is not None:
                        on_phase(message["phase"])
                else:
                    message = {"error": self._reason(process.wait(), onnx.name)}
            except BrokenPipeError:
                message = {"error": self._reason(process.wait(), onnx.name)}
            if "error" in message:
                raise BuildError(message["error"])
        except BaseException:
            self.stop()
            target.unlink(missing_ok=True)
            raise

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
        if self._errors is not None:
            self._errors.close()
            self._errors = None

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - `stop`
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edge_ad.runtime.engines.worker", self._library],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                encoding="utf-8",
                # -m looks for modules here first: not in a checkout (its `edge_ad` is another), nor where all may write
                cwd=sys.prefix,
            )
        return self._process

    def _reason(self, code: int, name: str) -> str:
        """Why the process ended without an answer."""
        assert self._errors is not None  # it was started
        self._errors.seek(0)
        last = next((line for line in reversed(self._errors.read().splitlines()) if line.strip()), "")
        if code < 0:
            cause = f"it was ended by {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                cause += ", most likely for want of memory: close other programs, or build on a machine with more"
        else:
            cause = f"it ended with code {code}"
        return f"{self._library} did not finish {name}: {cause}{'; ' + last[:300] if last else ''}"


def main(library: str) -> None:
    """The worker: answer requests from standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not be taken for an answer

    def answer(**message: Any) -> None:
        answers.write(json.dumps(message) + "\n")

    module = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            module = module or load_library(library)
            build_engine(
                module,
                Path(request["onnx"]),
                Graph.model_validate(request["graph"]),
                Path(request["target"]),
                capability=tuple(request["capability"]),
                profiles=request["profiles"],
                options=BuildOptions(**request["options"]),
                on_phase=lambda phase: answer(phase=phase),
            )
            answer(done=True)
        except EdgeAdError as error:
            answer(error=str(error))
        except OSError as error:
            answer(error=f"{error.filename or request['target']}: {error.strerror or error}")


if __name__ == "__main__":
    main(sys.argv[1])

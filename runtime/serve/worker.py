"""The worker: the one process that loads bundles and runs them. `python -m edge_ad.runtime.serve.worker`.

It is a process of its own so that a crash in a driver or an inference library costs the station one batch, not its
records or its connections. Frames (see `wire`) come in on standard input and go out on what was standard output.
Loading runs in a thread beside the inspecting, so that a product can be changed while another is inspected.
"""

from __future__ import annotations

import math
import os
import queue
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from edge_ad.bundle import DIGEST
from edge_ad.errors import BundleError, EdgeAdError
from edge_ad.inspection import heat_range
from edge_ad.runtime.result import regions_of
from edge_ad.runtime.serve import wire

if TYPE_CHECKING:
    from edge_ad.regions import Region
    from edge_ad.runtime import Detector, Inspection
    from edge_ad.runtime.monitor import DriftMonitor


class Worker:
    """Answers the station's messages until its standard input ends.

    - load: slot, path, provider, plan, seed, threads, memory, cascade, allow_uncalibrated, warm_batch → what the bundle
      is.
    - inspect: slot, categories, sizes (H, W of the originals), and one uint8 S,S,3 array each → results, and two arrays
      each: score map and inpainted. An image without a finite score has an "error" for a result, and two empty arrays.
    - unload: slot.
    """

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO):
        self._incoming = incoming
        self._outgoing = outgoing
        self._writing = threading.Lock()
        self._detectors: dict[int, Detector] = {}
        self._monitors: dict[tuple[int, str], DriftMonitor | None] = {}
        self._work: queue.SimpleQueue[wire.Message] = queue.SimpleQueue()

    def run(self) -> None:
        """Serve for ever; the process ends when the station's end of the pipe is closed."""
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            header, arrays = self._work.get()
            self._answer(header, arrays)

    def _read(self) -> None:
        while (message := wire.read_frame(self._incoming)) is not None:
            header, arrays = message
            if header["do"] == "load":
                threading.Thread(target=self._answer, args=(header, arrays), daemon=True).start()
            else:
                self._work.put((header, arrays))
        # the station is gone, perhaps killed: nobody reads what is still computed, and the card is to be free at once
        for detector in list(self._detectors.values()):
            detector.bundle.close()  # what was unpacked
        os._exit(0)

    def _answer(self, header: dict[str, Any], arrays: list[wire.Array]) -> None:
        handlers = {"load": self._load, "inspect": self._inspect, "unload": self._unload}
        try:
            answer, results = handlers[header["do"]](header, arrays)
        except EdgeAdError as error:
            answer, results = {"error": str(error), "kind": type(error).__name__}, []
        except Exception as error:  # what a driver raises is open-ended, and the station must hear of it
            message = " ".join(str(error).split())[:500]
            answer, results = {"error": f"{type(error).__name__}: {message}", "kind": "Exception"}, []
        answer["id"] = header["id"]
        with self._writing:
            for piece in wire.encode(answer, results):
                self._outgoing.write(piece)
            self._outgoing.flush()

    def _load(self, header: dict[str, Any], arrays: list[wire.Array]) -> tuple[dict[str, Any], list[wire.Array]]:
        from edge_ad.runtime import Detector

        started = time.perf_counter()
        detector = Detector.load(
            header["path"],
            provider=header["provider"],
            plan=header["plan"],
            seed=header["seed"],
            threads=header["threads"],
            memory=header["memory"],
            cascade=header["cascade"],
        )
        if header["cascade"]:
            for name in detector.categories:
                detector.cascade_limits(name)
        if not header["allow_uncalibrated"]:
            for name in detector.categories:
                if reason := detector.undecided(name):
                    raise BundleError(f"{reason}; --allow-uncalibrated loads it all the same, and gives no verdicts")
        size = detector.image_size
        grey = np.full((size, size, 3), 128, np.uint8)
        whole = detector.variant()  # what is warmed up is the whole way, whatever a cascade would decide
        for count in sorted({1, header["warm_batch"]}):  # a batch of another size compiles and allocates anew
            names = [detector.categories[i % len(detector.categories)] for i in range(count)]
            began = time.perf_counter()
            whole.inspect_batch([grey] * count, names, inpainted=True)
            batch_seconds = time.perf_counter() - began
        categories, slot = {}, header["slot"]
        for name in detector.categories:
            found = detector.inspect(grey, name)  # reads the category's files: the first part is not to wait for that
            calibration = detector.calibration(name)
            categories[name] = {
                "threshold": found.threshold,
                "rule": found.rule,
                "promised": None if calibration is None else calibration.promised,
            }
            self._monitors[slot, name] = detector.drift_monitor(name)
        self._detectors[slot] = detector
        about = {
            "sha256": (Path(detector.bundle.folder) / DIGEST).read_text("utf-8").strip(),
            "created": detector.bundle.manifest.created,
            "image_size": size,
            "plan": detector.plan_name,
            "provider": detector.provider,
            "precision": detector.precision,
            "categories": categories,
            "seconds": time.perf_counter() - started,
            "batch_seconds": batch_seconds,
        }
        return about, []

    def _inspect(self, header: dict[str, Any], arrays: list[wire.Array]) -> tuple[dict[str, Any], list[wire.Array]]:
        slot = header["slot"]
        detector = self._detectors[slot]
        results: list[dict[str, Any]] = []
        pictures: list[wire.Array] = []
        batch = detector.inspect_batch(arrays, header["categories"], inpainted=True)
        nothing = np.empty((0, 0, 3), np.uint8)
        for found, (height, width) in zip(batch, header["sizes"]):
            if not math.isfinite(found.score):  # it would pass for good: it is not above any threshold
                results.append(
                    {"error": f"the bundle's score is {found.score}, no decision; export it at a higher precision"}
                )
                pictures += [nothing, nothing]
                continue
            results.append(
                {
                    "score": found.score,
                    "threshold": found.threshold,
                    "normalised": found.normalised,
                    "verdict": found.verdict,
                    "regions": [asdict(region) for region in _regions(detector, found, (height, width))],
                    "range": heat_range(found),
                    "times": found.times,
                    "drift": self._drift(slot, found),
                    "defect": found.defect,
                    "defect_probability": found.defect_probability,
                    "stage": found.stage,
                }
            )
            # of what a cascade decides nothing is inpainted: an empty picture stands for that
            pictures += [found.score_map, nothing if found.inpainted is None else found.inpainted]
        return {"results": results}, pictures

    def _drift(self, slot: int, found: Inspection) -> dict[str, Any] | None:
        """What the last pictures of the category say together; None where the bundle has no monitor."""
        monitor = self._monitors[slot, found.category]
        if monitor is None or found.pooled is None:
            return None
        drift = monitor.update(found.pooled, rejected=found.verdict == "bad")
        return {**asdict(drift), "message": drift.message}

    def _unload(self, header: dict[str, Any], arrays: list[wire.Array]) -> tuple[dict[str, Any], list[wire.Array]]:
        detector = self._detectors.pop(header["slot"], None)
        if detector is not None:
            for name in detector.categories:
                self._monitors.pop((header["slot"], name), None)
            detector.bundle.close()
        return {}, []


def _regions(detector: Detector, found: Inspection, original: tuple[int, int]) -> list[Region]:
    """The regions in pixels of the image as it came, of which the detector saw a resized copy only."""
    calibration = detector.calibration(found.category)
    threshold, min_area = found.threshold, 1.0
    if calibration is not None:
        min_area = calibration.min_area
        threshold = threshold if calibration.pixel_threshold is None else calibration.pixel_threshold
    return regions_of(found.score_map, threshold, original, min_area)


def main() -> None:
    """Take over standard output for frames, so that what a library prints goes to standard error, and serve."""
    for name in ("SIGINT", "SIGTERM"):  # sent to the whole group by a terminal or systemd; the station drains first
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    outgoing = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=1 << 16)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    incoming = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    Worker(incoming, outgoing).run()


if __name__ == "__main__":
    main()

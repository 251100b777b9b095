"""Check and time a bundle's engines on this machine's card: one command, one page to send back.

    python benchmarks/gpu_check.py BUNDLE [--library trt-rtx|tensorrt] [--repeats 30] [--data DATA]

Builds the engines of this card first where the bundle has none, in a copy of it. Then, for every graph: the largest and
mean error against PyTorch's numbers that are stored in the bundle, and the median time of a run at each of the engine's
profiles. Then one image through the whole detector, against ONNX Runtime on the CPU, and `edge-ad profile`. With
--data, a data set with test pictures, also the tables of peer_pipeline.py (it needs the train extra and a plan "paper")
and savings.py.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edge_ad.bundle_files import Bundle
from edge_ad.dataset import load_dataset
from edge_ad.doctor.machine import find_cards
from edge_ad.runtime import Detector
from edge_ad.runtime.engines.library import capability_text, load_library
from edge_ad.runtime.engines.make import EngineOptions, add_engines
from edge_ad.runtime.sessions.base import SessionOptions
from edge_ad.runtime.sessions.card import card_capability
from edge_ad.runtime.sessions.engine import each_engine
from edge_ad.runtime.verify import verify_engines


def feeds_of(graph, profile: dict[str, tuple[int, int, int]], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random inputs at a profile's best sizes; indices are 0."""
    feeds = {}
    for spec in graph.inputs:
        shape = [profile[axis][1] if isinstance(axis, str) else axis for axis in spec.shape]
        dtype = np.dtype(spec.dtype)
        if dtype.kind == "f":
            feeds[spec.name] = rng.random(shape, np.float32).astype(dtype)
        else:
            feeds[spec.name] = np.zeros(shape, dtype) if dtype != np.uint8 else rng.integers(0, 256, shape, dtype)
    return feeds


def median_ms(work, repeats: int) -> tuple[float, float]:
    """(median, spread between the 10th and 90th percentile) in ms, after three runs that do not count."""
    times = []
    for i in range(repeats + 3):
        started = time.perf_counter()
        work()
        if i >= 3:
            times.append(1e3 * (time.perf_counter() - started))
    low, high = np.percentile(times, [10, 90])
    return statistics.median(times), float(high - low)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--library", choices=["trt-rtx", "tensorrt"], default="trt-rtx")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--data", type=Path, help="prints the ratio and savings tables too")
    arguments = parser.parse_args()
    capability = card_capability()
    if capability is None:
        raise SystemExit("gpu_check: this machine has no NVIDIA card that its driver can use; see edge-ad doctor")
    card = find_cards()[:1]
    version = load_library(arguments.library).__version__
    print(f"{platform.platform()}; {card}; {arguments.library} {version}")
    with tempfile.TemporaryDirectory() as scratch:
        with Bundle.open(arguments.bundle) as given:
            folder = shutil.copytree(given.folder, Path(scratch) / "bundle")
            fits = any(
                (entry.library, entry.version, entry.compute_capability)
                == (arguments.library, version, capability_text(capability))
                for entry in given.manifest.engines.values()
            )
        if not fits:
            add_engines(folder, EngineOptions(arguments.library))
        failed = check(folder, arguments.library, arguments.repeats)
        tables(folder, arguments.library, arguments.data, Path(scratch))
    if failed:
        raise SystemExit(f"gpu_check: off: {', '.join(failed)}")


def check(folder: Path, library: str, repeats: int) -> list[str]:
    """Print the page and return what is off."""
    failed = []
    rng = np.random.default_rng(0)
    with Bundle.open(folder) as bundle:
        for found in verify_engines(bundle):
            if found.compared is not None:
                print(f"{found.engine}/{found.graph}: largest error {found.compared.max_error:.2e}, "
                      f"mean {found.compared.mean_error:.2e}, limit {found.compared.tolerance:.0e}")  # fmt: skip
            else:
                print(f"{found.engine}/{found.graph}: {found.state}: {found.reason}")
            failed += [] if found.passed else [f"{found.engine}/{found.graph}"]
        for name, session in each_engine(bundle, library, SessionOptions()):
            for profile in session.profiles or [{}]:  # type: ignore[attr-defined]
                feeds = feeds_of(session.graph, profile, rng)
                best = {axis: sizes[1] for axis, sizes in profile.items()}
                median, spread = median_ms(lambda: session.run(feeds), repeats)  # noqa: B023 - called at once
                print(f"time {name} {json.dumps(best)}: {median:.2f} ms (spread {spread:.2f}), with copies")
    detector, reference = Detector.load(folder, provider=library), Detector.load(folder, provider="cpu")
    image = rng.integers(0, 256, (detector.image_size, detector.image_size, 3), dtype=np.uint8)
    category = detector.categories[0]
    median, spread = median_ms(lambda: detector.inspect(image, category), repeats)
    found, expected = detector.inspect(image, category), reference.inspect(image, category)
    alike = float(np.corrcoef(found.score_map.ravel(), expected.score_map.ravel())[0, 1])
    print(f"one image, plan {detector.plan_name}: {median:.1f} ms (spread {spread:.1f}); score {found.score:.5f}, "
          f"on the CPU {expected.score:.5f}; correlation of the maps {alike:.6f}")  # fmt: skip
    print(f"stages in ms: { {stage: round(1e3 * seconds, 2) for stage, seconds in found.times.items()} }")
    return failed + ([] if alike >= 0.9999 or detector.precision != "fp32" else ["score map"])


def tables(folder: Path, library: str, data: Path | None, scratch: Path) -> None:
    """Print what this project's documents show of a processor."""
    here = Path(__file__).parent
    commands = [["-m", "edge_ad", "profile", folder, "--provider", library]]
    if data is not None:
        data = data.resolve()
        first = load_dataset(data, need_test=True).categories[0]
        picture = ["--image", first.test[0].path, "--category", first.name]
        common = ["--json", scratch / "peers.json", "--providers", library, "--bf16"]
        commands.append([here / "peer_pipeline.py", folder, *picture, *common])
        commands.append([here / "savings.py", folder, data, "--json", scratch / "savings.json", "--provider", library])
    for command in commands:
        print(f"\n{' '.join(str(part) for part in command)}", flush=True)
        subprocess.run([sys.executable, *map(str, command)], check=False, cwd=scratch)


if __name__ == "__main__":
    main()

"""Trained heads into a bundle: their graphs, examples to verify them by, and what the outputs mean."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_ad.bundle import Graph, HeadsEntry, Manifest
from edge_ad.bundle_files import Bundle, replaced, write_manifest
from edge_ad.errors import BundleError, InputError, OptionError
from edge_ad.export.graphs.case import GraphCase
from edge_ad.export.graphs.heads import classifier_case, segmenter_case
from edge_ad.export.memory import row_bytes
from edge_ad.export.onnx import torch_outputs, write_graph, write_reference
from edge_ad.files import link_tree
from edge_ad.runtime.verify import verify_graph

HEAD_GRAPHS = ("segmenter", "classifier")


def add_heads(folder: Path, bundle: Path, *, drop_engines: bool = False, log: Callable[[str], None] = print) -> None:
    """Put trained heads into a bundle, folder or `.tar`, which is replaced as a whole once all is verified.

    Heads that it has are replaced. Scores and thresholds stay as they are.

    Args:
        folder: what `heads train` wrote.
        bundle: to change.
        drop_engines: remove the bundle's engines, which do not hold the new graphs.
        log: receives lines about what was done.

    Raises:
        InputError: `folder` holds no heads, or none for a category of the bundle.
        OptionError: the bundle has engines and they are not to be dropped.
        BundleError: heads or bundle are damaged, or a graph does not compute what PyTorch does.
    """
    from edge_ad.training.heads.folder import load_heads
    from edge_ad.training.heads.network import SegmenterGraph

    heads = load_heads(folder)
    bundle = Path(bundle).resolve()
    with Bundle.open(bundle) as opened:
        shared = sorted(set(heads.kinds) & set(opened.manifest.categories))
        if not shared:
            raise InputError(
                f"{folder} knows {', '.join(heads.kinds)}, and {bundle.name} has "
                f"{', '.join(sorted(opened.manifest.categories))}: no category in common"
            )
        if opened.manifest.engines and not drop_engines:
            raise OptionError(
                f"{bundle.name} has engines, which lack the heads: give --drop-engines, then build them again "
                "(edge-ad engines build)"
            )
        rng = np.random.default_rng(0)
        cases = [segmenter_case(SegmenterGraph(heads.segmenter()), heads.image_size, rng)]
        if (classifier := heads.classifier()) is not None:
            cases.append(classifier_case(classifier, heads.image_size, rng))
        with replaced(bundle) as target:
            _fill(target, opened, cases, heads.image_size, heads.kinds, log)


def _fill(
    target: Path, bundle: Bundle, cases: list[GraphCase], image_size: int, kinds: dict[str, list[str]],
    log: Callable[[str], None],
) -> None:  # fmt: skip
    """Write the bundle with the heads to the folder `target`; unchanged files are links to the old ones."""
    link_tree(bundle.folder, target)
    shutil.rmtree(target / "engines", ignore_errors=True)
    graphs = dict(bundle.manifest.graphs)
    for name in HEAD_GRAPHS:
        if (old := graphs.pop(name, None)) is not None:
            for path in (*old.paths, old.reference):
                if path is not None:
                    (target / path).unlink()
    for case in cases:
        started = time.perf_counter()
        graphs[case.name] = _graph(case, target)
        size = (target / graphs[case.name].file).stat().st_size
        log(f"graph {case.name}: {size / 1e6:.1f} MB in {time.perf_counter() - started:.1f} s")
    outputs = tuple((name, kind) for name, found in kinds.items() for kind in found)
    entry = HeadsEntry(image_size=image_size, outputs=outputs)
    manifest: Manifest = bundle.manifest.model_copy(update={"graphs": graphs, "heads": entry, "engines": {}})
    write_manifest(target, manifest)
    with Bundle.open(target) as made:
        for case in cases:
            check = verify_graph(made, case.name)
            assert check is not None  # its example was written above
            if not check.passed:
                raise BundleError(
                    f"the exported graph {case.name} differs from PyTorch by {check.max_error:.2g} (limit "
                    f"{check.tolerance:.2g}); the bundle was left as it was, please report this"
                )
            log(f"verified {case.name}: largest error {check.max_error:.1e}, mean {check.mean_error:.1e}")


def _graph(case: GraphCase, folder: Path) -> Graph:
    expected = torch_outputs(case)
    graph = write_graph(case, folder, "fp32", row_bytes(case.module, case.inputs, len(case.inputs["image"])))
    graph.reference = write_reference(case, expected, folder)
    return graph

"""The layers of a quantized bundle as a table."""

from __future__ import annotations

from edge_ad.bundle import Manifest


def layer_table(manifest: Manifest) -> str:
    """Markdown: every layer of the quantized graphs, what it computes in, and the error of quantizing it alone."""
    errors = manifest.metrics.get("export", {}).get("quantization", {}).get("layers", {})
    lines = []
    for name, graph in manifest.graphs.items():
        if graph.quantization is None:
            continue
        made = graph.quantization
        counts = f"{len(made.layers)} layers in {graph.precision}, {len(made.left)} in {made.rest}"
        lines += [f"## {name}", "", f"{counts}; relative error of the graph {made.error:.4f}", ""]
        lines += ["| layer | computes in | error alone | left because |", "|---|---|---|---|"]
        rows = sorted([*made.left, *made.layers], key=lambda layer: -errors.get(name, {}).get(layer, float("inf")))
        for layer in rows:
            alone = errors.get(name, {}).get(layer)
            shown = "–" if alone is None else f"{alone:.5f}"
            precision = made.rest if layer in made.left else graph.precision
            lines.append(f"| {layer} | {precision} | {shown} | {made.left.get(layer, '')} |")
        lines.append("")
    return "\n".join(lines) + "\n"

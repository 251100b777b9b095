"""What a bundle holds, as plain data: the content of `edge-ad bundle show`. Nothing is run."""

from __future__ import annotations

from typing import Any

from edge_ad.bundle import DIGEST, MANIFEST, Graph, TensorSpec
from edge_ad.bundle_files import Bundle
from edge_ad.runtime.costs import bank_shape, bundle_plan_cost


def describe(bundle: Bundle) -> dict[str, Any]:
    """A bundle's graphs, plans, categories, engines, measurements and sizes, ready for JSON.

    Sizes are bytes. A graph's `flops` and `traffic` are by what they grow with, as `edge_ad.bundle.Cost` has them; a
    plan's `flops` and `traffic` are those of one image. All four are None in bundles that do not know their cost.
    """
    manifest = bundle.manifest
    files = [MANIFEST, DIGEST, *manifest.files]
    return {
        "bundle": str(bundle.source),
        "edge_ad_version": manifest.edge_ad_version,
        "schema_version": manifest.schema_version,
        "created": manifest.created,
        "base": manifest.base.model_dump(),
        "licences": manifest.licences,
        "image_size": manifest.image_size,
        "latents": [manifest.latent_channels, manifest.latent_size, manifest.latent_size],
        "perceptual": manifest.perceptual,
        "features": manifest.features,
        "files": len(files),
        "bytes": sum(_size(bundle, path) for path in files),
        "graphs": {name: _graph(bundle, name, graph) for name, graph in manifest.graphs.items()},
        "default_plan": manifest.default_plan,
        "plans": {name: _plan(bundle, name) for name in manifest.plans},
        "categories": {name: _category(bundle, name) for name in sorted(manifest.categories)},
        "engines": {
            target: {
                **engine.model_dump(mode="json", exclude={"files"}),
                "graphs": sorted(engine.files),
                "bytes": sum(_size(bundle, path) for path in engine.files.values()),
            }
            for target, engine in manifest.engines.items()
        },
        "evaluation": manifest.metrics.get("evaluation", []),
    }


def _size(bundle: Bundle, path: str) -> int:
    return (bundle.folder / path).stat().st_size


def _graph(bundle: Bundle, name: str, graph: Graph) -> dict[str, Any]:
    verified = bundle.manifest.metrics.get("export", {}).get("verify", {}).get(name, {})
    return {
        "inputs": {spec.name: _tensor(spec) for spec in graph.inputs},
        "outputs": {spec.name: _tensor(spec) for spec in graph.outputs},
        "precision": graph.precision,
        "parameters": graph.cost.parameters if graph.cost else None,
        "flops": graph.cost.flops if graph.cost else None,
        "traffic": graph.cost.traffic if graph.cost else None,
        "bytes": sum(_size(bundle, path) for path in graph.paths),
        "max_error": verified.get("max_error"),
    }


def _tensor(spec: TensorSpec) -> str:
    """float32 B,4,32,32."""
    return f"{spec.dtype} {','.join(map(str, spec.shape))}".strip()


def _plan(bundle: Bundle, name: str) -> dict[str, Any]:
    plan = bundle.manifest.plans[name]
    schedule = bundle.manifest.schedules[plan.schedule]
    cost = bundle_plan_cost(bundle, name)
    return {
        "scales": list(plan.scales),
        "grouping": plan.grouping,
        "masked_latents": plan.masked_latents,
        "lambda": schedule.noise_strength,
        "steps": schedule.steps,
        "solver": schedule.solver,
        "masks": cost.inpaintings,
        "evaluations": cost.evaluations,
        "encodings": cost.encodings,
        "decodings": cost.decodings,
        "flops": cost.flops if cost.known else None,
        "traffic": cost.traffic if cost.known else None,
    }


def _category(bundle: Bundle, name: str) -> dict[str, Any]:
    entry, manifest = bundle.category(name), bundle.manifest
    schedules = {plan: entry.schedules.get(plan, manifest.plans[plan].schedule) for plan in manifest.plans}
    return {
        "prompt": list(bundle.array(entry.prompt).shape),
        "prototypes": list(bank_shape(bundle, name)),
        "lambda": {plan: manifest.schedules[schedule].noise_strength for plan, schedule in schedules.items()},
        "thresholds": entry.thresholds,
        "calibrations": {
            plan: {
                precision: made.model_dump(
                    mode="json", include={"rule", "promised", "target", "images", "created", "cascade"}
                )
                for precision, made in by_precision.items()
            }
            for plan, by_precision in entry.calibrations.items()
        },
    }

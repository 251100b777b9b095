"""What every plan costs with Stable Diffusion 1.5 inpainting at 512 px, counted, nothing run.

    python benchmarks/plan_costs.py [--json FILE] [--prototypes 4096] [--steps 4] [--lambda 0.4]

The wrapper modules that export writes as ONNX are traced on PyTorch's meta device and their FLOPs counted by PyTorch:
convolutions, matrix products and attention, two a multiply-add. Prints the table of docs/plans.md, and the share of the
cross-attention keys and values, which a prompt that is constant over steps and masks would need once an image.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from edge_ad.bundle import Cost, Weights
from edge_ad.export.costs import fit
from edge_ad.export.graphs.compose import ComposeGraph
from edge_ad.export.graphs.decoder import DecoderGraph
from edge_ad.export.graphs.denoiser import DenoiserGraph
from edge_ad.export.graphs.encoder import EncoderGraph
from edge_ad.export.graphs.score import ScoreGraph
from edge_ad.files import write_json
from edge_ad.runtime.costs import PlanCost, plan_cost
from edge_ad.runtime.plan import grouped_plan, paper_plan
from edge_ad.training.features import FeatureNet
from edge_ad.training.perceptual import PerceptualNet
from edge_ad.training.pretrain.architecture import PROMPT_LENGTH, build_unet
from edge_ad.units import si

sys.path.insert(0, str(Path(__file__).parent))
import sd15

SIZE, LATENT = sd15.IMAGE_SIZE, sd15.LATENT_SIZE


def counted(module: nn.Module, inputs: Mapping[str, torch.Tensor]) -> int:
    """FLOPs of one call, attention as the two products it is."""
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        module(**inputs)
    return counter.get_total_flops()


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A tensor without memory."""
    return torch.empty(shape, dtype=dtype, device="meta")


def graph_costs() -> tuple[dict[str, Cost], tuple[int, int, int], nn.Module]:
    """FLOPs of every graph by its free sizes, the features' shape, and the UNet."""
    with torch.device("meta"):
        unet, vae = sd15.unet().eval(), sd15.vae().eval()
    features = FeatureNet("b6", "unit", load=False).to("meta")
    image = {"image": empty(1, SIZE, SIZE, 3, dtype=torch.uint8)}
    shape = features(**image).shape[1:]

    def latents(rows: int, channels: int = 4) -> torch.Tensor:
        return empty(rows, channels, LATENT, LATENT)

    cases: dict[str, tuple[nn.Module, str, Callable[..., dict[str, torch.Tensor]]]] = {
        "encoder": (EncoderGraph(vae), "N", lambda N: {
            "image": empty(N, SIZE, SIZE, 3, dtype=torch.uint8), "mask": empty(N, 1, SIZE, SIZE)}),
        "denoiser": (DenoiserGraph(unet), "BP", lambda B, P: denoiser_inputs(
            LATENT, sd15.PROMPT_LENGTH, sd15.TEXT_WIDTH, B, P)),
        "compose": (ComposeGraph(), "BK", lambda B, K: {
            "results": latents(B), "masks": latents(B, 1), "assignment": empty(K, B)}),
        "decoder": (DecoderGraph(vae), "K", lambda K: {"latents": latents(K)}),
        "features": (features, "N", lambda N: {"image": empty(N, SIZE, SIZE, 3, dtype=torch.uint8)}),
        "score": (ScoreGraph(PerceptualNet("alexnet", load=False), SIZE).to("meta"), "KR", lambda K, R: {
            **image, "reconstruction": empty(1, 3, SIZE, SIZE), "inpainted": empty(K, 3, SIZE, SIZE),
            "masks": empty(K, 1, SIZE, SIZE), "membership": empty(R, K), "prototype": empty(K),
            "error": empty(1, 1, LATENT, LATENT), "levels": empty(2, SIZE, SIZE),
            "weights": empty(len(Weights().vector()))}),
    }  # fmt: skip
    costs = {"prepare": Cost(flops={}, traffic={}, parameters=0, weight_bytes=0)}
    for name, (module, symbols, inputs) in cases.items():
        flops = fit(lambda sizes, module=module, inputs=inputs: counted(module, inputs(**sizes)), list(symbols))
        parameters = sum(p.numel() for p in module.parameters())
        costs[name] = Cost(flops=flops, traffic={}, parameters=parameters, weight_bytes=0)
    return costs, (int(shape[0]), int(shape[1]), int(shape[2])), unet


def key_value_share(unet: nn.Module, tokens: int, evaluation: int) -> str:
    """How much of one evaluation are the cross-attention's keys and values, which depend on the prompt alone."""
    layers = (
        layer
        for name, layer in unet.named_modules()
        if name.endswith(("attn2.to_k", "attn2.to_v")) and isinstance(layer, nn.Linear)
    )
    flops = sum(2 * tokens * layer.in_features * layer.out_features for layer in layers)
    return (
        f"{si(evaluation, 'FLOP')} an evaluation, of it {si(flops, 'FLOP')} ({flops / evaluation:.2%}) keys and values"
    )


def denoiser_inputs(size: int, tokens: int, width: int, B: int, P: int) -> dict[str, torch.Tensor]:
    """What the denoiser graph takes, B rows and P prompts."""

    def latents(channels: int) -> torch.Tensor:
        return empty(B, channels, size, size)

    return {
        "latents": latents(4), "masked_latents": latents(4), "mask": latents(1), "history": latents(4),
        "prompts": empty(P, tokens, width), "prompt_index": empty(B, dtype=torch.int64), "timestep": empty(B),
        "coeffs": empty(B, 5),
    }  # fmt: skip


def table(found: Mapping[str, PlanCost]) -> str:
    """Markdown, a plan a column."""
    stages = list(dict.fromkeys(itertools.chain(*((s.stage for s in cost.stages) for cost in found.values()))))
    lines = ["| one image | " + " | ".join(found) + " |", "|---|" + "---:|" * len(found)]

    def row(name: str, values: list[str]) -> None:
        lines.append(f"| {name} | " + " | ".join(values) + " |")

    for name in ("inpaintings", "evaluations", "encodings", "decodings"):
        row(name, [f"{getattr(cost, name):,}" for cost in found.values()])
    for stage in stages:
        flops = [next((s.flops for s in cost.stages if s.stage == stage), None) for cost in found.values()]
        if any(flops):  # prepare has none
            row(f"{stage}, FLOPs", ["-" if not one else si(one) for one in flops])
    row("all, FLOPs", [si(cost.flops) for cost in found.values()])
    dearest = max(cost.flops for cost in found.values())
    row("times fewer", [f"{dearest / cost.flops:.1f}" for cost in found.values()])
    return "\n".join(lines)


@click.command()
@click.option("--lambda", "strength", default=0.4, show_default=True, help="Noise strength.")
@click.option("--steps", default="4,2,1", show_default=True, help="Steps of the grouped plan, one column each.")
@click.option("--prototypes", default=4096, show_default=True, help="Rows of the prototype bank.")
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(strength: float, steps: str, prototypes: int, json_file: Path | None) -> None:
    """Print the table."""
    costs, shape, unet = graph_costs()
    shared = {"feature_shape": shape, "prototypes": prototypes}
    paper, grouped = paper_plan("s"), grouped_plan("s")
    found = {"paper": plan_cost(costs, paper, LATENT, steps=int(50 * strength), **shared)}
    for count in (int(part) for part in steps.split(",")):
        found[f"grouped, {count} steps"] = plan_cost(costs, grouped, LATENT, steps=count, **shared)
    click.echo(table(found))
    parameters = si(costs["denoiser"].parameters)
    share = key_value_share(unet, sd15.PROMPT_LENGTH, costs["denoiser"].flops["B"])
    click.echo(f"\nStable Diffusion 1.5, {parameters} parameters: {share}")
    with torch.device("meta"):
        nano = build_unet().eval()
    width, tokens = nano.config.cross_attention_dim, PROMPT_LENGTH
    flops = counted(DenoiserGraph(nano), denoiser_inputs(nano.config.sample_size, tokens, width, 1, 1))
    click.echo(f"nano: {key_value_share(nano, tokens, flops)}")
    if json_file:
        stages = {name: {s.stage: s.flops for s in cost.stages} for name, cost in found.items()}
        graphs = {name: cost.model_dump(include={"flops", "parameters"}) for name, cost in costs.items()}
        write_json(json_file, {"plans": stages, "graphs": graphs})


if __name__ == "__main__":
    main()

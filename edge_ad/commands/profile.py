"""`edge-ad profile`: what an inspection costs on this machine, stage by stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge_ad.commands._options import memory_option


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--image", type=click.Path(path_type=Path), help="A picture to inspect; a drawn one if not given.")
@click.option("--category", help="One of the bundle's categories; the first if not given.")
@click.option("--plan", "plans", multiple=True, help="One of the bundle's plans; may be repeated. All if not given.")
@click.option("--provider", default="auto", show_default=True, help="What to run on: auto, cpu, cuda, openvino, …")
@click.option("--threads", type=click.IntRange(1), default=None, help="CPU threads; the library's choice if not given.")
@memory_option
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(1), help="Timed inspections a plan.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def command(
    bundle: Path,
    image: Path | None,
    category: str | None,
    plans: tuple[str, ...],
    provider: str,
    threads: int | None,
    memory: int | None,
    repeats: int,
    as_json: bool,
) -> None:
    """Time BUNDLE on one image: FLOPs, bytes, milliseconds and the share of this machine's peak, stage by stage.

    FLOPs and bytes are counted from the graphs; times are medians of repeated inspections after one warm-up. The peak
    is that of large matrix products through the same provider, measured in the same run.
    """
    import json

    from edge_ad.bundle_files import Bundle
    from edge_ad.images import read_image
    from edge_ad.progress import progress
    from edge_ad.runtime.profile import drawn_image, profile

    picture = None if image is None else read_image(image)  # a wrong file is told before the bundle is loaded
    with Bundle.open(bundle) as opened:
        names = [opened.plan(name)[0] for name in plans] or list(opened.manifest.plans)
        names = list(dict.fromkeys(names))
        chosen = category or sorted(opened.manifest.categories)[0]
        opened.category(chosen)
        if picture is None:
            picture = drawn_image(opened.manifest.image_size)
        with progress("Profiling", len(names) * (repeats + 1) + 1) as step:
            result = profile(
                opened, picture, chosen, names,
                provider=provider, threads=threads, memory=memory, repeats=repeats, step=step,
            )  # fmt: skip
    result["image"] = "drawn: rings and noise, no product" if image is None else str(image)
    if as_json:
        click.echo(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        _print(result)


def _print(result: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from edge_ad.units import seconds, si

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)
    threads = f"{result['threads']} threads" if result["threads"] else "threads as the library chooses"
    console.print(
        f"{result['bundle']}: category {result['category']}, image {result['image']}\n"
        f"provider {result['provider']} ({result['precision']}), {threads}, {result['cores']} cores, "
        f"{result['repeats']} timed inspections a plan after one warm-up",
        markup=False,
    )
    peak = result["gemm"]
    if peak["flops_per_second"]:
        console.print(
            f"peak {si(peak['flops_per_second'], 'FLOP/s')}: products of {peak['size']} x {peak['size']} matrices "
            f"through the same provider, {peak['precision']}",
            markup=False,
        )
    else:
        console.print(f"no peak measured: {peak['reason']}", markup=False)
    for name, plan in result["plans"].items():
        table = Table(
            title=Text(f"\n{name}: {plan['masks']} masks, {plan['evaluations']} UNet evaluations"),
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
        )
        for column in ("stage", "rows", "FLOPs", "bytes", "time", "spread", "of the time", "FLOP/s", "of the peak"):
            table.add_column(column, justify="left" if column == "stage" else "right")
        for stage in plan["stages"]:
            table.add_row(
                stage["stage"],
                "-" if stage["rows"] is None else f"{stage['rows']:,}",
                "-" if stage["flops"] is None else si(stage["flops"]),
                "-" if stage["traffic"] is None else si(stage["traffic"], "B"),
                seconds(stage["seconds"]),
                f"± {seconds(stage['spread'])}",
                f"{100 * stage['share']:.1f} %",
                "-" if not stage["flops_per_second"] else si(stage["flops_per_second"]),
                "-" if stage["of_peak"] is None else f"{100 * stage['of_peak']:.0f} %",
            )
        console.print(table)
        if "cascade" in plan:
            early, worst = (seconds(plan["cascade"][key]) for key in ("seconds_prototypes", "seconds_worst"))
            console.print(f"in a cascade: {early} where prototypes decide, {worst} at worst", markup=False)
        if plan["peak_memory"] is not None:
            console.print(f"peak memory of the process after this plan: {si(plan['peak_memory'], 'B')}", markup=False)
    console.print(f"loading the first plan took {seconds(result['load_seconds'])}", markup=False)

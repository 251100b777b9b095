"""`edge-ad inspect`: decide on images with a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from edge_ad.commands._options import memory_option

#: Exit code when a part was rejected and `--fail-on-reject` is given.
REJECTED = 3


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE|FOLDER...")
@click.option("--category", help="The product on all the images; inferred from the names of their folders otherwise.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the results.")
@click.option("--plan", help="One of the bundle's plans; its default otherwise.")
@click.option("--provider", default="auto", show_default=True, help="What to run on: auto, cpu, cuda, openvino, …")
@memory_option
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed of the noise.")
@click.option(
    "--cascade", is_flag=True, help="Inpaint only what the prototypes leave in doubt; see calibrate --cascade."
)
@click.option("--inpainted", is_flag=True, help="Also write what each part should have looked like.")
@click.option("--fail-on-reject", is_flag=True, help=f"Exit with code {REJECTED} if any part is rejected.")
def command(
    bundle: Path,
    images: tuple[Path, ...],
    category: str | None,
    out: Path,
    plan: str | None,
    provider: str,
    memory: int | None,
    seed: int,
    cascade: bool,
    inpainted: bool,
    fail_on_reject: bool,
) -> int:
    """Decide on images with BUNDLE: verdict, score, defect regions and a heatmap for each.

    Folders are searched through. The results are OUT/results.jsonl, OUT/results.csv and OUT/heatmaps/. An image that
    cannot be read or decided is recorded with its error, the others go on, and the exit code is 1.
    """
    from typing import Any

    from edge_ad.errors import InputError
    from edge_ad.inspection import Job, find_jobs, inspect_files
    from edge_ad.progress import progress
    from edge_ad.runtime import Detector

    for path in images:
        if not path.exists():  # told before the bundle is loaded
            raise InputError(f"{path}: no such file or folder")
    detector = Detector.load(bundle, provider=provider, plan=plan, seed=seed, memory=memory, cascade=cascade)
    jobs = find_jobs(images, detector.categories, category, out)
    for name in sorted({job.category for job in jobs} if cascade else ()):
        detector.cascade_limits(name)  # told before anything is inspected
    errors: list[str] = []
    with progress("Inspecting", len(jobs)) as step:

        def seen(job: Job, record: dict[str, Any]) -> None:
            if "error" in record:
                errors.append(record["error"])
            step(note=f"{job.path.name}: {record.get('verdict', 'failed')}")

        counts = inspect_files(detector, jobs, out, inpainted=inpainted, seen=seen)
    if len(jobs) == 1 and errors:
        raise InputError(errors[0])
    undecided = f", {counts.undecided} undecided (the bundle has no threshold)" if counts.undecided else ""
    click.echo(f"{counts.total} images: {counts.good} good, {counts.bad} bad{undecided}; results in {out}")
    if errors:
        more = f" (and {len(errors) - 1} more, see results.csv)" if len(errors) > 1 else ""
        raise InputError(f"{errors[0]}{more}")
    return REJECTED if fail_on_reject and counts.bad else 0

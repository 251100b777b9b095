"""`edge-ad calibrate`: set noise strength, fusion, thresholds and drift limits of a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from edge_ad.commands._options import FloatRange


@click.command(short_help="Set a bundle's thresholds, with what they promise, and its drift limits.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--plan", help="One of the bundle's plans; its default otherwise.")
@click.option("--provider", default="auto", show_default=True, help="What to run on: auto, cpu, cuda, openvino, …")
@click.option("--categories", help="Only these, separated by commas; all that data and bundle share otherwise.")
@click.option("--split", default="all", show_default=True, help="Which folders of DATA count: all, train or test.")
@click.option("--false-reject", default=0.01, show_default=True, help="Share of good parts that may be rejected.")
@click.option("--require-promise", is_flag=True, help="Fail, and write nothing, where that rate cannot be promised.")
@click.option("--rule", type=click.Choice(["conformal", "f1", "cost"]), default="conformal", show_default=True,
              help="f1 and cost choose on labelled bad images.")  # fmt: skip
@click.option("--cost-ratio", default=10.0, show_default=True, type=FloatRange(0, min_open=True),
              help="Cost of an escape, in false rejects.")  # fmt: skip
@click.option("--defect-rate", type=FloatRange(0, 1, min_open=True, max_open=True),
              help="Share of bad parts on the line; that of the images otherwise.")  # fmt: skip
@click.option("--pixel", default="auto", show_default=True, help="Threshold of regions in the score map, or auto.")
@click.option("--min-area", default="1", show_default=True, help="Smallest region: pixels, or mm2 as in 0.5mm2.")
@click.option("--mm-per-pixel", type=float, help="Size of a pixel of the pictures, for --min-area in mm2.")
@click.option("--lambda", "strengths", default="auto", show_default=True,
              help="Noise strength: auto, keep, a number, or numbers to choose from.")  # fmt: skip
@click.option("--fusion", "alphas", default="auto", show_default=True,
              help="Weight α of eq. 21: as --lambda; auto also weighs the inpainting map.")  # fmt: skip
@click.option("--cascade", type=float, metavar="RATE",
              help="Also set limits for inspect --cascade: share of defects prototypes alone may pass.")  # fmt: skip
@click.option("--pairs", type=click.Path(path_type=Path), help="Data set of synthetic defects to choose with.")
@click.option("--ranges", is_flag=True, help="Also take activation ranges, which --precision int8 and fp8 need.")
@click.option("--ranges-only", is_flag=True, help="Take them and leave thresholds as they are.")
@click.option("--range-images", default=8, show_default=True, type=click.IntRange(1),
              help="Good images a category to take ranges from.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed of the noise.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads; the library's choice otherwise.")
@click.option("--work", type=click.Path(path_type=Path, file_okay=False),
              help="Folder for the page and what was measured.  [default: BUNDLE-calibration]")  # fmt: skip
def command(
    bundle: Path,
    data: Path,
    plan: str | None,
    provider: str,
    categories: str | None,
    split: str,
    false_reject: float,
    require_promise: bool,
    rule: str,
    cost_ratio: float,
    defect_rate: float | None,
    pixel: str,
    min_area: str,
    mm_per_pixel: float | None,
    strengths: str,
    alphas: str,
    cascade: float | None,
    pairs: Path | None,
    ranges: bool,
    ranges_only: bool,
    range_images: int,
    seed: int,
    threads: int | None,
    work: Path | None,
) -> None:
    """Calibrate BUNDLE on DATA, for one plan and the precision it runs in here, and write the results into it.

    DATA holds good images that the model has not seen, and bad ones for --rule f1 or cost. Images of the training are
    recognised and left out of every promise. An interrupted calibration goes on where it was.
    """
    from typing import Any, cast

    from edge_ad.bundle_files import Bundle
    from edge_ad.calibration.calibrate import calibrate
    from edge_ad.calibration.options import area_of, numbers, pixel_of
    from edge_ad.calibration.outcome import Settings
    from edge_ad.calibration.page import PAGE, write_page
    from edge_ad.calibration.ranges import check_graphs, collect_ranges
    from edge_ad.dataset import Dataset, category_names, load_dataset
    from edge_ad.errors import OptionError
    from edge_ad.runtime import Detector
    from edge_ad.shared_categories import shared_categories

    if (bundle / "run.json").is_file() and not (bundle / "manifest.json").is_file():
        raise OptionError(f'"{bundle}" is a training run, no bundle; first: edge-ad export "{bundle}" --out BUNDLE')
    settings = Settings(
        rule=cast(Any, rule),
        false_reject=false_reject,
        require_promise=require_promise,
        cost_ratio=cost_ratio,
        defect_rate=defect_rate,
        pixel=pixel_of(pixel),
        min_area=area_of(min_area, mm_per_pixel),
        mm_per_pixel=mm_per_pixel,
        strengths=numbers("--lambda", strengths, low=0.0, high=1.0, open_low=True),
        alphas=numbers("--fusion", alphas, low=0.0, high=1.0),
        split=split,
        cascade=cascade,
    )
    names = category_names(data)  # a wrong folder is told before the bundle is loaded
    synthetic = load_dataset(pairs, need_test=True) if pairs is not None else None
    work = work or bundle.resolve().with_name(f"{bundle.resolve().name}-calibration")

    def taken(opened: Bundle | Path, dataset: Dataset) -> None:
        collect_ranges(opened, dataset, work, plan=plan, images=range_images, split=split, provider=provider,
                       seed=seed, threads=threads, log=click.echo)  # fmt: skip

    if ranges_only:
        with Bundle.open(bundle) as opened:
            wanted = shared_categories(categories, names, opened.manifest.categories, data, bundle)
            taken(opened, load_dataset(data, wanted, need_test=split == "test"))
        click.echo(f"written into {bundle}")
        return
    detector = Detector.load(bundle, provider=provider, plan=plan, seed=seed, threads=threads)
    if ranges:
        check_graphs(detector.bundle)
    wanted = shared_categories(categories, names, detector.categories, data, bundle)
    dataset = load_dataset(data, wanted, need_test=split == "test")
    result = calibrate(detector, dataset, settings, work, pairs=synthetic, log=click.echo)
    write_page(result, work)
    if ranges:  # last, since they follow the noise strength that was chosen
        taken(bundle, dataset)
    click.echo(f"written into {bundle}; page: {work / PAGE}")

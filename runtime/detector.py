"""The detector: loads a bundle and decides on images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle import Calibration, CascadeLimits, Manifest, Plan, Weights
from edge_ad.bundle_files import Bundle
from edge_ad.errors import BundleError, InputError
from edge_ad.images import check_picture, resize_image
from edge_ad.runtime import cascade, prototypes
from edge_ad.runtime.category import Category, load_category
from edge_ad.runtime.clock import Clock
from edge_ad.runtime.heads import Opinion, open_heads
from edge_ad.runtime.inpaint import Floats, Image, Inpainter, Job, Look
from edge_ad.runtime.monitor import DriftModel, DriftMonitor, pool
from edge_ad.runtime.result import Inspection, concluded, to_uint8
from edge_ad.runtime.sessions.base import Session, SessionOptions, to_host
from edge_ad.runtime.sessions.card import card_memory
from edge_ad.runtime.sessions.choose import ON_PROCESSOR, choose_provider, open_sessions

DEFAULT_MEMORY = 1 << 30


def default_memory(provider: str) -> int:
    """Bytes that one run of a graph may take where nobody says: 1 GiB, or half of what the card has if that is more."""
    card = None if provider in ON_PROCESSOR else card_memory()
    return max(DEFAULT_MEMORY, (card or 0) // 2)


class Detector:
    """A bundle ready to decide. Make one with `Detector.load`. Not for use by several threads at once.

    categories: names it knows. image_size: side in pixels that images are resized to. plan_name, provider, precision:
    what it runs with. cascade: whether clear cases are decided without inpainting.
    """

    def __init__(
        self,
        bundle: Bundle,
        plan_name: str,
        plan: Plan,
        sessions: dict[str, Session],
        *,
        seed: int,
        memory: int,
        cascade: bool = False,
    ):
        manifest = bundle.manifest
        self.bundle = bundle
        self._opened = bundle  # what a .tar was unpacked to lives as long, for variants of this detector too
        self.plan_name = plan_name
        self.plan = plan
        self.seed = seed
        self.cascade = cascade
        self.image_size = manifest.image_size
        self.categories = sorted(manifest.categories)
        self.provider = sessions["denoiser"].provider
        self.precision = sessions["denoiser"].precision
        self._memory = memory
        self._sessions = sessions
        self._heads = open_heads(manifest.heads, sessions)
        # the same noise for every image: a score depends on the image and the seed alone
        shape = (plan.noise_draws, manifest.latent_channels, manifest.latent_size, manifest.latent_size)
        noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        self._inpainter = Inpainter(bundle, plan, sessions, noise=noise, memory=memory)
        self._ready: dict[str, Category] = {}
        self._banks: Mapping[str, prototypes.PrototypeBank] = {}

    @classmethod
    def load(
        cls,
        bundle: Path | str | Bundle,
        *,
        provider: str = "auto",
        plan: str | None = None,
        seed: int = 0,
        threads: int | None = None,
        memory: int | None = None,
        cascade: bool = False,
    ) -> Detector:
        """Open a bundle, verify it, and load its graphs.

        provider: one of `choose.PROVIDERS`. plan: one of the bundle's, None for its default.
        seed: of the noise. threads: CPU threads of each session, None for the library's choice. memory: bytes that one
        run of a graph may take, an estimate by which batches are split; None for `default_memory`. cascade: parts that
        the prototype error decides by the category's calibrated limits are not inpainted, see `cascade_limits`.

        Raises BundleError for a damaged bundle or an unknown plan, OptionError for a provider that cannot run here.
        """
        kind = choose_provider(provider)
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        name, chosen = opened.plan(plan)
        _check_weights(opened)
        options = SessionOptions(threads=threads)
        sessions = open_sessions(opened, kind, options)
        budget = default_memory(kind) if memory is None else memory
        return cls(opened, name, chosen, sessions, seed=seed, memory=budget, cascade=cascade)

    def variant(
        self,
        manifest: Manifest | None = None,
        banks: Mapping[str, prototypes.PrototypeBank] | None = None,
        *,
        plan: str | None = None,
        cascade: bool = False,
    ) -> Detector:
        """A detector on the same sessions with other numbers, for calibration and research.

        manifest: replaces the bundle's; its graphs and files must be the same. banks: prototype banks that replace
        those of some categories. plan: None for the present one. cascade: as `load` has it.
        """
        manifest = manifest or self.bundle.manifest
        bundle = Bundle(self.bundle.folder, manifest, self.bundle.source)
        name, chosen = bundle.plan(plan or self.plan_name)
        other = Detector(bundle, name, chosen, self._sessions, seed=self.seed, memory=self._memory, cascade=cascade)
        other._opened = self._opened
        other._banks = {**self._banks, **(banks or {})}
        return other

    def undecided(self, category: str) -> str | None:
        """Why this category gets no verdict with this plan, precision and seed; None when it does."""
        return self._category(category).reason

    def calibration(self, category: str) -> Calibration | None:
        """What the category's threshold comes from; None without one, or where it was set by hand."""
        return self._category(category).calibration

    def can_cascade(self, category: str) -> bool:
        """Whether the prototype error alone bounds a category's scores, as a cascade needs."""
        return cascade.bounded(self._category(category).weights)

    def cascade_limits(self, category: str) -> CascadeLimits:
        """Between which scores of the prototypes a part is inpainted; OptionError where none were calibrated."""
        segmenter = self.bundle.graph_digest("segmenter")
        return cascade.category_limits(self._category(category), self.plan_name, self.precision, segmenter)

    def levels(self, category: str) -> Floats:
        """What S and E measure on normal parts, by which the score divides them: float32 2,S,S. See `Levels`."""
        return self._category(category).levels

    def first_opinion(self, image: Image, category: str) -> float | None:
        """The segmenter's score of an image alone, 0..1; None where the bundle has no head for the category."""
        return None if self._heads is None else self._heads.first_opinion(_checked(image), category)

    def drift_monitor(self, category: str) -> DriftMonitor | None:
        """A new drift monitor of a category; None when the bundle has none for this plan and precision."""
        calibration = self._category(category).calibration
        if calibration is None or calibration.monitor is None:
            return None
        array = self.bundle.array(calibration.monitor.file)
        return DriftMonitor(DriftModel.of(calibration.monitor, array))

    def inspect(self, image: Image, category: str, *, inpainted: bool = False) -> Inspection:
        """Decide on one image: uint8 H,W,3 RGB of any size. See `inspect_batch`."""
        return self.inspect_batch([image], [category], inpainted=inpainted)[0]

    def inspect_batch(
        self, images: Sequence[Image], categories: Sequence[str], *, inpainted: bool = False
    ) -> list[Inspection]:
        """Decide on several images, of one category or mixed, with one batch of inpaintings.

        images: uint8 H,W,3 RGB, each of any size. categories: one an image. inpainted: also return the pictures, those
        of the finest scale of patches; a part that the cascade decides has none.

        Raises BundleError for a category the bundle lacks, InputError for what is no image, OptionError for a cascade
        without limits.
        """
        clock = Clock()
        looks = self._look(images, categories, clock)
        opinions: list[Opinion | None] = [None] * len(images)
        found: list[Inspection | None] = [None] * len(images)
        if self.cascade:
            opinions = [self._first_opinion(look, image, clock) for look, image in zip(looks, images)]
            found = [self._decided_early(*parts, clock) for parts in zip(looks, images, opinions)]
        doubtful = [i for i, one in enumerate(found) if one is None]
        jobs = self._inpainter.inpaint([looks[i] for i in doubtful], clock)
        for i, job in zip(doubtful, jobs):
            found[i] = self._decided(job, images[i], inpainted, clock)
        inspections = [one for one in found if one is not None]
        if self._heads is not None:
            with clock("heads"):
                inspections = [self._heads.added(*parts) for parts in zip(inspections, images, opinions)]
        for inspection in inspections:
            inspection.times.update(clock.shared_by(len(inspections)))
        return inspections

    def _first_opinion(self, look: Look, original: Image, clock: Clock) -> Opinion | None:
        """The segmenter's of a part, where the cascade's limits ask for it."""
        if self.cascade_limits(look.category.name).segmenter is None or self._heads is None:
            return None
        with clock("heads"):
            return self._heads.opinion(original, look.category.name)

    def _decided_early(self, look: Look, original: Image, opinion: Opinion | None, clock: Clock) -> Inspection | None:
        """The decision by prototypes, and the segmenter's first opinion where limits ask for it; None in doubt."""
        limits = self.cascade_limits(look.category.name)
        with clock("prototypes"):
            score_map, score = cascade.bound(look.error, look.category.weights, look.category.levels)
        if not cascade.decides(limits, score, None if opinion is None else opinion.score):
            return None
        shape = original.shape[0], original.shape[1]
        return concluded(look.category, shape, score_map, score, look.error, look.pooled, stage="prototypes")

    def _decided(self, job: Job, original: Image, inpainted: bool, clock: Clock) -> Inspection:
        """The decision by everything that the plan computes."""
        run, look = self._inpainter, job.look
        pictures, reconstruction = run.pictures(job, clock), run.reconstruction(job, clock)
        with clock("score"):
            scored = run.score(job, pictures, reconstruction, look.category.weights, ["score_map", "score"])
        finest = int(np.argmax(self.plan.scales))
        picture = to_uint8(job.layout.composed(to_host(pictures), finest)) if inpainted else None
        shape, score = (original.shape[0], original.shape[1]), float(scored["score"])
        return concluded(look.category, shape, scored["score_map"], score, look.error, look.pooled, inpainted=picture)

    def evidence(self, image: Image, category: str) -> dict[str, NDArray[Any]]:
        """The pieces that the score is made of, for calibration and research.

        image: uint8 S,S,3 as the graphs saw it. error: float32 h,w, E of eq. 14; error_map: float32 S,S, E upsampled
        and blurred. image_maps and reconstruction_maps: float32 R,S,S, S^(k) of eq. 18 against the image and against
        its reconstruction, not blurred; image_prototype_map and reconstruction_prototype_map: float32 S,S, eq. 20.
        reconstruction: uint8 S,S,3. inpainted: uint8 R,S,S,3, the composed picture of every scale. prototype_mask:
        float32 h,w. scales: int64 R. levels: float32 2,S,S, see `Levels`.
        score_map: float32 S,S and score: float32, as `inspect` gives them.
        """
        run = self._inpainter
        job = run.inpaint(self._look([image], [category], Clock()), Clock(), everything=True)[0]
        pictures, reconstruction = run.pictures(job), run.reconstructed(job)
        look, host = job.look, to_host(pictures)
        scales, weights = range(len(self.plan.scales)), look.category.weights
        result: dict[str, NDArray[Any]] = {
            "image": look.image,
            "error": look.error,
            "reconstruction": to_uint8(to_host(reconstruction)[0]),
            "inpainted": np.stack([to_uint8(job.layout.composed(host, scale)) for scale in scales]),
            "prototype_mask": job.layout.masks[-1, 0] if job.layout.prototype.any() else np.zeros_like(look.error),
            "scales": np.array(self.plan.scales),
            "levels": look.category.levels,
        }
        wanted = ["scale_maps", "prototype_map", "error_map"]
        for name, reference in (("image", 0.0), ("reconstruction", 1.0)):
            against = weights.model_copy(update={"reference": reference})
            maps = run.score(job, pictures, reconstruction, against, wanted)
            result[f"{name}_maps"], result[f"{name}_prototype_map"] = maps["scale_maps"], maps["prototype_map"]
            result["error_map"] = maps["error_map"]
        return {**result, **run.score(job, pictures, reconstruction, weights, ["score_map", "score"])}

    def error_map(self, image: Image, category: str) -> Floats:
        """E of eq. 14 alone, float32 h,w: nothing is inpainted. Zeros for a category without prototypes."""
        resized = resize_image(_checked(image), self.image_size)
        return self._inpainter.errors([resized], [self._category(category)], Clock())[0][0]

    def bound_score(self, image: Image, category: str) -> float:
        """The lower bound of the score that the prototypes give, see `edge_ad.runtime.cascade.bound`."""
        ready = self._category(category)
        return cascade.bound(self.error_map(image, category), ready.weights, ready.levels)[1]

    def pooled(self, image: Image) -> Floats:
        """Pooled features of an image, float32 D: nothing is inpainted. See `edge_ad.runtime.monitor.pool`."""
        resized = resize_image(_checked(image), self.image_size)
        return pool(self._sessions["features"].run({"image": resized[None]})["features"][0])

    def _look(self, images: Sequence[Image], categories: Sequence[str], clock: Clock) -> list[Look]:
        """The images resized, with their prototype error."""
        if len(images) != len(categories) or not images:
            raise InputError(f"{len(images)} images with {len(categories)} categories: give one category an image")
        ready = [self._category(name) for name in categories]
        with clock("resize"):
            resized = [resize_image(_checked(image), self.image_size) for image in images]
        errors, pooled = self._inpainter.errors(resized, ready, clock)
        return [Look(*parts) for parts in zip(resized, ready, errors, pooled)]

    def _category(self, name: str) -> Category:
        if name not in self._ready:
            bank = self._banks.get(name)
            self._ready[name] = load_category(
                self.bundle, name, self.plan_name, self.plan, self.precision, self.seed, bank
            )
        return self._ready[name]


def _check_weights(bundle: Bundle) -> None:
    """BundleError when the score graph takes other weights than this version has."""
    taken = next((spec.shape for spec in bundle.graph("score").inputs if spec.name == "weights"), ())
    if taken != (len(Weights().vector()),):
        raise BundleError(f'"{bundle.source}" was exported by an earlier edge-ad; export it again')


def _checked(image: Image) -> Image:
    check_picture(image)
    return image

"""The detector: loads a bundle and decides on images, all masks of all images in one batch axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle import Bundle, Calibration, Manifest, Plan, Schedule, Weights
from edge_ad.errors import BundleError, InputError
from edge_ad.images import resize_image
from edge_ad.runtime import masks, prototypes, schedule
from edge_ad.runtime.clock import Clock
from edge_ad.runtime.monitor import DriftModel, DriftMonitor, pool
from edge_ad.runtime.plan import Layout, layout
from edge_ad.runtime.result import Inspection, decide, normalised_score, regions_of, to_uint8
from edge_ad.runtime.sessions.base import Feed, HostTensor, Session, SessionOptions, to_host
from edge_ad.runtime.sessions.choose import choose_provider, open_sessions

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]

DEFAULT_MEMORY = 1 << 30


@dataclass(frozen=True)
class _Category:
    """What the detector keeps ready of one category. prompt: float32 L,D. levels: float32 2,S,S.

    reason: why it has no threshold.
    """

    prompt: Floats
    bank: prototypes.PrototypeBank | None
    levels: Floats
    schedule: Schedule
    weights: Weights
    threshold: float | None
    calibration: Calibration | None
    reason: str | None


@dataclass(frozen=True)
class _Job:
    """One image on its way. image: uint8 S,S,3, resized. error: E. latents: float32 4,h,w. results: float32 B,4,h,w."""

    image: Image
    category: _Category
    error: Floats
    pooled: Floats | None
    layout: Layout
    latents: Floats
    results: Floats


class Detector:
    """A bundle ready to decide. Make one with `Detector.load`. Not for use by several threads at once.

    categories: names it knows. image_size: side in pixels that images are resized to. plan_name, provider, precision:
    what it runs with.
    """

    def __init__(
        self, bundle: Bundle, plan_name: str, plan: Plan, sessions: dict[str, Session], *, seed: int, memory: int
    ):
        manifest = bundle.manifest
        self.bundle = bundle
        self.plan_name = plan_name
        self.plan = plan
        self.seed = seed
        self.image_size = manifest.image_size
        self.categories = sorted(manifest.categories)
        self.provider = sessions["denoiser"].provider
        self.precision = sessions["denoiser"].precision
        self._memory = memory
        self._sessions = sessions
        self._latent_shape = (manifest.latent_channels, manifest.latent_size, manifest.latent_size)
        # one noise tensor, the same for every image: a score depends on the image and the seed alone
        self._noise = np.random.default_rng(seed).standard_normal(self._latent_shape, dtype=np.float32)
        self._ready: dict[str, _Category] = {}
        self._banks: Mapping[str, prototypes.PrototypeBank] = {}
        self._blank: Floats | None = None

    @classmethod
    def load(
        cls,
        bundle: Path | str | Bundle,
        *,
        provider: str = "auto",
        plan: str | None = None,
        seed: int = 0,
        threads: int | None = None,
        memory: int = DEFAULT_MEMORY,
    ) -> Detector:
        """Open a bundle, verify it, and load its graphs.

        provider: one of `choose.PROVIDERS`. plan: one of the bundle's, None for its default.
        seed: of the noise. threads: CPU threads of each session, None for the library's choice. memory: bytes that one
        run of a graph may take, an estimate by which batches are split.

        Raises BundleError for a damaged bundle or an unknown plan, OptionError for a provider that cannot run here.
        """
        kind = choose_provider(provider)
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        name, chosen = opened.plan(plan)
        _check_weights(opened)
        options = SessionOptions(threads=threads)
        sessions = open_sessions(opened, kind, options)
        return cls(opened, name, chosen, sessions, seed=seed, memory=memory)

    def variant(
        self, manifest: Manifest | None = None, banks: Mapping[str, prototypes.PrototypeBank] | None = None
    ) -> Detector:
        """A detector on the same sessions with other numbers, for calibration and research.

        manifest: replaces the bundle's; its graphs and files must be the same. banks: prototype banks that replace
        those of some categories.
        """
        manifest = manifest or self.bundle.manifest
        bundle = Bundle(self.bundle.folder, manifest, self.bundle.source)
        other = Detector(
            bundle, self.plan_name, bundle.plan(self.plan_name)[1], self._sessions, seed=self.seed, memory=self._memory
        )
        other._banks = {**self._banks, **(banks or {})}
        return other

    def undecided(self, category: str) -> str | None:
        """Why this category gets no verdict with this plan, precision and seed; None when it does."""
        return self._category(category).reason

    def calibration(self, category: str) -> Calibration | None:
        """What the category's threshold comes from; None without one, or where it was set by hand."""
        return self._category(category).calibration

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
        of the finest scale of patches.

        Raises BundleError for a category the bundle lacks, InputError for what is no image.
        """
        clock = Clock()
        jobs = self._inpaint(images, categories, clock)
        found = []
        for original, name, job in zip(images, categories, jobs):
            pictures, reconstruction = self._pictures(job, clock), self._reconstruction(job, clock)
            with clock("score"):
                feeds = self._score_feeds(job, pictures, reconstruction, job.category.weights)
                scored = self._sessions["score"].run(feeds, ["score_map", "score"])
            score, threshold, calibration = float(scored["score"]), job.category.threshold, job.category.calibration
            pixel_threshold, min_area, middle = threshold, 1.0, None
            if calibration is not None:
                pixel_threshold = calibration.pixel_threshold if calibration.pixel_threshold is not None else threshold
                min_area, middle = calibration.min_area, calibration.middle
            finest = int(np.argmax(self.plan.scales))
            found.append(
                Inspection(
                    category=name,
                    score=score,
                    threshold=threshold,
                    verdict=decide(score, threshold),
                    score_map=scored["score_map"],
                    regions=regions_of(scored["score_map"], pixel_threshold, original.shape[:2], min_area),
                    inpainted=to_uint8(_composed(job, to_host(pictures), finest)) if inpainted else None,
                    error_map=job.error,
                    normalised=normalised_score(score, threshold, middle),
                    rule=None if calibration is None else calibration.rule,
                    reason=job.category.reason,
                    pooled=job.pooled,
                )
            )
        for inspection in found:
            inspection.times.update(clock.shared_by(len(found)))
        return found

    def evidence(self, image: Image, category: str) -> dict[str, NDArray[Any]]:
        """The pieces that the score is made of, for calibration and research.

        image: uint8 S,S,3 as the graphs saw it. error: float32 h,w, E of eq. 14; error_map: float32 S,S, E upsampled
        and blurred. image_maps and reconstruction_maps: float32 R,S,S, S^(k) of eq. 18 against the image and against
        its reconstruction, not blurred; image_prototype_map and reconstruction_prototype_map: float32 S,S, eq. 20.
        reconstruction: uint8 S,S,3. inpainted: uint8 R,S,S,3, the composed picture of every scale. prototype_mask:
        float32 h,w. scales: int64 R. levels: float32 2,S,S, see `Levels`.
        score_map: float32 S,S and score: float32, as `inspect` gives them.
        """
        job = self._inpaint([image], [category], Clock())[0]
        pictures, reconstruction = self._pictures(job), self._decode(job.latents[None])
        host, session, weights = to_host(pictures), self._sessions["score"], job.category.weights
        scales = range(len(self.plan.scales))
        result: dict[str, NDArray[Any]] = {
            "image": job.image,
            "error": job.error,
            "reconstruction": to_uint8(to_host(reconstruction)[0]),
            "inpainted": np.stack([to_uint8(_composed(job, host, scale)) for scale in scales]),
            "prototype_mask": job.layout.masks[-1, 0] if job.layout.prototype.any() else np.zeros_like(job.error),
            "scales": np.array(self.plan.scales),
            "levels": job.category.levels,
        }
        wanted = ["scale_maps", "prototype_map", "error_map"]
        for name, reference in (("image", 0.0), ("reconstruction", 1.0)):
            against = weights.model_copy(update={"reference": reference})
            maps = session.run(self._score_feeds(job, pictures, reconstruction, against), wanted)
            result[f"{name}_maps"], result[f"{name}_prototype_map"] = maps["scale_maps"], maps["prototype_map"]
            result["error_map"] = maps["error_map"]
        feeds = self._score_feeds(job, pictures, reconstruction, weights)
        return {**result, **session.run(feeds, ["score_map", "score"])}

    def error_map(self, image: Image, category: str) -> Floats:
        """E of eq. 14 alone, float32 h,w: nothing is inpainted. Zeros for a category without prototypes."""
        resized = resize_image(_checked(image), self.image_size)
        return self._errors([resized], [self._category(category)], Clock())[0][0]

    def pooled(self, image: Image) -> Floats:
        """Pooled features of an image, float32 D: nothing is inpainted. See `edge_ad.runtime.monitor.pool`."""
        resized = resize_image(_checked(image), self.image_size)
        return pool(self._sessions["features"].run({"image": resized[None]})["features"][0])

    def _inpaint(self, images: Sequence[Image], categories: Sequence[str], clock: Clock) -> list[_Job]:
        if len(images) != len(categories) or not images:
            raise InputError(f"{len(images)} images with {len(categories)} categories: give one category an image")
        ready = [self._category(name) for name in categories]
        with clock("resize"):
            resized = [resize_image(_checked(image), self.image_size) for image in images]
        errors, pooled = self._errors(resized, ready, clock)
        with clock("encode"):
            latents = self._encode(np.stack(resized), np.zeros((len(images), 1, *resized[0].shape[:2]), np.float32))
        jobs = []
        for i, category in enumerate(ready):
            plan = layout(self.plan, self._latent_shape[1], self._prototype_mask(category, errors[i]))
            results = np.empty((plan.inpaintings, *self._latent_shape), np.float32)
            jobs.append(_Job(resized[i], category, errors[i], pooled[i], plan, latents[i], results))
        rows = [(i, row) for i, job in enumerate(jobs) for row in range(job.layout.inpaintings)]
        limit = self._batch_limit("denoiser")
        for start in range(0, len(rows), limit):
            self._run_rows(jobs, rows[start : start + limit], clock)
        return jobs

    def _run_rows(self, jobs: list[_Job], rows: list[tuple[int, int]], clock: Clock) -> None:
        """Inpaint some rows, (image, mask) pairs, and put the results into their jobs."""
        present, local = np.unique([i for i, _ in rows], return_inverse=True)
        local = local.reshape(-1).astype(np.int64)
        here = [jobs[i] for i in present]
        hidden = np.stack([jobs[i].layout.masks[row] for i, row in rows])
        latents = np.stack([job.latents for job in here])
        if self.plan.masked_latents == "encoded":
            with clock("encode"):
                visible = self._encode(
                    np.stack([jobs[i].image for i, _ in rows]), masks.upsample(hidden, self.image_size)
                )
            blank, visible_index = visible, np.arange(len(rows), dtype=np.int64)
        else:
            visible, visible_index = latents, local
            blank = np.repeat(self._blank_latents(), len(here), axis=0)
        schedules = [jobs[i].category.schedule for i, _ in rows]
        with clock("prepare"):
            prepared = self._sessions["prepare"].run_kept(
                {
                    "latents": latents,
                    "visible": visible,
                    "blank": blank,
                    "mask": hidden,
                    "noise": np.repeat(self._noise[None], len(here), axis=0),
                    "image_index": local,
                    "visible_index": visible_index,
                    "start": np.array([s.start for s in schedules], np.float32),
                }
            )
        with clock("denoise"):
            result = self._sessions["denoiser"].iterate(
                fixed={
                    "masked_latents": prepared["masked_latents"],
                    "mask": hidden,
                    "prompts": np.stack([job.category.prompt for job in here]),
                    "prompt_index": local,
                },
                state={"latents": prepared["noisy"], "history": np.zeros((len(rows), *self._latent_shape), np.float32)},
                steps=[{"timestep": t, "coeffs": c} for t, c in schedule.stacked_steps(schedules)],
                carry={"next": "latents", "next_history": "history"},
            )
            for (i, row), latent in zip(rows, result["next"].numpy()):
                jobs[i].results[row] = latent

    def _pictures(self, job: _Job, clock: Clock | None = None) -> Feed:
        """The K inpainted pictures of an image, float32 K,3,S,S in [-1, 1]."""
        clock = clock or Clock()
        latents: Feed = job.results
        if self.plan.decode == "scale":
            with clock("compose"):
                plan = job.layout
                feeds = {"results": job.results, "masks": plan.compose, "assignment": plan.assignment}
                latents = self._sessions["compose"].run_kept(feeds)["composed"]
        with clock("decode"):
            return self._decode(latents)

    def _reconstruction(self, job: _Job, clock: Clock) -> Feed:
        """The image's own reconstruction, float32 1,3,S,S in [-1, 1]; the image itself where it has no weight."""
        if job.category.weights.reference == 0:
            return HostTensor(job.image.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(127.5) - np.float32(1))
        with clock("decode"):
            return self._decode(job.latents[None])

    def _decode(self, latents: Feed) -> Feed:
        count, limit = len(to_host(latents)) if isinstance(latents, np.ndarray) else 0, self._batch_limit("decoder")
        session = self._sessions["decoder"]
        if count <= limit:
            return session.run_kept({"latents": latents})["image"]
        host = to_host(latents)
        parts = [session.run({"latents": host[i : i + limit]})["image"] for i in range(0, count, limit)]
        return np.concatenate(parts)

    def _encode(self, images: Image, hidden: Floats) -> Floats:
        """Latents of (1 - hidden)·x: uint8 N,S,S,3 and float32 N,1,S,S to float32 N,4,h,w."""
        limit, session = self._batch_limit("encoder"), self._sessions["encoder"]
        parts = [
            session.run({"image": images[i : i + limit], "mask": hidden[i : i + limit]})["latents"]
            for i in range(0, len(images), limit)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _blank_latents(self) -> Floats:
        """Latents of a wholly hidden picture, float32 1,4,h,w; computed once."""
        if self._blank is None:
            side = self.image_size
            self._blank = self._encode(np.zeros((1, side, side, 3), np.uint8), np.ones((1, 1, side, side), np.float32))
        return self._blank

    def _errors(
        self, images: list[Image], ready: list[_Category], clock: Clock
    ) -> tuple[list[Floats], list[Floats | None]]:
        """E of every image, float32 h,w at latent resolution, and its pooled features, float32 D.

        Zeros and None for categories without prototypes.
        """
        shape = self._latent_shape[1:]
        errors: list[Floats] = [np.zeros(shape, np.float32) for _ in images]
        pooled: list[Floats | None] = [None] * len(images)
        wanted = [i for i, category in enumerate(ready) if category.bank is not None]
        limit = self._batch_limit("features")
        for start in range(0, len(wanted), limit):
            part = wanted[start : start + limit]
            with clock("features"):
                features = self._sessions["features"].run({"image": np.stack([images[i] for i in part])})["features"]
            with clock("prototypes"):
                for i, feature in zip(part, features):
                    bank = ready[i].bank
                    assert bank is not None  # `wanted` holds only images whose category has one
                    errors[i] = bank.error_map(feature)
                    pooled[i] = pool(feature)
        return errors, pooled

    def _prototype_mask(self, category: _Category, error: Floats) -> Floats | None:
        """M^(p) of eq. 15 at latent resolution, float32 h,w, 1 = hidden; None where the plan or category has none."""
        if not self.plan.prototype or category.bank is None:
            return None
        threshold = prototypes.THRESHOLD_RULES[self.plan.threshold_rule](error)
        return masks.upsample((error > threshold).astype(np.float32), self._latent_shape[1])

    def _score_feeds(self, job: _Job, pictures: Feed, reconstruction: Feed, weights: Weights) -> dict[str, Feed]:
        plan = job.layout
        return {
            "image": job.image[None],
            "reconstruction": reconstruction,
            "inpainted": pictures,
            "masks": masks.upsample(plan.picture_masks, self.image_size),
            "membership": plan.membership,
            "prototype": plan.prototype,
            "error": job.error[None, None],
            "levels": job.category.levels,
            "weights": np.array(weights.vector(), np.float32),
        }

    def _batch_limit(self, graph: str) -> int:
        """Rows of a graph's batch that fit the memory given at load, and the engine if it is one; at least one."""
        row_bytes, most = self.bundle.graph(graph).row_bytes, self._sessions[graph].max_rows
        limit = max(int(self._memory // row_bytes), 1) if row_bytes else 64
        return limit if most is None else min(limit, most)

    def _category(self, name: str) -> _Category:
        if name not in self._ready:
            self._ready[name] = self._load_category(name)
        return self._ready[name]

    def _load_category(self, name: str) -> _Category:
        entry, bundle = self.bundle.category(name), self.bundle
        weights = entry.weights.get(self.plan_name, self.plan.weights)
        threshold, calibration, reason = self._threshold(name)
        if entry.prototypes is None:
            weights = weights.model_copy(update={"error_power": 0.0, "map_floor": 0.0})
        if entry.levels.maps is not None:
            levels = bundle.array(entry.levels.maps).astype(np.float32)
        else:
            levels = np.empty((2, self.image_size, self.image_size), np.float32)
            # without a floor, as in the paper's plan, the map stands as it is
            levels[0] = entry.levels.map if weights.map_floor else 1.0
            levels[1] = entry.levels.error
        return _Category(
            prompt=bundle.array(entry.prompt).astype(np.float32),
            bank=self._bank(name),
            levels=levels,
            schedule=bundle.manifest.schedules[entry.schedules.get(self.plan_name, self.plan.schedule)],
            weights=weights,
            threshold=threshold,
            calibration=calibration,
            reason=reason,
        )

    def _bank(self, name: str) -> prototypes.PrototypeBank | None:
        if name in self._banks:
            return self._banks[name]
        file = self.bundle.category(name).prototypes
        return None if file is None else prototypes.PrototypeBank(self.bundle.array(file))

    def _threshold(self, name: str) -> tuple[float | None, Calibration | None, str | None]:
        """The threshold of this plan, precision and seed, what it comes from, and why there is none."""
        entry = self.bundle.category(name)
        threshold = entry.thresholds.get(self.plan_name, {}).get(self.precision)
        calibration = entry.calibrations.get(self.plan_name, {}).get(self.precision)
        mend = "run edge-ad calibrate with it"
        if threshold is None:
            have = [f"{plan} at {one}" for plan, found in entry.thresholds.items() for one in found]
            only = f"; it has one for {', '.join(have)}" if have else ""
            plan = f"plan {self.plan_name} at {self.precision}"
            return None, None, f'category "{name}" has no threshold for {plan}{only}: {mend}'
        if calibration is not None and calibration.seed != self.seed:
            seeds = f"computed with --seed {calibration.seed}, not {self.seed}"
            return None, None, f'the threshold of category "{name}" was {seeds}: {mend}, or use that seed'
        return threshold, calibration, None


def _check_weights(bundle: Bundle) -> None:
    """BundleError when the score graph takes other weights than this version has."""
    taken = next((spec.shape for spec in bundle.graph("score").inputs if spec.name == "weights"), ())
    if taken != (len(Weights().vector()),):
        raise BundleError(f'"{bundle.source}" was exported by an earlier edge-ad; export it again')


def _checked(image: Image) -> Image:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(f"an image must be uint8 of shape H,W,3, not {image.dtype} of shape {image.shape}")
    return image


def _composed(job: _Job, pictures: Floats, scale: int) -> Floats:
    """The picture of one scale, float32 3,S,S: each patch from the inpainting that hid it."""
    rows = np.flatnonzero(job.layout.membership[scale])
    if len(rows) == 1:
        picture: Floats = pictures[rows[0]]
        return picture
    parts = masks.upsample(job.layout.picture_masks[rows], pictures.shape[-1])
    composed: Floats = np.einsum("kchw,kuhw->chw", pictures[rows], parts)
    return composed

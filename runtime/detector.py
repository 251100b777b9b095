"""The detector: loads a bundle and decides on images, all masks of all images in one batch axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle import Calibration, CascadeLimits, Manifest, Plan, Weights
from edge_ad.bundle_files import Bundle
from edge_ad.errors import BundleError, InputError
from edge_ad.images import resize_image
from edge_ad.runtime import cascade, masks, prototypes, schedule
from edge_ad.runtime.category import Category, load_category
from edge_ad.runtime.clock import Clock
from edge_ad.runtime.heads import open_heads
from edge_ad.runtime.monitor import DriftModel, DriftMonitor, pool
from edge_ad.runtime.plan import Layout, guided, layout
from edge_ad.runtime.result import Inspection, concluded, to_uint8
from edge_ad.runtime.sessions.base import Feed, HostTensor, Session, SessionOptions, to_host
from edge_ad.runtime.sessions.choose import choose_provider, open_sessions

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]

DEFAULT_MEMORY = 1 << 30


@dataclass(frozen=True)
class _Look:
    """One image before anything is inpainted. image: uint8 S,S,3, resized. error: E. pooled: for the drift monitor."""

    image: Image
    category: Category
    error: Floats
    pooled: Floats | None


@dataclass(frozen=True)
class _Job:
    """One image that is inpainted. latents: float32 4,h,w. results: float32 B,4,h,w."""

    look: _Look
    layout: Layout
    latents: Floats
    results: Floats


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
        self._latent_shape = (manifest.latent_channels, manifest.latent_size, manifest.latent_size)
        # one noise tensor, the same for every image: a score depends on the image and the seed alone
        self._noise = np.random.default_rng(seed).standard_normal(self._latent_shape, dtype=np.float32)
        self._ready: dict[str, Category] = {}
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
        cascade: bool = False,
    ) -> Detector:
        """Open a bundle, verify it, and load its graphs.

        provider: one of `choose.PROVIDERS`. plan: one of the bundle's, None for its default.
        seed: of the noise. threads: CPU threads of each session, None for the library's choice. memory: bytes that one
        run of a graph may take, an estimate by which batches are split. cascade: parts that the prototype error decides
        by the category's calibrated limits are not inpainted, see `cascade_limits`.

        Raises BundleError for a damaged bundle or an unknown plan, OptionError for a provider that cannot run here.
        """
        kind = choose_provider(provider)
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        name, chosen = opened.plan(plan)
        _check_weights(opened)
        options = SessionOptions(threads=threads)
        sessions = open_sessions(opened, kind, options)
        return cls(opened, name, chosen, sessions, seed=seed, memory=memory, cascade=cascade)

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
        other._banks = {**self._banks, **(banks or {})}
        return other

    def undecided(self, category: str) -> str | None:
        """Why this category gets no verdict with this plan, precision and seed; None when it does."""
        return self._category(category).reason

    def calibration(self, category: str) -> Calibration | None:
        """What the category's threshold comes from; None without one, or where it was set by hand."""
        return self._category(category).calibration

    def cascade_limits(self, category: str) -> CascadeLimits:
        """Between which scores of the prototypes a part is inpainted; OptionError where none were calibrated."""
        return cascade.category_limits(self._category(category), self.plan_name, self.precision)

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
        found = [self._decided_early(look, image, clock) for look, image in zip(looks, images)]
        doubtful = [i for i, one in enumerate(found) if one is None]
        jobs = self._inpaint([looks[i] for i in doubtful], clock)
        for i, job in zip(doubtful, jobs):
            found[i] = self._decided(job, images[i], inpainted, clock)
        inspections = [one for one in found if one is not None]
        if self._heads is not None:
            with clock("heads"):
                inspections = [self._heads.added(one, image) for one, image in zip(inspections, images)]
        for inspection in inspections:
            inspection.times.update(clock.shared_by(len(inspections)))
        return inspections

    def _decided_early(self, look: _Look, original: Image, clock: Clock) -> Inspection | None:
        """The decision by prototypes alone; None where there is no cascade, or inpainting is needed."""
        if not self.cascade:
            return None
        limits = self.cascade_limits(look.category.name)
        with clock("prototypes"):
            score_map, score = cascade.bound(look.error, look.category.weights, look.category.levels)
        if not cascade.decides(limits, score):
            return None
        shape = original.shape[0], original.shape[1]
        return concluded(look.category, shape, score_map, score, look.error, look.pooled, stage="prototypes")

    def _decided(self, job: _Job, original: Image, inpainted: bool, clock: Clock) -> Inspection:
        """The decision by everything that the plan computes."""
        pictures, reconstruction = self._pictures(job, clock), self._reconstruction(job, clock)
        look = job.look
        with clock("score"):
            feeds = self._score_feeds(job, pictures, reconstruction, look.category.weights)
            scored = self._sessions["score"].run(feeds, ["score_map", "score"])
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
        job = self._inpaint(self._look([image], [category], Clock()), Clock(), everything=True)[0]
        pictures, reconstruction = self._pictures(job), self._decode(job.latents[None])
        look, host, session = job.look, to_host(pictures), self._sessions["score"]
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
            maps = session.run(self._score_feeds(job, pictures, reconstruction, against), wanted)
            result[f"{name}_maps"], result[f"{name}_prototype_map"] = maps["scale_maps"], maps["prototype_map"]
            result["error_map"] = maps["error_map"]
        feeds = self._score_feeds(job, pictures, reconstruction, weights)
        return {**result, **session.run(feeds, ["score_map", "score"])}

    def error_map(self, image: Image, category: str) -> Floats:
        """E of eq. 14 alone, float32 h,w: nothing is inpainted. Zeros for a category without prototypes."""
        resized = resize_image(_checked(image), self.image_size)
        return self._errors([resized], [self._category(category)], Clock())[0][0]

    def bound_score(self, image: Image, category: str) -> float:
        """The lower bound of the score that the prototypes give, see `edge_ad.runtime.cascade.bound`."""
        ready = self._category(category)
        return cascade.bound(self.error_map(image, category), ready.weights, ready.levels)[1]

    def pooled(self, image: Image) -> Floats:
        """Pooled features of an image, float32 D: nothing is inpainted. See `edge_ad.runtime.monitor.pool`."""
        resized = resize_image(_checked(image), self.image_size)
        return pool(self._sessions["features"].run({"image": resized[None]})["features"][0])

    def _look(self, images: Sequence[Image], categories: Sequence[str], clock: Clock) -> list[_Look]:
        """The images resized, with their prototype error."""
        if len(images) != len(categories) or not images:
            raise InputError(f"{len(images)} images with {len(categories)} categories: give one category an image")
        ready = [self._category(name) for name in categories]
        with clock("resize"):
            resized = [resize_image(_checked(image), self.image_size) for image in images]
        errors, pooled = self._errors(resized, ready, clock)
        return [_Look(*parts) for parts in zip(resized, ready, errors, pooled)]

    def _inpaint(self, looks: Sequence[_Look], clock: Clock, *, everything: bool = False) -> list[_Job]:
        """Encode and inpaint images. everything: also what the present weights give no weight to."""
        if not looks:
            return []
        with clock("encode"):
            side = self.image_size
            latents = self._encode(
                np.stack([look.image for look in looks]), np.zeros((len(looks), 1, side, side), np.float32)
            )
        jobs = []
        for look, latent in zip(looks, latents):
            made = layout(self.plan, self._latent_shape[1], self._prototype_mask(look, everything))
            jobs.append(_Job(look, made, latent, np.empty((made.inpaintings, *self._latent_shape), np.float32)))
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
                    np.stack([jobs[i].look.image for i, _ in rows]), masks.upsample(hidden, self.image_size)
                )
            blank, visible_index = visible, np.arange(len(rows), dtype=np.int64)
        else:
            visible, visible_index = latents, local
            blank = np.repeat(self._blank_latents(), len(here), axis=0)
        schedules = [jobs[i].look.category.schedule for i, _ in rows]
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
                    "prompts": np.stack([job.look.category.prompt for job in here]),
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
        if job.look.category.weights.reference == 0:
            picture = job.look.image.transpose(2, 0, 1)[None].astype(np.float32)
            return HostTensor(picture / np.float32(127.5) - np.float32(1))
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
        self, images: list[Image], ready: list[Category], clock: Clock
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

    def _prototype_mask(self, look: _Look, everything: bool) -> Floats | None:
        """M^(p) of eq. 15 at latent resolution, float32 h,w, 1 = hidden; None where the plan or category has none.

        Nor where it has no weight in eq. 21, unless `everything` is wanted: its inpainting would not be looked at.
        """
        wanted = self.plan.prototype if everything else guided(self.plan, look.category.weights)
        if not wanted or look.category.bank is None:
            return None
        threshold = prototypes.THRESHOLD_RULES[self.plan.threshold_rule](look.error)
        return masks.upsample((look.error > threshold).astype(np.float32), self._latent_shape[1])

    def _score_feeds(self, job: _Job, pictures: Feed, reconstruction: Feed, weights: Weights) -> dict[str, Feed]:
        plan = job.layout
        return {
            "image": job.look.image[None],
            "reconstruction": reconstruction,
            "inpainted": pictures,
            "masks": masks.upsample(plan.picture_masks, self.image_size),
            "membership": plan.membership,
            "prototype": plan.prototype,
            "error": job.look.error[None, None],
            "levels": job.look.category.levels,
            "weights": np.array(weights.vector(), np.float32),
        }

    def _batch_limit(self, graph: str) -> int:
        """Rows of a graph's batch that fit the memory given at load, and the engine if it is one; at least one."""
        row_bytes, most = self.bundle.graph(graph).row_bytes, self._sessions[graph].max_rows
        limit = max(int(self._memory // row_bytes), 1) if row_bytes else 64
        return limit if most is None else min(limit, most)

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
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(f"an image must be uint8 of shape H,W,3, not {image.dtype} of shape {image.shape}")
    return image

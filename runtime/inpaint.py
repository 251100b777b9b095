"""A bundle's graphs at work: prototype errors, and all masks of all images inpainted in one batch axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle import Plan, Weights
from edge_ad.bundle_files import Bundle
from edge_ad.runtime import masks, prototypes, schedule
from edge_ad.runtime.category import Category
from edge_ad.runtime.clock import Clock
from edge_ad.runtime.monitor import pool
from edge_ad.runtime.plan import Layout, guided, layout
from edge_ad.runtime.sessions.base import Feed, HostTensor, Session, to_host

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Look:
    """One image before anything is inpainted. image: uint8 S,S,3, resized. error: E. pooled: for the drift monitor."""

    image: Image
    category: Category
    error: Floats
    pooled: Floats | None


@dataclass(frozen=True)
class Job:
    """One image that is inpainted. latents: float32 4,h,w. results: float32 B,4,h,w."""

    look: Look
    layout: Layout
    latents: Floats
    results: Floats


class Inpainter:
    """Runs the graphs of a bundle for one plan.

    bundle, plan, sessions: as the detector has them. noise: float32 D,C,h,w, one a noise draw of the plan, the same for
    every image. memory: bytes that one run of a graph may take, an estimate by which batches are split.
    """

    def __init__(self, bundle: Bundle, plan: Plan, sessions: dict[str, Session], *, noise: Floats, memory: int):
        self._bundle = bundle
        self._plan = plan
        self._sessions = sessions
        self._image_size = bundle.manifest.image_size
        self._noise = noise
        self._memory = memory
        self._blank: Floats | None = None

    def errors(
        self, images: list[Image], ready: list[Category], clock: Clock
    ) -> tuple[list[Floats], list[Floats | None]]:
        """E of every image, float32 h,w at latent resolution, and its pooled features, float32 D.

        Zeros and None for categories without prototypes.
        """
        shape = self._noise.shape[2:]
        errors: list[Floats] = [np.zeros(shape, np.float32) for _ in images]
        pooled: list[Floats | None] = [None] * len(images)
        wanted = [i for i, category in enumerate(ready) if category.bank is not None]
        limit = self.batch_limit("features")
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

    def inpaint(self, looks: Sequence[Look], clock: Clock, *, everything: bool = False) -> list[Job]:
        """Encode and inpaint images. everything: also what the present weights give no weight to."""
        if not looks:
            return []
        with clock("encode"):
            side = self._image_size
            latents = self._encode(
                np.stack([look.image for look in looks]), np.zeros((len(looks), 1, side, side), np.float32)
            )
        jobs = []
        for look, latent in zip(looks, latents):
            made = layout(self._plan, self._noise.shape[2], self._prototype_mask(look, everything))
            jobs.append(Job(look, made, latent, np.empty((made.inpaintings, *latent.shape), np.float32)))
        rows = [(i, row) for i, job in enumerate(jobs) for row in range(job.layout.inpaintings)]
        limit = self.batch_limit("denoiser")
        for start in range(0, len(rows), limit):
            self._run_rows(jobs, rows[start : start + limit], clock)
        return jobs

    def pictures(self, job: Job, clock: Clock | None = None) -> Feed:
        """The K inpainted pictures of an image, float32 K,3,S,S in [-1, 1]."""
        clock = clock or Clock()
        latents: Feed = job.results
        if self._plan.decode == "scale":
            with clock("compose"):
                plan = job.layout
                feeds = {"results": job.results, "masks": plan.compose, "assignment": plan.assignment}
                latents = self._sessions["compose"].run_kept(feeds)["composed"]
        with clock("decode"):
            return self._decode(latents, job.layout.pictures)

    def reconstruction(self, job: Job, clock: Clock) -> Feed:
        """The image's own reconstruction, float32 1,3,S,S in [-1, 1]; the image itself where it has no weight."""
        if job.look.category.weights.reference == 0:
            picture = job.look.image.transpose(2, 0, 1)[None].astype(np.float32)
            return HostTensor(picture / np.float32(127.5) - np.float32(1))
        with clock("decode"):
            return self.reconstructed(job)

    def reconstructed(self, job: Job) -> Feed:
        """The image's own reconstruction, whatever its weight: float32 1,3,S,S in [-1, 1]."""
        return self._decode(job.latents[None], 1)

    def score(
        self, job: Job, pictures: Feed, reconstruction: Feed, weights: Weights, outputs: Sequence[str]
    ) -> dict[str, NDArray[Any]]:
        """Outputs of the score graph for one image."""
        plan = job.layout
        feeds: dict[str, Feed] = {
            "image": job.look.image[None],
            "reconstruction": reconstruction,
            "inpainted": pictures,
            "masks": masks.upsample(plan.picture_masks, self._image_size),
            "membership": plan.membership,
            "prototype": plan.prototype,
            "error": job.look.error[None, None],
            "levels": job.look.category.levels,
            "weights": np.array(weights.vector(), np.float32),
        }
        return self._sessions["score"].run(feeds, list(outputs))

    def batch_limit(self, graph: str) -> int:
        """Rows of a graph's batch that fit the memory given at load, and the engine if it is one; at least one."""
        row_bytes, most = self._bundle.graph(graph).row_bytes, self._sessions[graph].max_rows
        limit = max(int(self._memory // row_bytes), 1) if row_bytes else 64
        return limit if most is None else min(limit, most)

    def _prototype_mask(self, look: Look, everything: bool) -> Floats | None:
        """M^(p) of eq. 15 at latent resolution, float32 h,w, 1 = hidden; None where the plan or category has none.

        Nor where it has no weight in eq. 21, unless `everything` is wanted: its inpainting would not be looked at.
        """
        wanted = self._plan.prototype if everything else guided(self._plan, look.category.weights)
        if not wanted or look.category.bank is None:
            return None
        hidden = prototypes.prototype_mask(look.error, look.category.levels[1], self._plan.threshold_rule)
        return masks.upsample(hidden.astype(np.float32), self._noise.shape[2])

    def _run_rows(self, jobs: list[Job], rows: list[tuple[int, int]], clock: Clock) -> None:
        """Inpaint some rows, (image, mask) pairs, and put the results into their jobs."""
        # what rows of one image and one noise draw share is given once, and found by its index
        starts = [(i, jobs[i].layout.draw(row)) for i, row in rows]
        present = sorted(set(starts))
        local = np.array([present.index(start) for start in starts], np.int64)
        here = [jobs[i] for i, _ in present]
        hidden = np.stack([jobs[i].layout.masks[row] for i, row in rows])
        latents = np.stack([job.latents for job in here])
        if self._plan.masked_latents == "encoded":
            with clock("encode"):
                visible = self._encode(
                    np.stack([jobs[i].look.image for i, _ in rows]), masks.upsample(hidden, self._image_size)
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
                    "noise": self._noise[[draw for _, draw in present]],
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
                state={"latents": prepared["noisy"], "history": np.zeros((len(rows), *latents.shape[1:]), np.float32)},
                steps=[{"timestep": t, "coeffs": c} for t, c in schedule.stacked_steps(schedules)],
                carry={"next": "latents", "next_history": "history"},
            )
            for (i, row), latent in zip(rows, result["next"].numpy()):
                jobs[i].results[row] = latent

    def _encode(self, images: Image, hidden: Floats) -> Floats:
        """Latents of (1 - hidden)·x: uint8 N,S,S,3 and float32 N,1,S,S to float32 N,4,h,w."""
        limit, session = self.batch_limit("encoder"), self._sessions["encoder"]
        parts = [
            session.run({"image": images[i : i + limit], "mask": hidden[i : i + limit]})["latents"]
            for i in range(0, len(images), limit)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _blank_latents(self) -> Floats:
        """Latents of a wholly hidden picture, float32 1,4,h,w; computed once."""
        if self._blank is None:
            side = self._image_size
            self._blank = self._encode(np.zeros((1, side, side, 3), np.uint8), np.ones((1, 1, side, side), np.float32))
        return self._blank

    def _decode(self, latents: Feed, count: int) -> Feed:
        """Pictures float32 K,3,S,S of `count` latents K,4,h,w; on the device where one run takes them all."""
        limit, session = self.batch_limit("decoder"), self._sessions["decoder"]
        if count <= limit:
            return session.run_kept({"latents": latents})["image"]
        host = to_host(latents)
        parts = [session.run({"latents": host[i : i + limit]})["image"] for i in range(0, count, limit)]
        return np.concatenate(parts)

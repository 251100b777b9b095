"""What Prometheus reads at /metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest
from prometheus_client.process_collector import ProcessCollector

from edge_ad.runtime.serve.decision import Decision

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_UNIT = tuple(i / 20 for i in range(1, 21))


class Metrics:
    """Counters of one station, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        # named by hand, so that no metric of another station in this process can collide
        make: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter(
            "edge_ad_http_requests", "Answers by route and status.", ["method", "route", "status"], **make
        )
        self._verdicts = Counter(
            "edge_ad_verdicts", "Recorded decisions.", ["product", "category", "verdict", "source"], **make
        )
        self._decided_by = Counter(
            "edge_ad_decided_by", "Decisions by what they needed; a cascade needs no inpainting for the clear ones.",
            ["product", "category", "stage"], **make
        )  # fmt: skip
        self._refused = Counter("edge_ad_refused", "Images without a decision, by reason.", ["reason"], **make)
        self._scores = Summary("edge_ad_score", "Scores as the bundle gives them.", ["product", "category"], **make)
        self._normalised = Histogram(
            "edge_ad_normalised_score", "Scores, 0.5 at the threshold.", ["product", "category"], buckets=_UNIT, **make
        )
        self._stages = Histogram(
            "edge_ad_stage_seconds", "Time an image, by stage.", ["stage"], buckets=_SECONDS, **make
        )
        self._batch = Histogram("edge_ad_batch_images", "Images in a batch.", buckets=(1, 2, 4, 8, 16, 32, 64), **make)
        self._drift = Gauge(
            "edge_ad_drift", "1 where the camera or the light has changed.", ["product", "category"], **make
        )
        self._restarts = Counter("edge_ad_worker_restarts", "Times the worker died.", **make)

    def watch(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Add a value that is read when it is asked for."""
        Gauge(name, description, registry=self.registry).set_function(read)

    def decided(self, decision: Decision) -> None:
        """Count a recorded decision. The source's first word alone is a label: the rest may be a file's name."""
        place = (decision.product, decision.category)
        self._verdicts.labels(*place, decision.verdict, decision.source.partition(":")[0]).inc()
        if decision.stage is not None:
            self._decided_by.labels(*place, decision.stage).inc()
        self._scores.labels(*place).observe(decision.score)
        if decision.normalised is not None:
            self._normalised.labels(*place).observe(decision.normalised)
        for stage, seconds in decision.times.items():
            self._stages.labels(stage).observe(seconds)

    def drift(self, product: str, category: str, changed: bool | None) -> None:
        """Whether a product's pictures of a category have changed; None when nothing is known any more."""
        if changed is None:
            self._drift.remove(product, category)
        else:
            self._drift.labels(product, category).set(changed)

    def refused(self, reason: str) -> None:
        """Count an image that got no decision."""
        self._refused.labels(reason).inc()

    def batch(self, images: int) -> None:
        """Count a batch."""
        self._batch.observe(images)

    def restarted(self) -> None:
        """Count a death of the worker."""
        self._restarts.inc()

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)

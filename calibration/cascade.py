"""Limits of the cascade: when the prototype error alone may decide. `edge_ad.runtime.cascade` says what that means.

The upper limit needs no choice: E alone gives a lower bound of the score, so from just above the threshold on the plan
would reject too. The lower one is chosen on synthetic defects pasted into good pictures: of those that the plan
rejects, the share that E alone would pass is kept below the rate asked for, by ranks as in `conformal`. That promise is
about new such defects in these very pictures: several are pasted into each, so that what another picture adds does not
count in full where there are few.

Where the bundle has a segmenter for the category, a part is passed early only if it agrees: if its score is no higher
than the highest of the good pictures here. A defect that it sees is then never passed, whatever E says, and counts as
above every lower limit. Its own limit is chosen without a look at the defects, so the ranks promise what they did.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from edge_ad.bundle import CascadeLimits, SegmenterLimit
from edge_ad.bundle_files import Bundle
from edge_ad.calibration.cache import Cache, context
from edge_ad.calibration.conformal import needed
from edge_ad.calibration.material import Item, Material
from edge_ad.calibration.measure import settings_of
from edge_ad.calibration.paste import PASTES, pasted
from edge_ad.calibration.shots import VARIATIONS, Own, leaving_out, own_shots, version
from edge_ad.errors import OptionError
from edge_ad.images import Picture, picture_hash, read_image, resize_image
from edge_ad.progress import progress
from edge_ad.runtime import Detector
from edge_ad.runtime.cascade import MARGIN, bounded

#: Defects tried, in multiples of the fewest with which the rate can be promised.
TIMES = 3


def check_cascade(bundle: Bundle, plan_name: str, categories: Sequence[str], rate: float) -> None:
    """OptionError for a rate, plan or category with which there can be no cascade."""
    if not 0 < rate < 1:
        raise OptionError(f"--cascade {rate:g}: give a rate between 0 and 1, such as 0.02 for 2 %")
    plan = bundle.plan(plan_name)[1]
    for name in categories:
        entry = bundle.category(name)
        if not bounded(entry.weights.get(plan_name, plan.weights)):
            raise OptionError(
                f"--cascade: the prototype error alone is no lower bound of the score of plan {plan_name}; use a plan "
                "whose weights have a map floor, such as grouped"
            )
        if entry.prototypes is None:
            raise OptionError(f"--cascade: category {name} has no prototypes; leave it out with --categories")


def lower_limit(bounds: Sequence[float], rate: float) -> tuple[float, float] | None:
    """The highest limit below which at most `rate` of new defects lie, and the rate that it keeps.

    bounds: one a defect that the plan rejects. With n of them and j = ⌊rate·(n + 1)⌋ it is the j-th lowest: a new one,
    exchangeable with these, is lower with a probability of j / (n + 1) at most. None with fewer than `needed(rate)`.
    """
    rank = math.floor(rate * (len(bounds) + 1) + 1e-9)
    return (sorted(bounds)[rank - 1], rank / (len(bounds) + 1)) if rank else None


def cascade_limits(
    detector: Detector, material: Material, threshold: float, rate: float, cache: Cache
) -> CascadeLimits | str:
    """The limits of a category for the detector's plan and precision, or the sentence why there are none.

    threshold: of the image score. rate: of the rejected synthetic defects that E alone may pass. Errors as
    `Detector.inspect`.
    """
    name, upper = material.category, threshold * (1 + MARGIN)
    place = context(detector.bundle.manifest, name, detector.plan_name, **settings_of(detector))
    good = _good_pictures(detector, material)
    tried = TIMES * needed(rate)

    def bound_of(ready: Detector, leave: Own, image: Picture) -> float:
        key = f"bound {place} {leave} {picture_hash(image)}"
        return float(cache.get(key, lambda: ready.bound_score(image, name)))

    segmenter = detector.bundle.graph_digest("segmenter")

    def opinion_of(image: Picture) -> float | None:
        key = f"opinion {segmenter} {name} {picture_hash(image)}"
        found = cache.get(key, lambda: detector.first_opinion(image, name)) if segmenter else None
        return None if found is None else float(found)

    rejected = []
    with progress(f"Cascade of {name}", tried + len(good)) as step:
        clear = []
        for picture, leave, ready in good:
            fine = picture()
            clear.append((bound_of(ready, leave, fine), opinion_of(fine)))
            step(note="good")
        seen = [opinion for _, opinion in clear if opinion is not None]
        limit = None if segmenter is None or not seen else SegmenterLimit(score=max(seen), graph=segmenter)
        for number in range(tried):
            kind = list(PASTES)[number % len(PASTES)]
            picture, leave, ready = good[number // len(PASTES) % len(good)]
            spoilt, _ = pasted(picture(), kind, number)
            bound = bound_of(ready, leave, spoilt)
            # what E alone rejects, the plan rejects: only the others have to be inpainted to know
            if bound >= upper or _score(ready, place, leave, spoilt, name, cache) >= threshold:
                opinion = None if limit is None else opinion_of(spoilt)
                rejected.append(math.inf if limit and opinion is not None and opinion > limit.score else bound)
            step(note=kind)
    found = lower_limit(rejected, rate)
    if found is None:
        return (
            f"the plan rejects {len(rejected)} of {tried} synthetic defects, and a miss rate of {100 * rate:g} % needs "
            f"{needed(rate)}"
        )
    lower, kept = min(found[0], upper), found[1]
    decided = float(np.mean([bound < lower or bound >= upper for bound, _ in clear]))
    return CascadeLimits(
        segmenter=limit,
        lower=lower,
        upper=upper,
        miss_rate=kept,
        defects=len(rejected),
        tried=tried,
        pictures=len(good),
        decided=decided,
    )


def _score(detector: Detector, place: str, leave: Own, image: Picture, name: str, cache: Cache) -> float:
    key = f"cascade {place} {leave} {picture_hash(image)}"
    return float(cache.get(key, lambda: detector.inspect(image, name).score))


def _good_pictures(detector: Detector, material: Material) -> list[tuple[Callable[[], Picture], Own, Detector]]:
    """Good pictures, each read when called for, with the shots whose prototypes do not count and a detector without.

    Held-out ones; where there are none, the shots, each compared with the prototypes of the others only. Of a shot that
    has no others, variations.
    """
    size, name = detector.image_size, material.category

    def reader(item: Item, number: int = 0) -> Callable[[], Picture]:
        return lambda: version(resize_image(read_image(item.path), size), 0, number)

    if material.held_out:
        return [(reader(item), (), detector) for item in material.held_out]
    found = []
    for item in material.shots:
        own = own_shots(detector.bundle, name, item.hash)
        ready = leaving_out(detector, name, own)
        numbers = range(1, 1 + VARIATIONS) if own is None else range(1)
        found += [(reader(item, number), own, ready) for number in numbers]
    return found

"""Pictures of the training, looked at as if they were new parts.

Against its own prototypes a picture has no error at all. They are left out, and those of every copy of it; where no
others are left, only variations of the picture count, and a variation differs less than a new part does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle_files import Bundle
from edge_ad.calibration.vary import as_good
from edge_ad.errors import BundleError
from edge_ad.images import Picture
from edge_ad.runtime import Detector
from edge_ad.runtime.prototypes import PrototypeBank

#: The shots whose prototypes do not count; None: a picture's own count, since there are no others.
Own = tuple[int, ...] | None
#: Variations of a shot that are scored, beside the shot itself where that counts.
VARIATIONS = 4


def own_shots(bundle: Bundle, category: str, hash_: str) -> Own:
    """The shots that are this picture, by its hash, and must be left out to score it; () where nothing has to be.

    BundleError when the bundle does not say which prototype is whose.
    """
    entry = bundle.category(category)
    own = tuple(i for i, shot in enumerate(entry.shots or ()) if shot == hash_)
    if entry.prototypes is None or not own:
        return ()
    return None if np.isin(_origin(bundle, category), own).all() else own


def bank_without(bundle: Bundle, category: str, shots: tuple[int, ...]) -> PrototypeBank:
    """The prototypes of all other shots. Errors as `own_shots`."""
    rows, origin = bundle.array(bundle.category(category).prototypes or ""), _origin(bundle, category)
    return PrototypeBank(rows[~np.isin(origin, shots)])


def leaving_out(detector: Detector, category: str, own: Own) -> Detector:
    """The detector with the prototypes of some shots left out; the detector itself where there are none to leave."""
    return detector.variant(banks={category: bank_without(detector.bundle, category, own)}) if own else detector


def version(image: Picture, place: int, number: int) -> Picture:
    """The picture itself for number 0, else a variation. place: any number that tells one picture from another."""
    return as_good(image, np.random.default_rng([place, number])) if number else image


def _origin(bundle: Bundle, category: str) -> NDArray[np.int16]:
    """The shot that each prototype is of."""
    file = bundle.category(category).prototype_shots
    if file is None:
        raise BundleError(f'"{bundle.source}" does not say which shot a prototype of {category} is of; export again')
    return bundle.array(file)

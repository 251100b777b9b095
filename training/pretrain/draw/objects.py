"""The registry of products on backgrounds that pretraining draws."""

from __future__ import annotations

from edge_ad.training.pretrain.draw import objects_electric, objects_long, objects_packed, objects_round
from edge_ad.training.pretrain.draw.layout import family
from edge_ad.training.pretrain.draw.picture import Draw

_MAKERS = objects_round.MAKERS | objects_long.MAKERS | objects_electric.MAKERS | objects_packed.MAKERS

OBJECTS: dict[str, Draw] = {name: family(make) for name, make in _MAKERS.items()}
"""Family name -> drawing function."""

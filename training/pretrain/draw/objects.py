"""The registry of products on backgrounds that pretraining draws."""

from __future__ import annotations

from edge_ad.training.pretrain.draw import objects_electric, objects_long, objects_packed, objects_round
from edge_ad.training.pretrain.draw.layout import family
from edge_ad.training.pretrain.draw.picture import Draw

OBJECTS: dict[str, Draw] = {
    name: family(make)
    for theme in (objects_round, objects_long, objects_electric, objects_packed)
    for name, make in theme.MAKERS.items()
}
"""Family name -> drawing function."""

"""The measures that there are: those that the modules of this room offer.

A module offers measures by naming them in `OFFERED`. The modules are found, not listed, so that a new measure is one new
file: what a definition may say, what fits which entity and what the API's document shows follow from here.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Final

from kosminar.core import measure as room
from kosminar.core.measure.measure import Entity, Measure


def _offered() -> Iterator[type[Measure]]:
    for module in iter_modules(room.__path__, f"{room.__name__}."):
        if module.name != __name__:
            yield from getattr(import_module(module.name), "OFFERED", ())


def _by_type() -> Mapping[str, type[Measure]]:
    offered = sorted(_offered(), key=lambda each: each.type)
    by_type = {each.type: each for each in offered}
    assert len(by_type) == len(offered), "no two measures are published by one word"
    return MappingProxyType(by_type)


MEASURES: Final = _by_type()
"""By the word that is published, in alphabetical order."""


def measure_of(entity: Entity, measure_type: str, event_name: str, attribute: str | None) -> Measure:
    """What a target counts; raises KeyError where there is no measure of that type.

    Whether the entity fits and an attribute is named is the definition's business (core/definition.py).
    """
    return MEASURES[measure_type](entity, event_name, attribute)

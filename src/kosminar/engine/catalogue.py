"""The programmes of each organisation as a batch sees them: read once per version of the definitions.

A version is only ever asked for under the shared hold that keeps definitions still, so a cached one is never stale.
Programmes are found by what they listen to, never tried one by one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from kosminar.core.programme import Programme
from kosminar.store import programmes
from kosminar.store.queries import Connection


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One version of one organisation's programmes."""

    version: int
    by_group: Mapping[int, Programme]
    by_target: Mapping[int, Programme]
    by_activity_type: Mapping[str, tuple[Programme, ...]]

    @classmethod
    def of(cls, version: int, found: Sequence[Programme]) -> "Catalogue":
        ordered = sorted(found, key=lambda p: p.target.target_id)
        heard: dict[str, list[Programme]] = {}
        for programme in ordered:
            heard.setdefault(programme.target.measure.listens_to, []).append(programme)
        return cls(
            version=version,
            by_group=MappingProxyType({p.target_group_id: p for p in ordered}),
            by_target=MappingProxyType({p.target.target_id: p for p in ordered}),
            by_activity_type=MappingProxyType({type_: tuple(listeners) for type_, listeners in heard.items()}),
        )


class Catalogues:
    """The newest version seen of each organisation."""

    def __init__(self) -> None:
        self._newest: dict[int, Catalogue] = {}

    async def get(self, connection: Connection, organisation_id: int, version: int) -> Catalogue:
        """The catalogue of exactly this version; the caller holds the definitions still."""
        known = self._newest.get(organisation_id)
        if known is not None and known.version == version:
            return known
        catalogue = Catalogue.of(version, await programmes.fetch_all(connection, organisation_id))
        self._newest[organisation_id] = catalogue
        return catalogue

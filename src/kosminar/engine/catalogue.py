"""The cache of definitions: each organisation's programmes, version by version, and who subscribes to its events.

One instance serves everything in a process that decides by definitions: Writer, sweep, closer and readers. It is keyed
by edition (generation and version), so it is never stale: whoever asks says which edition counts. Older versions are
held as well, and loaded when they are asked for. Its size is bounded; what was asked for last stays longest. A damaged
definition is raised each time that it is asked for, and never kept.
Programmes are found by what they listen to, never tried one by one.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from kosminar.core.endpoint import Endpoint
from kosminar.core.event import EventName
from kosminar.core.programme import Programme
from kosminar.core.reward import RewardKey
from kosminar.store import programmes, webhook_endpoints
from kosminar.store.connections import plan_as_usual
from kosminar.store.queries import Connection
from kosminar.store.standings import Edition

# An organisation, a programme, or a period: 350 to 2,000 bytes of a cached edition, most of them periods. Together
# about 100 MB.
PART_COUNT_MAX: Final = 250_000


@dataclass(frozen=True, slots=True)
class Definitions:
    """One edition of one organisation's programmes, in the order in which a batch judges them."""

    edition: Edition
    by_group: Mapping[int, Programme]
    by_target: Mapping[int, Programme]
    by_activity_type: Mapping[str, tuple[Programme, ...]]

    @property
    def version(self) -> int:
        return self.edition.version

    @property
    def part_count(self) -> int:
        """The organisation, its programmes and their periods."""
        return 1 + sum(1 + len(programme.periods) for programme in self.by_group.values())

    def of_target(self, target_id: int, version: int) -> Programme | None:
        """The programme as it was at an older version, if there was one."""
        programme = self.by_target.get(target_id)
        return None if programme is None else programme.as_of(version)

    def hearing(self, activity_type: str, version: int) -> tuple[Programme, ...]:
        """Those that listen to a type of activity, as they were at an older version."""
        listening = self.by_activity_type.get(activity_type, ())
        return tuple(then for programme in listening if (then := programme.as_of(version)) is not None)

    @classmethod
    def of(cls, edition: Edition, found: Sequence[Programme]) -> "Definitions":
        ordered = sorted(found, key=lambda programme: programme.targets[0].target_id)
        heard: dict[str, list[Programme]] = {}
        for programme in ordered:
            for activity_type in dict.fromkeys(target.measure.hears for target in programme.targets):
                heard.setdefault(activity_type, []).append(programme)
        return Definitions(
            edition=edition,
            by_group=MappingProxyType({p.target_group_id: p for p in ordered}),
            by_target=MappingProxyType({target.target_id: p for p in ordered for target in p.targets}),
            by_activity_type=MappingProxyType({type_: tuple(listeners) for type_, listeners in heard.items()}),
        )


@dataclass(frozen=True, slots=True)
class Catalogue(Definitions):
    """The definitions as a batch sees them, with the endpoints that subscribe in this edition."""

    # The ids of the endpoints that subscribe, by event; an event without subscribers is not there.
    subscribers: Mapping[EventName, tuple[int, ...]]

    @property
    def hands_over(self) -> bool:
        """Somebody is to hand rewards over: until they answer, a reward is pending (decision 27)."""
        return EventName.REWARD_ISSUED in self.subscribers

    def hands_over_reward(self, _: RewardKey) -> bool:
        """Whether an endpoint is to hand a reward over that is earned now."""
        return self.hands_over

    @staticmethod
    def with_endpoints(definitions: Definitions, endpoints: Sequence[Endpoint]) -> "Catalogue":
        subscribers = {
            name: tuple(each.webhook_endpoint_id for each in endpoints if each.subscribes_to(name))
            for name in EventName
        }
        return Catalogue(
            edition=definitions.edition,
            by_group=definitions.by_group,
            by_target=definitions.by_target,
            by_activity_type=definitions.by_activity_type,
            subscribers=MappingProxyType({name: ids for name, ids in subscribers.items() if ids}),
        )


class Catalogues:
    """The cache: `get` for a batch, `now` and `known` for a reader, `definitions` for any version."""

    def __init__(self, *, part_count_max: int = PART_COUNT_MAX) -> None:
        self._part_count_max = part_count_max
        self._part_count = 0
        # In the order in which they were asked for last. A Catalogue where the subscribers are known as well.
        self._kept: OrderedDict[tuple[int, Edition], Definitions] = OrderedDict()

    def known(self, organisation_id: int, edition: Edition) -> Catalogue | None:
        """The catalogue of exactly this edition, if it was read before; nothing has to be held still for that."""
        kept = self._find(organisation_id, edition)
        return kept if isinstance(kept, Catalogue) else None

    async def get(self, connection: Connection, organisation_id: int, edition: Edition) -> Catalogue:
        """The catalogue of exactly this edition, which is the newest: the caller holds the definitions still.

        By the shared lock or in a snapshot. Raises programmes.DefinitionDamaged.
        """
        if (known := self.known(organisation_id, edition)) is not None:
            return known
        await plan_as_usual(connection)
        definitions = await self.definitions(connection, organisation_id, edition)
        # Endpoints have no versions; those that are there now are this edition's, because it is held still.
        endpoints = await webhook_endpoints.list_of(connection, organisation_id)
        catalogue = Catalogue.with_endpoints(definitions, endpoints)
        self._keep(organisation_id, catalogue)
        return catalogue

    async def now(self, connection: Connection, organisation_id: int) -> Catalogue:
        """The catalogue as it stands at some moment of the call, of which nothing is held still; outside a transaction.

        Raises programmes.DefinitionDamaged.
        """
        known = self.known(organisation_id, await programmes.fetch_edition(connection, organisation_id))
        if known is not None:
            return known
        # To read it takes several statements, which a snapshot holds together.
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            edition = await programmes.fetch_edition(connection, organisation_id)
            return await self.get(connection, organisation_id, edition)

    async def definitions(self, connection: Connection, organisation_id: int, edition: Edition) -> Definitions:
        """The programmes of an edition, the newest or an older one; what was a version stays so, and needs no lock.

        Raises programmes.DefinitionDamaged.
        """
        kept = self._find(organisation_id, edition)
        if kept is None:
            found = await programmes.fetch_all(connection, organisation_id, version=edition.version)
            kept = Definitions.of(edition, found)
            self._keep(organisation_id, kept)
        return kept

    def _find(self, organisation_id: int, edition: Edition) -> Definitions | None:
        key = _key(organisation_id, edition)
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key]

    def _keep(self, organisation_id: int, definitions: Definitions) -> None:
        key = _key(organisation_id, definitions.edition)
        before = self._kept.pop(key, None)
        self._part_count += definitions.part_count - (0 if before is None else before.part_count)
        self._kept[key] = definitions
        while self._part_count > self._part_count_max and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._part_count -= dropped.part_count


def _key(organisation_id: int, edition: Edition) -> tuple[int, Edition]:
    """With the generation: after a failover a version that was lost is given again, to other content."""
    return organisation_id, edition

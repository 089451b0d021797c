"""The programmes of each organisation as a batch sees them, and who is told of what: read once per version.

An edition of the definitions is only ever read where they are held still, by the shared lock or in a snapshot, so a
cached one is never stale.
Programmes are found by what they listen to, never tried one by one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from kosminar.core.event import EventName
from kosminar.core.programme import Programme
from kosminar.core.reward import RewardKey
from kosminar.store import programmes, webhook_endpoints
from kosminar.store.connections import plan_as_usual
from kosminar.store.queries import Connection
from kosminar.store.standings import Edition
from kosminar.store.webhook_endpoints import Endpoint


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One edition of one organisation's programmes."""

    edition: Edition
    by_group: Mapping[int, Programme]
    by_target: Mapping[int, Programme]
    by_activity_type: Mapping[str, tuple[Programme, ...]]
    # The ids of the endpoints that subscribe, by event; events that nobody wants are not there.
    subscribers: Mapping[EventName, tuple[int, ...]]

    @property
    def version(self) -> int:
        return self.edition.version

    @property
    def hands_over(self) -> bool:
        """Somebody is to hand rewards over: until they answer, a reward is pending (decision 27)."""
        return EventName.REWARD_ISSUED in self.subscribers

    def hands_over_reward(self, _: RewardKey) -> bool:
        """Whether an endpoint is to hand a reward over that is earned now."""
        return self.hands_over

    @classmethod
    def of(cls, edition: Edition, found: Sequence[Programme], endpoints: Sequence[Endpoint]) -> "Catalogue":
        ordered = sorted(found, key=lambda programme: programme.targets[0].target_id)
        heard: dict[str, list[Programme]] = {}
        for programme in ordered:
            for activity_type in dict.fromkeys(target.measure.hears for target in programme.targets):
                heard.setdefault(activity_type, []).append(programme)
        subscribers = {
            name: tuple(each.webhook_endpoint_id for each in endpoints if each.subscribes_to(name))
            for name in EventName
        }
        return cls(
            edition=edition,
            by_group=MappingProxyType({p.target_group_id: p for p in ordered}),
            by_target=MappingProxyType({target.target_id: p for p in ordered for target in p.targets}),
            by_activity_type=MappingProxyType({type_: tuple(listeners) for type_, listeners in heard.items()}),
            subscribers=MappingProxyType({name: ids for name, ids in subscribers.items() if ids}),
        )


class Catalogues:
    """The newest edition seen of each organisation."""

    def __init__(self) -> None:
        self._newest: dict[int, Catalogue] = {}

    def known(self, organisation_id: int, edition: Edition) -> Catalogue | None:
        """The catalogue of exactly this edition, if it was read before; nothing has to be held still for that."""
        newest = self._newest.get(organisation_id)
        return newest if newest is not None and newest.edition == edition else None

    async def get(self, connection: Connection, organisation_id: int, edition: Edition) -> Catalogue:
        """The catalogue of exactly this edition; the caller holds the definitions still."""
        if (known := self.known(organisation_id, edition)) is not None:
            return known
        await plan_as_usual(connection)
        catalogue = Catalogue.of(
            edition,
            await programmes.fetch_all(connection, organisation_id, version=edition.version),
            await webhook_endpoints.list_of(connection, organisation_id),
        )
        self._newest[organisation_id] = catalogue
        return catalogue

    async def now(self, connection: Connection, organisation_id: int) -> Catalogue:
        """The catalogue as it stands at some moment of the call, of which nothing is held still; outside a transaction."""
        known = self.known(organisation_id, await programmes.fetch_edition(connection, organisation_id))
        if known is not None:
            return known
        # To read it takes several statements, which a snapshot holds together.
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            edition = await programmes.fetch_edition(connection, organisation_id)
            return await self.get(connection, organisation_id, edition)

"""A customer's standing in every programme, at the organisation's present instant.

What fell due is settled in what is read, so that a period end that no job has worked yet looks as it will be.
"""

from datetime import datetime
from typing import NamedTuple

from kosminar.core.clock import clock_now
from kosminar.core.customer import Customer
from kosminar.core.decide import settle
from kosminar.core.programme import Programme
from kosminar.core.standing import Standing
from kosminar.engine.catalogue import Catalogue
from kosminar.engine.house import House
from kosminar.store import standings
from kosminar.store.standings import CustomerKey, CustomerWithStandings


class CustomerStandings(NamedTuple):
    """A customer with the standings in the groups that the customer was ever enrolled in."""

    customer: Customer
    at: datetime
    groups: list[tuple[Programme, Standing]]


async def read(
    house: House, organisation_id: int, customer_id: int, *, target_id: int | None = None, deactivated: bool = False
) -> CustomerStandings | None:
    """None where the organisation has no such customer; with a target id its group alone.

    Groups that are deactivated where they are asked for. Raises programmes.DefinitionDamaged.
    """
    read_together = await _read(house, CustomerKey.of(organisation_id, customer_id))
    if read_together is None:
        return None
    found, catalogue = read_together
    wanted = [
        programme
        for programme in catalogue.by_group.values()
        if (target_id is None or programme.has_target(target_id)) and (deactivated or programme.deactivated_at is None)
    ]
    remembered = found.standings(wanted)
    now = clock_now(test_clock=found.clock.test_clock, clock_at=found.clock.clock_at, wall=house.wall())
    groups = []
    for programme in wanted:
        standing, _ = settle(programme, remembered[programme.target_group_id], now)
        if any(part.enrolments for part in standing.targets):
            groups.append((programme, standing))
    return CustomerStandings(found.customer, now, groups)


async def _read(house: House, key: CustomerKey) -> tuple[CustomerWithStandings, Catalogue] | None:
    """The customer, and the definitions of the same moment: mostly those that are cached."""
    async with house.pool.acquire() as connection:
        found = await standings.find(connection, key)
        if found is None:
            return None
        known = house.catalogues.known(key.organisation_id, found.clock.edition)
        if known is not None:
            return found, known
        # To read them takes several statements, which a snapshot holds together.
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            found = await standings.find(connection, key)
            assert found is not None, "customers are never deleted"
            return found, await house.catalogues.get(connection, key.organisation_id, found.clock.edition)

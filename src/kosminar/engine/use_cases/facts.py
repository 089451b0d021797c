"""A customer's audit trail."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from kosminar.engine.catalogue import Catalogue
from kosminar.engine.house import House
from kosminar.engine.use_cases import customers
from kosminar.store import facts, journal
from kosminar.store.facts import RecordedFact
from kosminar.store.journal import StoredFacts
from kosminar.store.standings import CustomerKey


class FactPage(NamedTuple):
    """`last` is the sequence and the ordinal after which the next page begins, None on the last page."""

    facts: list[RecordedFact]
    last: tuple[int, int] | None


async def list_page(
    house: House, organisation_id: int, customer_id: int, *, after: tuple[int, int], limit: int
) -> FactPage:
    """In the order in which they happened. Raises Refusal of UNKNOWN_CUSTOMER."""
    key = CustomerKey.of(organisation_id, customer_id)
    async with house.pool.acquire() as connection:
        # The facts of the first number may all have been shown.
        stored = await journal.list_facts(connection, key, first=after[0], limit=limit + 2)
        if not stored:
            # A customer with facts exists.
            await customers.require(connection, organisation_id, customer_id)
        # Read after the facts, so that it knows every target that they name.
        catalogue = await house.catalogues.now(connection, organisation_id)
    found = list(islice(_after(catalogue, stored, after), limit + 1))
    last = (found[limit - 1].sequence, found[limit - 1].ordinal) if len(found) > limit else None
    return FactPage(found[:limit], last)


def _after(catalogue: Catalogue, stored: Iterable[StoredFacts], after: tuple[int, int]) -> Iterator[RecordedFact]:
    """The facts that come after (sequence, ordinal). What is not asked for is not read."""
    for number, text, reason in stored:
        of_number = ((catalogue.by_target[fact.target_id], fact) for fact in facts.read(text, reason=reason))
        for fact in facts.recorded(of_number, sequence=number):
            if (fact.sequence, fact.ordinal) > after:
                yield fact

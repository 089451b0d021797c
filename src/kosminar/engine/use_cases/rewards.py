"""A customer's rewards, and reports of what became of one."""

from typing import NamedTuple

from kosminar.core.ledger import Reward
from kosminar.core.programme import Programme
from kosminar.core.reward import RewardKey
from kosminar.engine.change import Kept, Outcome, Request, RewardReport
from kosminar.engine.house import House
from kosminar.engine.use_cases import customers
from kosminar.store import rewards
from kosminar.store.standings import CustomerKey


class RewardPage(NamedTuple):
    """Rewards with their programmes; `last` is the key after which the next page begins, None on the last page."""

    rewards: list[tuple[Reward, Programme]]
    last: RewardKey | None


async def list_page(
    house: House, organisation_id: int, customer_id: int, *, after: RewardKey, limit: int
) -> RewardPage:
    """In the order of their keys. Raises Refusal of UNKNOWN_CUSTOMER, and programmes.DefinitionDamaged."""
    key = CustomerKey.of(organisation_id, customer_id)
    async with house.pool.acquire() as connection:
        found = await rewards.list_page(connection, key, after=after, limit=limit + 1)
        if not found:
            # A customer with rewards exists.
            await customers.require(connection, organisation_id, customer_id)
        # Read after the rewards, so that it has the programme of each.
        programmes = (await house.catalogues.now(connection, organisation_id)).by_target if found else {}
    last = found[limit - 1].key if len(found) > limit else None
    rows = [
        (reward, programmes[reward.key.target_id])
        for reward in found[:limit]
        # The audit reports a reward of a target that there is not; nothing can be said of it here.
        if reward.key.target_id in programmes
    ]
    return RewardPage(rows, last)


async def report(
    house: House,
    organisation_id: int,
    customer_id: int,
    report: RewardReport,
    *,
    asked_by: str,
    request_id: str,
    kept: Kept | None,
) -> Outcome:
    """A ReportOutcome or a KeptOutcome. Raises NotSaved."""
    return await house.writer.submit_one(
        Request(organisation_id, customer_id, report, asked_by=asked_by, request_id=request_id, kept=kept)
    )

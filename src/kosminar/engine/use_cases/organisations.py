"""Organisations as their callers need them."""

from kosminar.core.access import Hierarchy
from kosminar.engine.house import House
from kosminar.engine.use_cases.clients import SetUpRefused
from kosminar.store import organisations


async def hierarchy(house: House, organisation_id: int) -> Hierarchy:
    """An organisation with its parent and its children; of a caller's own organisation, which exists."""
    async with house.pool.acquire() as connection:
        found = await organisations.find_hierarchy(connection, organisation_id)
    assert found is not None, "organisations are never deleted"
    return found


async def require(house: House, organisation_id: int) -> None:
    """Raises SetUpRefused where there is no such organisation."""
    if not await exists(house, organisation_id):
        raise SetUpRefused(f"There is no organisation {organisation_id}.")


async def exists(house: House, organisation_id: int) -> bool:
    async with house.pool.acquire() as connection:
        return await organisations.find(connection, organisation_id) is not None

"""The audit of a customer is of one moment, whatever is committed while it reads."""

import pytest
from tests.definitions import POINTS, month
from tests.engine.brand import found, milestone

from kosminar.engine.auditor import audit
from kosminar.store import recount

pytestmark = pytest.mark.asyncio


async def test_what_is_committed_in_the_middle_of_a_page_is_no_difference(house, pool, monkeypatch) -> None:
    brand = await found(pool, "acme", [milestone("Spring", POINTS)], customer_ids=(1,), test_clock_at=month(1))
    await house.writer.submit([brand.enrol(1, "Spring"), brand.buy(1, "before", month(1), "40")])
    read_rows = recount.list_rows
    meanwhile = []

    async def list_rows(*page):
        # What was accepted has been read; what came of it has not.
        if not meanwhile:
            meanwhile.append(await house.writer.submit_one(brand.buy(1, "meanwhile", month(1), "60")))
        return await read_rows(*page)

    monkeypatch.setattr(recount, "list_rows", list_rows)
    differences = [difference async for difference in audit(pool, progressed=lambda _: None)]

    assert len(meanwhile) == 1
    assert differences == []

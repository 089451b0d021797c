"""Ten times the load that there is room for, small: benchmarks/overload.py measures the same with a real server."""

import asyncio
from datetime import datetime

import httpx2
import pytest
from benchmarks import overload
from benchmarks.stage import CLOCK
from tests.api.brand import open_brand, sign_in
from tests.api.wire import serving

from kosminar.api.admission import Admission
from kosminar.api.app import build_app
from kosminar.engine.auditor import audit
from kosminar.engine.house import House

pytestmark = pytest.mark.asyncio

WORKING, WAITING = 4, 8


async def test_under_ten_times_the_load_the_accepted_are_answered_and_kept_and_the_rest_hear_503(
    house: House, http: httpx2.AsyncClient
) -> None:
    acme = await open_brand(house, http, "Acme", clock=datetime.fromisoformat(CLOCK))
    crowd, polite = acme.headers["Authorization"], (await sign_in(house, acme.organisation_id))["Authorization"]
    admission = Admission(WORKING, waiting_max=WAITING, refusal_seconds=0.01)

    async with serving(build_app(house, admission=admission)) as wire:
        await overload.prepare(wire.port, crowd)
        over, beside = await asyncio.gather(
            overload.load(wire.port, crowd, client_count=10 * WORKING, seconds=1.5, name="over"),
            overload.load(wire.port, polite, client_count=1, seconds=1.5, name="beside"),
        )

    async with house.pool.acquire() as connection:
        stored = {
            row["activity_id"]
            for row in await connection.fetch("SELECT activity_id FROM journal WHERE kind = 'activity'")
        }
    assert overload.differences(stored, over, beside) == []
    assert over.acknowledged | beside.acknowledged == stored
    assert set(over.statuses) == {200, 503}
    # The queue is fair: whoever asks for one thing at a time is let in beside a crowd that fills it.
    assert set(beside.statuses) == {200}
    assert [difference async for difference in audit(house.pool, progressed=lambda _: None)] == []
    assert (admission.working, admission.waiting) == (0, 0)

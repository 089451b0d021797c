"""The demo: a seeded brand on a test clock, served until interrupted, with curl lines to paste.

Starts afresh each time in a temporary directory that is removed at the end. Everything is done as a brand would do it:
programmes are created over the API, customers registered, purchases recorded week by week while the clock moves.
"""

import asyncio
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final
from zoneinfo import ZoneInfo

import httpx2

from kosminar.core.activity import TRANSACTION, Activity
from kosminar.core.customer import NewCustomer
from kosminar.core.zone import local_midnight
from kosminar.engine.change import Request
from kosminar.engine.house import House
from kosminar.engine.use_cases import clients
from kosminar.engine.use_cases import customers as registration
from kosminar.engine.use_cases.clients import Credentials
from kosminar.logs import configure_logs
from kosminar.serve import PortTaken, bind, serve_forever
from kosminar.settings import Settings
from kosminar.store.embedded_host import temporary_data_directory

ZONE: Final = ZoneInfo("America/New_York")
BRAND: Final = "Caravan Coffee"
YEAR_STARTS_ON: Final = date(2026, 1, 5)
TODAY: Final = date(2026, 10, 15)
MILESTONE_STARTS_ON: Final = date(2026, 8, 1)
STREAK_STARTS_ON: Final = date(2026, 7, 6)
MONTHLY_TARGET: Final = Decimal(40)
# The customer of the printed lines: buys often enough to have earned everything there is.
REGULAR_ID: Final = 1001
# The same brand each time, so that a page written about the demo stays true.
SEED: Final = 1997


@dataclass(frozen=True, slots=True)
class Story:
    """What is printed once the demo is up: where it is, how to sign in, and lines to paste."""

    url: str
    username: str
    password: str = field(repr=False)
    customer_count: int
    purchase_count: int
    curls: tuple[tuple[str, str], ...]

    def lines(self) -> list[str]:
        told = [
            "",
            f"{BRAND} is open at {self.url}: {self.customer_count} customers, {self.purchase_count} purchases.",
            f"Its test clock stands at {TODAY:%d %B %Y}, in the third of five months. API reference: {self.url}/openapi.json",
            f"Sign in with {self.username} / {self.password}. Paste these one after another:",
        ]
        for number, (about, line) in enumerate(self.curls, start=1):
            told += ["", f"{number}. {about}", f"   {line}"]
        return [*told, "", "Press Ctrl-C to stop; nothing is kept."]


def run(
    environ: Mapping[str, str],
    *,
    port: int | None,
    customer_count: int,
    tell: Callable[[Story], None],
    notice: Callable[[str], None],
) -> None:
    """Serve the demo until a signal comes."""
    directory = temporary_data_directory()
    try:
        # Whatever database the operator has named, a demo never writes to it.
        others = {k: v for k, v in environ.items() if not k.startswith(("KOSMINAR_DATABASE_URL", "KOSMINAR_DATA_DIR"))}
        settings = Settings.read(others, {"data_dir": directory, "port": port, "log_level": "warning"})
        settings = replace(settings, archive_dir=None)  # Nor to the archive, which the file of settings may name.
        configure_logs(settings.log_level)
        try:
            listener = bind(settings.host, settings.port)
        except PortTaken:
            listener = bind(settings.host, 0)
            notice(f"Port {settings.port} is taken; the demo uses {listener.getsockname()[1]}.")
        url = f"http://{settings.host}:{listener.getsockname()[1]}"
        notice("Seeding a brand with most of a year of purchases; this takes a moment.")

        async def ready(house: House) -> None:
            tell(await _seed(house, url, customer_count))

        serve_forever(settings, listener, ready=ready)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _seed(house: House, url: str, customer_count: int) -> Story:
    async with house.pool.acquire() as connection:
        organisation_id = await clients.create_organisation(
            connection,
            name=BRAND,
            zone=ZONE.key,
            test_clock_at=local_midnight(YEAR_STARTS_ON, ZONE),
            now=house.wall(),
        )
        credentials = await clients.create_client(
            connection, organisation_id=organisation_id, random_bytes=secrets.token_bytes, now=house.wall()
        )
    programmes = await _create_programmes(url, credentials)
    customer_ids = range(REGULAR_ID, REGULAR_ID + customer_count)
    now = datetime.combine(YEAR_STARTS_ON, datetime.min.time(), UTC)
    for first in range(0, customer_count, registration.BATCH_COUNT_MAX):
        part = customer_ids[first : first + registration.BATCH_COUNT_MAX]
        await registration.register(house.pool, organisation_id, [_customer(i) for i in part], now)
    purchase_count = await _live(house, organisation_id, customer_ids)
    return Story(
        url=url,
        username=credentials.username,
        password=credentials.password,
        customer_count=customer_count,
        purchase_count=purchase_count,
        curls=_curls(url, credentials, programmes),
    )


def _customer(customer_id: int) -> NewCustomer:
    return NewCustomer(
        customer_id=customer_id,
        external_id=f"card-{customer_id}",
        mobile=None,
        email=None,
        first_name=None,
        last_name=None,
    )


# ---------------------------------------------------------------- programmes


def _milestone(name: str, allocation: str, points: int) -> dict[str, Any]:
    return {
        "name": name,
        "trackingType": "DEFAULT",
        "frequencyType": "MONTHLY",
        "frequency": 1,
        "totalPeriods": 5,
        "recurringCycles": 0,
        "targetCycleStartDate": MILESTONE_STARTS_ON.isoformat(),
        "timeZoneName": ZONE.key,
        "offsetDays": 1,
        "targets": [
            {
                "name": name,
                "targetEntity": "TRANSACTION",
                "targetType": "SALES",
                "enrolmentMethod": "TRANSACTION",
                "expression": "true",
                "defaultValues": [{"defaultValue": MONTHLY_TARGET}] * 5,
                "rewards": [{"kind": "POINTS", "value": points, "allocation": allocation}],
            }
        ],
    }


def _streak() -> dict[str, Any]:
    return {
        "name": "Weekly coffee",
        "trackingType": "STREAKS",
        "frequencyType": "WEEKLY",
        "frequency": 1,
        "totalPeriods": 30,
        "recurringCycles": 0,
        "targetCycleStartDate": STREAK_STARTS_ON.isoformat(),
        "timeZoneName": ZONE.key,
        "offsetDays": 1,
        "targets": [
            {
                "name": "Weekly coffee",
                "targetEntity": "TRANSACTION",
                "targetType": "COUNT",
                "enrolmentMethod": "TRANSACTION",
                "expression": "true",
                "defaultValues": [{"defaultValue": 1}] * 30,
            }
        ],
        "streaks": [
            {
                "name": f"{count} weeks in a row",
                "targetCountOfSequence": count,
                "rewards": [{"kind": "COUPON", "value": f"FREE-COFFEE-{count}", "allocation": "IMMEDIATE"}],
            }
            for count in (4, 8, 12)
        ],
    }


async def _create_programmes(url: str, credentials: Credentials) -> list[tuple[int, int]]:
    """(target group id, target id) of: paid at once, paid at the month's end, the streak."""
    definitions = [
        _milestone("Forty a month, paid at once", "IMMEDIATE", 100),
        _milestone("Forty a month, paid at the month's end", "PERIOD_END", 150),
        _streak(),
    ]
    made = []
    async with httpx2.AsyncClient(auth=(credentials.username, credentials.password)) as client:
        for definition in definitions:
            body = json.dumps(definition, default=int)
            answer = await client.post(
                f"{url}/v3/targetGroups", content=body, headers={"Content-Type": "application/json"}
            )
            answer.raise_for_status()
            group = answer.json()["data"]
            made.append((group["id"], group["targets"][0]["id"]))
    return made


# ---------------------------------------------------------------- a year of purchases


async def _live(house: House, organisation_id: int, customer_ids: range) -> int:
    """Week by week: the clock moves to the week's end, then the week's purchases come in."""
    random = Random(SEED)  # noqa: S311 -- A story, not a secret.
    # Most come now and then, some every week, a few all the time.
    appetites = {i: min(0.95, random.betavariate(0.6, 3.0)) for i in customer_ids}
    appetites[REGULAR_ID] = 1.0
    count = 0
    today = local_midnight(TODAY, ZONE)
    for week_starts_on in _weeks():
        starts_at = local_midnight(week_starts_on, ZONE)
        ends_at = min(local_midnight(week_starts_on + timedelta(days=7), ZONE), today)
        purchases = [
            Request(organisation_id, customer_id, _purchase(random, customer_id, starts_at, ends_at, number=count + n))
            for n, customer_id in enumerate(c for c in customer_ids if random.random() < appetites[c])
        ]
        await house.closer.advance(organisation_id, ends_at - timedelta(milliseconds=1))
        await house.writer.submit(purchases)
        count += len(purchases)
        # The server goes on answering while the year goes by.
        await asyncio.sleep(0)
    await house.closer.advance(organisation_id, today)
    return count


def _weeks() -> Iterator[date]:
    on = YEAR_STARTS_ON
    while on < TODAY:
        yield on
        on += timedelta(days=7)


def _purchase(random: Random, customer_id: int, starts_at: datetime, ends_at: datetime, *, number: int) -> Activity:
    share = random.random() * 0.9
    amount = (
        Decimal("22.50") if customer_id == REGULAR_ID else Decimal(round(random.lognormvariate(2.4, 0.5) * 100)) / 100
    )
    return Activity(
        activity_id=f"sale-{number}",
        type=TRANSACTION,
        occurred_at=starts_at + (ends_at - starts_at) * share,
        attributes={"amount": amount, "grossAmount": amount, "billNumber": f"B{number}"},
    )


# ---------------------------------------------------------------- lines to paste


def _curls(url: str, credentials: Credentials, programmes: list[tuple[int, int]]) -> tuple[tuple[str, str], ...]:
    curl = f"curl -s -u '{credentials.username}:{credentials.password}'"
    post = f"{curl} -H 'Content-Type: application/json'"
    (_, _), (group_id, target_id), _ = programmes
    rewards = f"{curl} '{url}/v1/customers/{REGULAR_ID}/rewards'"
    call = f"'{url}/v3/targetGroups/{group_id}/targets/{target_id}"
    return (
        ("Where customer 1001 stands in every programme:", f"{curl} '{url}/v3/users/{REGULAR_ID}/targetGroups'"),
        ("What it has earned so far:", rewards),
        (
            "Un-enrol it in the middle of the third month from the milestone that pays at the month's end:",
            f"{post} -d '[{{\"customerId\": {REGULAR_ID}}}]' {call}/unEnroll'",
        ),
        ("August and September are kept, October is forfeited, and the reason is there:", rewards),
        ("The audit trail says the same:", f"{curl} '{url}/v1/customers/{REGULAR_ID}/facts?limit=1000'"),
        (
            "Enrol it again, resuming what it had:",
            f'{post} -d \'[{{"customerId": {REGULAR_ID}, "initialBalance": null}}]\' {call}/enroll\'',
        ),
        (
            "Move the test clock past the end of October: enrolled again at the month's end, it is paid after all:",
            f"{post} -d '{{\"to\": \"2026-11-03\"}}' '{url}/v1/clock/advance'",
        ),
        ("And so:", rewards),
    )

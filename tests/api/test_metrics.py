"""What is counted, read as Prometheus reads it; the log line of a request; and what a house says while it drains."""

import asyncio
import re
from pathlib import Path

import asyncpg
import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs
from tests.api.brand import open_brand, purchase
from tests.bodies import MILESTONE
from tests.engine.brand import BEFORE, found, milestone

from kosminar.api.app import build_app
from kosminar.core.activity import Activity
from kosminar.engine.change import Request
from kosminar.engine.meters import Meters
from kosminar.engine.readings import READINGS
from kosminar.engine.writer import Writer

pytestmark = pytest.mark.asyncio

OPERATIONS_PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
FROM_THE_DATABASE = {
    "kosminar_period_end_lag_seconds",
    "kosminar_deliveries_waiting",
    "kosminar_delivery_oldest_age_seconds",
    "kosminar_delivery_lag_seconds",
}


async def scrape(http: httpx2.AsyncClient) -> str:
    response = await http.get("/metrics")
    assert response.status_code == 200
    return response.text


async def value(http: httpx2.AsyncClient, name: str, **labels: str) -> float:
    """Of one sample; 0 of a counter that never counted."""
    return next(
        (
            sample.value
            for family in text_string_to_metric_families(await scrape(http))
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ),
        0.0,
    )


def names_in(text: str) -> list[str]:
    return re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE)


# ---------------------------------------------------------------- the answer


async def test_the_answer_is_the_text_format_and_asks_for_no_credentials(http) -> None:
    response = await http.get("/metrics")

    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert len(names_in(response.text)) == len(set(names_in(response.text)))
    assert "_created" not in response.text
    assert response.text.endswith("\n")


async def test_every_metric_is_told_in_the_operations_page_and_no_other_is(http) -> None:
    told = re.findall(r"^\| `((?:kosminar|process)_\w+)` \|", OPERATIONS_PAGE.read_text(encoding="utf-8"), re.MULTILINE)

    assert sorted(told) == sorted(names_in(await scrape(http)))


async def test_no_label_names_an_organisation_a_customer_or_what_a_caller_wrote(house, http) -> None:
    acme = await open_brand(house, http, "Acme")
    await acme.register(987654321)
    await acme.record(purchase("written-by-the-caller", 987654321, "2026-03-01", 1))
    await acme.call("GET", "/v1/written-by-the-caller", params={"q": "written-by-the-caller"})

    text = await scrape(http)

    assert "written-by-the-caller" not in text
    assert "987654321" not in text
    known = {"operation", "status", "code", "change", "outcome", "lane", "le", "pool", "state", "version", "python"}
    assert set(re.findall(r"(\w+)=\"", text)) <= known


async def test_two_houses_in_one_process_count_apart(house, http) -> None:
    other = Meters()
    other.requests.labels(operation="probes_show_alive", status="2xx").inc(7)
    build_app(house)

    await http.get("/healthz")

    assert await value(http, "kosminar_requests_total", operation="probes_show_alive", status="2xx") == 1


# ---------------------------------------------------------------- requests


async def test_requests_are_counted_by_operation_and_class_of_status(house, http) -> None:
    acme = await open_brand(house, http, "Acme")
    await acme.ask("GET", "/v1/clock")
    await acme.call("GET", "/v1/clock", headers={"Authorization": "Basic bm90OmhlcmU="})
    await acme.call("GET", "/v1/no-such-path")

    counted = [
        await value(http, "kosminar_requests_total", operation=operation, status=status)
        for operation, status in (("v1_clock_show_clock", "2xx"), ("v1_clock_show_clock", "4xx"), ("unrouted", "4xx"))
    ]

    assert counted == [1, 1, 1]
    assert await value(http, "kosminar_request_duration_seconds_count", operation="v1_clock_show_clock") == 2
    # The one that asks.
    assert await value(http, "kosminar_requests_under_way") == 1


async def test_refusals_are_counted_by_code_on_both_surfaces_and_activity_by_activity(house, http) -> None:
    acme = await open_brand(house, http, "Acme")
    await acme.register(1)
    await acme.define(MILESTONE)
    await acme.call("POST", "/targetGroups", {**MILESTONE, "frequencyType": "HOURLY", "frequency": 0})
    await acme.call("GET", "/v1/no-such-path")
    bad = [purchase("a", 2, "2026-03-01", 1), purchase("b", 3, "2026-03-01", 1), purchase("c", 1, "2026-03-01", 1)]
    await acme.record(*bad)

    counted = {code: await value(http, "kosminar_refusals_total", code=code) for code in ("300004", "390011", "310011")}

    assert counted["390011"] == 1
    assert counted["310011"] == 2
    assert counted["300004"] >= 2


async def test_a_request_is_one_line_with_who_and_what_and_never_what_it_said(house, http) -> None:
    acme = await open_brand(house, http, "Acme")
    name = next(iter(await house.pool.fetch("SELECT username FROM api_user")))["username"]

    with capture_logs() as logs:
        await acme.call(
            "POST",
            "/v1/customers",
            {"customers": "secret-body"},
            headers={"X-Request-ID": "mine-1", "X-Other": "secret-header"},
        )
        await acme.call("GET", "/v1/no-such-path", params={"q": "secret-query"})
        await http.get("/readyz")

    lines = [line for line in logs if line["event"] == "request"]
    assert [(line["operation"], line["status"], line["log_level"]) for line in lines] == [
        ("v1_customers_post_customers", 400, "info"),
        ("unrouted", 404, "info"),
        ("probes_show_ready", 200, "debug"),
    ]
    first = lines[0]
    assert first["duration_ms"] >= 0
    assert (first["request_id"], first["codes"], first["organisation_id"], first["caller"]) == (
        *("mine-1", [300004], acme.organisation_id),
        name,
    )
    assert "secret" not in str(logs)


async def test_the_line_can_be_left_to_a_proxy(house, http) -> None:
    object.__setattr__(house.settings, "access_log", "off")

    with capture_logs() as logs:
        await http.get("/v1/no-such-path")

    assert logs == []
    assert await value(http, "kosminar_requests_total", operation="unrouted", status="4xx") == 1


# ---------------------------------------------------------------- the writer


async def test_changes_and_batches_are_counted(house, http) -> None:
    acme = await open_brand(house, http, "Acme")
    await acme.register(1)
    programme = await acme.define(MILESTONE)
    await programme.enrol(1)
    await programme.enrol(2)
    once = purchase("a", 1, "2026-03-01", 1)
    await acme.record(once)
    await acme.record(once)

    counted = {
        (change, outcome): await value(http, "kosminar_changes_total", change=change, outcome=outcome)
        for change in ("Activity", "EnrolmentChange")
        for outcome in ("accepted", "duplicate", "rejected", "failed")
    }

    assert {key: count for key, count in counted.items() if count} == {
        ("Activity", "accepted"): 1,
        ("Activity", "duplicate"): 1,
        ("EnrolmentChange", "accepted"): 1,
        ("EnrolmentChange", "rejected"): 1,
    }
    assert await value(http, "kosminar_writer_batch_size_count") == 4
    assert await value(http, "kosminar_writer_batch_size_sum") == 4
    assert await value(http, "kosminar_writer_batch_duration_seconds_count") == 4


async def test_a_batch_that_fails_as_a_whole_is_counted_with_each_halving(house, http) -> None:
    brand = await found(house.pool, "acme", [milestone("Spring")], customer_ids=[1])
    poison = Request(brand.organisation_id, 1, Activity("\ud800", "transaction", BEFORE, {}))

    with capture_logs():
        await house.writer.submit([brand.buy(1, "a", BEFORE), brand.buy(1, "b", BEFORE), poison])

    # Three, then the two of which the poison is one.
    assert await value(http, "kosminar_writer_batch_halvings_total") == 2
    assert await value(http, "kosminar_changes_total", change="Activity", outcome="accepted") == 2


async def test_waiting_changes_are_told_by_lane_and_retries_are_counted(house, database_url, wall) -> None:
    brand = await found(house.pool, "acme", [milestone("Spring")], customer_ids=[1])
    options = {"lock_timeout": "20"}
    async with (
        house.pool.acquire() as holder,
        asyncpg.create_pool(database_url, min_size=1, max_size=1, server_settings=options) as lane_pool,
        Writer(lane_pool, wall=wall, lane_count=1) as writer,
    ):
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("SELECT FROM customer FOR UPDATE")
        first = asyncio.create_task(writer.submit_one(brand.buy(1, "a", BEFORE)))
        with capture_logs():
            while not (retries := writer.meters.registry.get_sample_value("kosminar_writer_batch_retries_total")):
                await asyncio.sleep(0)
            second = asyncio.create_task(writer.submit_one(brand.buy(1, "b", BEFORE)))
            await asyncio.sleep(0)
            waiting = writer.meters.registry.get_sample_value("kosminar_writer_queue_length", {"lane": "0"})
            await transaction.rollback()
            await asyncio.gather(first, second)

        assert retries >= 1
        assert waiting == 1
        assert writer.meters.registry.get_sample_value("kosminar_writer_queue_length", {"lane": "0"}) == 0


async def test_pools_are_told_with_what_is_in_use(database_url) -> None:
    meters = Meters()
    async with asyncpg.create_pool(database_url, min_size=2, max_size=3) as pool:
        meters.watch_pool("requests", pool)

        async with pool.acquire():
            told = [
                meters.registry.get_sample_value("kosminar_database_connections", {"pool": "requests", "state": state})
                for state in ("used", "idle")
            ]

    assert told == [1, 1]
    assert meters.registry.get_sample_value("kosminar_database_connections_max", {"pool": "requests"}) == 3


# ---------------------------------------------------------------- what only the database knows


async def test_the_lag_is_that_of_the_oldest_due_period_end_by_real_time(house, http, wall) -> None:
    await open_brand(house, http, "Empty")
    acme = await open_brand(house, http, "Acme")
    await acme.define({**MILESTONE, "targetCycleStartDate": "2026-03-02"})
    ends_at = await house.pool.fetchval("SELECT min(due_at) FROM due_instant")

    wall.now = ends_at
    assert await value(http, "kosminar_period_end_lag_seconds") == 0
    wall.advance(seconds=90)
    assert await value(http, "kosminar_period_end_lag_seconds") == 90

    await house.closer.settle(acme.organisation_id)

    assert await value(http, "kosminar_period_end_lag_seconds") == 0


async def test_a_test_clocks_months_are_no_lag(house, http, wall) -> None:
    acme = await open_brand(house, http, "Acme", clock=wall.now)
    await acme.define({**MILESTONE, "targetCycleStartDate": "2026-03-02"})
    wall.advance(days=400)

    assert await value(http, "kosminar_period_end_lag_seconds") == 0


ENDPOINTS = """
    INSERT INTO webhook_endpoint (webhook_endpoint_id, organisation_id, url, headers, connection_count_max, state, secret,
                                  failure_count, created_at, updated_at, activated_at)
    SELECT number, $1, 'https://receiver.example', '{}', 1, state, decode(repeat('00', 32), 'hex'), 0, $2, $2, $2
      FROM (VALUES (1, 'active'), (2, 'paused')) AS endpoint (number, state)
"""
NOTIFICATIONS = """
    INSERT INTO notification (bucket, organisation_id, customer_id, number, name, target_id, body, at, created_at)
    SELECT bucket, $1, customer_id, number, 'x', 1, '{}', $2,
           $2::timestamptz + number * interval '1 minute'
      FROM customer CROSS JOIN generate_series(1, 3) AS number
"""
DELIVERIES = """
    INSERT INTO delivery (bucket, organisation_id, customer_id, webhook_endpoint_id, number, state, attempt_count,
                          expires_at, attempted_at)
    SELECT bucket, $1, customer_id, 1, number, CASE number WHEN 1 THEN 'delivered' ELSE 'waiting' END, 1,
           $2::timestamptz + interval '7 days' + number * interval '1 minute', $2
      FROM notification
"""
QUEUES = """
    INSERT INTO webhook_queue (bucket, organisation_id, customer_id, webhook_endpoint_id, due_at)
    SELECT c.bucket, $1, c.customer_id, e.webhook_endpoint_id,
           $2::timestamptz + (3 - e.webhook_endpoint_id) * interval '2 minutes'
      FROM customer AS c CROSS JOIN webhook_endpoint AS e
"""


async def test_waiting_deliveries_are_told_with_their_age_and_how_long_nobody_came_for_them(house, http, wall) -> None:
    acme = await open_brand(house, http, "Acme")
    await acme.register(1)
    await acme.define(MILESTONE)
    for statement in (ENDPOINTS, NOTIFICATIONS, DELIVERIES, QUEUES):
        await house.pool.execute(statement, acme.organisation_id, wall.now)
    wall.advance(minutes=10)

    told = {name: await value(http, name) for name in FROM_THE_DATABASE}

    # The first of the two that wait was made in the second minute; the endpoint that is not paused is due since the fourth.
    assert told["kosminar_deliveries_waiting"] == 2
    assert told["kosminar_delivery_oldest_age_seconds"] == 8 * 60
    assert told["kosminar_delivery_lag_seconds"] == 6 * 60


async def test_without_the_database_its_numbers_are_left_out_and_the_rest_is_told(house, http) -> None:
    assert set(names_in(await scrape(http))) >= FROM_THE_DATABASE
    await house.pool.close()

    with capture_logs() as logs:
        text = await scrape(http)

    assert set(names_in(text)).isdisjoint(FROM_THE_DATABASE)
    assert f"kosminar_scrape_errors_total {float(len(READINGS))}" in text
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["reading_failed"] * len(READINGS)


# ---------------------------------------------------------------- draining


async def test_while_the_house_drains_it_answers_and_asks_callers_to_go_elsewhere(house, http) -> None:
    acme = await open_brand(house, http, "Acme")
    before = await acme.call("GET", "/v1/clock")
    assert "Connection" not in before.headers

    house.drain.begun = True

    after = await acme.call("GET", "/v1/clock")
    assert (after.status_code, after.headers["Connection"]) == (200, "close")
    assert (await http.get("/healthz")).status_code == 200
    ready = await http.get("/readyz")
    assert (ready.status_code, ready.json()["code"], ready.headers["Connection"]) == (503, 390015, "close")

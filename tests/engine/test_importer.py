"""The import through the real writer: each line of a file that has a stray quote has a result, also a second time."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.api.brand import open_brand

from kosminar.engine.use_cases import imports as importer
from kosminar.engine.use_cases.imports import LineStatus

pytestmark = pytest.mark.asyncio

OPENED, CLOSED, LAST = 3, 2_600, 2_700


def activity(number: int) -> str:
    note = {OPENED: '"6 ft', CLOSED: '"'}.get(number, "plain")
    return f"b{number},601,2026-03-01,{note}\n"


async def test_each_line_has_a_result_though_a_quote_is_opened_on_line_3_and_closed_thousands_later(
    house, http, tmp_path: Path
) -> None:
    brand = await open_brand(house, http, "Acme")
    await brand.register(601)
    file = tmp_path / "bills.csv"
    file.write_text("id,customerId,occurredAt,attributes.note\n" + "".join(map(activity, range(2, LAST + 1))))

    async def imported() -> Mapping[int, LineStatus]:
        results = importer.import_activities(house, brand.organisation_id, file, {})
        return {result.line_number: result.status async for result, _ in results}

    first, again = await imported(), await imported()

    refused = dict.fromkeys([OPENED, CLOSED], LineStatus.REFUSED)
    assert first == dict.fromkeys(range(2, LAST + 1), LineStatus.DONE) | refused
    assert again == dict.fromkeys(range(2, LAST + 1), LineStatus.REPEATED) | refused


async def test_customers_between_two_stray_quotes_are_registered_each_by_itself(house, http, tmp_path: Path) -> None:
    brand = await open_brand(house, http, "Acme")
    file = tmp_path / "customers.csv"
    file.write_text(
        'customerId,firstName,email\n601,"Ana,a@x.test\n602,Ben,b@x.test\n,Cy,c@x.test\n604,Di","d@x.test\n'
    )

    results = [one async for one, _ in importer.import_customers(house, brand.organisation_id, file, {})]

    assert [(one.line_number, one.status) for one in results] == [
        (2, LineStatus.REFUSED),
        (3, LineStatus.DONE),
        (4, LineStatus.DONE),
        (5, LineStatus.REFUSED),
    ]


@pytest.mark.parametrize("opened", ['"A-1,Ana', '"A-1'])
async def test_a_quote_makes_no_customer_of_two(house, http, tmp_path: Path, opened: str) -> None:
    brand = await open_brand(house, http, "Acme")
    file = tmp_path / "customers.csv"
    file.write_text(f'externalId,firstName\n{opened}\nA-2",Ben\nA-3,Cy\n')

    results = [one async for one, _ in importer.import_customers(house, brand.organisation_id, file, {})]

    assert [one.line_number for one in results] == [2, 3, 4]
    assert results[0].status is LineStatus.REFUSED
    assert "\n" not in "".join(await house.pool.fetchval("SELECT array_agg(value) FROM customer_identifier"))


async def test_long_records_make_shorter_chunks(house, http, tmp_path: Path) -> None:
    """Of a thousand records each chunk would hold all of them, however long they are."""
    brand = await open_brand(house, http, "Acme")
    file = tmp_path / "customers.csv"
    long = "x" * 100_000
    file.write_text("customerId,firstName\n" + f"601,{long}\n" * 100)

    positions = [position async for _, position in importer.import_customers(house, brand.organisation_id, file, {})]

    ends = sorted(set(positions))
    assert (len(positions), ends[-1]) == (100, file.stat().st_size)
    assert (
        max(end - begin for begin, end in zip([0, *ends], ends, strict=False)) < importer.CHUNK_BYTES + len(long) + 10
    )

"""The cache of definitions: any version as it was, never a stale one, bounded, and one for the whole process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import pytest
from tests.definitions import build_definition, build_target
from tests.engine.brand import FOUNDED_AT, Brand, deactivate, found

from kosminar.core.event import EventName
from kosminar.engine.catalogue import Catalogue, Catalogues
from kosminar.engine.use_cases.endpoints import NewEndpoint, create_in
from kosminar.settings import Settings
from kosminar.store import generations, programmes
from kosminar.store.programmes import DefinitionDamaged
from kosminar.store.standings import Edition
from kosminar.wiring import open_house

pytestmark = pytest.mark.asyncio

# Each organisation, its programme and three periods.
PARTS_OF_ONE = 5


async def newest(pool, catalogues: Catalogues, brand: Brand) -> Catalogue:
    async with pool.acquire() as connection:
        return await catalogues.now(connection, brand.organisation_id)


async def brands(pool, *names: str) -> Sequence[Brand]:
    return [await found(pool, name, [build_definition(name=f"Spring of {name}")], customer_ids=()) for name in names]


async def subscribe(pool, brand: Brand) -> None:
    new = NewEndpoint(url="https://example.org", description=None, event_names=None, headers={}, connection_count_max=1)
    async with pool.acquire() as connection, connection.transaction():
        await create_in(connection, brand.organisation_id, new, secret=bytes(32), wall=FOUNDED_AT)


@contextmanager
def queries_on(connection) -> Iterator[list[str]]:
    heard: list[str] = []

    def note(record) -> None:
        heard.append(record.query)

    with connection.query_logger(note):
        yield heard


async def test_each_version_is_what_it_was_in_whatever_order_they_are_asked_for(pool) -> None:
    [acme] = await brands(pool, "acme")
    catalogues = Catalogues()
    (name,) = acme.programmes
    before = (await newest(pool, catalogues, acme)).edition
    await deactivate(pool, acme, name, at=FOUNDED_AT + timedelta(days=1))
    after = (await newest(pool, catalogues, acme)).edition
    first = Edition(before.generation, 0)

    assert before.version < after.version
    for asked in (before, after, first, after, before):
        for cache in (catalogues, Catalogues()):
            async with pool.acquire() as connection:
                definitions = await cache.definitions(connection, acme.organisation_id, asked)
            active = [one.deactivated_at is None for one in definitions.by_group.values()]
            assert (definitions.edition, active) == (asked, {before: [True], after: [False], first: []}[asked])


async def test_a_change_of_programmes_or_endpoints_is_seen_at_once(pool) -> None:
    [acme] = await brands(pool, "acme")
    catalogues = Catalogues()

    assert not (await newest(pool, catalogues, acme)).hands_over
    await subscribe(pool, acme)
    assert (await newest(pool, catalogues, acme)).hands_over
    (name,) = acme.programmes
    await deactivate(pool, acme, name, at=FOUNDED_AT)
    [programme] = (await newest(pool, catalogues, acme)).by_group.values()
    assert programme.deactivated_at is not None


async def test_one_version_in_two_generations_is_two_editions(pool) -> None:
    """After a failover a version is given again: what was cached under the old generation does not count."""
    [acme] = await brands(pool, "acme")
    catalogues = Catalogues()
    lost = (await newest(pool, catalogues, acme)).edition
    async with pool.acquire() as connection:
        await generations.begin(connection, now=FOUNDED_AT + timedelta(days=1))
        await connection.execute("UPDATE definition SET document = jsonb_set(document, '{name}', '\"Given again\"')")

    again = await newest(pool, catalogues, acme)

    assert again.version == lost.version
    assert [programme.name for programme in again.by_group.values()] == ["Given again"]


async def test_what_is_cached_is_not_read_again(pool) -> None:
    [acme] = await brands(pool, "acme")
    catalogues = Catalogues()
    edition = (await newest(pool, catalogues, acme)).edition

    async with pool.acquire() as connection:
        with queries_on(connection) as heard:
            for _ in range(3):
                await catalogues.definitions(connection, acme.organisation_id, edition)
                await catalogues.get(connection, acme.organisation_id, edition)

    assert heard == []


async def test_programmes_that_are_cached_are_not_read_again_for_their_subscribers(pool) -> None:
    [acme] = await brands(pool, "acme")
    catalogues = Catalogues()
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
        edition = await programmes.fetch_edition(connection, acme.organisation_id)
        definitions = await catalogues.definitions(connection, acme.organisation_id, edition)
        assert catalogues.known(acme.organisation_id, edition) is None
        catalogue = await catalogues.get(connection, acme.organisation_id, edition)

    assert catalogue.by_group is definitions.by_group
    assert catalogues.known(acme.organisation_id, edition) is catalogue


async def test_what_was_asked_for_longest_ago_is_dropped_first(pool) -> None:
    acme, globex, initech = await brands(pool, "acme", "globex", "initech")
    catalogues = Catalogues(part_count_max=2 * PARTS_OF_ONE)

    seen = {brand.organisation_id: (await newest(pool, catalogues, brand)).edition for brand in (acme, globex)}
    await newest(pool, catalogues, acme)
    seen[initech.organisation_id] = (await newest(pool, catalogues, initech)).edition

    kept = [id_ for id_, edition in seen.items() if catalogues.known(id_, edition) is not None]
    assert kept == [acme.organisation_id, initech.organisation_id]


async def test_an_edition_that_is_larger_than_the_bound_is_cached_alone(pool) -> None:
    acme, globex = await brands(pool, "acme", "globex")
    catalogues = Catalogues(part_count_max=PARTS_OF_ONE - 1)

    first = await newest(pool, catalogues, acme)
    assert catalogues.known(acme.organisation_id, first.edition) is first
    second = await newest(pool, catalogues, globex)
    assert catalogues.known(globex.organisation_id, second.edition) is second
    assert catalogues.known(acme.organisation_id, first.edition) is None


async def test_a_damaged_definition_is_raised_until_it_is_repaired_and_others_are_not_concerned(pool) -> None:
    acme, globex = await brands(pool, "acme", "globex")
    catalogues = Catalogues()
    await pool.execute(
        "UPDATE definition SET document = document - 'zone' WHERE organisation_id = $1", acme.organisation_id
    )

    for _ in range(2):
        with pytest.raises(DefinitionDamaged):
            await newest(pool, catalogues, acme)
        assert len((await newest(pool, catalogues, globex)).by_group) == 1
    await pool.execute(
        """UPDATE definition SET document = jsonb_set(document, '{zone}', '"UTC"') WHERE organisation_id = $1""",
        acme.organisation_id,
    )
    assert len((await newest(pool, catalogues, acme)).by_group) == 1


async def test_an_older_version_hears_what_its_programmes_heard(pool) -> None:
    later = build_definition(name="Summer", target=build_target(name="Summer spend"))
    acme = await found(pool, "acme", [build_definition(), later], customer_ids=())
    definitions = await newest(pool, Catalogues(), acme)
    spring, summer = (acme.programmes[name] for name in ("Spring", "Summer"))
    heard = spring.targets[0].measure.hears

    assert definitions.hearing(heard, summer.created_version) == (spring, summer)
    assert definitions.hearing(heard, summer.created_version - 1) == (spring,)
    assert definitions.hearing("unheard of", summer.created_version) == ()
    assert definitions.of_target(summer.targets[0].target_id, summer.created_version - 1) is None
    assert EventName.REWARD_ISSUED not in definitions.subscribers


async def test_a_process_has_one_cache(database_url) -> None:
    """What one of them has read, the others find."""
    async with open_house(Settings.read({}), database_url) as house:
        sweeper = house.closer._sweeper

        assert house.catalogues is house.writer.catalogues
        assert house.catalogues is house.closer._catalogues
        assert house.catalogues is sweeper._catalogues

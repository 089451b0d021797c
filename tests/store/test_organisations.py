"""Organisations and their clients in the database. Globex holds rows in the same tables throughout."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from kosminar.core.access import DEFAULT_GRANTS, Hierarchy, Level, Resource
from kosminar.engine.use_cases.clients import SetUpRefused, create_client, create_organisation
from kosminar.store import clients, organisations
from kosminar.store.clients import SigningKey

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def random_bytes(count: int) -> bytes:
    random_bytes.calls += 1
    return bytes([random_bytes.calls % 256]) * count


random_bytes.calls = 0


async def organisation(connection, name="Acme", **options) -> int:
    return await create_organisation(connection, **{"name": name, "zone": "Europe/Berlin", "now": NOW} | options)


@pytest.mark.asyncio
async def test_an_organisation_starts_settled_up_to_the_wall_clock(connection: asyncpg.Connection) -> None:
    acme = await organisation(connection)

    found = await organisations.find(connection, acme)

    assert (found.name, found.zone, found.parent_id) == ("Acme", "Europe/Berlin", None)
    assert (found.test_clock, found.clock_at, found.settled_at) == (False, NOW, NOW)


@pytest.mark.asyncio
async def test_a_test_clock_shows_the_instant_it_was_created_with(connection: asyncpg.Connection) -> None:
    shown_at = NOW - timedelta(days=9000)

    acme = await organisation(connection, test_clock_at=shown_at)

    found = await organisations.find(connection, acme)
    assert (found.test_clock, found.clock_at, found.settled_at) == (True, shown_at, shown_at)


@pytest.mark.asyncio
async def test_an_unknown_organisation_is_not_found(connection: asyncpg.Connection) -> None:
    assert await organisations.find(connection, 4711) is None
    assert await organisations.find_hierarchy(connection, 4711) is None


@pytest.mark.asyncio
async def test_parent_and_children_know_each_other_and_siblings_do_not(connection: asyncpg.Connection) -> None:
    globex = await organisation(connection, "Globex")
    acme = await organisation(connection)
    north = await organisation(connection, "Acme North", parent_id=acme)
    south = await organisation(connection, "Acme South", parent_id=acme)

    seen = [await organisations.find_hierarchy(connection, one) for one in (acme, north, globex)]

    assert seen == [
        Hierarchy(organisation_id=acme, child_ids=(north, south)),
        Hierarchy(organisation_id=north, parent_id=acme),
        Hierarchy(organisation_id=globex),
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["", "x" * 201, "Ac\0me"])
async def test_a_name_has_1_to_200_characters(connection: asyncpg.Connection, name: str) -> None:
    with pytest.raises(SetUpRefused, match="1 to 200"):
        await organisation(connection, name)

    assert await organisation(connection, "x" * 200)


@pytest.mark.asyncio
@pytest.mark.parametrize("zone", ["Mars/Base", "", "../etc/passwd", "Europe", "Europe/Ber\0lin"])
async def test_a_zone_is_an_iana_name(connection: asyncpg.Connection, zone: str) -> None:
    with pytest.raises(SetUpRefused, match="time zone"):
        await organisation(connection, zone=zone)


@pytest.mark.asyncio
async def test_a_parent_exists_and_is_nobodys_child(connection: asyncpg.Connection) -> None:
    acme = await organisation(connection)
    north = await organisation(connection, "Acme North", parent_id=acme)

    with pytest.raises(SetUpRefused, match="no organisation 4711"):
        await organisation(connection, "Orphan", parent_id=4711)
    with pytest.raises(SetUpRefused, match="is a child itself"):
        await organisation(connection, "Grandchild", parent_id=north)


@pytest.mark.asyncio
async def test_a_new_client_signs_in_with_the_default_group(connection: asyncpg.Connection) -> None:
    await create_client(
        connection, organisation_id=await organisation(connection, "Globex"), random_bytes=random_bytes, now=NOW
    )
    acme = await organisation(connection)

    made = await create_client(connection, organisation_id=acme, random_bytes=random_bytes, now=NOW)

    user = await clients.find_api_user(connection, made.username)
    client = await clients.find_oauth_client(connection, made.key)
    assert (user.organisation_id, user.name) == (acme, made.username)
    assert (client.organisation_id, client.name) == (acme, made.key)
    assert user.grants == client.grants == DEFAULT_GRANTS


@pytest.mark.asyncio
async def test_secrets_are_kept_and_printed_only_as_hashes(connection: asyncpg.Connection) -> None:
    acme = await organisation(connection)

    made = await create_client(connection, organisation_id=acme, random_bytes=random_bytes, now=NOW)

    kept = str(await connection.fetch("SELECT * FROM api_user, oauth_client"))
    assert made.username in kept
    assert not [secret for secret in (made.password, made.secret) if secret in kept + repr(made)]


@pytest.mark.asyncio
async def test_a_client_needs_an_organisation_and_an_access_group_of_it(connection: asyncpg.Connection) -> None:
    globex = await organisation(connection, "Globex")
    await clients.insert_access_group(connection, globex, name="readers", grants={}, built_in=False, now=NOW)
    acme = await organisation(connection)

    with pytest.raises(SetUpRefused, match="no organisation 4711"):
        await create_client(connection, organisation_id=4711, random_bytes=random_bytes, now=NOW)
    with pytest.raises(SetUpRefused, match="no access group 'readers'"):
        await create_client(
            connection, organisation_id=acme, access_group_name="readers", random_bytes=random_bytes, now=NOW
        )


@pytest.mark.asyncio
async def test_a_group_gives_what_it_grants_and_nothing_else(connection: asyncpg.Connection) -> None:
    acme = await organisation(connection)
    grants = {Resource.REWARDS: Level.READ, Resource.CUSTOMERS: Level.WRITE}
    await clients.insert_access_group(connection, acme, name="Tills", grants=grants, built_in=False, now=NOW)

    made = await create_client(
        connection, organisation_id=acme, access_group_name="TILLS", random_bytes=random_bytes, now=NOW
    )

    caller = await clients.find_api_user(connection, made.username)
    assert caller.grants == grants
    assert (caller.may(Level.READ, Resource.REWARDS), caller.may(Level.WRITE, Resource.REWARDS)) == (True, False)
    assert not caller.may(Level.READ, Resource.CLOCK)


@pytest.mark.asyncio
async def test_who_is_revoked_is_not_found_and_only_its_own_organisation_can_revoke(connection) -> None:
    globex, acme = await organisation(connection, "Globex"), await organisation(connection)
    made = await create_client(connection, organisation_id=acme, random_bytes=random_bytes, now=NOW)

    await clients.revoke_api_user(connection, globex, username=made.username, now=NOW)
    await clients.revoke_oauth_client(connection, globex, client_key=made.key, now=NOW)
    assert await clients.find_api_user(connection, made.username)
    assert await clients.find_oauth_client(connection, made.key)

    await clients.revoke_api_user(connection, acme, username=made.username, now=NOW)
    await clients.revoke_oauth_client(connection, acme, client_key=made.key, now=NOW)
    assert await clients.find_api_user(connection, made.username) is None
    assert await clients.find_oauth_client(connection, made.key) is None
    assert await clients.find_secret_of_api_user(connection, made.username) is None
    assert await clients.find_secret_of_oauth_client(connection, made.key) is None


@pytest.mark.asyncio
async def test_signing_keys_are_numbered_as_they_are_made_whatever_the_clocks_said(
    connection: asyncpg.Connection,
) -> None:
    await clients.insert_signing_key(connection, '{"kty": "first"}', now=NOW)
    await clients.insert_signing_key(connection, '{"kty": "second"}', now=NOW - timedelta(days=1))

    kept = await clients.list_signing_keys(connection)

    assert kept == [
        SigningKey("2", '{"kty": "second"}', NOW - timedelta(days=1)),
        SigningKey("1", '{"kty": "first"}', NOW),
    ]

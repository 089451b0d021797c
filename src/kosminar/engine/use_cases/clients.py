"""Organisations and the clients that sign in for them: what the operator sets up, and who a request comes from.

Secrets are returned once, to be shown, and kept only as hashes. Randomness and time come in as arguments.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg

from kosminar.core.access import DEFAULT_GRANTS, DEFAULT_GROUP_NAME, Caller, Level, Resource
from kosminar.core.errors import CommandRefused
from kosminar.core.secret import hash_of_password, hash_of_secret, new_secret, password_matches, secret_matches
from kosminar.core.zone import zone_named
from kosminar.store import clients, organisations
from kosminar.store.queries import Connection

NAME_LENGTH_MAX = 200
ACCESS_GROUP_NAME_LENGTH_MAX = 100
KEY_BYTES = 12
"""Of usernames and client keys. They are not secret and only need to differ, in every organisation of the house."""


class SetUpRefused(CommandRefused):
    """The organisation or client cannot be made as asked; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a new client needs: the first two for Basic authentication, the others for OAuth."""

    username: str
    password: str = field(repr=False)
    key: str
    secret: str = field(repr=False)


async def create_organisation(
    connection: Connection,
    *,
    name: str,
    zone: str,
    now: datetime,
    parent_id: int | None = None,
    test_clock_at: datetime | None = None,
) -> int:
    """Make an organisation with its built-in access group, and return its id.

    A parent must exist and have no parent itself: connected organisations are one parent and its children (decision 32).
    """
    if not 1 <= len(name) <= NAME_LENGTH_MAX or "\0" in name:
        raise SetUpRefused(f"The name must have 1 to {NAME_LENGTH_MAX} characters.")
    _check_zone(zone)
    async with connection.transaction():
        if parent_id is not None:
            await _check_parent(connection, parent_id)
        organisation_id = await organisations.insert(
            connection, name=name, zone=zone, parent_id=parent_id, test_clock_at=test_clock_at, now=now
        )
        await clients.insert_access_group(
            connection, organisation_id, name=DEFAULT_GROUP_NAME, grants=DEFAULT_GRANTS, built_in=True, now=now
        )
    return organisation_id


async def create_access_group(
    connection: Connection, *, organisation_id: int, name: str, grants: Mapping[Resource, Level], now: datetime
) -> int:
    """Make an access group: what is not granted is denied (decision 30). Return its id."""
    if not 1 <= len(name) <= ACCESS_GROUP_NAME_LENGTH_MAX or "\0" in name:
        raise SetUpRefused(f"The name must have 1 to {ACCESS_GROUP_NAME_LENGTH_MAX} characters.")
    async with connection.transaction():
        if await organisations.find(connection, organisation_id) is None:
            raise SetUpRefused(f"There is no organisation {organisation_id}.")
        if await clients.find_access_group(connection, organisation_id, name=name) is not None:
            raise SetUpRefused(f"Organisation {organisation_id} has an access group {name!r} already.")
        return await clients.insert_access_group(
            connection, organisation_id, name=name, grants=grants, built_in=False, now=now
        )


async def revoke_client(connection: Connection, *, organisation_id: int, name: str, now: datetime) -> None:
    """Take back a username or a client key; within seconds it signs nobody in any more."""
    async with connection.transaction():
        revoked = [
            await clients.revoke_api_user(connection, organisation_id, username=name, now=now),
            await clients.revoke_oauth_client(connection, organisation_id, client_key=name, now=now),
        ]
    if not any(revoked):
        raise SetUpRefused(f"Organisation {organisation_id} has no client {name!r} that could be revoked.")


async def create_client(
    connection: Connection,
    *,
    organisation_id: int,
    random_bytes: Callable[[int], bytes],
    now: datetime,
    access_group_name: str = DEFAULT_GROUP_NAME,
) -> Credentials:
    """Make an API user and an OAuth client of one access group; their secrets are not seen again."""
    async with connection.transaction():
        if await organisations.find(connection, organisation_id) is None:
            raise SetUpRefused(f"There is no organisation {organisation_id}.")
        access_group_id = await clients.find_access_group(connection, organisation_id, name=access_group_name)
        if access_group_id is None:
            raise SetUpRefused(f"Organisation {organisation_id} has no access group {access_group_name!r}.")
        made = Credentials(
            username=f"user-{random_bytes(KEY_BYTES).hex()}",
            password=new_secret(random_bytes),
            key=f"client-{random_bytes(KEY_BYTES).hex()}",
            secret=new_secret(random_bytes),
        )
        await clients.insert_api_user(
            connection,
            organisation_id,
            access_group_id=access_group_id,
            username=made.username,
            secret_hash=hash_of_password(made.password),
            now=now,
        )
        await clients.insert_oauth_client(
            connection,
            organisation_id,
            access_group_id=access_group_id,
            name=made.key,
            client_key=made.key,
            secret_hash=hash_of_secret(made.secret),
            now=now,
        )
    return made


async def find_by_password(pool: asyncpg.Pool, username: str, password: str) -> Caller | None:
    """The API user of that name; None alike where there is none and where the password is wrong."""
    async with pool.acquire() as connection:
        kept = await clients.find_secret_of_api_user(connection, username)
        return await clients.find_api_user(connection, username) if password_matches(password, kept) else None


async def find_by_secret(pool: asyncpg.Pool, key: str, secret: str) -> Caller | None:
    """The OAuth client of that key; None alike where there is none and where the secret is wrong."""
    async with pool.acquire() as connection:
        # PostgreSQL's text cannot hold NUL, so no key has one.
        kept = None if "\0" in key else await clients.find_secret_of_oauth_client(connection, key)
        return await clients.find_oauth_client(connection, key) if secret_matches(secret, kept) else None


async def _check_parent(connection: Connection, parent_id: int) -> None:
    parent = await organisations.find(connection, parent_id)
    if parent is None:
        raise SetUpRefused(f"There is no organisation {parent_id} to be the parent.")
    if parent.parent_id is not None:
        raise SetUpRefused(f"Organisation {parent_id} is a child itself and cannot be a parent.")


def _check_zone(zone: str) -> None:
    try:
        zone_named(zone)
    except ValueError as error:
        raise SetUpRefused(f"The time zone {error}.") from None

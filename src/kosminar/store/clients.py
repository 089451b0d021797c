"""Who may sign in: access groups, API users, OAuth clients, and the keys that sign tokens.

The look-ups by username, client key and signing key are the only ones here that cross organisations, because whoever
signs in names none. They leave out what was revoked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from kosminar.core.access import Caller, Level, Resource
from kosminar.store.queries import Connection, load

QUERIES: Final = load("clients")


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody who may sign in, with what is kept of the secret."""

    caller: Caller
    secret_hash: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key as JSON, and the name that tokens call it by."""

    key_id: str
    private_jwk: str = field(repr=False)


async def insert_access_group(
    connection: Connection,
    organisation_id: int,
    *,
    name: str,
    grants: Mapping[Resource, Level],
    built_in: bool,
    now: datetime,
) -> int:
    access_group_id = await QUERIES["insert_access_group"].value(
        connection, organisation_id=organisation_id, name=name, built_in=built_in, now=now
    )
    await QUERIES["insert_access_grants"].run(
        connection,
        organisation_id=organisation_id,
        access_group_id=access_group_id,
        resources=list(grants.keys()),
        levels=list(grants.values()),
    )
    return int(access_group_id)


async def find_access_group(connection: Connection, organisation_id: int, *, name: str) -> int | None:
    found = await QUERIES["find_access_group"].value(connection, organisation_id=organisation_id, name=name)
    return None if found is None else int(found)


async def insert_api_user(
    connection: Connection,
    organisation_id: int,
    *,
    access_group_id: int,
    username: str,
    secret_hash: bytes,
    now: datetime,
) -> None:
    await QUERIES["insert_api_user"].run(
        connection,
        organisation_id=organisation_id,
        access_group_id=access_group_id,
        username=username,
        secret_hash=secret_hash,
        now=now,
    )


async def insert_oauth_client(
    connection: Connection,
    organisation_id: int,
    *,
    access_group_id: int,
    name: str,
    client_key: str,
    secret_hash: bytes,
    now: datetime,
) -> None:
    await QUERIES["insert_oauth_client"].run(
        connection,
        organisation_id=organisation_id,
        access_group_id=access_group_id,
        name=name,
        client_key=client_key,
        secret_hash=secret_hash,
        now=now,
    )


async def revoke_api_user(connection: Connection, organisation_id: int, *, username: str, now: datetime) -> bool:
    """Whether there was one to revoke."""
    return bool(
        await QUERIES["revoke_api_user"].rows(connection, organisation_id=organisation_id, username=username, now=now)
    )


async def revoke_oauth_client(connection: Connection, organisation_id: int, *, client_key: str, now: datetime) -> bool:
    """Whether there was one to revoke."""
    return bool(
        await QUERIES["revoke_oauth_client"].rows(
            connection, organisation_id=organisation_id, client_key=client_key, now=now
        )
    )


async def find_api_user(connection: Connection, username: str) -> Client | None:
    return _client(await QUERIES["find_api_user"].row(connection, username=username))


async def find_oauth_client(connection: Connection, client_key: str) -> Client | None:
    return _client(await QUERIES["find_oauth_client"].row(connection, client_key=client_key))


async def insert_signing_key(connection: Connection, key: SigningKey, *, now: datetime) -> None:
    """Keeps the key unless one of that name is there already."""
    await QUERIES["insert_signing_key"].run(connection, key_id=key.key_id, private_jwk=key.private_jwk, now=now)


async def list_signing_keys(connection: Connection) -> list[SigningKey]:
    return [SigningKey(**row) for row in await QUERIES["list_signing_keys"].rows(connection)]


def _client(row: Any) -> Client | None:
    if row is None:
        return None
    grants = dict(grant.split(" ") for grant in row["grants"])
    caller = Caller(
        row["organisation_id"], row["name"], {Resource(resource): Level(level) for resource, level in grants.items()}
    )
    return Client(caller, row["secret_hash"])

"""Who may sign in: access groups, API users, OAuth clients, and the keys that sign tokens.

The look-ups by username, client key and signing key are the only ones here that cross organisations, because whoever
signs in names none. They leave out what was revoked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from kosminar.core.access import Caller, Level, Resource
from kosminar.store.queries import Connection, load

QUERIES: Final = load("clients")

# Beside the migrations' key, far below those of organisations; held while a signing key is made.
SIGNING_KEYS_LOCK_KEY: Final = 7_238_410_562


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key as JSON, and the number that tokens call it by."""

    key_id: str
    private_jwk: str = field(repr=False)
    created_at: datetime


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A key's public half; all that is needed to verify."""

    key_id: str
    public_jwk: str
    created_at: datetime


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


async def find_secret_of_api_user(connection: Connection, username: str) -> bytes | None:
    """The hash that is kept of the password; None of a user who is unknown or revoked."""
    found = await QUERIES["find_secret_of_api_user"].value(connection, username=username)
    return None if found is None else bytes(found)


async def find_secret_of_oauth_client(connection: Connection, client_key: str) -> bytes | None:
    """The hash that is kept of the secret; None of a client that is unknown or revoked."""
    found = await QUERIES["find_secret_of_oauth_client"].value(connection, client_key=client_key)
    return None if found is None else bytes(found)


async def find_api_user(connection: Connection, username: str) -> Caller | None:
    return _caller(await QUERIES["find_api_user"].row(connection, username=username))


async def find_oauth_client(connection: Connection, client_key: str) -> Caller | None:
    return _caller(await QUERIES["find_oauth_client"].row(connection, client_key=client_key))


async def lock_signing_keys(connection: Connection) -> None:
    """Waits until nobody else makes a signing key; held until the transaction ends."""
    await QUERIES["lock_signing_keys"].run(connection, key=SIGNING_KEYS_LOCK_KEY)


async def try_lock_signing_keys(connection: Connection) -> bool:
    """Whether nobody else makes a signing key; then held until the transaction ends."""
    return bool(await QUERIES["try_lock_signing_keys"].value(connection, key=SIGNING_KEYS_LOCK_KEY))


async def insert_signing_key(connection: Connection, private_jwk: str, *, now: datetime) -> None:
    """Keeps the key under the next number. The lock is held by whoever calls this."""
    await QUERIES["insert_signing_key"].run(connection, private_jwk=private_jwk, now=now)


async def list_signing_keys(connection: Connection) -> list[SigningKey]:
    """Newest first; without those that were retired."""
    return [SigningKey(**row) for row in await QUERIES["list_signing_keys"].rows(connection)]


async def list_verifying_keys(connection: Connection) -> list[VerifyingKey]:
    """Newest first; without those that were retired."""
    return [VerifyingKey(**row) for row in await QUERIES["list_verifying_keys"].rows(connection)]


async def retire_signing_keys(connection: Connection, key_ids: Sequence[str], *, now: datetime) -> None:
    """For ever: what would sign again is gone from the database, though not from its back-ups."""
    await QUERIES["retire_signing_keys"].run(connection, key_ids=list(key_ids), now=now)


def _caller(row: Any) -> Caller | None:
    if row is None:
        return None
    grants = dict(grant.split(" ") for grant in row["grants"])
    return Caller(
        row["organisation_id"], row["name"], {Resource(resource): Level(level) for resource, level in grants.items()}
    )

"""The command line: `kosminar <noun> <verb>`. Exit codes: 0 done, 1 done with findings or refused, 2 asked wrongly.

Every command opens the same database as `serve` and may run beside it. With --json, standard output holds one JSON
document and nothing else; progress and notices go to standard error.
"""

import gc
import json as json_module
import os
import secrets
import shlex
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeVar

import asyncpg
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from kosminar import demo as demonstration
from kosminar import endings
from kosminar.api import openapi
from kosminar.api.app import OPERATIONS
from kosminar.core.access import DEFAULT_GROUP_NAME, Level, Resource
from kosminar.core.amount import ID_MAX
from kosminar.core.decoder import encode
from kosminar.core.errors import CommandRefused
from kosminar.core.written import instant
from kosminar.core.zone import zone_named
from kosminar.engine import auditor, doctor
from kosminar.engine.house import House
from kosminar.engine.retry import NotSaved, is_unavailable
from kosminar.engine.trouble import in_words
from kosminar.engine.use_cases import clients, database, organisations, tokens
from kosminar.engine.use_cases import imports as importer
from kosminar.engine.use_cases.imports import LineResult, LineStatus
from kosminar.logs import configure_logs
from kosminar.serve import bind, serve_forever
from kosminar.settings import Settings, SettingsError, printable
from kosminar.wiring import open_connection, open_database, open_house, utc_now

T = TypeVar("T")

FOUND: Final = 1
ASKED_WRONGLY: Final = 2

# New values that may hold others, less those that died; Python's own number is far fewer than one batch makes.
GARBAGE_THRESHOLD: Final = 50_000

app = typer.Typer(
    name="kosminar",
    help="Loyalty milestones and streaks: every reward exactly once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
organisation_app = typer.Typer(help="Organisations.", no_args_is_help=True)
client_app = typer.Typer(help="Clients that sign in for an organisation.", no_args_is_help=True)
access_group_app = typer.Typer(help="Access groups: what clients may do.", no_args_is_help=True)
import_app = typer.Typer(help="Bring CSV files in.", no_args_is_help=True)
signing_key_app = typer.Typer(help="Keys that sign access tokens.", no_args_is_help=True)
app.add_typer(organisation_app, name="organisation")
app.add_typer(client_app, name="client")
app.add_typer(access_group_app, name="access-group")
app.add_typer(import_app, name="import")
app.add_typer(signing_key_app, name="signing-key")

DataDirectory = Annotated[
    Path | None, typer.Option("--data-dir", help="Where the embedded database keeps its data. [KOSMINAR_DATA_DIR]")
]
DatabaseUrl = Annotated[
    str | None, typer.Option("--database-url", help="A PostgreSQL to use instead. [KOSMINAR_DATABASE_URL]")
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")]
Organisation = Annotated[int, typer.Option("--organisation", min=1, max=ID_MAX, help="The organisation's id.")]


def main() -> None:
    """The console script: what a stranger can mend is one sentence, never a stack trace."""
    _look_for_garbage_seldom()
    try:
        app(standalone_mode=True)
    except SettingsError as error:
        _complain(str(error), ASKED_WRONGLY)
    except (
        CommandRefused,
        NotSaved,
        asyncpg.PostgresError,
        asyncpg.ClientConfigurationError,
        OSError,
    ) as error:
        _complain(in_words(error), FOUND)
    except UnicodeEncodeError as error:
        # Only what a shell or the environment gave us holds such characters; documents are decoded strictly.
        _complain(f"{error.object!r} holds bytes that are no UTF-8. Give it as text in UTF-8.", ASKED_WRONGLY)
    except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        if not is_unavailable(error):
            raise
        _complain(f"The connection to the database was lost: {error}", FOUND)


def _look_for_garbage_seldom() -> None:
    """Most of what is made dies by itself, without the collector, which looks for cycles in what lives.

    As often as Python does by itself, it took a fifth of the time that an import or a busy server needs: a batch keeps
    tens of thousands of values for a moment, and what was imported at the start is never garbage.
    """
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)


# ---------------------------------------------------------------- running


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on. [default: 8080]")] = None,
    data_dir: DataDirectory = None,
    database_url: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Run everything in one process: the API, the period ends, and a database of its own unless one is named."""
    settings = _settings(data_dir, database_url, host=host, port=port)
    configure_logs(settings.log_level)
    listener = bind(settings.host, settings.port)
    url = f"http://{settings.host}:{listener.getsockname()[1]}"

    async def ready(_: House) -> None:
        _answer({"url": url}, [f"Kosminar is listening on {url} (press Ctrl-C to stop)"], as_json=json)

    serve_forever(settings, listener, ready=ready)


@app.command()
def demo(
    port: Annotated[int | None, typer.Option(help="The port to listen on; another one if it is taken.")] = None,
    customers: Annotated[int, typer.Option(min=50, max=100_000, help="How many customers to seed.")] = 3_000,
    json: Json = False,
) -> None:
    """Serve a seeded brand with a history, a test clock and curl lines to paste. Starts afresh each time."""
    demonstration.run(
        os.environ,
        port=port,
        customer_count=customers,
        tell=lambda story: _answer(asdict(story), story.lines(), as_json=json),
        notice=_notice,
    )


@app.command(name="migrate")
def migrate_command(
    new_generation: Annotated[
        bool, typer.Option("--new-generation", help="Begin one: this is a copy that a snapshot or cp made.")
    ] = False,
    data_dir: DataDirectory = None,
    database_url: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Bring the database to this version's schema. `serve` does it too."""

    async def work(connection: asyncpg.Connection) -> list[str]:
        return await database.migrate(connection, new_generation=new_generation, now=utc_now())

    applied = _with_connection(_settings(data_dir, database_url), work)
    _answer({"applied": applied}, applied or ["The schema is up to date."], as_json=json)


@app.command()
def settings(data_dir: DataDirectory = None, database_url: DatabaseUrl = None, json: Json = False) -> None:
    """Show the settings in force and where each comes from."""
    rows = _settings(data_dir, database_url).effective()
    if json:
        _write_json([row._asdict() for row in rows])
        return
    table = Table(Column("setting", no_wrap=True), "value", "from", "meaning", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))  # As it is: a path may look like rich's markup.
    Console().print(table)


@app.command(name="doctor")
def doctor_command(data_dir: DataDirectory = None, database_url: DatabaseUrl = None, json: Json = False) -> None:
    """Say what is wrong with this installation. Changes nothing but starting an embedded database."""

    async def work(connection: asyncpg.Connection) -> list[doctor.Check]:
        return await doctor.examine(connection, now=utc_now())

    checks = _with_connection(_settings(data_dir, database_url), work)
    lines = [f"{'ok ' if c.healthy else 'BAD'} {c.name}: {c.found}" + f" {c.advice}".rstrip() for c in checks]
    healthy = all(check.healthy for check in checks)
    _answer({"healthy": healthy, "checks": [asdict(check) for check in checks]}, lines, as_json=json)
    raise typer.Exit(0 if healthy else FOUND)


@app.command(name="openapi")
def openapi_command() -> None:
    """Write the OpenAPI 3.1 document of both surfaces; docs/openapi.json is kept equal to it."""
    sys.stdout.write(json_module.dumps(openapi.document(OPERATIONS), indent=1) + "\n")


# ---------------------------------------------------------------- setting up


@organisation_app.command(name="create")
def organisation_create(
    name: Annotated[str, typer.Option(help="What it is called.")],
    zone: Annotated[str, typer.Option(help="Its IANA time zone, for example Europe/Berlin.")],
    parent: Annotated[
        int | None, typer.Option(min=1, max=ID_MAX, help="The id of its parent, if it is a child.")
    ] = None,
    test_clock: Annotated[
        str | None, typer.Option(help="Give it a clock that stands still at this instant until it is moved.")
    ] = None,
    data_dir: DataDirectory = None,
    database_url: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Make an organisation."""
    test_clock_at = _instant("--test-clock", test_clock, zone)

    async def work(house: House) -> int:
        async with house.pool.acquire() as connection:
            return await clients.create_organisation(
                connection, name=name, zone=zone, parent_id=parent, test_clock_at=test_clock_at, now=house.wall()
            )

    organisation_id = _with_house(_settings(data_dir, database_url), work)
    _answer({"organisationId": organisation_id}, [f"Organisation {organisation_id} was created."], as_json=json)


@client_app.command(name="create")
def client_create(
    organisation: Organisation,
    access_group: Annotated[str, typer.Option(help="What it may do.")] = DEFAULT_GROUP_NAME,
    data_dir: DataDirectory = None,
    database_url: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Make a client. Its password and secret are shown once and kept only as hashes."""

    async def work(house: House) -> clients.Credentials:
        async with house.pool.acquire() as connection:
            return await clients.create_client(
                connection,
                organisation_id=organisation,
                access_group_name=access_group,
                random_bytes=secrets.token_bytes,
                now=house.wall(),
            )

    made = asdict(_with_house(_settings(data_dir, database_url), work))
    _answer(made, [f"{name}: {value}" for name, value in made.items()], as_json=json)


@client_app.command(name="revoke")
def client_revoke(
    organisation: Organisation,
    name: Annotated[str, typer.Option(help="The username, or the key of an OAuth client.")],
    data_dir: DataDirectory = None,
    database_url: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Take credentials back; they stop working within seconds."""

    async def work(house: House) -> None:
        async with house.pool.acquire() as connection:
            await clients.revoke_client(connection, organisation_id=organisation, name=name, now=house.wall())

    _with_house(_settings(data_dir, database_url), work)
    _answer({"revoked": name}, [f"{name} was revoked."], as_json=json)


@access_group_app.command(name="create")
def access_group_create(
    organisation: Organisation,
    name: Annotated[str, typer.Option(help="What it is called.")],
    grant: Annotated[list[str], typer.Option(help="resource=none|read|write, as often as needed; the rest is none.")],
    data_dir: DataDirectory = None,
    database_url: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Make an access group, for clients that may do less than everything."""
    grants = _grants(grant)

    async def work(house: House) -> int:
        async with house.pool.acquire() as connection:
            return await clients.create_access_group(
                connection, organisation_id=organisation, name=name, grants=grants, now=house.wall()
            )

    access_group_id = _with_house(_settings(data_dir, database_url), work)
    _answer({"accessGroupId": access_group_id}, [f"Access group {name} was created."], as_json=json)


def _grants(given: list[str]) -> Mapping[Resource, Level]:
    grants = dict.fromkeys(Resource, Level.NONE)
    for one in given:
        resource, _, level = one.partition("=")
        if resource not in set(Resource) or level not in set(Level):
            _complain(f"--grant takes resource=level, of {', '.join(Resource)} and {', '.join(Level)}.", ASKED_WRONGLY)
        grants[Resource(resource)] = Level(level)
    return grants


@signing_key_app.command(name="rotate")
def signing_key_rotate(
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Refuse tokens of the old keys too, within seconds: they may be stolen.")
    ] = False,
    data_dir: DataDirectory = None,
    database_url: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Make a new key that signs access tokens from now on. Without this a key is changed after 30 days."""

    async def work(house: House) -> str:
        async with house.pool.acquire() as connection:
            return await tokens.rotate(connection, revoke=revoke, now=house.wall())

    key_id = _with_house(_settings(data_dir, database_url), work)
    old = "no longer accepted" if revoke else "accepted until they expire"
    _answer(
        {"signingKeyId": key_id, "revoked": revoke},
        [f"Key {key_id} signs from now on; tokens of older keys are {old}."],
        as_json=json,
    )


# ---------------------------------------------------------------- import


class Noun(StrEnum):
    """What a file holds."""

    CUSTOMERS = "customers"
    ACTIVITIES = "activities"


Csv = Annotated[Path, typer.Option("--file", exists=True, dir_okay=False, readable=True, help="The CSV file.")]
Mapping_ = Annotated[list[str] | None, typer.Option("--map", help="column=field, as often as needed.")]


@import_app.command(name="customers")
def import_customers(
    organisation: Organisation,
    file: Csv,
    mapping: Mapping_ = None,
    data_dir: DataDirectory = None,
    database_url: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Register customers. Columns: customerId, externalId, mobile, email, firstName, lastName."""
    _import(Noun.CUSTOMERS, organisation, file, mapping, _settings(data_dir, database_url), as_json=json)


@import_app.command(name="activities")
def import_activities(
    organisation: Organisation,
    file: Csv,
    mapping: Mapping_ = None,
    data_dir: DataDirectory = None,
    database_url: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Record activities. Columns: id, customerId, type (else transaction), occurredAt, attributes.<name>.

    Without a column for the id, it is made from the file's content and the line, so the same file may be imported
    again after an interruption. A date or instant without zone is in the organisation's zone.
    """
    _import(Noun.ACTIVITIES, organisation, file, mapping, _settings(data_dir, database_url), as_json=json)


def _import(
    noun: Noun, organisation_id: int, path: Path, mapping: list[str] | None, settings_: Settings, *, as_json: bool
) -> None:
    columns = _columns(mapping or [])
    byte_count = path.stat().st_size

    async def work(house: House) -> tuple[Counter[LineStatus], list[LineResult]]:
        await organisations.require(house, organisation_id)
        read = importer.import_customers if noun is Noun.CUSTOMERS else importer.import_activities
        counts: Counter[LineStatus] = Counter()
        kept: list[LineResult] = []
        with _progress(noun, byte_count) as advance:
            async for result, position in read(house, organisation_id, path, columns):
                counts[result.status] += 1
                advance(position)
                if result.status in (LineStatus.REFUSED, LineStatus.LATE):
                    # JSON holds the first bad lines only, or a file of nothing else would not fit into memory.
                    if not as_json:
                        _notice(f"line {result.line_number}: {result.status} {result.code} {result.message}")
                    elif len(kept) < BAD_LINES_IN_JSON_MAX:
                        kept.append(result)
        return counts, kept

    counts, kept = _with_house(settings_, work)
    totals = {status.value: counts[status] for status in LineStatus}
    summary = ", ".join(f"{count} {status}" for status, count in totals.items())
    _answer({**totals, "badLines": [_bad_line(result) for result in kept]}, [f"{noun}: {summary}"], as_json=as_json)
    raise typer.Exit(FOUND if counts[LineStatus.REFUSED] else 0)


BAD_LINES_IN_JSON_MAX: Final = 10_000


def _bad_line(result: LineResult) -> dict[str, Any]:
    return {
        "lineNumber": result.line_number,
        "status": result.status,
        "code": result.code,
        "message": result.message,
    }


def _columns(mapping: list[str]) -> Mapping[str, str]:
    columns = {}
    for one in mapping:
        column, separator, name = one.rpartition("=")
        if not separator or not column or not name:
            _complain(f"--map takes column=field, not {one!r}.", ASKED_WRONGLY)
        columns[column] = name
    return columns


# ---------------------------------------------------------------- audit


@app.command()
def audit(
    organisation: Annotated[
        int | None, typer.Option("--organisation", min=1, max=ID_MAX, help="Only this organisation's customers.")
    ] = None,
    customer: Annotated[
        int | None, typer.Option("--customer", min=1, max=ID_MAX, help="Only this customer of --organisation.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Only customers changed at this instant or later, by their organisation's clock; UTC without an offset."
        ),
    ] = None,
    data_dir: DataDirectory = None,
    database_url: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Recompute everything from accepted commands and activities; exit 1 on any difference.

    With --json, one object a line for each difference, and a last one that sums up.
    """
    if customer is not None and organisation is None:
        _complain("--customer takes --organisation beside it: customer ids belong to organisations.", ASKED_WRONGLY)
    scope = auditor.Scope(organisation, customer, _instant("--since", since, "UTC"))

    async def work(house: House) -> tuple[int, int]:
        await _refuse_unknown(house, scope)
        total = await auditor.count_customers(house.pool, scope)
        difference_count = done = 0
        with _progress("customers", total) as advance:

            def progressed(count: int) -> None:
                nonlocal done
                done += count
                advance(done)

            async for difference in auditor.audit(house.pool, scope=scope, progressed=progressed):
                difference_count += 1
                if json:
                    _write_json(difference.document())
                else:
                    _notice(str(difference))
        return done, difference_count

    began = time.monotonic()
    customer_count, difference_count = _with_house(_settings(data_dir, database_url), work)
    seconds = round(time.monotonic() - began, 3)
    _answer(
        {"customers": customer_count, "differences": difference_count, "seconds": seconds},
        [f"{customer_count} customers recounted in {seconds:.1f} seconds, {difference_count} differences."],
        as_json=json,
    )
    raise typer.Exit(FOUND if difference_count else 0)


async def _refuse_unknown(house: House, scope: auditor.Scope) -> None:
    """Nobody to look at is a mistake in the asking, and must not pass for an audit without differences."""
    if scope.organisation_id is None:
        return
    if not await organisations.exists(house, scope.organisation_id):
        raise typer.BadParameter(f"There is no organisation {scope.organisation_id}.")
    if scope.customer_id is not None and not await auditor.count_customers(house.pool, scope):
        raise typer.BadParameter(f"There is no customer {scope.customer_id} in organisation {scope.organisation_id}.")


# ---------------------------------------------------------------- back-up


@app.command(name="backup")
def backup_command(
    directory: Annotated[Path, typer.Argument(help="A new directory, which will hold the back-up.")],
    data_dir: DataDirectory = None,
    database_url: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Back the embedded database up, also while `serve` runs. Keep it like the database: it holds the same secrets."""
    settings_ = _settings(data_dir, database_url)
    configure_logs(settings_.log_level)
    made = database.take_backup(settings_, directory, wall=utc_now)
    told = {
        "directory": printable(str(made.directory)),
        "startedAt": made.note.started_at,
        "endedAt": made.note.ended_at,
        "byteCount": made.byte_count,
        "archive": made.note.archive,
    }
    lines = [
        f"{made.directory} holds everything that was answered before {made.note.started_at:%Y-%m-%dT%H:%M:%SZ}.",
        f"It was verified and has {made.byte_count / 1_000_000:.1f} MB. Keep it as secret as the database.",
    ]
    _answer(told, lines, as_json=json)


@app.command()
def restore(
    directory: Annotated[Path, typer.Argument(metavar="BACKUP", help="What `kosminar backup` made.")],
    data_dir: Annotated[Path, typer.Option("--data-dir", help="A new data directory to restore into.")],
    archive: Annotated[
        Path | None,
        typer.Option("--archive", help="The archive, to go on from the back-up. [see KOSMINAR_ARCHIVE_DIR]"),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="The instant to stop at, with its offset, for example 2026-03-02T09:30:00Z.")
    ] = None,
    json: Json = False,
) -> None:
    """Recover a back-up into a new data directory: to its end, to the archive's end, or up to an instant."""
    configure_logs(_settings(data_dir, None).log_level)
    done = database.restore_backup(directory, data_dir, archive_directory=archive, until=_until(until), wall=utc_now)
    told = {
        "dataDirectory": printable(str(done.data_directory)),
        "backupEndedAt": done.note.ended_at,
        "lastChangeAt": done.last_change_at,
        "archivedCount": done.archived_count,
        "generation": done.generation,
    }
    stands = (
        f"its last change is of {done.last_change_at.isoformat()}"
        if done.last_change_at is not None
        else f"it stands where the back-up was taken, at {done.note.ended_at.isoformat()}"
    )
    lines = [f"{done.data_directory} is restored: {stands}."]
    if archive is not None and done.archived_count == 0:
        lines.append("The archive holds nothing newer than the back-up.")
    lines.append(f"Check it with: kosminar audit --data-dir {shlex.quote(str(done.data_directory))}")
    _answer(told, lines, as_json=json)


def _until(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        _complain(
            f"--until takes an instant with its offset, such as 2026-03-02T09:30:00Z, not {text!r}.", ASKED_WRONGLY
        )
    return at


# ---------------------------------------------------------------- what the commands share


def _settings(data_dir: Path | None, database_url: str | None, **others: object) -> Settings:
    return Settings.read(os.environ, {"data_dir": data_dir, "database_url": database_url, **others})


def _with_house(settings_: Settings, work: Callable[[House], Awaitable[T]]) -> T:
    configure_logs(settings_.log_level)

    async def run(database_url: str) -> T:
        async with open_house(settings_, database_url) as house:
            return await work(house)

    with open_database(settings_) as database_url:
        return endings.run(run(database_url))


def _with_connection(settings_: Settings, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    async def run(database_url: str) -> T:
        async with open_connection(database_url) as connection:
            return await work(connection)

    with open_database(settings_) as database_url:
        return endings.run(run(database_url))


@contextmanager
def _progress(noun: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar with rate and time left on a terminal; elsewhere silence."""
    columns = (
        TextColumn(noun),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(noun, total=total)
        yield lambda done: bar.update(task, completed=done)


def _instant(option: str, text: str | None, zone: str) -> datetime | None:
    if text is None:
        return None
    try:
        return instant(text, zone_named(zone))
    except ValueError as error:
        _complain(f"{option} {error}", ASKED_WRONGLY)


def _answer(content: Any, lines: list[str], *, as_json: bool) -> None:
    if as_json:
        _write_json(content)
    else:
        for line in lines:
            sys.stdout.write(printable(line) + "\n")
        sys.stdout.flush()


def _write_json(content: Any) -> None:
    sys.stdout.write(encode(content).decode() + "\n")
    sys.stdout.flush()


def _notice(line: str) -> None:
    sys.stderr.write(printable(line) + "\n")
    sys.stderr.flush()


def _complain(message: str, code: int) -> NoReturn:
    _notice(f"kosminar: {message}")
    raise SystemExit(code)

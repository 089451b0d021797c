"""The command line as people run it: the installed `kosminar`, one data directory, and `serve` running beside.

What a file can hold that a line of it is refused, and what makes the whole file one that cannot be imported, is told here
end to end; exit codes are 0 done, 1 done with findings or refused, 2 asked wrongly.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import asyncpg
import httpx2
import pytest
import structlog
from tests.api.brand import open_brand, purchase
from tests.bodies import MILESTONE
from typer.main import get_command
from typer.testing import CliRunner

from kosminar import cli
from kosminar.api.app import build_app
from kosminar.settings import Settings
from kosminar.store.embedded_host import temporary_data_directory
from kosminar.wiring import open_house

KOSMINAR = Path(sys.executable).with_name("kosminar")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("KOSMINAR_")}
CLOCK = "2031-02-12T12:00:00Z"


def kosminar(*arguments: object, code: int = 0, **environment: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [KOSMINAR, *map(str, arguments)],
        env={**ENVIRONMENT, **{name: str(value) for name, value in environment.items()}},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def answer(*arguments: object, code: int = 0, **environment: object) -> Any:
    """What a command writes with --json: one document and nothing else."""
    return json.loads(kosminar(*arguments, "--json", code=code, **environment).stdout)


@dataclass(frozen=True)
class Home:
    """A data directory, the server running on it, and one brand with a test clock and a programme."""

    data_dir: Path
    url: str
    organisation_id: int
    credentials: dict[str, str]

    def run(self, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        return kosminar(*arguments, code=code, KOSMINAR_DATA_DIR=self.data_dir)

    def answer(self, *arguments: object, code: int = 0) -> Any:
        return answer(*arguments, code=code, KOSMINAR_DATA_DIR=self.data_dir)

    def imported(self, noun: str, file: Path, *more: object, code: int = 0) -> Any:
        return self.answer("import", noun, "--organisation", self.organisation_id, "--file", file, *more, code=code)

    def http(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, auth=(self.credentials["username"], self.credentials["password"]))


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    directory = temporary_data_directory()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def home(data_dir: Path) -> Iterator[Home]:
    # Before anything serves: the command starts the database, and stops it again.
    made = answer(
        *("organisation", "create", "--name", "Acme", "--zone", "Asia/Kolkata", "--test-clock", CLOCK),
        *("--data-dir", data_dir),
    )
    server = subprocess.Popen(
        [KOSMINAR, "serve", "--port", "0", "--json"],
        env={**ENVIRONMENT, "KOSMINAR_DATA_DIR": str(data_dir), "KOSMINAR_LOG_LEVEL": "error"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        url = json.loads(server.stdout.readline())["url"]
        credentials = answer("client", "create", "--organisation", made["organisationId"], KOSMINAR_DATA_DIR=data_dir)
        yield Home(data_dir, url, made["organisationId"], credentials)
    finally:
        server.send_signal(signal.SIGTERM)
        server.stdout.close()
        assert server.wait(timeout=30) == 0


class Inside:
    """The console script's function in this process, for tables of refusals: starting Python takes a second each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, *arguments: object, code: int = 0) -> tuple[str, str]:
        """What it wrote to standard output and standard error."""
        self._capsys.readouterr()
        self._monkeypatch.setattr(sys, "argv", ["kosminar", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        written = self._capsys.readouterr()
        assert (exited.value.code or 0) == code, f"{arguments}\n{written.out}\n{written.err}"
        return written.out, written.err


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Inside]:
    for name in os.environ.keys() - ENVIRONMENT.keys():
        monkeypatch.delenv(name)
    yield Inside(monkeypatch, capsys)
    # Commands send the log to the standard error of the moment.
    structlog.reset_defaults()


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def commands(group: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *path, name)
        else:
            yield (*path, name), command


COMMANDS = dict(commands(get_command(cli.app)))
# What writes no answer of its own kind.
WITHOUT_JSON = {("openapi",)}
WITHOUT_DATABASE = {("openapi",), ("demo",), ("restore",)}


# ---------------------------------------------------------------- every command


def test_the_commands_are_these() -> None:
    required = {
        *[("serve",), ("demo",), ("migrate",), ("settings",), ("doctor",), ("audit",)],
        *[("organisation", "create"), ("client", "create"), ("import", "customers"), ("import", "activities")],
    }

    assert required <= COMMANDS.keys()


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_json_and_says_where_the_database_is(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(cli.app, [*path, "--help"], terminal_width=200)

    assert shown.exit_code == 0
    assert COMMANDS[path].help.partition("\n")[0] in shown.output
    options = {option for parameter in COMMANDS[path].params for option in parameter.opts}
    assert ("--json" in options) == (path not in WITHOUT_JSON)
    assert ({"--data-dir", "--database-url"} <= options) == (path not in WITHOUT_DATABASE)
    for parameter in COMMANDS[path].params:
        assert parameter.name in {"help", "json"} or parameter.help, parameter.name
    # Asked wrongly.
    assert CliRunner().invoke(cli.app, [*path, "--nonsense"]).exit_code == 2


def test_help_stands_at_the_top_and_nothing_is_asked_wrongly() -> None:
    top = kosminar("--help")

    assert all(name in top.stdout for name in ("serve", "import", "audit", "organisation"))
    for wrong in (("nonsense",), ("organisation", "nonsense"), ("import",), ()):
        assert CliRunner().invoke(cli.app, [*wrong]).exit_code == 2


def test_settings_are_shown_and_wrong_ones_are_told_all_at_once(home: Home) -> None:
    rows = {row["name"]: row for row in home.answer("settings")}
    assert (rows["KOSMINAR_DATA_DIR"]["value"], rows["KOSMINAR_DATA_DIR"]["source"]) == (
        str(home.data_dir),
        "environment",
    )
    assert rows["KOSMINAR_PORT"]["source"] == "default"
    flag = answer("settings", "--database-url", "postgresql://me:secret@db/x", KOSMINAR_DATA_DIR=home.data_dir)
    shown = {row["name"]: row for row in flag}["KOSMINAR_DATABASE_URL"]
    assert (shown["value"], shown["source"]) == ("********", "command line")
    assert "KOSMINAR_DATA_DIR" in home.run("settings").stdout

    wrong = kosminar("settings", code=2, KOSMINAR_PORT="eighty", KOSMINAR_LOG_LEVEL="loud", KOSMINAR_PROT="1")

    assert (wrong.stdout, wrong.stderr.count("\n- ")) == ("", 3)
    assert kosminar("migrate", "--database-url", "mysql://db", code=2).stderr.startswith("kosminar: ")


def test_a_database_that_is_not_there_is_one_sentence_and_exit_1() -> None:
    done = kosminar("doctor", "--database-url", "postgresql://127.0.0.1:1/x", code=1)

    assert done.stderr.startswith("kosminar: ")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def as_main(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """The console script, in this process, whose command fails so; this process's collector is left as it is."""

    def run(error: Exception) -> None:
        monkeypatch.setattr(cli, "_look_for_garbage_seldom", lambda: None)
        monkeypatch.setattr(cli, "app", Mock(side_effect=error))
        cli.main()

    return run


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
    ],
)
def test_a_database_that_is_lost_on_the_way_is_one_sentence_and_exit_1(as_main, capsys, error) -> None:
    with pytest.raises(SystemExit) as ended:
        as_main(error)

    assert ended.value.code == 1
    assert capsys.readouterr().err == f"kosminar: The connection to the database was lost: {error}\n"


def test_what_the_driver_says_of_our_own_mistakes_keeps_its_trace(as_main) -> None:
    with pytest.raises(asyncpg.InterfaceError, match="2 arguments"):
        as_main(asyncpg.InterfaceError("the server expects 2 arguments"))


def test_a_named_database_is_examined_and_migrated_once(inside: Inside, empty_database_url: str) -> None:
    where = ("--database-url", empty_database_url, "--json")

    findings = json.loads(inside.run("doctor", *where, code=1)[0])
    assert {check["name"] for check in findings["checks"] if not check["healthy"]} == {"schema"}
    assert "BAD schema" in inside.run("doctor", *where[:2], code=1)[0]
    assert json.loads(inside.run("migrate", *where)[0])["applied"]
    assert json.loads(inside.run("migrate", *where)[0])["applied"] == []
    assert json.loads(inside.run("doctor", *where)[0])["healthy"]
    made = answer(
        "organisation", "create", "--name", "There", "--zone", "UTC", KOSMINAR_DATABASE_URL=empty_database_url
    )
    assert made == {"organisationId": 1}
    audited = json.loads(inside.run("audit", *where)[0])
    assert (audited["customers"], audited["differences"]) == (0, 0)


# ---------------------------------------------------------------- setting up


def test_organisations_and_clients_are_made_beside_a_running_server(home: Home) -> None:
    child = home.answer("organisation", "create", "--name", "North", "--zone", "UTC", "--parent", home.organisation_id)
    made = home.answer("client", "create", "--organisation", child["organisationId"], "--access-group", "Default")

    assert set(made) == {"username", "password", "key", "secret"}
    with httpx2.Client(base_url=home.url) as http:
        clock = http.get("/v1/clock", auth=(made["username"], made["password"]))
        assert (clock.status_code, clock.json()["testClock"]) == (200, False)
        token = http.post("/v3/oauth/token/generate", json={"key": made["key"], "secret": made["secret"]})
        bearer = {"Authorization": f"Bearer {token.json()['data']['accessToken']}"}
        assert http.get("/v3/targetGroups", headers=bearer).json()["data"] == []
    people = home.run("client", "create", "--organisation", child["organisationId"]).stdout
    assert [line.partition(":")[0] for line in people.splitlines()] == ["username", "password", "key", "secret"]


CREATE = ("organisation", "create", "--name", "X")
REFUSED = [
    ((*CREATE, "--zone", "Mars/Olympus"), 1, "zone"),
    ((*CREATE, "--zone", "UTC", "--parent", "999999"), 1, "999999"),
    ((*CREATE, "--zone", "UTC", "--parent", 10**30), 2, "--parent"),
    ((*CREATE, "--zone", "UTC", "--test-clock", "yesterday"), 2, "--test-clock"),
    (("organisation", "create", "--name", "x" * 201, "--zone", "UTC"), 1, "name"),
    (("client", "create", "--organisation", "999999"), 1, "999999"),
    (("client", "create", "--organisation", 10**30), 2, "--organisation"),
    (("client", "create", "--organisation", "1", "--access-group", "nonsense"), 1, "nonsense"),
]


def test_what_cannot_be_made_is_refused_in_one_sentence(home: Home, inside: Inside) -> None:
    for arguments, code, words in REFUSED:
        out, err = inside.run(*arguments, "--data-dir", home.data_dir, code=code)

        assert out == ""
        assert words in err
        assert "Traceback" not in err
        # Typer's own refusals come with a line of usage.
        assert err.startswith(("kosminar: ", "Usage: "))


def test_an_installation_is_examined_and_its_port_is_its_own(home: Home) -> None:
    assert home.answer("doctor")["healthy"] is True
    port = home.url.rpartition(":")[2]

    assert "Cannot listen on 127.0.0.1 port" in home.run("serve", "--port", port, code=1).stderr
    assert home.run("serve", "--port", "99999", code=2).stdout == ""


# ---------------------------------------------------------------- import


def test_customers_are_imported_again_without_harm_and_bad_lines_are_told(home: Home, tmp_path: Path) -> None:
    file = write(
        tmp_path / "customers.csv",
        '\ufeff"Number",mobile,email,firstName,ignored\r\n'
        "501,+91 98,ana@x.org,Ana,1\r\n"
        '502,,,"Ben\nof two lines",2\r\n'
        "503,,ana@x.org,Cy,3\r\n"
        "\r\n"
        "abc,,,Di,4\r\n"
        "504,,,Ed\r\n"
        ",,,Fay,6\r\n"
        "505,+91 99,,Gus,7\r\n",
    )

    first = home.imported("customers", file, "--map", "Number=customerId", code=1)
    again = home.imported("customers", file, "--map", "Number=customerId", code=1)

    assert {name: first[name] for name in ("done", "repeated", "late", "refused")} == {
        "done": 3,
        "repeated": 0,
        "late": 0,
        "refused": 4,
    }
    assert (again["done"], again["repeated"], again["refused"]) == (0, 3, 4)
    bad = [(line["lineNumber"], line["code"], line["message"].partition(" ")[0]) for line in first["badLines"]]
    assert bad == [(5, 390017, "An"), (7, 300004, "customerId:"), (8, 300004, "has"), (9, 300004, "must")]
    good = write(tmp_path / "good.csv", "customerId\n506\n")
    assert home.run("import", "customers", "--organisation", home.organisation_id, "--file", good).stdout == (
        "customers: 1 done, 0 repeated, 0 late, 0 refused\n"
    )


def test_activities_are_imported_once_with_zone_mapping_and_bad_lines(home: Home, tmp_path: Path) -> None:
    home.imported("customers", write(tmp_path / "c.csv", "customerId\n601\n602\n"))
    rows = [
        b"\xef\xbb\xbfbill,who,when,attributes.amount,note",
        b"b1,601,2031-02-01,250.00,plain",
        b'b2,601,2031-02-12T17:30:00,1,"two',
        b'lines"',
        b"b3,602,2031-02-12T17:35:01,1,five minutes and a second ahead in Kolkata",
        b"b4,777,2031-02-01,1,unknown",
        b"b5,601,2031-02-01,1_000,adorned",
        b"b6,601,2031-02-01,1,\xff",
        b"b7,601,2031-02-01,1,\x00",
        b"b8,601,2031-02-01,1",
        b"b9,601,yesterday,1,",
        b"b1,601,2031-02-01,250,the same content",
        b"b1,601,2031-02-01,251,other content",
        b'b10,601,2031-02-01,1,"unfinished',
    ]
    file = write(tmp_path / "bills.csv", b"\n".join(rows) + b"\n")
    mapping = ("--map", "bill=id", "--map", "who=customerId", "--map", "when=occurredAt")

    first = home.imported("activities", file, *mapping, code=1)
    again = home.imported("activities", file, *mapping, code=1)

    assert (first["done"], first["repeated"], first["late"], first["refused"]) == (2, 1, 0, 9)
    assert (again["done"], again["repeated"], again["late"], again["refused"]) == (0, 3, 0, 9)
    assert [(line["lineNumber"], line["code"]) for line in first["badLines"]] == [
        (5, 390006),
        (6, 310011),
        (7, 300004),
        (8, 300004),
        (9, 300004),
        (10, 300004),
        (11, 300004),
        (13, 390005),
        (14, 300004),
    ]
    messages = {line["lineNumber"]: line["message"] for line in first["badLines"]}
    assert "UTF-8" in messages[8]
    assert "NUL" in messages[9]
    assert "4 cells where the header has 5" in messages[10]
    people = home.run(
        *("import", "activities", "--organisation", home.organisation_id, "--file", file, *mapping), code=1
    )
    assert "line 6: refused 310011 " in people.stderr
    assert people.stdout == "activities: 0 done, 3 repeated, 0 late, 9 refused\n"
    # A date without zone is the brand's midnight, half past six in the evening before elsewhere.
    day = {"id": "b1", "customerId": 601, "type": "transaction", "attributes": {"amount": 250}}
    with home.http() as http:
        body = {"activities": [{**day, "occurredAt": "2031-01-31T18:30:00Z"}]}
        assert http.post("/v1/activities", json=body).json()["results"][0]["status"] == "duplicate"


def test_without_an_id_column_the_file_and_line_make_the_id(home: Home, tmp_path: Path) -> None:
    home.imported("customers", write(tmp_path / "c.csv", "customerId\n611\n"))
    lines = "customerId,occurredAt,type\n611,2031-02-01,walked\n611,2031-02-01,walked\n"
    one, copy = write(tmp_path / "one.csv", lines), write(tmp_path / "copy.csv", lines)
    other = write(tmp_path / "other.csv", lines + "611,2031-02-01,walked\n")

    counts = [home.imported("activities", file) for file in (one, copy, other)]

    assert [(count["done"], count["repeated"]) for count in counts] == [(2, 0), (0, 2), (3, 0)]


HEADER = "customerId,occurredAt"
BROKEN = [
    (b"", (), 1, "is empty"),
    (b"\n501,2031-01-01\n", (), 1, "is empty"),
    (b"customerId\n501\n", (), 1, "No column is occurredAt"),
    (HEADER.encode(), ("--map", "nonsense=id"), 1, "'nonsense', which is no column"),
    (HEADER.encode() + b",x", ("--map", "x=nonsense"), 1, "nonsense is no field"),
    (HEADER.encode() + b",x", ("--map", "x=customerId"), 1, "Two columns are both customerId"),
    (HEADER.encode() + b",attributes.\xff", (), 1, "header"),
    (HEADER.encode() + b",attributes.\x00\n501,2031-01-01,1", (), 1, "header"),
    (HEADER.encode() + b',"x\n', (), 1, "header"),
    (HEADER.encode(), ("--map", "x"), 2, "--map takes column=field"),
    (HEADER.encode(), ("--map", "=id"), 2, "--map takes column=field"),
]


def test_a_file_that_cannot_be_imported_is_refused_as_a_whole(home: Home, inside: Inside, tmp_path: Path) -> None:
    command = ("import", "activities", "--organisation", home.organisation_id, "--data-dir", home.data_dir, "--file")
    for content, mapping, code, words in BROKEN:
        out, err = inside.run(*command, write(tmp_path / "broken.csv", content), *mapping, code=code)

        assert words in err, content
        assert (out, err.count("\n")) == ("", 1)


def test_a_file_or_an_organisation_that_is_not_there_is_told(home: Home, inside: Inside, tmp_path: Path) -> None:
    file = write(tmp_path / "c.csv", "customerId\n1\n")

    command = ("import", "customers", "--data-dir", home.data_dir)
    assert "no organisation" in inside.run(*command, "--organisation", 999999, "--file", file, code=1)[1]
    missing = ("--organisation", 1, "--file", tmp_path / "missing.csv")
    assert "does not exist" in inside.run(*command, *missing, code=2)[1]


# ---------------------------------------------------------------- audit


def test_the_audit_agrees_beside_a_running_server(home: Home) -> None:
    with home.http() as http:
        http.post("/v1/customers", json={"customers": [{"customerId": 701}]}).raise_for_status()

    agreed = home.answer("audit")

    assert agreed["customers"] > 0
    assert agreed["differences"] == 0


def test_the_audit_exits_1_on_what_was_tampered_with(inside: Inside, database_url: str) -> None:
    asyncio.run(tamper(database_url))

    out, _ = inside.run("audit", "--database-url", database_url, "--json", code=1)
    difference, summary = (json.loads(line, parse_float=Decimal) for line in out.splitlines())
    assert (difference["organisationId"], difference["customerId"]) == (1, 7)
    assert (difference["expected"], difference["found"]) == ({"value": Decimal("1.000")}, {"value": Decimal("2.000")})
    assert (summary["customers"], summary["differences"]) == (1, 1)
    out, err = inside.run("audit", "--database-url", database_url, code=1)
    assert re.fullmatch(r"1 customers recounted in \d+\.\d seconds, 1 differences\.\n", out)
    (line,) = (line for line in err.splitlines() if line.startswith("organisation "))
    assert line.startswith("organisation 1, customer 7, target 2 (")
    assert line.endswith("expected value 1.000; found value 2.000")


def test_the_audit_looks_only_at_whom_it_was_asked_about(inside: Inside, database_url: str) -> None:
    asyncio.run(tamper(database_url))
    audit = ("audit", "--database-url", database_url)

    inside.run(*audit, "--organisation", 1, "--customer", 7, "--since", "2031-02-12T12:00:00Z", code=1)
    inside.run(*audit, "--organisation", 1, "--since", "2031-02-12T12:00:00.000001Z")

    for wrong in (
        ("--customer", 7),
        ("--organisation", 2),
        ("--organisation", 1, "--customer", 8),
        ("--since", "yesterday"),
    ):
        out, err = inside.run(*audit, *wrong, code=2)
        assert out == ""
        assert err


async def tamper(database_url: str) -> None:
    """A customer whose value is not what the activities add up to."""
    async with open_house(Settings.read({}), database_url) as house:
        transport = httpx2.ASGITransport(app=build_app(house))
        async with httpx2.AsyncClient(transport=transport, base_url="http://kosminar.test") as http:
            acme = await open_brand(house, http, "Acme", clock=datetime(2031, 2, 12, 12, tzinfo=UTC))
            await acme.define(MILESTONE)
            await acme.register(7)
            await acme.record(purchase("a", 7, "2031-02-12", 1))
        await house.pool.execute("UPDATE standing SET value_thousandths = value_thousandths + 1000")

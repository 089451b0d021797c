"""No secret in logs, errors, process lists, representations or the database's own log.

Real commands are run with secrets that are known to the test, everything they write is kept, and then it is searched.
Kosminar's own secrets come out once: from the command that makes them. The password of a named database never does.
"""

import asyncio
import base64
import dataclasses
import importlib
import inspect
import json
import os
import pkgutil
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

import asyncpg
import httpx2
import pytest

import kosminar
from kosminar import cli
from kosminar.api.operation import Call, Version
from kosminar.core.access import Caller
from kosminar.core.secret import hash_of_password, hash_of_secret, md5_hex
from kosminar.engine.house import House
from kosminar.settings import Settings
from kosminar.store.clients import SigningKey
from kosminar.store.embedded import open_embedded
from kosminar.store.embedded_host import temporary_data_directory

KOSMINAR = Path(sys.executable).with_name("kosminar")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("KOSMINAR_")}
DATABASE_PASSWORD = "hunter2-in-the-url"
ROLE = "operator_of_kosminar"
WRONG = "a-wrong-secret-that-somebody-typed"


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [KOSMINAR, *map(str, arguments)],
        env={**ENVIRONMENT, "KOSMINAR_LOG_LEVEL": "debug", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def forms(secret: str) -> set[str]:
    """A secret as it is, and as it is easily read back from."""
    return {secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode()}


def leaked(text: str, *secrets: str) -> list[str]:
    return [form for secret in secrets for form in forms(secret) if form in text]


@dataclass
class Process:
    """A `kosminar serve` and all that it wrote."""

    process: "subprocess.Popen[str]"
    url: str
    written: list[str]
    reader: threading.Thread

    def stop(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=60) == 0
        self.reader.join(timeout=10)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return "".join(self.written)


def serve(**environment: str) -> Process:
    process = subprocess.Popen(
        [KOSMINAR, "serve", "--port", "0", "--json"],
        env={**ENVIRONMENT, "KOSMINAR_LOG_LEVEL": "debug", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    before = []
    for line in process.stdout:
        before.append(line)
        if line.startswith("{") and "url" in json.loads(line):
            reader = threading.Thread(target=before.extend, args=(process.stdout,), daemon=True)
            reader.start()
            return Process(process, json.loads(line)["url"], before, reader)
    raise AssertionError("".join(before))


def command_lines() -> str:
    """Of every process of this machine; as everybody on it can read them."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(lines)


def basic(username: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


@dataclass(frozen=True)
class Told:
    """What came out of one life of a server: its log, the database's log, answers, process lists, and the secrets."""

    written: str
    database_log: str
    answers: str
    processes: str
    secrets: tuple[str, ...]
    tokens: tuple[str, ...]


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    """A server on its own database: clients made, used, mistaken, and one operation that crashes."""
    directory = temporary_data_directory()
    place = {"KOSMINAR_DATA_DIR": str(directory)}
    try:
        made = run("organisation", "create", "--name", "Acme", "--zone", "UTC", "--json", **place)
        organisation = json.loads(made.stdout)["organisationId"]
        client = run("client", "create", "--organisation", organisation, "--json", **place)
        credentials = json.loads(client.stdout)
        server = serve(**place)
        answers, tokens = asyncio.run(_use(server.url, credentials))
        processes = command_lines()
        asyncio.run(_break(directory))
        answers += asyncio.run(_crash(server.url, credentials))
        written = server.stop()
        yield Told(
            written + made.stderr + client.stderr,
            (directory / "postgresql" / "server.log").read_text(),
            answers,
            processes,
            (credentials["password"], credentials["secret"], md5_hex(credentials["password"])),
            tokens,
        )
    finally:
        shutil.rmtree(directory)


async def _use(url: str, credentials: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    """Everything right once and wrong once. Returns the answers without the tokens, and the tokens."""
    key, secret = credentials["key"], credentials["secret"]
    async with httpx2.AsyncClient(base_url=url) as http:
        granted = await http.post("/v3/oauth/token/generate", json={"key": key, "secret": secret})
        token = granted.json()["data"]["accessToken"]
        ways = [
            basic(credentials["username"], credentials["password"]),
            basic(credentials["username"], md5_hex(credentials["password"])),
            {"Authorization": f"Bearer {token}"},
        ]
        wrong = [
            basic(credentials["username"], WRONG),
            {"Authorization": f"Bearer {token}x"},
            {"Authorization": f"Basic {token}"},
            {"Authorization": credentials["password"]},
        ]
        right = [await http.get("/v1/clock", headers=headers) for headers in ways]
        refused = [await http.get("/v1/clock", headers=headers) for headers in wrong]
        refused += [
            await http.post("/v3/oauth/token/generate", json={"key": key, "secret": WRONG}),
            await http.post("/v3/oauth/token/generate", json={"key": secret, "secret": [secret]}),
            await http.post("/v3/oauth/token/generate", content=f'{{"secret": "{secret}", '.encode()),
            await http.post("/oauth/token", data={"client_id": key, "client_secret": secret}),
        ]
    assert [one.status_code for one in right] == [200] * 3
    assert {one.status_code for one in refused} <= {400, 401}
    return "\n".join(str(one.headers) + one.text for one in [*right, *refused]), (token,)


async def _break(directory: Path) -> None:
    """Takes a column away that signing in reads, so that the operation fails inside, with the secret at hand."""
    status = (directory / "postgresql" / "postmaster.pid").read_text().splitlines()
    connection = await asyncpg.connect(f"postgresql://kosminar@/kosminar?host={status[4]}&port={status[3]}")
    await connection.execute("ALTER TABLE oauth_client RENAME COLUMN secret_hash TO gone")
    await connection.execute("ALTER TABLE api_user RENAME COLUMN secret_hash TO gone")
    await connection.close()


async def _crash(url: str, credentials: dict[str, str]) -> str:
    # Let what was verified before be forgotten: another password of the same user is looked up at once.
    async with httpx2.AsyncClient(base_url=url) as http:
        crashed = [
            await http.post(
                "/v3/oauth/token/generate", json={"key": credentials["key"], "secret": credentials["secret"]}
            ),
            await http.get("/v1/clock", headers=basic(credentials["username"], credentials["password"] + " ")),
        ]
    assert [one.status_code for one in crashed] == [500, 500], [one.text for one in crashed]
    return "\n".join(one.text for one in crashed)


def test_a_crash_inside_an_operation_is_logged_without_what_it_worked_on(told: Told) -> None:
    assert told.written.count('"event": "incident"') == 2
    assert "UndefinedColumnError" in told.written
    assert leaked(told.written, *told.secrets, WRONG) == []


def test_the_log_at_its_most_talkative_has_no_secret_and_no_token(told: Told) -> None:
    assert leaked(told.written, *told.secrets, *told.tokens, WRONG) == []
    assert "authorization" not in told.written.lower()


def test_answers_repeat_no_secret(told: Told) -> None:
    assert leaked(told.answers, *told.secrets, *told.tokens, WRONG) == []


def test_the_databases_own_log_has_no_secret_and_no_hash_of_one(told: Told) -> None:
    password, secret, _ = told.secrets
    hashes = [hash_of_password(password).hex(), hash_of_secret(secret).hex()]

    assert told.database_log != ""
    assert leaked(told.database_log, *told.secrets, *told.tokens, *hashes) == []
    assert "secret_hash" not in told.database_log or "STATEMENT" not in told.database_log


def test_no_process_shows_a_secret_in_its_command_line(told: Told) -> None:
    assert "kosminar" in told.processes
    assert leaked(told.processes, *told.secrets, *told.tokens) == []


# ---------------------------------------------------------------- a named database


@dataclass(frozen=True)
class Named:
    """A PostgreSQL that asks for a password, and its log."""

    url: str
    log: Path

    def wrong(self, before: str, after: str) -> str:
        """The URL with something in it put wrong."""
        assert before in self.url, before
        return self.url.replace(before, after, 1)


@pytest.fixture(scope="module")
def named() -> Iterator[Named]:
    """An embedded server made to ask one role for a password, as an operator's would."""
    directory = temporary_data_directory()
    cluster = directory / "postgresql"
    try:
        with open_embedded(directory) as database:
            asyncio.run(_ask_for_passwords(database.url, cluster))
            place = urlsplit(database.url).query
            yield Named(f"postgresql://{ROLE}:{DATABASE_PASSWORD}@/kosminar?{place}", cluster / "server.log")
    finally:
        shutil.rmtree(directory)


async def _ask_for_passwords(url: str, cluster: Path) -> None:
    rules = cluster / "pg_hba.conf"
    rules.write_text(f"local all {ROLE} scram-sha-256\n" + rules.read_text())
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{DATABASE_PASSWORD}'")
    await connection.execute(f"ALTER DATABASE kosminar OWNER TO {ROLE}")
    await connection.fetch("SELECT pg_reload_conf()")
    await connection.close()


def test_a_server_on_a_named_database_shows_its_password_nowhere(named: Named) -> None:
    server = serve(KOSMINAR_DATABASE_URL=named.url)
    processes = command_lines()
    ready = httpx2.get(f"{server.url}/readyz")
    written = server.stop()

    assert ready.status_code == 200
    assert leaked(written + ready.text + processes + named.log.read_text(), DATABASE_PASSWORD) == []


def test_commands_on_a_named_database_do_not_show_its_password(named: Named) -> None:
    settings = run("settings", "--json", KOSMINAR_DATABASE_URL=named.url)
    made = run("organisation", "create", "--name", "Acme", "--zone", "UTC", KOSMINAR_DATABASE_URL=named.url)
    refused = run("client", "create", "--organisation", 4711, KOSMINAR_DATABASE_URL=named.url)

    assert (settings.returncode, made.returncode, refused.returncode) == (0, 0, 1)
    assert leaked("".join(each.stdout + each.stderr for each in (settings, made, refused)), DATABASE_PASSWORD) == []


WRONG_URLS = {
    "another password": (DATABASE_PASSWORD, DATABASE_PASSWORD + "-mistyped"),
    "another role": (ROLE, "nobody_of_that_name"),
    "another database": ("/kosminar?", "/elsewhere?"),
    "another port": ("port=5432", "port=5433"),
    "a port that is no number": ("port=5432", "port=none"),
    "a port outside": ("@/", "@127.0.0.1:99999/"),
    "another host": ("@/", "@nowhere.invalid/"),
    "a password with an @ in it": (DATABASE_PASSWORD, DATABASE_PASSWORD + "@tail"),
    "a password with a slash in it": (DATABASE_PASSWORD, DATABASE_PASSWORD + "/tail"),
    "a password with a # in it": (DATABASE_PASSWORD, DATABASE_PASSWORD + "#tail"),
    "a password with a ? in it": (DATABASE_PASSWORD, DATABASE_PASSWORD + "?tail"),
    "a password with a bracket in it": (DATABASE_PASSWORD, "[" + DATABASE_PASSWORD),
    "a password with a percent sign in it": (DATABASE_PASSWORD, DATABASE_PASSWORD + "%zz"),
    "a setting that the driver does not know": ("port=5432", "port=5432&sslmode=sometimes"),
    "another scheme": ("postgresql://", "mysql://"),
}


@pytest.mark.parametrize("wrong", WRONG_URLS)
def test_a_url_that_fails_is_told_without_its_password(
    named: Named, wrong: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, because starting one for each takes a second; whatever main does not catch fails the test."""
    for name in os.environ.keys() - ENVIRONMENT.keys():
        monkeypatch.delenv(name)
    monkeypatch.setenv("KOSMINAR_DATABASE_URL", named.wrong(*WRONG_URLS[wrong]))
    monkeypatch.setattr(sys, "argv", ["kosminar", "migrate"])

    with pytest.raises(SystemExit) as exited:
        cli.main()

    written = capsys.readouterr()
    assert exited.value.code in (1, 2)
    assert written.err.startswith("kosminar: ")
    assert leaked(written.out + written.err, DATABASE_PASSWORD) == []
    assert leaked(named.log.read_text(), DATABASE_PASSWORD) == []


# ---------------------------------------------------------------- representations


def test_settings_and_the_house_are_shown_without_the_url(house: House) -> None:
    url = f"postgresql://{ROLE}:{DATABASE_PASSWORD}@127.0.0.1/kosminar"
    settings = Settings.read({"KOSMINAR_DATABASE_URL": url})

    shown = repr(settings) + str(settings.effective()) + repr(dataclasses.replace(house, settings=settings))

    assert leaked(shown, DATABASE_PASSWORD) == []
    assert ROLE not in shown


def test_a_request_is_shown_without_its_headers_and_body() -> None:
    call = Call(
        caller=Caller(1, "ana", {}),
        version=Version.V1,
        method="POST",
        path="/v1/activities",
        organisation_ids=(1,),
        ids={},
        query={},
        headers=basic("ana", WRONG),
        body=json.dumps({"secret": WRONG}).encode(),
        request_id="r",
        peer="127.0.0.1",
    )

    assert leaked(repr(call), WRONG, f"ana:{WRONG}") == []
    assert "authorization" not in repr(call).lower()


def test_a_signing_key_is_shown_without_its_private_half() -> None:
    key = SigningKey("1", '{"d": "private"}', datetime(2026, 1, 1, tzinfo=UTC))

    assert "private" not in repr(key).replace("private_jwk", "")


# Names of what a representation must leave out, wherever it is a field.
HIDDEN = re.compile(r"secret|password|private|database_url|^headers$|^body$", re.IGNORECASE)
# Fields of such names that hold nothing of the kind.
SHOWN = {
    # What an answer has, not what a request brought.
    ("Answer", "headers"),
    ("Answer", "body"),
    ("Allowance", "headers"),
    # What receivers are told, in which no secret is.
    ("Head", "body"),
    ("Notification", "body"),
    # When a secret ends.
    ("Recipient", "previous_secret_until"),
}


def values() -> set[type]:
    """Every dataclass of ours that has the representation which dataclasses make."""
    modules = [importlib.import_module(found.name) for found in pkgutil.walk_packages(kosminar.__path__, "kosminar.")]
    classes = {each for module in modules for each in vars(module).values() if isinstance(each, type)}
    return {
        each
        for each in classes
        if dataclasses.is_dataclass(each) and each.__module__.startswith("kosminar.")
        if "def __repr__" not in inspect.getsource(each)
    }


def test_no_value_shows_its_secret_fields() -> None:
    """Values end in assertions, exceptions and logs; a field that is secret says so where it is declared."""
    shown = {
        (each.__name__, one.name)
        for each in values()
        for one in dataclasses.fields(each)
        if one.repr and HIDDEN.search(one.name)
    }

    assert shown - SHOWN == set()

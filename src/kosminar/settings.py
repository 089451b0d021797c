"""The settings: read once, all complaints together, then passed by hand.

A value comes from the first of: command line, environment (`KOSMINAR_PORT`, for secrets also `KOSMINAR_DATABASE_URL_FILE`),
the TOML file that `KOSMINAR_CONFIG` names (`port = 8080`), the default. Unknown names are refused, because a misspelt
setting that is silently ignored is found months later. Nothing here reads the process's environment by itself.
Tested by tests/test_settings.py.
"""

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

from kosminar.store.embedded_host import default_data_directory
from kosminar.store.link import each_host

PREFIX = "KOSMINAR_"
CONFIG = "KOSMINAR_CONFIG"
FILE_SUFFIX = "_FILE"
SECRET_BYTES_MAX = 65_536
MASK = "********"

LANES_MAX = 64
"""Each lane holds a database connection, and the embedded database grants a hundred in all."""

BODY_BYTES_LIMIT = 256 * 1024 * 1024
"""Bodies are held in memory; more is a matter for `kosminar import`, which streams."""

REQUESTS_LIMIT = 100_000
CONNECTIONS_LIMIT = 100_000
"""Beyond what one process can serve; the system's limit of open files is commonly 1,024, and the defaults stay below it."""

RATE_LIMIT = 1_000_000
"""More requests a minute than one process answers."""

TOKEN_SECONDS_MAX = 3600
"""A token cannot be called back, so the longest life is also the longest that a withdrawn client keeps its access."""

DRAIN_SECONDS_MAX = 600
"""Longer than any balancer needs to notice; who asks a process to stop wants it to."""

LOG_LEVELS = ("debug", "info", "warning", "error")


class Source(IntEnum):
    """Where a value comes from, the strongest first."""

    COMMAND_LINE = 0
    ENVIRONMENT = 1
    FILE = 2
    DEFAULT = 3

    def __str__(self) -> str:
        return self.name.lower().replace("_", " ")


class SettingsError(Exception):
    """The settings cannot be used; `problems` holds everything that is wrong with them."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("The settings are wrong:\n" + "\n".join(f"- {problem}" for problem in problems))
        self.problems = tuple(problems)


class Row(NamedTuple):
    """One line of `kosminar settings`."""

    name: str
    value: str
    source: str
    help: str


class Given(NamedTuple):
    text: str
    source: Source


def printable(given: str) -> str:
    """The text as it can be written anywhere: bytes of a path or an argument that are no UTF-8 are escaped."""
    return given.encode(errors="surrogateescape").decode(errors="backslashreplace")


def text(given: str) -> str:
    if not given:
        raise ValueError("must not be empty")
    if "\0" in given or printable(given) != given:
        raise ValueError("must be text in UTF-8 without a NUL character")
    return given


def path(given: str) -> Path:
    if not given:
        raise ValueError("must not be empty")
    if "\0" in given:
        raise ValueError("must not hold a NUL character")
    try:
        return Path(given).expanduser()
    except RuntimeError:  # ~name of a user that there is not.
        raise ValueError("begins with the home directory of an unknown user; ./~ is a file of that name") from None


def database_url(given: str) -> str:
    if not text(given or " ").startswith(("postgresql://", "postgres://")):
        raise ValueError("must start with postgresql://")
    try:
        # Of several hosts, each has its port. Reading one is what refuses what is no number.
        _ = [urlsplit(host).port for host in each_host(given)]
        ports = parse_qs(urlsplit(given).query).get("port", [])
        _ = [int(port) for named in ports for port in named.split(",")]
    except ValueError:
        raise ValueError("must have a number from 0 to 65535 as its port") from None
    return given


def whole(low: int, high: int) -> Callable[[str], int]:
    def parse(given: str) -> int:
        if not re.fullmatch("[0-9]{1,12}", given) or not low <= int(given) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(given)

    return parse


def one_of(*choices: str) -> Callable[[str], str]:
    def parse(given: str) -> str:
        if given.lower() not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return given.lower()

    return parse


class Networks(tuple[IPv4Network | IPv6Network, ...]):
    """IP networks, shown as they are given."""

    __slots__ = ()

    def __str__(self) -> str:
        return ",".join(map(str, self))


def networks(given: str) -> Networks:
    try:
        return Networks(ip_network(one.strip()) for one in given.split(",") if one.strip())
    except ValueError:
        raise ValueError("must be networks such as 10.0.0.0/8, separated by commas") from None


def setting(parse: Callable[[str], object], about: str, *, default: object, secret: bool = False) -> Any:
    """Describe one setting; a default that depends on the machine is a function of the environment."""
    return field(repr=not secret, metadata={"parse": parse, "about": about, "default": default, "secret": secret})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the operator decides. A field `port` is `KOSMINAR_PORT`, `--port`, and `port` in the file."""

    data_dir: Path = setting(  # noqa: RUF009  # A field like the others; the rule knows `field` alone.
        path, "Where the embedded database keeps its data.", default=default_data_directory
    )
    database_url: str | None = setting(
        database_url, "A PostgreSQL to use instead of the embedded one.", default=None, secret=True
    )
    archive_dir: Path | None = setting(  # noqa: RUF009  # As above.
        path, "Where the embedded database's log is archived, for recovery to an instant.", default=None
    )
    host: str = setting(text, "The address to listen on; 0.0.0.0 for every one.", default="127.0.0.1")
    port: int = setting(whole(0, 65_535), "The port to listen on; 0 for a free one.", default=8080)
    log_level: str = setting(one_of(*LOG_LEVELS), "The least important messages to log.", default="info")
    access_log: str = setting(one_of("on", "off"), "Whether each request is logged, at level info.", default="on")
    drain_seconds: int = setting(
        whole(0, DRAIN_SECONDS_MAX), "How long requests are still answered after SIGTERM.", default=0
    )
    lanes: int = setting(whole(1, LANES_MAX), "Batches of commands that are saved at the same time.", default=3)
    body_bytes_max: int = setting(
        whole(1024, BODY_BYTES_LIMIT), "The longest request body that is read.", default=4 * 1024 * 1024
    )
    requests_max: int = setting(
        whole(1, REQUESTS_LIMIT), "Requests that are worked on at the same time; others wait their turn.", default=256
    )
    connections_max: int = setting(
        whole(1, CONNECTIONS_LIMIT), "Connections that may be open at the same time.", default=900
    )
    rate_limit_per_minute: int = setting(
        whole(0, RATE_LIMIT), "Requests that each client may send a minute; 0 for any number.", default=0
    )
    webhook_networks: Networks = setting(  # noqa: RUF009  # As above; and the default is a tuple.
        networks,
        "Networks to which webhooks are sent though they are not public, and without TLS if the URL says so.",
        default=Networks(),
    )
    token_seconds: int = setting(whole(1, TOKEN_SECONDS_MAX), "How long an access token is valid.", default=300)
    sources: Mapping[str, Source] = field(repr=False, compare=False)

    @classmethod
    def read(cls, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None) -> Self:
        """Read every setting, or raise SettingsError with everything that is wrong.

        Overrides come from the command line, by field name; None is a flag that was not given.
        """
        problems: list[str] = []
        given = (
            _from_file(environ, problems)
            | _from_environment(environ, problems)
            | {
                name: Given(str(value), Source.COMMAND_LINE)
                for name, value in (overrides or {}).items()
                if value is not None
            }
        )
        assert given.keys() <= SETTINGS.keys(), "only settings can be overridden"
        _choose_database(given, problems)
        values = {name: _value(name, given.get(name), environ, problems) for name in SETTINGS}
        if problems:
            raise SettingsError(problems)
        return cls(**values, sources=MappingProxyType({name: one.source for name, one in given.items()}))

    def effective(self) -> list[Row]:
        """What holds, for `kosminar settings`: secrets masked."""
        return [self._row(name) for name in SETTINGS]

    def _row(self, name: str) -> Row:
        value = getattr(self, name)
        shown = "" if value is None else MASK if SETTINGS[name]["secret"] else str(value)
        return Row(
            variable(name), printable(shown), str(self.sources.get(name, Source.DEFAULT)), SETTINGS[name]["about"]
        )


SETTINGS: Final = {one.name: one.metadata for one in dataclasses.fields(Settings) if "parse" in one.metadata}


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> dict[str, Given]:
    names = {variable(name): name for name in SETTINGS}
    files = {variable(name) + FILE_SUFFIX: name for name in SETTINGS if SETTINGS[name]["secret"]}
    given = {}
    for key, value in environ.items():
        if key in names:
            given[names[key]] = Given(value, Source.ENVIRONMENT)
        elif key in files and variable(files[key]) in environ:
            problems.append(f"{variable(files[key])} and {key} are both set; keep one")
        elif key in files:
            given[files[key]] = Given(_secret(key, value, problems), Source.ENVIRONMENT)
        elif key.startswith(PREFIX) and key != CONFIG:
            problems.append(f"{key} is unknown{_suggestion(key, [*names, *files, CONFIG])}")
    return given


def _secret(key: str, file_name: str, problems: list[str]) -> str:
    try:
        with Path(file_name).open(encoding="utf-8") as file:
            return file.read(SECRET_BYTES_MAX).strip()  # Editors and `echo` end files with a newline.
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{key} cannot be read: {error}")
        return ""


def _from_file(environ: Mapping[str, str], problems: list[str]) -> dict[str, Given]:
    if not environ.get(CONFIG):
        return {}
    try:
        with Path(environ[CONFIG]).open("rb") as file:
            content = tomllib.load(file)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.append(f"{CONFIG} cannot be read: {error}")
        return {}
    given = {}
    for key, value in content.items():
        if key not in SETTINGS:
            problems.append(f"{key} in {environ[CONFIG]} is unknown{_suggestion(key, list(SETTINGS))}")
        elif isinstance(value, bool) or not isinstance(value, str | int):
            problems.append(f"{key} in {environ[CONFIG]} must be a string or a whole number")
        else:
            given[key] = Given(str(value), Source.FILE)
    return given


def _choose_database(given: dict[str, Given], problems: list[str]) -> None:
    """The stronger source decides between embedded and named: `--data-dir` must never write to a server from the environment."""
    _refuse_idle_archive(given, problems)
    if "data_dir" not in given or "database_url" not in given:
        return
    directory, url = given["data_dir"].source, given["database_url"].source
    if directory == url:
        problems.append(f"{variable('data_dir')} and {variable('database_url')} are both set ({url}); keep one")
    elif directory < url:
        del given["database_url"]


def _refuse_idle_archive(given: dict[str, Given], problems: list[str]) -> None:
    """Who asks for an archive and gets none would learn it when it is needed."""
    if (
        "archive_dir" in given
        and "database_url" in given
        and given["archive_dir"].source == given["database_url"].source
    ):
        problems.append(
            f"{variable('archive_dir')} is for the embedded database; archive as {variable('database_url')}'s own server does"
        )


def _value(name: str, given: Given | None, environ: Mapping[str, str], problems: list[str]) -> Any:
    about = SETTINGS[name]
    if given is None:
        return about["default"](environ) if callable(about["default"]) else about["default"]
    try:
        return about["parse"](given.text)
    except ValueError as error:
        shown = "" if about["secret"] else f", not {given.text!r}"
        problems.append(f"{variable(name)} {error}{shown} ({given.source})")
        return None


def _suggestion(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""

"""Settings: where values come from, what is refused, what is never shown."""

from pathlib import Path

import pytest

from kosminar.settings import Settings, SettingsError
from kosminar.store.embedded_host import default_data_directory

SECRET = "postgresql://shop:s3cret@db.example/kosminar"


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.read({})

    assert (settings.host, settings.port, settings.log_level) == ("127.0.0.1", 8080, "info")
    assert (settings.lanes, settings.body_bytes_max, settings.token_seconds) == (3, 4_194_304, 300)
    assert (settings.access_log, settings.drain_seconds) == ("on", 0)
    assert (settings.database_url, settings.data_dir) == (None, default_data_directory({}))


def test_the_command_line_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    config = tmp_path / "kosminar.toml"
    config.write_text('port = 1001\nhost = "file.example"\nlanes = 2\n')
    environ = {"KOSMINAR_CONFIG": str(config), "KOSMINAR_PORT": "1002", "KOSMINAR_HOST": "environment.example"}

    settings = Settings.read(environ, {"port": 1003, "host": None})

    assert (settings.port, settings.host, settings.lanes) == (1003, "environment.example", 2)
    sources = {row.name: row.source for row in settings.effective()}
    assert sources["KOSMINAR_PORT"] == "command line"
    assert sources["KOSMINAR_HOST"] == "environment"
    assert sources["KOSMINAR_LANES"] == "file"
    assert sources["KOSMINAR_LOG_LEVEL"] == "default"


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    config = tmp_path / "kosminar.toml"
    config.write_text("prot = 1\nlanes = [1]\n")
    environ = {
        "KOSMINAR_CONFIG": str(config),
        "KOSMINAR_PORT": "many",
        "KOSMINAR_TOKEN_SECOND": "1",
        "KOSMINAR_LOG_LEVEL": "loud",
    }

    with pytest.raises(SettingsError) as refusal:
        Settings.read(environ)

    assert refusal.value.problems == (
        f"prot in {config} is unknown; did you mean port?",
        f"lanes in {config} must be a string or a whole number",
        "KOSMINAR_TOKEN_SECOND is unknown; did you mean KOSMINAR_TOKEN_SECONDS?",
        "KOSMINAR_PORT must be a whole number from 0 to 65535, not 'many' (environment)",
        "KOSMINAR_LOG_LEVEL must be one of debug, info, warning, error, not 'loud' (environment)",
    )


@pytest.mark.parametrize(
    ("name", "within", "beyond"),
    [
        ("KOSMINAR_PORT", ["0", "65535"], ["-1", "65536", "8_080", " 80", "٣", ""]),
        ("KOSMINAR_LANES", ["1", "64"], ["0", "65"]),
        ("KOSMINAR_BODY_BYTES_MAX", ["1024", "268435456"], ["1023", "268435457", "1e6"]),
        ("KOSMINAR_REQUESTS_MAX", ["1", "100000"], ["0", "100001"]),
        ("KOSMINAR_CONNECTIONS_MAX", ["1", "100000"], ["0", "100001"]),
        ("KOSMINAR_RATE_LIMIT_PER_MINUTE", ["0", "1000000"], ["-1", "1000001"]),
        ("KOSMINAR_TOKEN_SECONDS", ["1", "3600"], ["0", "3601"]),
    ],
)
def test_numbers_are_taken_up_to_their_limits_and_not_beyond(name: str, within: list[str], beyond: list[str]) -> None:
    for value in within:
        shown = {row.name: row.value for row in Settings.read({name: value}).effective()}
        assert shown[name] == value

    for value in beyond:
        with pytest.raises(SettingsError, match=f"{name} must be a whole number"):
            Settings.read({name: value})


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(SECRET + "\n")

    settings = Settings.read({"KOSMINAR_DATABASE_URL_FILE": str(file)})

    assert settings.database_url == SECRET


def test_a_missing_secret_file_and_a_doubled_secret_are_refused(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")

    with pytest.raises(SettingsError, match="KOSMINAR_DATABASE_URL_FILE cannot be read"):
        Settings.read({"KOSMINAR_DATABASE_URL_FILE": missing})
    with pytest.raises(SettingsError, match="both set; keep one"):
        Settings.read({"KOSMINAR_DATABASE_URL_FILE": missing, "KOSMINAR_DATABASE_URL": SECRET})


def test_only_secrets_are_read_from_files_beside_them() -> None:
    with pytest.raises(SettingsError, match="KOSMINAR_PORT_FILE is unknown"):
        Settings.read({"KOSMINAR_PORT_FILE": "/etc/port"})


def test_a_secret_is_never_shown() -> None:
    settings = Settings.read({"KOSMINAR_DATABASE_URL": SECRET})
    with pytest.raises(SettingsError) as refusal:
        Settings.read({"KOSMINAR_DATABASE_URL": "mysql://shop:s3cret@db.example"})

    assert "s3cret" not in repr(settings)
    assert "s3cret" not in str(settings.effective())
    assert "s3cret" not in str(refusal.value)


def test_a_data_directory_on_the_command_line_sets_a_url_of_the_environment_aside() -> None:
    settings = Settings.read({"KOSMINAR_DATABASE_URL": SECRET}, {"data_dir": "/srv/kosminar"})

    assert (settings.data_dir, settings.database_url) == (Path("/srv/kosminar"), None)


def test_a_url_on_the_command_line_beats_a_data_directory_of_the_environment() -> None:
    settings = Settings.read({"KOSMINAR_DATA_DIR": "/srv/kosminar"}, {"database_url": SECRET})

    assert settings.database_url == SECRET


def test_a_data_directory_and_a_url_from_the_same_source_are_refused() -> None:
    with pytest.raises(SettingsError, match="are both set"):
        Settings.read({"KOSMINAR_DATA_DIR": "/srv/kosminar", "KOSMINAR_DATABASE_URL": SECRET})


def test_names_of_other_programs_are_nobodys_business() -> None:
    assert Settings.read({"PATH": "/bin", "KOSMINARD": "1"}) == Settings.read({})

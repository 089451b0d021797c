"""Whatever a path holds: it works, or one sentence says why not, and no shell ever reads it."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.store.holders import processes
from tests.store.running import ENVIRONMENT, KOSMINAR

from kosminar.store.embedded_host import PATH_BYTES_MAX, temporary_data_directory

READ_BY_A_SHELL = b"$(touch pwned) `touch pwned` \"; touch pwned; ' \\n%f%p%% &|<>*?[red]~#"
NO_UTF_8 = b"caf\xe9 \xff"


@pytest.fixture
def root() -> Iterator[Path]:
    made = temporary_data_directory()
    yield made
    assert processes(made) == []
    subprocess.run(["rm", "-rf", made], check=True)


def run(folder: Path, *arguments: object, **environment: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [KOSMINAR, *map(os.fsencode, map(str, arguments))],
        cwd=folder,
        env={**ENVIRONMENT, "PYTHONIOENCODING": "utf-8:strict", **environment},
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_everything_works_in_folders_of_any_name(root: Path) -> None:
    # The server works in its cluster, and commands in the folder that they are called in.
    odd = root / os.fsdecode(READ_BY_A_SHELL + NO_UTF_8)
    odd.mkdir(mode=0o755)
    archive, file = odd / "archive", odd / "customers.csv"
    archive.mkdir(mode=0o777)
    archive.chmod(0o777)
    file.write_text("customerId\n501\n")
    here = {"KOSMINAR_DATA_DIR": os.fsencode(odd / "data"), "KOSMINAR_ARCHIVE_DIR": os.fsencode(archive)}
    restored = {"KOSMINAR_DATA_DIR": os.fsencode(odd / "restored")}

    done = [
        run(root, "organisation", "create", "--name", "Acme", "--zone", "UTC", **here),
        run(root, "settings", **here),
        run(root, "settings", "--json", **here),
        run(root, "backup", odd / "back-up", "--json", **here),
        run(root, "import", "customers", "--organisation", 1, "--file", file, **here),
        run(root, "restore", odd / "back-up", "--data-dir", odd / "restored", "--archive", archive, "--json"),
        run(root, "audit", "--json", **restored),
    ]

    assert [one.returncode for one in done] == [0] * len(done), b"\n".join(one.stderr for one in done).decode()
    # The customer was recorded after the back-up, and came by the archive.
    assert json.loads(done[-1].stdout)["customers"] == 1
    assert list(root.rglob("pwned")) == []


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("doctor", "--data-dir", "a\nb"), 1, "holds a line break"),
        (("doctor", "--data-dir", "/".join(["x" * 200] * 5)), 1, f"longer than the {PATH_BYTES_MAX} bytes"),
        (("doctor", "--data-dir", "y" * 300), 1, "File name too long"),
        (("doctor", "--data-dir", "circle"), 1, "cannot be used: Symlink loop"),
        (("doctor", "--data-dir", "~no such user/data"), 2, "home directory of an unknown user"),
        (("restore", "circle", "--data-dir", "new"), 1, "Too many levels of symbolic links"),
        (("serve", "--host", "caf\udce9"), 2, "KOSMINAR_HOST must be text in UTF-8"),
    ],
)
def test_a_path_that_cannot_be_used_is_refused_with_a_sentence(
    root: Path, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    (root / "circle").symlink_to("circle")

    refused = run(root, *arguments)

    complaint = refused.stderr.decode()
    assert refused.returncode == code, complaint
    assert sentence in complaint
    assert "Traceback" not in complaint


def test_a_file_of_settings_cannot_hide_a_nul_in_a_path(root: Path) -> None:
    config = root / os.fsdecode(NO_UTF_8)
    config.write_text('data_dir = "a\\u0000b"\nhost = "a\\u0000b"\n')

    refused = run(root, "settings", KOSMINAR_CONFIG=os.fsencode(config))

    complaint = refused.stderr.decode()
    assert (refused.returncode, complaint.count("NUL character")) == (2, 2), complaint

"""The checksums of the migrations, and the release that froze each: `make migrations` refreshes those of no release yet.

RELEASE=0.1.0 freezes them. A line of migrations/checksums.txt is a checksum, a name, and a release or `unreleased`. The
numbered files are compared with it by tests/structure/test_migrations.py.
"""

import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "src/kosminar/store/migrations"
CHECKSUMS = "checksums.txt"
UNRELEASED = "unreleased"


@dataclass(frozen=True)
class Line:
    checksum: str
    name: str
    release: str

    def __str__(self) -> str:
        return f"{self.checksum} {self.name} {self.release}\n"


def listed(folder: Path) -> list[Line]:
    return [Line(*line.split()) for line in (folder / CHECKSUMS).read_text().splitlines()]


def found(folder: Path) -> list[Line]:
    """The files as they are, in order, as if none of them were released."""
    return [
        Line(hashlib.sha256(path.read_bytes()).hexdigest(), path.stem, UNRELEASED)
        for path in sorted(folder.glob("*.sql"))
    ]


def faults(folder: Path) -> list[str]:
    """What is wrong with the files, in sentences; a released one can only be put back as it was."""
    lines, files = listed(folder), found(folder)
    released = [line for line in lines if line.release != UNRELEASED]
    said = []
    if lines[: len(released)] != released:
        said.append(
            f"{CHECKSUMS} names an unreleased migration before a released one: give the new one the next number."
        )
    for number, line in enumerate(released):
        was = files[number] if number < len(files) else None
        if was is None or was.name != line.name:
            said.append(
                f"{line.name} was released in {line.release} and is no longer at place {number + 1}: put it back."
            )
        elif was.checksum != line.checksum:
            said.append(
                f"{line.name} was released in {line.release} and has changed: put it back, and add a migration."
            )
    if not said and [replace(line, release=UNRELEASED) for line in lines] != files:
        said.append(f"{CHECKSUMS} is not up to date: run `make migrations`.")
    return said


def refresh(folder: Path, release: str = UNRELEASED) -> None:
    """Write the checksums of what is not released yet, frozen if a release is named. Released lines stay as they are."""
    released = [line for line in listed(folder) if line.release != UNRELEASED]
    newer = [replace(line, release=release) for line in found(folder)[len(released) :]]
    (folder / CHECKSUMS).write_text("".join(map(str, [*released, *newer])))


if __name__ == "__main__":
    refresh(FOLDER, *[release for release in sys.argv[1:] if release])
    if wrong := faults(FOLDER):
        sys.exit("\n".join(wrong))

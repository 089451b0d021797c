"""The two trees that are compared: copies of a commit, or of the work tree, each with the packages that it asks for.

A copy is made without leaving a mark in the repository. Where a tree pins the same packages as the work tree, it runs
on the packages of .venv with its own `src` before them (launch.py proves it); else it gets an environment of its own.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = Path(__file__).with_name("launch.py")
PINS = ("requirements/direct.txt", "requirements/constraints.txt")
COPIED = ("src", "requirements", "pyproject.toml", "README.md", "LICENSE")


class NotComparable(Exception):
    """There is nothing to compare; the message says what to do."""


@dataclass(frozen=True)
class Tree:
    """Code to run. `digest` is that of its source files, which is the same for equal trees."""

    name: str
    folder: Path
    python: Path
    digest: str

    def __str__(self) -> str:
        return f"{self.name} (source {self.digest})"

    def command(self, *arguments: object) -> list[str]:
        return [str(self.python), "-P", str(LAUNCHER), str(self.folder), *map(str, arguments)]

    def environment(self, data_directory: Path) -> Mapping[str, str]:
        here = {name: value for name, value in os.environ.items() if not name.startswith(("KOSMINAR_", "PYTHON"))}
        return {
            **here,
            "PYTHONPATH": str(self.folder / "src"),
            "KOSMINAR_DATA_DIR": str(data_directory),
            "KOSMINAR_LOG_LEVEL": "error",
        }


def copy_commit(commit: str, folder: Path) -> Tree:
    """The tree of a commit; raises NotComparable if there is none, or if it cannot be installed."""
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    if found.returncode:
        raise NotComparable(f"There is no commit {commit} in this repository. `git log` lists those that there are.")
    full = found.stdout.decode().strip()
    archive = _git("archive", "--format=tar", full)
    if archive.returncode:
        raise NotComparable(f"git cannot read commit {commit}: {archive.stderr.decode(errors='replace').strip()}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return _tree(f"commit {full[:10]}", folder)


def copy_work_tree(folder: Path) -> Tree:
    """The tree as it stands, changes that were not committed included."""
    folder.mkdir()
    for name in COPIED:
        origin = ROOT / name
        if origin.is_dir():
            shutil.copytree(origin, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif origin.exists():
            shutil.copy2(origin, folder / name)
    return _tree("the work tree", folder)


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)


def _tree(name: str, folder: Path) -> Tree:
    missing = [each for each in (*PINS, "src/kosminar/cli.py") if not (folder / each).exists()]
    if missing:
        raise NotComparable(f"{name} has no {missing[0]}, so it cannot be run. Choose a later commit.")
    same = all((folder / each).read_bytes() == (ROOT / each).read_bytes() for each in PINS)
    python = Path(sys.executable) if same else _install(name, folder)
    return Tree(name, folder, python, _digest(folder / "src"))


def _install(name: str, folder: Path) -> Path:
    """An environment of its own, made as the Makefile makes one."""
    print(f"{name} pins other packages; they are installed for it", file=sys.stderr, flush=True)
    python = folder / ".venv" / "bin" / "python"
    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--root-user-action=ignore")
    pinned = (*pip, "--constraint", "requirements/constraints.txt")
    for command in (
        (sys.executable, "-m", "venv", folder / ".venv"),
        (*pinned, "setuptools", "--requirement", "requirements/direct.txt"),
        (*pinned, "--no-deps", "--no-build-isolation", "--editable", "."),
    ):
        done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines() or ["no reason was given"]
            # pip's first error names the package; its last lines are general advice.
            reason = next((line for line in said if line.startswith("ERROR: ")), said[-1])
            raise NotComparable(f"The packages that {name} pins cannot be installed. {reason}")
    return python


def _digest(folder: Path) -> str:
    digest = sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".py", ".sql"):
            digest.update(f"{path.relative_to(folder)}\0".encode() + sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]

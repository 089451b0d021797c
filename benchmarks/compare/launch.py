"""Runs the `kosminar` command of one tree: `python -P launch.py TREE ARGUMENTS...`. Refuses if other code would run."""

import sys
from pathlib import Path

import kosminar
from kosminar import cli

if __name__ == "__main__":
    wanted = Path(sys.argv.pop(1)) / "src" / "kosminar"
    if [Path(each) for each in kosminar.__path__] != [wanted] or not Path(cli.__file__).is_relative_to(wanted):
        raise SystemExit(f"The code of {list(kosminar.__path__)} would run, and not that of {wanted}.")
    cli.main()

"""Two commits by turns: `make compare BASE=<commit>`, or `python -m benchmarks.compare <commit> --part calls`.

Both trees run at once, each with its own server and its own embedded PostgreSQL; one works while the other waits. A
pair is four runs (base, new, new, base; the next one new, base, base, new), so that neither side gains by its place, of
processes that are started for it.
What a run costs is reported as CPU time of the server's and of PostgreSQL's processes for each activity or call,
because wall-clock time swings with whatever else the machine does. Exits 1 only if a bound was asked for and was
exceeded, and 2 if there was nothing to compare.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.compare.judgement import CONFIDENCE_MIN, Judgement, Sample, Verdict, heading
from benchmarks.compare.loads import PARTS, QUICK, WHOLE, Cast, Load, Sizes, prepare
from benchmarks.compare.side import Side
from benchmarks.compare.trees import NotComparable, Tree, copy_commit, copy_work_tree

PAIR_COUNT_MIN, QUICK_PAIR_COUNT = 9, 2
INTERRUPTED = 130
VERDICTS = {
    Verdict.KEPT: "CPU rose by at most {:g} %, if at all.",
    Verdict.EXCEEDED: "CPU ROSE BY MORE than {:g} %.",
    Verdict.OPEN: "whether CPU rose by more than {:g} % cannot be said; more pairs narrow the interval.",
}


@dataclass(frozen=True)
class Comparison:
    """What came of it: two trees, each kind of load, and how busy the machine was meanwhile."""

    base: Tree
    new: Tree
    judgements: Sequence[Judgement]
    load_average: float

    def lines(self) -> list[str]:
        first = self.judgements[0]
        said = [
            f"base: {self.base}",
            f"new:  {self.new}",
            f"load average of the last five minutes: {self.load_average:.1f}, with {os.cpu_count()} processors",
        ]
        for judgement in self.judgements:
            said += ["", judgement.title, heading(), *judgement.lines()]
        confidence = first.interval("cpu_us").confidence
        explained = (
            f"A ratio is the median of {len(first.base)}; the interval holds the true one with {confidence:.1%}."
        )
        if confidence < CONFIDENCE_MIN:
            explained += f" Too few for a statement: {PAIR_COUNT_MIN} pairs are the least."
        return [*said, "", explained, "", *(judgement.sentence() for judgement in self.judgements)]

    def result(self) -> dict[str, Any]:
        return {
            "base": {"name": self.base.name, "source": self.base.digest},
            "new": {"name": self.new.name, "source": self.new.digest},
            "pairs": len(self.judgements[0].base),
            "load_average": round(self.load_average, 2),
            "processors": os.cpu_count(),
            "loads": [judgement.result() for judgement in self.judgements],
        }


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _interrupt)
    try:
        with _room() as room:
            compared = compare(
                room,
                base=options.base,
                new=options.head,
                loads=[load for part in _parts(options.part) for load in PARTS[part]],
                pair_count=options.pairs,
                sizes=QUICK if options.quick else WHOLE,
            )
    except (NotComparable, OSError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("compare: Interrupted. Its servers and its files are gone.", file=sys.stderr)
        return INTERRUPTED
    return _report(compared, at_most=options.at_most, as_json=options.json)


def compare(
    room: Path, *, base: str, new: str | None, loads: Sequence[Load], pair_count: int, sizes: Sizes
) -> Comparison:
    """Run every load so many times on both trees, by turns; without `new` it is the work tree.

    Raises NotComparable if one of them cannot be had, started or made to do its work.
    """
    trees = (
        copy_commit(base, _folder(room, "base") / "tree"),
        copy_commit(new, _folder(room, "new") / "tree") if new else copy_work_tree(_folder(room, "new") / "tree"),
    )
    _say(f"{trees[0]} and {trees[1]}: two servers start, and their customers are made")
    sides = [Side(tree, tree.folder.parent) for tree in trees]
    casts = [_prepare(side, loads, sizes) for side in sides]
    samples = _alternate(sides, casts, loads, pair_count, sizes)
    judgements = [Judgement(load.title, load.unit, *samples[load.title]) for load in loads]
    return Comparison(*trees, judgements, os.getloadavg()[1])


def _prepare(side: Side, loads: Sequence[Load], sizes: Sizes) -> dict[str, Cast]:
    """Who takes part in each load's organisation."""
    with side.served():
        organisations = dict.fromkeys(load.organisation for load in loads)
        return {organisation: prepare(side, organisation, sizes) for organisation in organisations}


def _alternate(
    sides: Sequence[Side], casts: Sequence[dict[str, Cast]], loads: Sequence[Load], pair_count: int, sizes: Sizes
) -> dict[str, tuple[list[Sample], list[Sample]]]:
    """The samples of base and new for each load.

    Servers and PostgreSQL start again for each pair. Processes differ for as long as they live, by the layout of their
    memory, seeds of hashes and plans that connections keep: all pairs of the same two would have the same error.
    """
    samples: dict[str, tuple[list[Sample], list[Sample]]] = {load.title: ([], []) for load in loads}
    for number in range(pair_count):
        order = (0, 1, 1, 0) if number % 2 == 0 else (1, 0, 0, 1)
        with ExitStack() as stack:
            for which in order[:2]:
                stack.enter_context(sides[which].served())
            for load in loads:
                base, new = _pair(sides, [cast[load.organisation] for cast in casts], load, sizes, number, order)
                samples[load.title][0].append(base)
                samples[load.title][1].append(new)
                ratio = new.cpu_us / base.cpu_us
                _say(f"pair {number + 1} of {pair_count}, {load.title}: {ratio:.3f} of the base's CPU")
    return samples


def _pair(
    sides: Sequence[Side], casts: Sequence[Cast], load: Load, sizes: Sizes, number: int, order: Sequence[int]
) -> tuple[Sample, Sample]:
    """A warm-up that does not count and two runs that do, of each side."""
    halves: tuple[list[Sample], list[Sample]] = ([], [])
    for which in order[:2]:
        load.run(sides[which], casts[which], sizes.warm_up(), f"{number} warm-up")
    for which in order:
        sides[which].rest()
        halves[which].append(load.run(sides[which], casts[which], sizes, f"{number} {len(halves[which])}"))
    base, new = (first + second for first, second in halves)
    if min(base.server_seconds, base.database_seconds, base.seconds) <= 0:
        raise NotComparable(f"{load.title}: too little was computed to be measured. Leave QUICK out.")
    return base, new


def _report(compared: Comparison, *, at_most: float | None, as_json: bool) -> int:
    verdicts = {} if at_most is None else {one.title: one.verdict(at_most) for one in compared.judgements}
    if as_json:
        bound = {"at_most_percent": at_most, "verdicts": {title: one.value for title, one in verdicts.items()}}
        print(json.dumps({**compared.result(), **bound}, indent=1))
    else:
        print("\n".join(compared.lines()))
        for title, verdict in verdicts.items():
            print(f"{title}: {VERDICTS[verdict].format(at_most)}")
    return int(Verdict.EXCEEDED in verdicts.values())


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="compare", description=__doc__.partition("\n")[0])
    parser.add_argument("base", metavar="BASE", help="the commit to compare with")
    parser.add_argument("--head", metavar="COMMIT", help="the commit to compare; else the work tree as it stands")
    parser.add_argument("--part", default="all", help=f"{', '.join(PARTS)} or all")
    parser.add_argument("--pairs", type=int, help=f"at least {PAIR_COUNT_MIN}, which is the default")
    parser.add_argument("--quick", action="store_true", help="small and few, to see that it works")
    parser.add_argument("--at-most", type=float, metavar="PERCENT", help="exit 1 if CPU rose by more than that")
    parser.add_argument("--json", action="store_true", help="write JSON to standard output")
    options = parser.parse_args(arguments)
    least = 1 if options.quick else PAIR_COUNT_MIN
    if options.pairs is None:
        options.pairs = QUICK_PAIR_COUNT if options.quick else PAIR_COUNT_MIN
    if options.pairs < least:
        parser.error(f"--pairs is at least {least}: the interval of fewer would say little.")
    if options.part not in (*PARTS, "all"):
        parser.error(f"--part is one of {', '.join(PARTS)} or all, not {options.part}.")
    if not options.base:
        parser.error("name the commit to compare with: make compare BASE=<commit>")
    return options


def _parts(name: str) -> Sequence[str]:
    return list(PARTS) if name == "all" else [name]


@contextmanager
def _room() -> Iterator[Path]:
    """A folder for everything, gone afterwards. Not below TMPDIR, which the embedded database's user may not enter."""
    room = Path(tempfile.mkdtemp(prefix=f"kosminar-compare-{os.getpid()}-", dir="/tmp"))
    room.chmod(0o711)
    try:
        yield room
    finally:
        shutil.rmtree(room)


def _folder(room: Path, name: str) -> Path:
    folder = room / name
    folder.mkdir()
    return folder


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """The first one ends it; the next ones must not keep it from cleaning up."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

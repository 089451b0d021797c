"""Dated stories as text: each line is a time, a customer, a deed, and after the arrow what it brings about.

    2026-01-10 12:00  ana buys 120   -> progressed Cycle_1 120; achieved Cycle_1
                      ana un-enrols  -> un_enrolled Cycle_1

Without a time the line happens at the time of the one before it; a line that begins with the arrow goes on with the
outcomes of that line; without an arrow nothing may come of it. `tell` plays a story through a brand's API and
compares it with what is written. The page docs/rules.md is told in the same words.
"""

import re
from collections.abc import Awaitable, Callable
from difflib import ndiff
from textwrap import dedent
from typing import Any

from tests.scenarios.brand import Brand, points, programme

TIME = r"\d{4}-\d\d-\d\d(?: \d\d:\d\d(?::\d\d(?:\.\d+)?)?)?"
LINE = re.compile(rf"(?P<time>{TIME})?\s*(?P<deed>.*?)\s*(?:->\s*(?P<outcomes>.*?))?\s*(?:#.*)?")

Deed = Callable[..., Awaitable[list[str]]]


async def _enrols(brand: Brand, who: str, period: str | None, balance: str | None, reset: str | None) -> list[str]:
    body: dict[str, Any] = {}
    if period:
        body["periodName"] = period
    if balance:
        body["initialBalance"] = balance
    if reset:
        body["resetStreakStatus"] = True
    return await brand.enrol(who, **body)


async def _deactivates(brand: Brand, who: str) -> list[str]:
    await brand.deactivate()
    return await brand.news(who)


DEEDS: dict[str, Deed] = {
    r"(\w+) enrols(?: in (\w+))?(?: with balance (\S+))?( and resets)?": _enrols,
    r"(\w+) un-enrols": Brand.unenrol,
    rf"(\w+) buys (\S+)(?: dated ({TIME}))?": lambda brand, who, amount, dated: brand.buy(who, amount, dated=dated),
    r"(\w+)'s last purchase comes again": Brand.resend,
    r"(\w+) waits": Brand.news,
    r"(\w+) sees the programme deactivated": _deactivates,
    r"(\w+)'s reward is reported (issued|failed|reversed)(?: because (.+))?": Brand.report,
    r"(\w+) has": Brand.rewards,
    r"(\w+) is out of": Brand.outside,
    r"(\w+) stands at": Brand.count,
    r"(\w+)'s values are": Brand.values,
}

SENTENCES: dict[str, Callable[..., dict[str, Any]]] = {
    r"milestone": dict,
    r"streak": dict,
    r"non-continuous streak": lambda: {"trackingType": "NON_CONTINUOUS_STREAKS"},
    rf"(\d+) (\w+) periods from ({TIME})": lambda count, step, first: {
        "periods": int(count),
        "step": step.upper(),
        "first": first,
    },
    r"target ([\d.]+) amount": lambda value: {"target": float(value)},
    r"target (\d+) purchases?": lambda value: {
        "target": float(value),
        "measure": {"targetEntity": "TRANSACTION", "targetType": "COUNT"},
    },
    r"reward (\d+) points at once": lambda value: {"rewards": [points(int(value))]},
    r"reward (\d+) points at period end": lambda value: {"rewards": [points(int(value), "PERIOD_END")]},
    r"levels ([\d and]+)": lambda counts: {"levels": [int(count) for count in counts.split(" and ")]},
    r"zone (\S+)": lambda zone: {"timeZoneName": zone},
    r"late by (\d+) days?": lambda days: {"offsetDays": int(days)},
    r"tracked from enrolment": lambda: {"trackFromEnrolment": True},
    r"enrols by activity": lambda: {"automatic": True},
}


def defined(sentence: str) -> dict[str, Any]:
    """`programme milestone, 5 monthly periods from 2026-01-01, ...` as the body of the create call."""
    made: dict[str, Any] = {}
    for clause in sentence.removeprefix("programme ").split(", "):
        speak, words = _matching(SENTENCES, clause)
        made |= speak(*words)
    return programme(**made)


async def tell(brand: Brand, story: str) -> None:
    """Play the story and compare each line's outcomes with those that are written."""
    written, played = [], []
    for time, deed, outcomes in read(story):
        if time is not None:
            await brand.at(time)
        act, words = _matching(DEEDS, deed)
        written.append((time, deed, outcomes))
        played.append((time, deed, await act(brand, *words)))
    # Told in full, because a story that goes astray is best read as a story.
    assert played == written, "\n".join(ndiff(_written(written), _written(played)))


def read(story: str) -> list[tuple[str | None, str, list[str]]]:
    """Time, deed and outcomes of each line."""
    told: list[tuple[str | None, str, list[str]]] = []
    for line in dedent(story).strip().splitlines():
        match = LINE.fullmatch(line.strip())
        assert match is not None, line
        outcomes = [each for each in (match["outcomes"] or "").split("; ") if each not in ("", "nothing")]
        if match["deed"]:
            told.append((match["time"], match["deed"], outcomes))
        elif outcomes:
            told[-1][2].extend(outcomes)
    return told


def _written(told: list[tuple[str | None, str, list[str]]]) -> list[str]:
    return [f"{time or '':23}  {deed}  -> {'; '.join(outcomes) or 'nothing'}" for time, deed, outcomes in told]


def _matching(table: dict[str, Any], text: str) -> tuple[Any, tuple[str | None, ...]]:
    for pattern, meaning in table.items():
        match = re.fullmatch(pattern, text)
        if match is not None:
            return meaning, match.groups()
    raise AssertionError(f"the story language has no words for: {text}")

"""What the database kept, in the slow model's words: programmes, the accepted order of commands, and what became of them.

Reads rows with SQL of its own, so that no query of the product stands between the two. Used by whoever lets the engine
and the model live through the same: tests/scenarios/test_races.py, tests/simulation.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import asyncpg
from tests.model import slow_model as model
from tests.unfolded import UNFOLDED

Place = tuple[int, int]
"""A customer and a target."""


async def modelled(
    connection: asyncpg.Connection, definition: Mapping[str, Any], target_id: int, zone: str
) -> model.ModelProgramme:
    """The programme for the slow model: rules from what was asked, ids and instants from what was stored."""
    row = await connection.fetchrow(
        "SELECT target_group_id, document FROM definition"
        " WHERE document @> jsonb_build_object('targets', jsonb_build_array(jsonb_build_object('target_id', $1::bigint)))"
        " ORDER BY version LIMIT 1",
        target_id,
    )
    document = json.loads(row["document"])
    (stored_target,) = document["targets"]
    values = zip(document["window"]["periods"], stored_target["values_thousandths"], strict=True)
    (target,) = definition["targets"]
    return model.ModelProgramme(
        kind=definition["trackingType"],
        automatic=target["enrolmentMethod"] == "TRANSACTION",
        zone=zone,
        track_from_enrolment=definition.get("trackFromEnrolment", False),
        periods=tuple(
            model.ModelPeriod(
                row["target_group_id"] * 1024 + number,
                number,
                period["name"],
                *(datetime.fromisoformat(period[name]) for name in ("starts_at", "ends_at", "due_at")),
                Decimal(value) / 1000,
            )
            for number, (period, value) in enumerate(values, start=1)
        ),
        rewards=_promised(stored_target["rewards"]),
        levels=tuple(
            model.ModelLevel(level["level_id"], level["name"], level["count"], _promised(level["rewards"]))
            for level in document["levels"]
        ),
        entity=target["targetEntity"],
        measure=target["targetType"],
        event_name=target.get("eventName"),
        attribute=target.get("extendedFieldInfo", {}).get("name"),
    )


def _promised(rewards: list[dict[str, Any]]) -> tuple[model.ModelReward, ...]:
    return tuple(
        model.ModelReward(
            reward["reward_definition_id"],
            reward["kind"],
            reward["text"] if reward["points_thousandths"] is None else Decimal(reward["points_thousandths"]) / 1000,
            reward["allocation"],
        )
        for reward in rewards
    )


# ---------------------------------------------------------------- the accepted order


class Row(NamedTuple):
    """A command or activity as the audit trail keeps it; `row` is all of it."""

    sequence: int
    at: datetime
    name: str
    target_id: int | None
    command: model.Command
    row: asyncpg.Record


def row_of_command(row: asyncpg.Record) -> Row:
    command: model.Command
    if row["name"] == "enrol":
        command = model.Enrol(row["at"], row["period_name"], row["initial_balance"], row["reset"])
    else:
        command = model.UnEnrol(row["at"])
    return Row(row["sequence"], row["at"], row["name"], row["target_id"], command, row)


def row_of_activity(row: asyncpg.Record) -> Row:
    attributes = json.loads(row["attributes"], parse_float=Decimal)
    act = model.Act(row["at"], row["activity_id"], row["type"], row["occurred_at"], attributes)
    return Row(row["sequence"], row["at"], "activity", None, act, row)


def concerns(row: Row, target_id: int, programme: model.ModelProgramme) -> bool:
    """Whether the row is anything to that programme."""
    if isinstance(row.command, model.Act):
        return row.command.type == (programme.event_name or "transaction")
    return row.target_id == target_id


async def read_trails(connection: asyncpg.Connection, organisation_id: int) -> dict[int, list[Row]]:
    """Everything accepted of each customer, in its order."""
    trails: dict[int, list[Row]] = defaultdict(list)
    for row in await connection.fetch(f"{UNFOLDED} SELECT * FROM command WHERE organisation_id = $1", organisation_id):
        trails[row["customer_id"]].append(row_of_command(row))
    for row in await connection.fetch(f"{UNFOLDED} SELECT * FROM activity WHERE organisation_id = $1", organisation_id):
        trails[row["customer_id"]].append(row_of_activity(row))
    for trail in trails.values():
        trail.sort(key=lambda row: row.sequence)
    return trails


# ---------------------------------------------------------------- what became of it


@dataclass(frozen=True)
class Kept:
    """What is stored of every place, in the shapes of the model's outcome; progress without what nothing touched."""

    ledger: Mapping[Place, dict[Any, tuple[str, str | None]]]
    progress: Mapping[Place, dict[tuple[int, int], tuple[Decimal, bool]]]
    reached: Mapping[Place, set[tuple[int, int]]]
    enrolled: set[Place]


async def read_kept(connection: asyncpg.Connection, organisation_id: int) -> Kept:
    ledger: dict[Place, dict[Any, tuple[str, str | None]]] = defaultdict(dict)
    for row in await connection.fetch("SELECT * FROM reward WHERE organisation_id = $1", organisation_id):
        key = (row["period_id"] or None, row["level_id"] or None, row["run"], row["reward_definition_id"])
        ledger[row["customer_id"], row["target_id"]][key] = (row["state"], row["reason"])
    progress: dict[Place, dict[tuple[int, int], tuple[Decimal, bool]]] = defaultdict(dict)
    for row in await connection.fetch(f"{UNFOLDED} SELECT * FROM progress WHERE organisation_id = $1", organisation_id):
        value = (row["value"], row["achieved_at"] is not None)
        if value != (0, False):
            progress[row["customer_id"], row["target_id"]][row["period_id"], row["run"]] = value
    reached: dict[Place, set[tuple[int, int]]] = defaultdict(set)
    for row in await connection.fetch(f"{UNFOLDED} SELECT * FROM streak WHERE organisation_id = $1", organisation_id):
        reached[row["customer_id"], row["target_id"]] |= {(level_id, row["run"]) for level_id in row["reached"]}
    open_stretches = await connection.fetch(
        f"{UNFOLDED} SELECT * FROM enrolment WHERE organisation_id = $1 AND ends_at IS NULL", organisation_id
    )
    enrolled = {(row["customer_id"], row["target_id"]) for row in open_stretches}
    return Kept(ledger, progress, reached, enrolled)


def touched(outcome: model.Outcome) -> dict[tuple[int, int], tuple[Decimal, bool]]:
    """The outcome's progress without what nothing touched, to be compared with what is kept."""
    return {key: value for key, value in outcome.progress.items() if value != (0, False)}


async def count_earned(connection: asyncpg.Connection, organisation_id: int) -> Counter[Any]:
    """How often each reward was earned. The ledger's key could hide a second issue; the facts could not."""
    return Counter(
        (
            row["customer_id"],
            row["target_id"],
            row["level_id"] or row["period_id"],
            row["run"] if row["level_id"] else 1,
            row["reward_definition_id"],
        )
        for row in await connection.fetch(
            f"{UNFOLDED} SELECT * FROM fact WHERE organisation_id = $1 AND name = 'reward_earned'", organisation_id
        )
    )

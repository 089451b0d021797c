"""Accepted commands: enrolments and un-enrolments asked for by somebody, in the customer's order."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kosminar.core.decide import Enrol, UnEnrol
from kosminar.store.queries import Connection, load
from kosminar.store.standings import CustomerKey, CustomerRange, places

QUERIES: Final = load("commands")


@dataclass(frozen=True, slots=True)
class AcceptedCommand:
    """A command with its place in the customer's order, the definitions it met and the clock it was accepted at."""

    customer: CustomerKey
    sequence: int
    target_id: int
    command: Enrol | UnEnrol
    definitions_version: int
    at: datetime
    asked_by: str


async def insert(connection: Connection, accepted: Sequence[AcceptedCommand]) -> None:
    enrols = [a.command if isinstance(a.command, Enrol) else Enrol() for a in accepted]
    await QUERIES["insert_commands"].run(
        connection,
        **places([a.customer for a in accepted]),
        sequences=[a.sequence for a in accepted],
        names=["enrol" if isinstance(a.command, Enrol) else "un_enrol" for a in accepted],
        target_ids=[a.target_id for a in accepted],
        period_names=[enrol.period_name for enrol in enrols],
        initial_balances=[enrol.initial_balance for enrol in enrols],
        resets=[enrol.reset for enrol in enrols],
        definitions_versions=[a.definitions_version for a in accepted],
        ats=[a.at for a in accepted],
        asked_bys=[a.asked_by for a in accepted],
    )


async def list_accepted(connection: Connection, within: CustomerRange) -> list[AcceptedCommand]:
    """A range of customers' commands, each customer's in the order of acceptance; who asked does not matter here."""
    rows = await QUERIES["list_commands_of_customers"].rows(connection, **within.bounds())
    return [
        AcceptedCommand(
            customer=CustomerKey(within.bucket, within.organisation_id, row["customer_id"]),
            sequence=row["sequence"],
            target_id=row["target_id"],
            command=(
                Enrol(row["period_name"], row["initial_balance"], row["reset"]) if row["name"] == "enrol" else UnEnrol()
            ),
            definitions_version=row["definitions_version"],
            at=row["at"],
            asked_by="",
        )
        for row in rows
    ]

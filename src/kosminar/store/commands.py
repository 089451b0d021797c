"""Accepted commands: enrolments and un-enrolments asked for by somebody, in the customer's order."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from kosminar.core.amount import decimal_of, exact_thousandths
from kosminar.core.decide import Enrol, UnEnrol
from kosminar.store.queries import Connection, load
from kosminar.store.standings import CustomerKey, CustomerRange

QUERIES: Final = load("commands")


@dataclass(frozen=True, slots=True)
class AcceptedCommand:
    """A command with its place in the customer's order, the definitions it met and the clock it was accepted at."""

    customer: CustomerKey
    sequence: int
    command: Enrol | UnEnrol
    definitions_version: int
    at: datetime
    asked_by: str


def row(accepted: AcceptedCommand) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    enrolling = isinstance(accepted.command, Enrol)
    options = accepted.command if isinstance(accepted.command, Enrol) else Enrol(accepted.command.target_id)
    return (
        *accepted.customer,
        accepted.sequence,
        "enrol" if enrolling else "un_enrol",
        accepted.command.target_id,
        options.period_name,
        None if options.initial_balance is None else decimal_of(options.initial_balance),
        options.reset,
        accepted.definitions_version,
        accepted.at,
        accepted.asked_by,
    )


async def list_accepted(connection: Connection, within: CustomerRange) -> list[AcceptedCommand]:
    """A range of customers' commands, each customer's in the order of acceptance; who asked does not matter here."""
    rows = await QUERIES["list_commands_of_customers"].rows(connection, **within.bounds())
    return [
        AcceptedCommand(
            customer=CustomerKey(within.bucket, within.organisation_id, row["customer_id"]),
            sequence=row["sequence"],
            command=_command(row),
            definitions_version=row["definitions_version"],
            at=row["at"],
            asked_by="",
        )
        for row in rows
    ]


def _command(row: Any) -> Enrol | UnEnrol:
    if row["name"] != "enrol":
        return UnEnrol(row["target_id"])
    balance = row["initial_balance"]
    return Enrol(
        row["target_id"], row["period_name"], None if balance is None else exact_thousandths(balance), row["reset"]
    )

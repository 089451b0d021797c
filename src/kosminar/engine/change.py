"""What can be asked of one customer, and what comes of it: the writer's requests and outcomes."""

from dataclasses import dataclass
from enum import StrEnum

from kosminar.core.activity import Activity
from kosminar.core.decide import Enrol, UnEnrol
from kosminar.core.errors import Code
from kosminar.store.facts import RecordedFact


@dataclass(frozen=True, slots=True)
class EnrolmentChange:
    """Enrol or un-enrol, as somebody asked by name; the ids are as the caller gave them and may be unknown."""

    target_group_id: int
    target_id: int
    command: Enrol | UnEnrol
    asked_by: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """Work the period ends that are due in this target; the clock of the batch says which."""

    target_id: int


Change = EnrolmentChange | Activity | Settlement


@dataclass(frozen=True, slots=True)
class Request:
    """A change of one customer of one organisation."""

    organisation_id: int
    customer_id: int
    change: Change


class Status(StrEnum):
    """What became of an activity; accepted means recorded, whether or not anything counted it."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class EnrolmentOutcome:
    """Errors ascending by code; none means done, or already so with a warning."""

    errors: tuple[Code, ...] = ()
    warnings: tuple[Code, ...] = ()
    facts: tuple[RecordedFact, ...] = ()


@dataclass(frozen=True, slots=True)
class ActivityOutcome:
    """`code` says why an activity was rejected, or that an accepted one came too late."""

    status: Status
    code: Code | None = None
    facts: tuple[RecordedFact, ...] = ()


@dataclass(frozen=True, slots=True)
class SettlementOutcome:
    """The facts that the period ends brought; or that they failed, by our own fault."""

    facts: tuple[RecordedFact, ...] = ()
    failed: bool = False


Outcome = EnrolmentOutcome | ActivityOutcome | SettlementOutcome

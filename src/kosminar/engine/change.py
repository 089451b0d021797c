"""What can be asked of one customer, and what comes of it: the writer's requests and outcomes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

from kosminar.core.activity import Activity
from kosminar.core.decide import Enrol, UnEnrol
from kosminar.core.errors import Code
from kosminar.core.idempotency import IdempotencyKey
from kosminar.core.ledger import Reward
from kosminar.core.reward import RewardKey, RewardState
from kosminar.store.facts import RecordedFact
from kosminar.store.standings import CustomerKey

# Who asks for what no caller asked for, and under which request.
KOSMINAR: Final = "kosminar"


@dataclass(frozen=True, slots=True)
class EnrolmentChange:
    """Enrol or un-enrol, as somebody asked by name; the ids are as the caller gave them and may be unknown."""

    target_group_id: int
    command: Enrol | UnEnrol


@dataclass(frozen=True, slots=True)
class Settlement:
    """Work the period ends that are due in this target; the clock of the batch says which.

    With the number of an ended period, who asked to be told of completed periods is told of it too.
    """

    target_id: int
    completed_number: int | None = None


@dataclass(frozen=True, slots=True)
class RewardReport:
    """What became of a reward after it was earned: issued, failed or reversed, the last two with a reason.

    An automatic one is read from a receiver's status: it never takes back what somebody has said was issued.
    """

    key: RewardKey
    outcome: RewardState
    reason: str | None
    automatic: bool = False


Change = EnrolmentChange | Activity | Settlement | RewardReport


@dataclass(frozen=True, slots=True)
class Kept:
    """The place under an Idempotency-Key where the outcome is kept, rendered, with the change itself (decision 6)."""

    key: IdempotencyKey
    number: int
    render: "Callable[[Outcome], str]"


@dataclass(frozen=True, slots=True)
class Request:
    """A change of one customer of one organisation.

    `asked_by` names the caller, `request_id` the call in notifications and in the journal. What is `kept` is done once: repeated, it brings a KeptOutcome.
    """

    organisation_id: int
    customer_id: int
    change: Change
    asked_by: str = KOSMINAR
    request_id: str = KOSMINAR
    kept: Kept | None = None
    # Where the customer's rows live: asked for many times on the way, and made of a hash.
    customer: CustomerKey = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "customer", CustomerKey.of(self.organisation_id, self.customer_id))


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


@dataclass(frozen=True, slots=True)
class ReportOutcome:
    """The reward as it stands after the report, unless there is an error."""

    errors: tuple[Code, ...] = ()
    reward: Reward | None = None
    facts: tuple[RecordedFact, ...] = ()


@dataclass(frozen=True, slots=True)
class KeptOutcome:
    """What came of the same request before, as it was rendered then."""

    result: str


Outcome: TypeAlias = EnrolmentOutcome | ActivityOutcome | SettlementOutcome | ReportOutcome | KeptOutcome

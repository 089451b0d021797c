"""A customer's target groups: where the customer stands in every milestone and streak entered so far.

Reads bring each standing up to the organisation's present instant first, so that a period end that is due but not yet
worked looks as it will be. Under OTHER and ALL several organisations answer together, told apart by `orgId`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from kosminar.api.answer import Answer, envelope
from kosminar.api.compat.dates import first_day, last_day, last_instant, twins
from kosminar.api.operation import Call, Operation, Parameter, Refused, Schema, Version, enveloped, path_id
from kosminar.core.access import Level, Resource
from kosminar.core.amount import ID_MAX, decimal_of
from kosminar.core.customer import Customer
from kosminar.core.errors import Code, Complaint, invalid
from kosminar.core.measure.measure import Entity
from kosminar.core.number import stable_number
from kosminar.core.period import Period
from kosminar.core.programme import Level as StreakLevel
from kosminar.core.programme import Programme, RunCount, Target
from kosminar.core.standing import MILESTONE_RUN, Standing, TargetStanding
from kosminar.engine.house import House
from kosminar.engine.use_cases import standings

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Asked:
    """The query: `all_periods` beside the running one, deactivated groups too, one target only."""

    all_periods: bool
    deactivated: bool
    target_id: int | None
    tracking_at: datetime | None


async def list_target_groups(house: House, call: Call) -> Answer:
    """Every group the customer was ever enrolled in; unknown everywhere: 310011."""
    asked = _asked(call)
    shown: dict[str, Any] | None = None
    groups: list[dict[str, Any]] = []
    for organisation_id in call.organisation_ids:
        found = await _read(house, call, organisation_id, asked)
        if found is not None:
            customer, of_organisation = found
            shown = shown or _customer(customer)
            groups += of_organisation
    if shown is None:
        raise Refused(Complaint.of(Code.UNKNOWN_CUSTOMER))
    return envelope({"userId": call.ids["userId"], "customer": shown, "targetGroups": groups})


async def _read(
    house: House, call: Call, organisation_id: int, asked: Asked
) -> tuple[Customer, list[dict[str, Any]]] | None:
    customer_id = call.ids["userId"]
    found = await standings.read(
        house, organisation_id, customer_id, target_id=asked.target_id, deactivated=asked.deactivated
    )
    if found is None:
        return None
    groups = [
        _Shown(programme, standing, customer_id, found.at, asked).group(call.version)
        for programme, standing in found.groups
    ]
    return found.customer, groups


class _Shown:
    """One group as one customer sees it."""

    def __init__(self, programme: Programme, standing: Standing, customer_id: int, now: datetime, asked: Asked) -> None:
        self.programme = programme
        self.standing = standing
        self.customer_id = customer_id
        self.now = now
        self.current = programme.window.period_at(asked.tracking_at or now, None)
        self.periods = programme.periods if asked.all_periods else tuple(p for p in [self.current] if p is not None)

    def group(self, version: Version) -> dict[str, Any]:
        group: dict[str, Any] = {
            "id": self.programme.target_group_id,
            "name": self.programme.name,
            "targets": [
                self._target(target, part, period)
                for target, part in zip(self.programme.targets, self.standing.targets, strict=True)
                for period in self.periods
            ],
            "targetEvaluationType": "FIXED_CALENDAR_WINDOW",
            "trackingType": self.programme.kind.tracking_type,
        }
        if version is Version.V3_1:
            group["orgId"] = self.programme.organisation_id
        reached = self.programme.kind.count_now(self.programme, self.standing.targets[0], self.now)
        if reached is not None:
            group["streaks"] = self._streaks(self.standing.targets[0], reached)
        return group

    def _target(self, target: Target, part: TargetStanding, period: Period) -> dict[str, Any]:
        programme = self.programme
        run = part.runs[-1].number if part.runs else MILESTONE_RUN
        progress = part.find_progress(period.number, run)
        enrolled_on = _enrolled_on(part, period)
        period_id = programme.period_id(period.number)
        row: dict[str, Any] = {
            "targetId": None if progress is None else stable_number(self.customer_id, target.target_id, period_id, run),
            "periodId": period_id,
            "periodRefCode": period.name,
            "periodStartDate": first_day(period.starts_at, programme.zone),
            "periodEndDate": last_day(period.ends_at, programme.zone),
            "targetValue": decimal_of(target.values[period.number - 1]),
            "targetAchievedValue": decimal_of(part.progress_in(period, run=run).value),
            "targetName": target.name,
            "targetType": target.measure.type,
            "targetEntity": target.measure.entity,
            "targetRuleId": target.target_id,
            "eventName": "TransactionAdd" if target.measure.entity is Entity.TRANSACTION else target.measure.event_name,
            "currentPeriod": period is self.current,
            "unEnrolled": not self._in(part, period),
            "milestones": None,
            "targetAchievedEventLogId": None,
        }
        achieved_at = None if progress is None else progress.achieved_at
        return {
            **row,
            **twins("enrolledOn", enrolled_on),
            **twins("periodStartDateWithTimeStamp", period.starts_at),
            **twins("periodEndDateWithTimeStamp", last_instant(period.ends_at)),
            **twins("targetAchievedDateTime", achieved_at),
        }

    def _in(self, part: TargetStanding, period: Period) -> bool:
        """In the period: enrolled at its end if it is over, else enrolled now."""
        return part.enrolled_at_end_of(period) if period.ends_at <= self.now else part.enrolled_in(period)

    def _streaks(self, part: TargetStanding, reached: RunCount) -> list[dict[str, Any]]:
        run = reached.run
        return [
            {
                "userStreakId": stable_number(self.customer_id, level.level_id, run.number) if run.met else None,
                "streakId": level.level_id,
                "streakName": level.name,
                "status": _status(part, reached, level),
                "currentCount": reached.count,
                "totalTargetCountOfSequence": level.count,
            }
            for level in self.programme.levels
        ]


def _enrolled_on(part: TargetStanding, period: Period) -> datetime:
    reaching = [s.starts_at for s in part.enrolments if s.starts_at < period.ends_at]
    return reaching[-1] if reaching else part.enrolments[0].starts_at


def _status(part: TargetStanding, reached: RunCount, level: StreakLevel) -> str:
    if level.level_id in reached.run.reached:
        return "ACHIEVED"
    if not part.enrolled or (reached.run.met and reached.count == 0):
        return "DROPPED"
    return "IN_PROGRESS" if reached.count else "NOT_STARTED"


def _customer(customer: Customer) -> dict[str, Any]:
    identifiers = {
        "externalId": customer.external_id,
        "mobile": customer.mobile,
        "email": customer.email,
    }
    return {
        "id": customer.customer_id,
        "profiles": [
            {
                "firstName": customer.first_name,
                "lastName": customer.last_name,
                "userId": customer.customer_id,
                "source": "INSTORE",
                "identifiers": [{"type": t, "value": value} for t, value in identifiers.items() if value is not None],
            }
        ],
    }


def _asked(call: Call) -> Asked:
    target = call.query.get("targetRuleId")
    return Asked(
        all_periods=_flag(call, "includeInactive"),
        deactivated=_flag(call, "includeInactiveTargets"),
        target_id=None if target is None else path_id("targetRuleId", target),
        tracking_at=_tracking_at(call),
    )


def _flag(call: Call, name: str) -> bool:
    text = call.query.get(name, "false").lower()
    if text not in ("true", "false"):
        raise Refused(invalid(name, "must be true or false"))
    return text == "true"


def _tracking_at(call: Call) -> datetime | None:
    text = call.query.get("trackingDate")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 13):
        raise Refused(invalid("trackingDate", "must be milliseconds since 1970"))
    return EPOCH + timedelta(milliseconds=int(text))


ROW: Final[Schema] = {"type": "object", "description": "One period of the target, as published."}
GROUPS: Final = enveloped(
    {
        "type": ["object", "null"],
        "required": ["userId", "customer", "targetGroups"],
        "properties": {
            "userId": {"type": "integer"},
            "customer": {"type": "object"},
            "targetGroups": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["id", "name", "targets", "targetEvaluationType", "trackingType"],
                    "properties": {
                        "id": {"type": "integer"},
                        "name": {"type": "string"},
                        "orgId": {"type": "integer"},
                        "targets": {"type": "array", "items": ROW},
                        "streaks": {"type": "array", "items": {"type": "object"}},
                    },
                },
            },
        },
    }
)

BOOLEAN: Final[Schema] = {"type": "boolean", "default": False}

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/users/{userId}/targetGroups",
        function=list_target_groups,
        summary="A customer's target groups",
        resource=Resource.ENROLMENTS,
        level=Level.READ,
        response=GROUPS,
        statuses=(200, 400),
        plural=True,
        query=(
            Parameter(name="includeInactive", schema=BOOLEAN, about="All periods, not only the running one."),
            Parameter(name="includeInactiveTargets", schema=BOOLEAN, about="Deactivated groups too."),
            Parameter(
                name="targetRuleId",
                schema={"type": "integer", "minimum": 1, "maximum": ID_MAX},
                about="Only this target.",
            ),
            Parameter(
                name="trackingDate",
                schema={"type": "integer", "minimum": 0, "maximum": 9_999_999_999_999},
                about="The instant, in milliseconds since 1970, whose period is the current one.",
            ),
        ),
    ),
)

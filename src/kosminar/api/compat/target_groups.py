"""Target groups over the compatible API: created, read, deactivated.

One shape for v3 and v3.1 (decision 5): what was asked comes back with ids, and periods with their status at the
organisation's instant.
"""

from datetime import datetime
from typing import Any, Final

from kosminar.api.answer import Answer, envelope, refusal
from kosminar.api.compat import target_group_schemas as schemas
from kosminar.api.compat.dates import first_day, last_day, last_instant, milliseconds, twins
from kosminar.api.compat.definitions import read_definition
from kosminar.api.idempotency import change_once
from kosminar.api.operation import Call, Operation, Parameter, Refused
from kosminar.core.access import Level, Resource
from kosminar.core.amount import decimal_of
from kosminar.core.definition import DefinedProgramme
from kosminar.core.errors import invalid
from kosminar.core.period import Period, numbered_id
from kosminar.core.programme import Level as StreakLevel
from kosminar.core.programme import Target
from kosminar.core.reward import RewardDefinition
from kosminar.engine.house import House
from kosminar.engine.use_cases import definitions


async def post_target_group(house: House, call: Call) -> Answer:
    """Create a milestone or a streak; it counts what is accepted from then on."""
    body = await call.fields()
    definition, complaints = read_definition(body, await house.zones.of(call.organisation_id))
    if complaints:
        return refusal(*complaints)

    return await change_once(
        call,
        lambda made: envelope(shown(*made), status=201),
        lambda slot: definitions.create(
            house, call.organisation_id, definition, created_by=call.caller.name, slot=slot
        ),
    )


async def list_target_groups(house: House, call: Call) -> Answer:
    """All target groups by id; the periods only where they are asked for."""
    include_periods = _flag(call, "includePeriods")
    only_active = _flag(call, "includeOnlyActive")
    # Read and checked like the others; there are no user-created groups to include.
    _flag(call, "includeUserCreatedTargetGroups")
    found, now = await definitions.read_all(house, call.organisation_id)
    rows = [
        shown_row(stored, now, include_periods=include_periods) for stored in found if stored.active or not only_active
    ]
    return envelope(rows)


async def get_target_group(house: House, call: Call) -> Answer:
    """One target group; a deactivated one is still there, with active: false."""
    return envelope(shown(*await definitions.read(house, call.organisation_id, call.ids["targetGroupId"])))


async def delete_target_group(house: House, call: Call) -> Answer:
    """Deactivate: nothing counts any more, ended periods are paid, the running one is not (decision 28)."""
    return await change_once(
        call,
        lambda _: envelope(data=True),
        lambda slot: definitions.deactivate(
            house, call.organisation_id, call.ids["targetGroupId"], deactivated_by=call.caller.name, slot=slot
        ),
    )


def shown(stored: DefinedProgramme, now: datetime) -> dict[str, Any]:
    """A target group as the API shows it, at an instant of its organisation."""
    return {**_shown_group(stored), "periods": [_shown_period(stored, each, now) for each in stored.programme.periods]}


def shown_row(stored: DefinedProgramme, now: datetime, *, include_periods: bool) -> dict[str, Any]:
    """A target group in a list: with the running period, if there is one, and when it was created."""
    row = shown(stored, now) if include_periods else _shown_group(stored)
    running = stored.programme.window.period_at(now, None)
    if running is not None:
        row["activePeriod"] = _shown_period(stored, running, now)
    row["createdOn"] = milliseconds(stored.created_at)
    return row


def period_status(period: Period, now: datetime) -> str:
    """Told from its dates, whatever a client sent."""
    if now < period.starts_at:
        return "NOT_STARTED"
    return "RUNNING" if now < period.ends_at else "ENDED"


def _shown_group(stored: DefinedProgramme) -> dict[str, Any]:
    programme, definition = stored.programme, stored.definition
    return {
        "id": programme.target_group_id,
        "attribution": _attribution(stored),
        "name": programme.name,
        "description": definition.description,
        "active": stored.active,
        "preferredTillId": definition.preferred_till_id,
        "trackingType": programme.kind.tracking_type,
        "targetEvaluationType": "FIXED_CALENDAR_WINDOW",
        "fromDate": first_day(definition.starts_at, programme.zone),
        "toDate": last_day(definition.ends_at, programme.zone),
        **twins("targetCycleStartDate", programme.periods[0].starts_at),
        **twins("targetCycleEndDate", last_instant(programme.periods[-1].ends_at)),
        "totalPeriods": len(programme.periods),
        "frequencyType": definition.frequency_type,
        "frequency": definition.frequency,
        "recurringCycles": definition.recurring_cycles,
        "timeZoneName": programme.zone.key,
        "offsetDays": definition.offset_days,
        "trackFromEnrolment": programme.track_from_enrolment,
        "userCreated": False,
        "leaderboardEnabled": False,
        "targets": [_shown_target(stored)],
        "streaks": [_shown_level(stored, level) for level in programme.levels],
    }


def _shown_period(stored: DefinedProgramme, period: Period, now: datetime) -> dict[str, Any]:
    return {
        "id": stored.programme.period_id(period.number),
        "attribution": _attribution(stored),
        "startDate": first_day(period.starts_at, stored.programme.zone),
        "endDate": last_day(period.ends_at, stored.programme.zone),
        "refCode": period.name,
        "periodStatus": period_status(period, now),
        "targetGroupId": stored.programme.target_group_id,
        "description": stored.definition.periods[period.number - 1].description,
        "active": stored.active,
    }


def _shown_target(stored: DefinedProgramme) -> dict[str, Any]:
    programme = stored.programme
    (target,) = programme.targets
    values = [
        {
            "id": numbered_id(target.target_id, number),
            "periodId": programme.period_id(number),
            "defaultValue": decimal_of(value),
        }
        for number, value in enumerate(target.values, start=1)
    ]
    return {
        "id": target.target_id,
        "attribution": _attribution(stored),
        "targetGroupId": programme.target_group_id,
        "enrolmentMethod": target.enrolment_method,
        "name": target.name,
        "description": stored.definition.target.description,
        "active": stored.active,
        "targetEntity": target.measure.entity,
        "targetType": target.measure.type,
        "eventName": target.measure.event_name,
        "extendedFieldInfo": _extended_field_info(target),
        "defaultValues": values,
        "targetPeriodDefaultValuesMap": {str(value["periodId"]): value for value in values},
        "expression": "true",
        "expressionJson": stored.definition.target.expression_json,
        "filters": [],
        "targetMilestoneTriggers": [],
        "rewards": [_shown_reward(reward) for reward in target.rewards],
    }


def _extended_field_info(target: Target) -> dict[str, Any] | None:
    if not target.measure.names_attribute:
        return None
    return {"name": target.measure.attribute, "aggregateFunction": "SUM", "aggregateWindow": None}


def _shown_level(stored: DefinedProgramme, level: StreakLevel) -> dict[str, Any]:
    return {
        "id": level.level_id,
        "attribution": _attribution(stored),
        "targetGroupId": stored.programme.target_group_id,
        "name": level.name,
        "targetCountOfSequence": level.count,
        "rewards": [_shown_reward(reward) for reward in level.rewards],
    }


def _shown_reward(reward: RewardDefinition) -> dict[str, Any]:
    return {
        "id": reward.reward_definition_id,
        "kind": reward.kind,
        "value": reward.value if isinstance(reward.value, str) else decimal_of(reward.value),
        "allocation": reward.allocation,
    }


def _attribution(stored: DefinedProgramme) -> dict[str, Any]:
    return {
        **twins("createdOn", stored.created_at),
        **twins("lastUpdatedOn", stored.updated_at),
        "createdBy": _person(stored.created_by),
        "lastUpdatedBy": _person(stored.updated_by),
    }


def _person(name: str) -> dict[str, Any]:
    return {"id": None, "code": name, "description": None, "name": name, "type": "TILL"}


def _flag(call: Call, name: str) -> bool:
    value = call.query.get(name, "false").lower()
    if value not in ("true", "false"):
        raise Refused(invalid(name, "must be true or false"))
    return value == "true"


OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/targetGroups",
        function=post_target_group,
        summary="Create a milestone or a streak",
        resource=Resource.TARGET_GROUPS,
        level=Level.WRITE,
        request=schemas.DEFINITION,
        response=schemas.ENVELOPED_GROUP,
        statuses=(201, 400),
        about=schemas.ABOUT_CREATE,
        examples=schemas.EXAMPLES,
        bulk=True,
    ),
    Operation(
        method="GET",
        path="/targetGroups",
        function=list_target_groups,
        summary="List target groups",
        resource=Resource.TARGET_GROUPS,
        level=Level.READ,
        response=schemas.ENVELOPED_GROUPS,
        statuses=(200, 400),
        query=(
            Parameter(name="includePeriods", schema=schemas.FLAG, about="Show all periods of each group."),
            Parameter(name="includeOnlyActive", schema=schemas.FLAG, about="Leave out deactivated groups."),
            Parameter(name="includeUserCreatedTargetGroups", schema=schemas.FLAG, about="There are none yet."),
        ),
    ),
    Operation(
        method="GET",
        path="/targetGroups/{targetGroupId}",
        function=get_target_group,
        summary="Read a target group",
        resource=Resource.TARGET_GROUPS,
        level=Level.READ,
        response=schemas.ENVELOPED_GROUP,
        statuses=(200, 400),
    ),
    Operation(
        method="DELETE",
        path="/targetGroups/{targetGroupId}",
        function=delete_target_group,
        summary="Deactivate a target group",
        resource=Resource.TARGET_GROUPS,
        level=Level.WRITE,
        response=schemas.ENVELOPED_TRUE,
        statuses=(200, 400),
        about="Nothing is deleted. Achieved period-end rewards of the running period are forfeited.",
    ),
)

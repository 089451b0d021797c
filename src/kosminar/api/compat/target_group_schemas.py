"""What target groups look like in the API's document: the create call's request, and what every answer shows."""

from collections.abc import Mapping
from typing import Any, Final

from kosminar.api.compat.definitions import BIGINT_MAX, RECURRING_CYCLES_MAX, RECURRING_CYCLES_MIN
from kosminar.api.operation import Schema, enveloped
from kosminar.core.definition import (
    DESCRIPTION_LENGTH_MAX,
    FREQUENCY_MAX,
    LEVEL_COUNT_MAX,
    MEASURED_NAME_LENGTH_MAX,
    NAME_LENGTH_MAX,
    REWARD_COUNT_MAX,
    REWARD_TEXT_LENGTH_MAX,
)
from kosminar.core.measure.catalogue import MEASURES
from kosminar.core.measure.measure import Entity
from kosminar.core.period import Frequency
from kosminar.core.programme import EnrolmentMethod, TrackingType
from kosminar.core.reward import Allocation, RewardKind
from kosminar.core.window.fixed import EXPLICIT_COUNT_MAX, GENERATED_COUNT_MAX
from kosminar.core.zone import OFFSET_DAYS_MAX

ABOUT_CREATE: Final = (
    "Periods are those of `periods`, else `totalPeriods` ones made from `targetCycleStartDate` (or `fromDate`) in steps "
    "of `frequency` times `frequencyType`. Times without an offset are in `timeZoneName`, by default the organisation's "
    "zone. Rewards, `timeZoneName`, `offsetDays` and `trackFromEnrolment` extend the published call."
)


def _object(properties: Mapping[str, Schema], *required: str) -> Schema:
    return {"type": "object", "properties": dict(properties), "required": list(required)}


def _array(items: Schema, minimum: int = 0, maximum: int | None = None) -> Schema:
    return {"type": "array", "items": items, "minItems": minimum, **({} if maximum is None else {"maxItems": maximum})}


def _whole(minimum: int, maximum: int | None = None) -> Schema:
    return {"type": "integer", "minimum": minimum, **({} if maximum is None else {"maximum": maximum})}


def _words(words: Any) -> Schema:
    return {"type": "string", "enum": [str(word) for word in words]}


FLAG: Final[Schema] = {"type": "boolean", "default": False}
_NAME: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH_MAX}
_DESCRIPTION: Final[Schema] = {"type": ["string", "null"], "maxLength": DESCRIPTION_LENGTH_MAX}
_MEASURED_NAME: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": MEASURED_NAME_LENGTH_MAX}
_DATE_TIME: Final[Schema] = {"type": "string", "description": "ISO 8601 date or date-time, with or without offset"}
_DATE: Final[Schema] = {"type": "string", "format": "date"}
_AMOUNT: Final[Schema] = {"type": ["number", "string"], "description": "Decimal, more than 0, three places"}
_ID: Final[Schema] = _whole(1)
_FIXED: Final[Schema] = {"type": "string", "const": "FIXED_CALENDAR_WINDOW"}

_REWARD: Final = _object(
    {
        "kind": _words(RewardKind),
        "value": {
            "type": ["number", "string"],
            "description": f"Points, more than 0; for other kinds text of up to {REWARD_TEXT_LENGTH_MAX} characters",
        },
        "allocation": {**_words(Allocation), "default": Allocation.IMMEDIATE.value},
    },
    "kind",
    "value",
)
_REWARDS: Final = _array(_REWARD, 0, REWARD_COUNT_MAX)

_EXTENDED_FIELD: Final = _object(
    {
        "name": _MEASURED_NAME,
        "aggregateFunction": {"enum": ["SUM", None]},
        "aggregateWindow": {"type": "null"},
    },
    "name",
)
_TARGET: Final = _object(
    {
        "name": _NAME,
        "description": _DESCRIPTION,
        "targetEntity": _words(Entity),
        "targetType": _words(MEASURES),
        "eventName": _MEASURED_NAME,
        "extendedFieldInfo": {**_EXTENDED_FIELD, "type": ["object", "null"]},
        "enrolmentMethod": {**_words(EnrolmentMethod), "default": EnrolmentMethod.IMPORT.value},
        "expression": {"enum": ["true", True]},
        "expressionJson": {"type": "string"},
        "defaultValues": _array(_object({"defaultValue": _AMOUNT}, "defaultValue"), 1),
        "rewards": _REWARDS,
    },
    "name",
    "targetEntity",
    "targetType",
    "defaultValues",
)

DEFINITION: Final = _object(
    {
        "name": _NAME,
        "description": _DESCRIPTION,
        "trackingType": _words(TrackingType),
        "targetEvaluationType": _FIXED,
        "fromDate": _DATE_TIME,
        "toDate": _DATE_TIME,
        "targetCycleStartDate": _DATE_TIME,
        "targetCycleEndDate": _DATE_TIME,
        "totalPeriods": _whole(1, GENERATED_COUNT_MAX),
        "frequencyType": _words(Frequency),
        "frequency": _whole(1, FREQUENCY_MAX),
        "recurringCycles": _whole(RECURRING_CYCLES_MIN, RECURRING_CYCLES_MAX),
        "preferredTillId": {**_whole(-1, BIGINT_MAX), "type": ["integer", "null"]},
        "timeZoneName": {"type": "string", "examples": ["Europe/Paris"]},
        "offsetDays": {**_whole(0, OFFSET_DAYS_MAX), "default": 0},
        "trackFromEnrolment": FLAG,
        "periods": _array(
            _object(
                {"refCode": _NAME, "startDate": _DATE_TIME, "endDate": _DATE_TIME, "description": _DESCRIPTION},
                "refCode",
                "startDate",
                "endDate",
            ),
            0,
            EXPLICIT_COUNT_MAX,
        ),
        "targets": _array(_TARGET, 1, 1),
        "streaks": _array(
            _object({"name": _NAME, "targetCountOfSequence": _whole(1), "rewards": _REWARDS}, "targetCountOfSequence"),
            0,
            LEVEL_COUNT_MAX,
        ),
    },
    "name",
    "trackingType",
    "targets",
)

_SHOWN_PERIOD: Final = _object(
    {
        "id": _ID,
        "targetGroupId": _ID,
        "refCode": _NAME,
        "description": _DESCRIPTION,
        "startDate": _DATE,
        "endDate": {**_DATE, "description": "The last day included"},
        "periodStatus": _words(["NOT_STARTED", "RUNNING", "ENDED"]),
        "active": {"type": "boolean"},
    },
    "id",
    "refCode",
    "startDate",
    "endDate",
    "periodStatus",
)
_SHOWN_GROUP: Final = _object(
    {
        **DEFINITION["properties"],
        "id": _ID,
        "active": {"type": "boolean"},
        "attribution": {"type": "object"},
        "periods": _array(_SHOWN_PERIOD),
        "activePeriod": _SHOWN_PERIOD,
        "createdOn": {"type": "integer", "description": "Milliseconds since 1970, in lists"},
        "targets": _array({"allOf": [_TARGET, _object({"id": _ID, "targetGroupId": _ID}, "id")]}),
        "streaks": _array(_object({"id": _ID, "name": _NAME, "targetCountOfSequence": _whole(1), "rewards": _REWARDS})),
    },
    "id",
    "name",
    "active",
    "trackingType",
    "targets",
)


ENVELOPED_GROUP: Final = enveloped(_SHOWN_GROUP)
ENVELOPED_GROUPS: Final = enveloped(_array(_SHOWN_GROUP))
ENVELOPED_TRUE: Final = enveloped({"type": "boolean", "const": True})

EXAMPLES: Final = {
    "request": {
        "name": "Spring spend",
        "trackingType": "DEFAULT",
        "targetEvaluationType": "FIXED_CALENDAR_WINDOW",
        "targetCycleStartDate": "2031-03-01",
        "totalPeriods": 3,
        "frequencyType": "MONTHLY",
        "frequency": 1,
        "recurringCycles": 0,
        "timeZoneName": "Europe/Paris",
        "targets": [
            {
                "name": "Spring spend",
                "targetEntity": "TRANSACTION",
                "targetType": "SALES",
                "enrolmentMethod": "IMPORT",
                "expression": "true",
                "defaultValues": [{"defaultValue": 250}],
                "rewards": [{"kind": "POINTS", "value": 100, "allocation": "PERIOD_END"}],
            }
        ],
    }
}

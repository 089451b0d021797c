"""A programme as a brand asks for it over HTTP, and the same one as the slow model knows it, from one draw."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from tests.model import slow_model as model
from tests.model.histories import ATTRIBUTE, EVENT_NAME, local

MEASURES = [
    ("TRANSACTION", "SALES"),
    ("TRANSACTION", "GROSS_SALES"),
    ("TRANSACTION", "COUNT"),
    ("TRANSACTION", "VISIT"),
    ("EVENT", "COUNT"),
    ("EVENT", "EVENT_ATTRIBUTE"),
]


@dataclass(frozen=True)
class Promise:
    """Periods of so many days each, `gap_days` apart; `first_shift` days from the day on which it is asked for."""

    kind: str
    automatic: bool
    track_from_enrolment: bool
    zone: str
    first_shift: int
    day_count: int
    gap_days: int
    period_count: int
    offset_days: int
    measure: tuple[str, str]
    values: tuple[Decimal, ...]
    rewards: tuple[tuple[str, Any, str], ...]
    levels: tuple[int, ...]

    def days(self, today: date) -> list[tuple[date, date]]:
        """First day and the day after the last, of each period."""
        step = timedelta(days=self.day_count + self.gap_days)
        first_on = today + timedelta(days=self.first_shift)
        starts_on = [first_on + step * number for number in range(self.period_count)]
        return [(on, on + timedelta(days=self.day_count)) for on in starts_on]

    def body(self, name: str, today: date) -> dict[str, Any]:
        entity, type_ = self.measure
        rewards = [{"kind": kind, "value": value, "allocation": when} for kind, value, when in self.rewards]
        group: dict[str, Any] = {
            "name": name,
            "trackingType": self.kind,
            "targetEvaluationType": "FIXED_CALENDAR_WINDOW",
            "timeZoneName": self.zone,
            "offsetDays": self.offset_days,
            "trackFromEnrolment": self.track_from_enrolment,
            "targets": [
                {
                    "name": name,
                    "targetEntity": entity,
                    "targetType": type_,
                    **({"eventName": EVENT_NAME} if entity == "EVENT" else {}),
                    **({"extendedFieldInfo": {"name": ATTRIBUTE}} if type_ == "EVENT_ATTRIBUTE" else {}),
                    "enrolmentMethod": "TRANSACTION" if self.automatic else "IMPORT",
                    "expression": "true",
                    "defaultValues": [{"defaultValue": value} for value in self.values],
                    "rewards": rewards,
                }
            ],
            "streaks": [
                {"targetCountOfSequence": count, "rewards": [{"kind": "POINTS", "value": 1000 + count}]}
                for count in self.levels
            ],
        }
        return group | self._periods(self.days(today))

    def _periods(self, days: list[tuple[date, date]]) -> dict[str, Any]:
        """Written out where there are gaps between them, else generated."""
        if not self.gap_days:
            return {
                "targetCycleStartDate": str(days[0][0]),
                "totalPeriods": self.period_count,
                "frequencyType": "DAILY" if self.day_count == 1 else "CUSTOM",
                "frequency": self.day_count,
            }
        return {
            "periods": [
                {"refCode": f"Cycle_{n}", "startDate": str(on), "endDate": str(until - timedelta(days=1))}
                for n, (on, until) in enumerate(days, start=1)
            ]
        }

    def modelled(self, group: Mapping[str, Any], today: date) -> model.ModelProgramme:
        """The dates reckoned here, the ids as they were answered."""
        values = self.values * self.period_count if len(self.values) == 1 else self.values
        entity, type_ = self.measure
        periods = [
            model.ModelPeriod(
                shown["id"],
                number,
                f"Cycle_{number}",
                local(on, 0, self.zone),
                local(until, 0, self.zone),
                local(until + timedelta(days=self.offset_days), 0, self.zone),
                value,
            )
            for number, (shown, (on, until), value) in enumerate(
                zip(group["periods"], self.days(today), values, strict=True), start=1
            )
        ]
        return model.ModelProgramme(
            kind=self.kind,
            automatic=self.automatic,
            zone=self.zone,
            track_from_enrolment=self.track_from_enrolment,
            periods=tuple(periods),
            rewards=_rewards(group["targets"][0]["rewards"]),
            levels=tuple(
                model.ModelLevel(s["id"], s["name"], s["targetCountOfSequence"], _rewards(s["rewards"]))
                for s in group["streaks"]
            ),
            entity=entity,
            measure=type_,
            event_name=EVENT_NAME if entity == "EVENT" else None,
            attribute=ATTRIBUTE if type_ == "EVENT_ATTRIBUTE" else None,
        )


def _rewards(shown: list[Mapping[str, Any]]) -> tuple[model.ModelReward, ...]:
    return tuple(model.ModelReward(r["id"], r["kind"], r["value"], r["allocation"]) for r in shown)


@st.composite
def promises(draw: st.DrawFn, zones: list[str]) -> Promise:
    kind = draw(st.sampled_from(["DEFAULT", "STREAKS", "NON_CONTINUOUS_STREAKS"]))
    measure = draw(st.sampled_from(MEASURES))
    period_count = draw(st.sampled_from([4, 3, 5, 1]))
    small = ["1", "2"] if measure[1] in ("COUNT", "VISIT") else ["10", "1", "20.5", "0.001"]
    values = st.sampled_from(small).map(Decimal)
    at_end, at_once = ("COUPON", "TEN-OFF", "PERIOD_END"), ("POINTS", 50, "IMMEDIATE")
    choices: dict[str, list[tuple[tuple[str, Any, str], ...]]] = {
        "DEFAULT": [(at_once, at_end), (at_end,), (at_end, ("BADGE", "gold", "PERIOD_END")), (at_once,), ()],
    }
    counts = st.sets(st.integers(1, period_count), min_size=1, max_size=3)
    return Promise(
        kind=kind,
        automatic=draw(st.booleans()),
        track_from_enrolment=draw(st.booleans()),
        zone=draw(st.sampled_from(zones)),
        first_shift=draw(st.sampled_from([0, -1, 1, -2])),
        day_count=draw(st.sampled_from([1, 1, 2])),
        gap_days=draw(st.sampled_from([0, 0, 1])),
        period_count=period_count,
        offset_days=draw(st.sampled_from([0, 1, 2])),
        measure=measure,
        values=tuple(
            draw(st.one_of(values.map(lambda v: [v]), st.lists(values, min_size=period_count, max_size=period_count)))
        ),
        rewards=draw(st.sampled_from(choices.get(kind, [(), (at_once,)]))),
        levels=() if kind == "DEFAULT" else tuple(sorted(draw(counts))),
    )


def today_of(now: datetime, zone: str) -> date:
    return now.astimezone(ZoneInfo(zone)).date()

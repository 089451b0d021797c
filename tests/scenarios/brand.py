"""A brand as its own engineer meets Kosminar: everything over HTTP, dates in the brand's zone, outcomes as short lines.

Every deed answers with what it brought about for the customer since the last look: the facts added to the audit trail,
period ends on the way included, then codes: `refused 310119`, `warned 390001`, `duplicate`.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx2

# The same numbers in both organisations: an id means something only within its own.
CUSTOMERS: Mapping[str, int] = {"ana": 601, "ben": 602}

# Facts that repeat a value told by the fact before them.
WITHOUT_VALUE = frozenset({"achieved", "period_ended"})


def points(value: float, allocation: str = "IMMEDIATE") -> dict[str, Any]:
    return {"kind": "POINTS", "value": value, "allocation": allocation}


def programme(
    *,
    periods: int | Iterable[tuple[str, str, str]] = 5,
    step: str = "MONTHLY",
    first: str = "2026-01-01",
    target: float | Iterable[float] = 100,
    measure: Mapping[str, str] | None = None,
    rewards: Iterable[Mapping[str, Any]] = (),
    levels: Iterable[int] = (),
    automatic: bool = False,
    name: str = "Spring",
    **group: Any,
) -> dict[str, Any]:
    """The body of the create call: a streak where there are levels, else a milestone. A level pays ten times its count.

    Periods are so many from the first day, or each with its name, first day and last day.
    """
    if isinstance(periods, int):
        group |= {"targetCycleStartDate": first, "totalPeriods": periods, "frequencyType": step, "frequency": 1}
    else:
        group["periods"] = [{"refCode": n, "startDate": start, "endDate": end} for n, start, end in periods]
    values = target if isinstance(target, Iterable) else [target]
    streaks = [{"name": f"Level_{n}", "targetCountOfSequence": n, "rewards": [points(10 * n)]} for n in levels]
    return {
        "name": name,
        "trackingType": "STREAKS" if streaks else "DEFAULT",
        "targetEvaluationType": "FIXED_CALENDAR_WINDOW",
        "targets": [
            {
                "name": name,
                **(measure or {"targetEntity": "TRANSACTION", "targetType": "SALES"}),
                "enrolmentMethod": "TRANSACTION" if automatic else "IMPORT",
                "expression": "true",
                "defaultValues": [{"defaultValue": value} for value in values],
                "rewards": list(rewards),
            }
        ],
        **({"streaks": streaks} if streaks else {}),
        **group,
    }


@dataclass
class Brand:
    """One organisation on a test clock, seen through its own credentials."""

    http: httpx2.AsyncClient
    auth: tuple[str, str]
    group: dict[str, Any] = field(default_factory=dict)
    sent: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self._names: dict[tuple[str, int], str] = {}
        self._seen: dict[str, int] = {}

    # ------------------------------------------------------------ deeds

    async def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A programme; it is the one that later deeds are about."""
        self.group = (await self._answer("POST", "/v3/targetGroups", 201, json=body))["data"]
        self._names |= {("period", period["id"]): period["refCode"] for period in self.group["periods"]}
        self._names |= {("level", level["id"]): level["name"] for level in self.group["streaks"]}
        return self.group

    async def register(self, *names: str) -> None:
        body = {"customers": [{"customerId": CUSTOMERS[name]} for name in names]}
        answer = await self._answer("POST", "/v1/customers", 200, json=body)
        assert [result["status"] for result in answer["results"]] == ["created"] * len(names)

    async def at(self, when: str) -> None:
        """Move the clock forward to that local time, period end by period end."""
        answer = await self._answer("POST", "/v1/clock/advance", 200, json={"to": when})
        assert answer["status"] == "ready"

    async def enrol(self, who: str, **body: Any) -> list[str]:
        return await self._enrolment("enroll", who, **body)

    async def unenrol(self, who: str) -> list[str]:
        return await self._enrolment("unEnroll", who)

    async def buy(self, who: str, amount: float | str, *, dated: str | None = None) -> list[str]:
        """A purchase, dated now unless told otherwise."""
        occurred_at = dated or (await self._answer("GET", "/v1/clock", 200))["now"]
        attributes = {"amount": amount, "grossAmount": amount}
        return await self.send(who, type="transaction", occurredAt=occurred_at, attributes=attributes)

    async def send(self, who: str, **activity: Any) -> list[str]:
        item = {"id": f"a-{next(self._numbers)}", "customerId": CUSTOMERS[who], **activity}
        self.sent.append(item)
        return await self.resend(who)

    async def resend(self, who: str, **changes: Any) -> list[str]:
        """The last activity once more, with other content where told."""
        body = {"activities": [{**self.sent[-1], **changes}]}
        [result] = (await self._answer("POST", "/v1/activities", 200, json=body))["results"]
        news = await self.news(who)
        returned = [self._told(fact) for fact in result["facts"]]
        assert news[len(news) - len(returned) :] == returned, "what is answered is what the trail says"
        if result["status"] == "duplicate":
            return [*news, "duplicate"]
        word = "refused" if result["status"] == "rejected" else "warned"
        return [*news, *([] if result["code"] is None else [f"{word} {result['code']}"])]

    async def report(self, who: str, outcome: str, reason: str | None) -> list[str]:
        """What became of the customer's last reward, as whoever hands it over tells."""
        rows = (await self._answer("GET", f"/v1/customers/{CUSTOMERS[who]}/rewards?limit=1000", 200))["data"]
        path = f"/v1/rewards/{rows[-1]['rewardId']}/{outcome}"
        response = await self.http.post(path, json={"reason": reason}, auth=self.auth)
        codes = [] if response.is_success else [f"refused {response.json()['code']}"]
        return [*await self.news(who), *codes]

    async def deactivate(self) -> None:
        assert (await self._answer("DELETE", f"/v3/targetGroups/{self.group['id']}", 200))["data"] is True

    # ------------------------------------------------------------ what is seen

    async def news(self, who: str) -> list[str]:
        """The facts of a customer that were not looked at yet."""
        answer = await self._answer("GET", f"/v1/customers/{CUSTOMERS[who]}/facts?limit=1000", 200)
        assert answer["next"] is None
        seen, self._seen[who] = self._seen.get(who, 0), len(answer["data"])
        return [self._told(fact) for fact in answer["data"][seen:]]

    async def rewards(self, who: str) -> list[str]:
        """Every reward of a customer: period or level, run, value, state and reason."""
        answer = await self._answer("GET", f"/v1/customers/{CUSTOMERS[who]}/rewards?limit=1000", 200)
        assert answer["next"] is None
        return [
            _words(
                self._names[("level", row["levelId"]) if row["levelId"] else ("period", row["periodId"])],
                f"run {row['run']}" if row["run"] > 1 else None,
                _number(row["value"]),
                row["state"],
                _quoted(row["reason"]),
            )
            for row in answer["data"]
        ]

    async def seen(self, who: str, **query: str) -> dict[str, Any]:
        """The programme as the customer's target groups show it, all periods."""
        query = {"includeInactive": "true", "includeInactiveTargets": "true", **query}
        answer = await self._answer("GET", f"/v3/users/{CUSTOMERS[who]}/targetGroups", 200, params=query)
        return next(group for group in answer["data"]["targetGroups"] if group["id"] == self.group["id"])

    async def outside(self, who: str) -> list[str]:
        """The periods the customer is out of."""
        return [row["periodRefCode"] for row in (await self.seen(who))["targets"] if row["unEnrolled"]]

    async def values(self, who: str) -> list[str]:
        """What was achieved in each period that has a value."""
        rows = (await self.seen(who))["targets"]
        told = [f"{row['periodRefCode']} {_number(row['targetAchievedValue'])}" for row in rows]
        return [line for line in told if not line.endswith(" 0")]

    async def count(self, who: str) -> list[str]:
        """The streak's count, and the levels that the running run has reached."""
        levels = (await self.seen(who))["streaks"]
        [count] = {level["currentCount"] for level in levels}
        return [str(count), *(level["streakName"] for level in levels if level["status"] == "ACHIEVED")]

    # ------------------------------------------------------------ HTTP

    async def _enrolment(self, operation: str, who: str, **body: Any) -> list[str]:
        path = f"/v3/targetGroups/{self.group['id']}/targets/{self.group['targets'][0]['id']}/{operation}"
        response = await self.http.post(path, json=[{"customerId": CUSTOMERS[who], **body}], auth=self.auth)
        answer = response.json()
        assert (response.status_code, answer["data"]) == ((400, None) if answer["errors"] else (200, CUSTOMERS[who]))
        codes = [f"refused {error['code']}" for error in answer["errors"] or []]
        codes += [f"warned {warning['code']}" for warning in answer["warnings"] or []]
        return [*await self.news(who), *codes]

    async def _answer(self, method: str, path: str, status: int, **options: Any) -> Any:
        response = await self.http.request(method, path, auth=self.auth, **options)
        assert response.status_code == status, response.text
        return response.json(parse_float=Decimal)

    def _told(self, fact: Mapping[str, Any]) -> str:
        value = None if fact["name"] in WITHOUT_VALUE else fact["value"]
        period, level = ("period", fact["periodId"]), ("level", fact["levelId"])
        return _words(
            fact["name"], self._names.get(period), self._names.get(level), _number(value), _quoted(fact["reason"])
        )


def _words(*words: str | None) -> str:
    return " ".join(word for word in words if word is not None)


def _quoted(reason: str | None) -> str | None:
    return None if reason is None else f'"{reason}"'


def _number(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return f"{Decimal(value).normalize():f}"

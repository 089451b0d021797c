"""A machine that drives the whole API with arbitrary calls and asks the slow model after each what must be seen.

Every example has an organisation of its own on a test clock, with up to three programmes and three customers; beside it
stands a neighbour with the same customer ids and names, of which nothing may ever move. What the model knows of a
customer in a programme is the list of calls with the answers it gave, and every expectation is recounted from that.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.api.brand import Brand, Programme, codes, open_brand, problem, snapshot
from tests.model import slow_model as model
from tests.model.histories import ATTRIBUTE, EVENT_NAME, EVES, beside, boundaries, local
from tests.properties.promises import Promise, promises, today_of

from kosminar.core.decoder import encode
from kosminar.engine.house import House

CUSTOMERS: Final = (1, 2, 3)
# The third is not registered at first, and one customer's long history is worth more than three short ones.
ANYBODY: Final = st.sampled_from([1, 1, 1, 2, 2, 3])
ANY_PROGRAMME: Final = st.sampled_from([0, 0, 1, 2])
PROGRAMME_COUNT_MAX: Final = 3
MOMENT: Final = timedelta(microseconds=1)

ACTIVITY_TOO_LATE: Final = 390007
UNKNOWN_CUSTOMER: Final = 310011
UNKNOWN_TARGET: Final = 310018
NAME_TAKEN: Final = 310069
NO_TEST_CLOCK: Final = 390016
REJECTED: Final = {model.FUTURE: 390006, model.CONFLICT: 390005}

# Apia's skipped day takes no period and would only repeat what the core's own properties try.
NIGHTS: Final = [eve for eve in EVES if eve[0] != "Pacific/Apia"]


class Office:
    """What all examples share: the application with its loop, and the neighbour."""

    def __init__(self, house: House, http: Any, neighbour: Brand, spared: Programme) -> None:
        self.house = house
        self.http = http
        self.neighbour = neighbour
        self.spared = spared
        self.numbers = itertools.count(1)
        self._loop = asyncio.get_running_loop()

    def run(self, deed: Coroutine[Any, Any, Any]) -> Any:
        """Hypothesis knows no coroutines; between its rules the application's loop stands still."""
        return self._loop.run_until_complete(deed)


@dataclass
class Held:
    """A programme of the example: as it was answered, as the model has it, and each customer's history in it."""

    programme: Programme
    model: model.ModelProgramme
    histories: dict[int, model.History] = field(default_factory=dict)

    @property
    def target_id(self) -> int:
        return self.programme.target_id

    def answer(self, who: int, command: model.Command) -> model.Answer:
        """The model's answer, which is from now on part of its history."""
        answer = model.answer_to(self.model, self.history(who), command)
        self.histories[who] = (*self.history(who), (command, answer))
        return answer

    def history(self, who: int) -> model.History:
        return self.histories.get(who, ())


class Api(RuleBasedStateMachine):
    """Rules are calls; whatever a rule does, every customer it touched is read afterwards and compared."""

    def __init__(self, office: Office) -> None:
        super().__init__()
        self.office = office
        self.held: list[Held] = []
        self.registered: set[int] = set()
        self.sent: list[tuple[int, model.Act]] = []
        self.accepted: dict[tuple[int, str], model.Act] = {}
        self.trails: dict[int, list[Any]] = {}
        self.numbers = itertools.count(1)
        self.neighbours_rows = office.run(snapshot(office.house, office.neighbour.organisation_id))

    # ------------------------------------------------------------ founding

    @initialize(
        night=st.sampled_from(NIGHTS),
        promise=promises(["UTC"]),
        hours=st.integers(0, 23),
        enrols=st.sampled_from([True, True, False]),
    )
    def found(self, night: tuple[str, Any], promise: Promise, hours: int, enrols: bool) -> None:
        self.zone, eve = night
        self.now = local(eve, 0, self.zone) + timedelta(hours=hours)
        name = f"Example {next(self.office.numbers)}"
        self.brand: Brand = self.office.run(
            open_brand(self.office.house, self.office.http, name, zone=self.zone, clock=self.now)
        )
        self._register(1)
        self._register(2)
        self._define(replace(promise, zone=self.zone))
        if enrols:
            self._enrol(1, 0)

    @precondition(lambda self: len(self.held) < PROGRAMME_COUNT_MAX)
    @rule(promise=promises(["America/New_York", "UTC", "Australia/Lord_Howe"]))
    def define(self, promise: Promise) -> None:
        self._define(promise)

    def _define(self, promise: Promise) -> None:
        today = today_of(self.now, promise.zone)
        body = promise.body(f"Programme {len(self.held) + 1}", today)
        programme = self.office.run(self.brand.define(encode(body)))
        self.held.append(Held(programme, promise.modelled(programme.group, today)))
        assert self._refused("POST", "/targetGroups", body) == [NAME_TAKEN, NAME_TAKEN]

    @rule(who=ANYBODY)
    def register(self, who: int) -> None:
        self._register(who)

    def _register(self, who: int) -> None:
        [result] = self._ask("POST", "/v1/customers", {"customers": [{"customerId": who}]})["results"]
        assert result["status"] == ("exists" if who in self.registered else "created")
        self.registered.add(who)

    # ------------------------------------------------------------ enrolments

    @rule(
        who=ANYBODY,
        which=ANY_PROGRAMME,
        name=st.sampled_from([None, None, "Cycle_1", "cycle_2", "Cycle_3", "Cycle_9"]),
        balance=st.sampled_from([None, None, Decimal(0), Decimal(1), Decimal("9.9995"), Decimal(10)]),
        reset=st.sampled_from([None, None, False, True]),
    )
    def enrol(self, who: int, which: int, name: str | None, balance: Decimal | None, reset: bool | None) -> None:
        self._enrol(who, which, name=name, balance=balance, reset=reset)

    @rule(who=ANYBODY, which=ANY_PROGRAMME)
    def enrol_plainly(self, who: int, which: int) -> None:
        self._enrol(who, which)

    def _enrol(
        self,
        who: int,
        which: int,
        *,
        name: str | None = None,
        balance: Decimal | None = None,
        reset: bool | None = None,
    ) -> None:
        held = self._one(which)
        command = model.Enrol(self.now, name, balance, bool(reset))
        body = {"customerId": who, "periodName": name, "initialBalance": balance, "resetStreakStatus": reset}
        missing = self._missing(held, who)
        if model.first_covered(held.model, command) is None:
            missing.add(model.PERIOD_NOT_FOUND)
        self._call(held, who, "enroll", body, command, missing)

    @rule(who=ANYBODY, which=ANY_PROGRAMME)
    def un_enrol(self, who: int, which: int) -> None:
        held = self._one(which)
        self._call(held, who, "unEnroll", {"customerId": who}, model.UnEnrol(self.now), self._missing(held, who))

    def _missing(self, held: Held, who: int) -> set[int]:
        unknown = set() if who in self.registered else {UNKNOWN_CUSTOMER}
        return unknown | ({model.GROUP_NOT_FOUND} if model.deactivated(held.model, self.now) else set())

    def _call(self, held: Held, who: int, verb: str, body: Any, command: model.Command, missing: set[int]) -> None:
        """What is missing is reported together; else the model answers (decision 4)."""
        response = self.office.run(self.brand.call("POST", held.programme.path(verb), encode([body])))
        expected = sorted(missing) or held.answer(who, command)
        event(f"{verb}: {expected or 'ok'}")
        if missing or {*expected} & model.CHANGES_NOTHING - {model.ALREADY_UNENROLLED}:
            assert codes(response) == expected
        else:
            assert response.status_code == 200, response.text
            content = response.json()
            assert content["data"] == who
            assert content["errors"] is None
            assert [warning["code"] for warning in content["warnings"] or []] == expected
        self._compare(who)

    # ------------------------------------------------------------ activities

    @rule(
        who=ANYBODY,
        which=ANY_PROGRAMME,
        amount=st.sampled_from(["10", "1", "20.5", "0", "0.0005", "5"]),
        back=st.sampled_from([timedelta(0), timedelta(0), timedelta(minutes=5), timedelta(minutes=-4)]),
    )
    def act(self, who: int, which: int, amount: str, back: timedelta) -> None:
        self._act(who, which, amount=amount, occurred_at=self.now - back)

    @rule(
        who=ANYBODY,
        which=ANY_PROGRAMME,
        amount=st.sampled_from(["10", "20.5"]),
        edge=st.integers(0, 30),
        number=st.integers(0, 99),
    )
    def act_late(self, who: int, which: int, amount: str, edge: int, number: int) -> None:
        """Dated beside an edge that has passed, a call's instant included."""
        calls = [c.at for h in self.held for c, _ in h.history(who) if not isinstance(c, model.Act)]
        past = [at for at in sorted({*self._edges(), *calls}) if at <= self.now] or [self.now]
        occurred_at = beside(Random(number), past[-1 - edge % len(past)])
        self._act(who, which, amount=amount, occurred_at=occurred_at)

    @rule(who=ANYBODY, which=ANY_PROGRAMME, too_far=st.booleans())
    def act_ahead(self, who: int, which: int, too_far: bool) -> None:
        """Five minutes ahead is taken, a moment more is not."""
        ahead = model.FUTURE_MAX + (MOMENT if too_far else timedelta(0))
        self._act(who, which, amount="10", occurred_at=self.now + ahead)

    @rule(who=ANYBODY, which=ANY_PROGRAMME, count=st.sampled_from([1, 2, 3]))
    def live_through_a_period(self, who: int, which: int, count: int) -> None:
        """Enough of what that programme measures, and on to the next end of a period: streaks are made of this."""
        for _ in range(count):
            self._act(who, which, amount="20.5", occurred_at=self.now)
        ends = [period.ends_at for period in self._one(which).model.periods if period.ends_at > self.now]
        self._advance(min(ends, default=self.now))

    def _act(self, who: int, which: int, *, amount: str, occurred_at: datetime) -> None:
        """What the programme listens to; the other ones may hear it too."""
        event_named = self._one(which).model.entity == "EVENT"
        names = (ATTRIBUTE,) if event_named else ("amount", "grossAmount")
        attributes = {name: Decimal(amount) for name in names}
        type_ = EVENT_NAME if event_named else "transaction"
        self._send(who, model.Act(self.now, f"a{next(self.numbers)}", type_, occurred_at, dict(attributes)))

    @precondition(lambda self: self.sent)
    @rule(which=st.integers(0, 99), other=st.sampled_from(["nothing", "nothing", "digits", "amount", "instant", "who"]))
    def repeat(self, which: int, other: str) -> None:
        """An activity comes again: the same, written with more digits, with other content, or somebody else's."""
        who, act = self.sent[which % len(self.sent)]
        act = replace(act, at=self.now)
        if other == "digits":
            act = replace(act, attributes={n: Decimal(f"{v:.4f}") for n, v in act.attributes.items()})  # type: ignore[str-bytes-safe]
        if other == "amount":
            act = replace(act, attributes=dict.fromkeys(act.attributes, Decimal(77)))
        if other == "instant":
            act = replace(act, occurred_at=act.occurred_at - MOMENT)
        self._send(who % len(CUSTOMERS) + 1 if other == "who" else who, act)

    def _send(self, who: int, act: model.Act) -> None:
        item = {
            "id": act.activity_id,
            "customerId": who,
            "type": act.type,
            "occurredAt": act.occurred_at,
            "attributes": act.attributes,
        }
        self.sent.append((who, act))
        [result] = self._ask("POST", "/v1/activities", {"activities": [item]})["results"]
        verdicts, expected = self._expected(who, act)
        event(f"activity: {expected}, {', '.join(sorted(set(verdicts)))}")
        assert (result["status"], result["code"]) == expected
        told = Counter(fact["name"] for fact in result["facts"])
        assert told["progressed"] == verdicts.count(model.COUNTED)
        self._compare(who)

    def _expected(self, who: int, act: model.Act) -> tuple[list[str], tuple[str, int | None]]:
        """What each programme makes of it, and the result; an id is the customer's own, whatever programmes there were."""
        if who not in self.registered:
            return [], ("rejected", UNKNOWN_CUSTOMER)
        if act.occurred_at > act.at + model.FUTURE_MAX:
            return [], ("rejected", REJECTED[model.FUTURE])
        read = act
        if act.type == "transaction":
            read = replace(act, attributes={n: model.rounded(v) for n, v in act.attributes.items()})  # type: ignore[arg-type]
        known = self.accepted.get((who, act.activity_id))
        if known is not None:
            same = model.same_content(known, read)
            return [], ("duplicate", None) if same else ("rejected", REJECTED[model.CONFLICT])
        self.accepted[who, act.activity_id] = read
        verdicts = [str(held.answer(who, read)) for held in self.held]
        late = model.TOO_LATE in verdicts and model.COUNTED not in verdicts
        return verdicts, ("accepted", ACTIVITY_TOO_LATE if late else None)

    # ------------------------------------------------------------ time

    @rule(edge=st.sampled_from([0, 0, 0, 1, 2]), moment=st.sampled_from([timedelta(0), timedelta(0), -MOMENT, MOMENT]))
    def advance_to_an_edge(self, edge: int, moment: timedelta) -> None:
        """One of the next instants at which something begins, ends or falls due, or the moment beside it."""
        ahead = [at + moment for at in self._edges() if at + moment > self.now]
        if ahead:
            self._advance(ahead[min(edge, len(ahead) - 1)])

    @rule(span=st.sampled_from([timedelta(minutes=4), timedelta(hours=7), MOMENT, timedelta(0)]))
    def advance_a_little(self, span: timedelta) -> None:
        self._advance(self.now + span)

    def _advance(self, to: datetime) -> None:
        answer = self._ask("POST", "/v1/clock/advance", {"to": to})
        self.now = to
        assert answer["status"] == "ready"
        assert datetime.fromisoformat(answer["now"]) == to
        back = self.office.run(self.brand.call("POST", "/v1/clock/advance", encode({"to": to - MOMENT})))
        assert problem(back) == (409, NO_TEST_CLOCK)
        self._compare(*self.registered)

    @precondition(lambda self: self.now > self._edges()[0])
    @rule(which=ANY_PROGRAMME, really=st.sampled_from([False, False, False, True]))
    def deactivate(self, which: int, really: bool) -> None:
        """A moment after everything else: the model tells before from after by the instant alone."""
        held = self._one(which)
        self._advance(self.now + MOMENT)
        if not really:
            return
        response = self.office.run(self.brand.call("DELETE", f"/targetGroups/{held.programme.target_group_id}"))
        if held.model.deactivated_at is not None:
            assert codes(response) == [model.GROUP_NOT_FOUND]
            return
        assert response.json()["data"] is True
        held.model = replace(held.model, deactivated_at=self.now)
        self._compare(*self.registered)

    # ------------------------------------------------------------ strangers

    @rule(who=ANYBODY, verb=st.sampled_from(["enroll", "unEnroll"]))
    def reach_for_the_neighbours_programme(self, who: int, verb: str) -> None:
        """It looks like one that does not exist, and so does a customer of theirs that is none of ours."""
        path = self.office.spared.path(verb)
        unknown = {model.GROUP_NOT_FOUND, UNKNOWN_TARGET}
        if who not in self.registered:
            unknown.add(UNKNOWN_CUSTOMER)
        assert self._refused("POST", path, [{"customerId": who}]) == sorted(unknown)
        assert self._refused("GET", f"/targetGroups/{self.office.spared.target_group_id}") == [model.GROUP_NOT_FOUND]
        if who not in self.registered:
            assert self._refused("GET", f"/users/{who}/targetGroups") == [UNKNOWN_CUSTOMER]

    def teardown(self) -> None:
        rows = self.office.run(snapshot(self.office.house, self.office.neighbour.organisation_id))
        assert rows == self.neighbours_rows

    # ------------------------------------------------------------ what is seen

    def _compare(self, *customers: int) -> None:
        for who in customers:
            if who in self.registered:
                self._compare_rewards(who)
                self._compare_target_groups(who)
                self._compare_facts(who)

    def _compare_rewards(self, who: int) -> None:
        page = self._ask("GET", f"/v1/customers/{who}/rewards?limit=1000")
        seen = {
            (r["targetId"], r["periodId"], r["levelId"], r["run"], int(r["rewardId"].rsplit("-", 1)[1])): (
                r["state"],
                r["reason"],
            )
            for r in page["data"]
        }
        expected = {
            (held.target_id, *key): state
            for held in self.held
            for key, state in model.rewards(held.model, held.history(who), self.now).items()
        }
        assert len(seen) == len(page["data"])
        assert seen == expected
        for state, _ in expected.values():
            event(f"reward: {state}")

    def _compare_target_groups(self, who: int) -> None:
        path = f"/users/{who}/targetGroups?includeInactive=true&includeInactiveTargets=true"
        groups = {group["id"]: group for group in self._ask("GET", path)["data"]["targetGroups"]}
        entered = [held for held in self.held if model.stretches(held.model, held.history(who))]
        assert set(groups) == {held.programme.target_group_id for held in entered}
        for held in entered:
            self._compare_group(held, held.history(who), groups[held.programme.target_group_id])

    def _compare_group(self, held: Held, history: model.History, group: Any) -> None:
        run = model.runs(held.model, history)[-1]
        for period, row in zip(held.model.periods, group["targets"], strict=True):
            expected = model.standing_in(held.model, history, period, run=run)
            assert Decimal(str(row["targetAchievedValue"])) == expected.value, period.name
            assert (row["targetAchievedDateTime"] is not None) is expected.achieved, period.name
            assert row["unEnrolled"] is not self._in(held.model, history, period), period.name
        if held.model.kind == "DEFAULT":
            return
        reached = {level_id for level_id, in_run in model.reached(held.model, history) if in_run == run}
        count = model.current_count(held.model, history, self.now)
        assert {level["streakId"] for level in group["streaks"] if level["status"] == "ACHIEVED"} == reached
        assert {level["currentCount"] for level in group["streaks"]} == {count}
        event(f"streak at {min(count, 2)} or more, run {min(run, 2)} or later")

    def _in(self, programme: model.ModelProgramme, history: model.History, period: model.ModelPeriod) -> bool:
        if period.ends_at <= self.now:
            return model.stretch_at_end(model.stretches(programme, history), period) is not None
        stretch = model.open_stretch(programme, history)
        return stretch is not None and stretch.covers(period)

    def _compare_facts(self, who: int) -> None:
        """The trail only grows, and tells as many enrolments, levels and rewards as there were, and the last values."""
        trail = self._ask("GET", f"/v1/customers/{who}/facts?limit=1000")["data"]
        before = self.trails.get(who, [])
        assert trail[: len(before)] == before
        self.trails[who] = trail
        for held in self.held:
            facts = [fact for fact in trail if fact["targetId"] == held.target_id]
            self._compare_trail(held.model, held.history(who), facts)

    def _compare_trail(self, programme: model.ModelProgramme, history: model.History, facts: list[Any]) -> None:
        told = Counter(fact["name"] for fact in facts)
        rewards = model.rewards(programme, history, self.now)
        held = model.stretches(programme, history)
        assert told["enrolled"] + told["re_enrolled"] == len(held)
        assert told["un_enrolled"] == sum(stretch.ends_at is not None for stretch in held)
        assert told["level_reached"] == len(model.reached(programme, history))
        assert told["reward_earned"] == sum(state == model.ISSUED for state, _ in rewards.values())
        assert told["progressed"] == sum(answer == model.COUNTED for _, answer in history)
        if programme.kind != "DEFAULT":
            return
        last = {f["periodId"]: f["value"] for f in facts if f["name"] in ("progressed", "balance_set")}
        values = {period_id: value for (period_id, _), (value, _) in model.progress(programme, history).items()}
        for period_id in last.keys() | values.keys():
            assert Decimal(str(last.get(period_id, 0))) == values.get(period_id, 0)

    # ------------------------------------------------------------ HTTP

    def _one(self, which: int) -> Held:
        return self.held[which % len(self.held)]

    def _edges(self) -> list[datetime]:
        return sorted({at for held in self.held for at in boundaries(held.model)})

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        return self.office.run(self.brand.ask(method, path, None if body is None else encode(body)))

    def _refused(self, method: str, path: str, body: Any = None) -> list[int]:
        return codes(self.office.run(self.brand.call(method, path, None if body is None else encode(body))))

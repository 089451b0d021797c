"""Whether the engine told the truth: what it answered, what it kept, and what the slow model makes of the accepted order.

One snapshot of an organisation is read and judged as a whole. Nothing here knows how the engine works: rows in, calls
with their answers in, complaints out.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import asyncpg
from tests.model import slow_model as model
from tests.model import stored
from tests.model.stored import Kept, Place, Row
from tests.simulation.asking import Call
from tests.simulation.plan import Activities, Advance, Enrolment
from tests.simulation.receiver import BrandReceiver

SHOWN_MAX = 4
GROUP_NOT_FOUND, PERIOD_NOT_FOUND, GONE_ALREADY = 310017, 310019, 390001
CONFLICT, FUTURE, TOO_LATE = 390005, 390006, 390007


class Disagreement(Exception):
    """The engine and the truth differ; the message has both."""


@dataclass
class Group:
    """A programme as it was built: its ids, and the model's view with the ids that the database gave."""

    group_id: int
    target_id: int
    definition: Mapping[str, Any]
    programme: model.ModelProgramme
    # Of the definitions: it hears nothing that was accepted under an earlier one.
    created_version: int

    def heard(self, trail: list[Row]) -> list[Row]:
        """What of a customer's order is anything to it."""
        return [
            row
            for row in trail
            if stored.concerns(row, self.target_id, self.programme)
            and row.row["definitions_version"] >= self.created_version
        ]


@dataclass(frozen=True)
class Snapshot:
    """Everything of one organisation at one moment."""

    now: datetime
    settled_at: datetime
    trails: Mapping[int, list[Row]]
    kept: Kept
    earned: Mapping[Any, int]
    deactivated_at: Mapping[int, datetime]
    # Of every customer, by number.
    notifications: Mapping[int, list[asyncpg.Record]]


async def take_snapshot(connection: asyncpg.Connection, organisation_id: int) -> Snapshot:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        clock = await connection.fetchrow("SELECT * FROM organisation WHERE organisation_id = $1", organisation_id)
        deactivated = await connection.fetch(
            "SELECT target_group_id, deactivated_at FROM definition"
            " WHERE organisation_id = $1 AND deactivated_at IS NOT NULL",
            organisation_id,
        )
        notifications: dict[int, list[asyncpg.Record]] = defaultdict(list)
        for row in await connection.fetch(
            "SELECT * FROM notification WHERE organisation_id = $1 ORDER BY number", organisation_id
        ):
            notifications[row["customer_id"]].append(row)
        return Snapshot(
            now=clock["clock_at"],
            settled_at=clock["settled_at"],
            trails=await stored.read_trails(connection, organisation_id),
            kept=await stored.read_kept(connection, organisation_id),
            earned=await stored.count_earned(connection, organisation_id),
            deactivated_at={row["target_group_id"]: row["deactivated_at"] for row in deactivated},
            notifications=notifications,
        )


@dataclass
class Tally:
    """What the rewards came to, over all places."""

    issued: int = 0
    forfeited: int = 0
    lost: int = 0
    unearned: int = 0
    doubled: int = 0


@dataclass
class Chronicle:
    """One organisation's calls, and which of them each accepted row belongs to."""

    organisation_id: int
    customer_ids: tuple[int, ...]
    groups: list[Group]
    receivers: list[BrandReceiver]
    clock_at: datetime
    calls: list[Call] = field(default_factory=list)
    # Of every accepted row: the call that brought it.
    brought: dict[tuple[int, int], Call] = field(default_factory=dict)
    seen: dict[int, list[tuple[Any, ...]]] = field(default_factory=lambda: defaultdict(list))
    judged_until: int = 0
    tally: Tally = field(default_factory=Tally)
    outcomes: dict[Place, model.Outcome] = field(default_factory=dict)
    histories: dict[Place, model.History] = field(default_factory=dict)

    def judge(self, snapshot: Snapshot, *, final: bool) -> None:
        """Raises Disagreement with everything that is wrong; finally, nothing may be under way any more."""
        found = list(self._complaints(snapshot, final=final))
        if found:
            raise Disagreement("\n".join([*found[:SHOWN_MAX], f"({len(found)} complaints in all)"]))
        self.clock_at = snapshot.now
        self.judged_until = len(self.calls)

    def _complaints(self, snapshot: Snapshot, *, final: bool) -> Iterator[str]:
        for group in self.groups:
            group.programme = replace(group.programme, deactivated_at=snapshot.deactivated_at.get(group.group_id))
        yield from self._clock(snapshot)
        yield from self._history(snapshot)
        yield from self._commands(snapshot)
        yield from self._activities(snapshot)
        yield from self._order(snapshot)
        yield from self._outcomes(snapshot, final=final)
        yield from self._refusals(snapshot)
        yield from self._hand_overs(snapshot)
        for receiver in self.receivers:
            yield from self._heard(receiver, snapshot, final=final)

    # ------------------------------------------------------------ the clock and the past

    def _clock(self, snapshot: Snapshot) -> Iterator[str]:
        asked = [call.asked.to for call in self.calls if isinstance(call.asked, Advance)]
        expected = max([self.clock_at, *asked])
        if snapshot.now != expected:
            yield f"the clock shows {snapshot.now}, not {expected}"

    def _history(self, snapshot: Snapshot) -> Iterator[str]:
        """What was accepted once stays, as it was; nothing is slipped in before it."""
        for customer_id, trail in snapshot.trails.items():
            rows = [tuple(row.row.values()) for row in trail]
            before = self.seen[customer_id]
            if rows[: len(before)] != before:
                yield f"customer {customer_id}: the past has changed: {before} became {rows[: len(before)]}"
            sequences = [row.sequence for row in trail]
            if len(set(sequences)) != len(sequences):
                yield f"customer {customer_id}: two rows have one number: {sequences}"
            self.seen[customer_id] = rows

    def _new_rows(self, snapshot: Snapshot) -> Iterator[tuple[int, Row]]:
        for customer_id, trail in snapshot.trails.items():
            for row in trail:
                if (customer_id, row.sequence) not in self.brought:
                    yield customer_id, row

    # ------------------------------------------------------------ exactly once

    def _commands(self, snapshot: Snapshot) -> Iterator[str]:
        """Each accepted enrolment and un-enrolment has one row, each refused one has none."""
        open_calls = {
            call.username: call for call in self.calls[self.judged_until :] if isinstance(call.asked, Enrolment)
        }
        for customer_id, row in self._new_rows(snapshot):
            if isinstance(row.command, model.Act):
                continue
            call = open_calls.pop(row.row["asked_by"], None)
            if call is None or not self._is_of(row, customer_id, call):
                yield f"customer {customer_id}: a row that nobody asked for, or twice: {row}; {call}"
                continue
            if not accepted(call) and not unsure(call):
                yield f"customer {customer_id}: refused and yet done: {row}; {call}"
            self.brought[customer_id, row.sequence] = call
        yield from (f"accepted, but nowhere to be found: {call}" for call in open_calls.values() if accepted(call))

    def _is_of(self, row: Row, customer_id: int, call: Call) -> bool:
        assert isinstance(call.asked, Enrolment)
        asked = call.asked.command
        if customer_id != call.asked.customer_id or row.target_id != self.groups[call.asked.programme_index].target_id:
            return False
        if isinstance(asked, model.Enrol) and asked.initial_balance is not None:
            asked = replace(asked, initial_balance=model.rounded(asked.initial_balance))
        return replace(asked, at=row.at) == row.command

    def _activities(self, snapshot: Snapshot) -> Iterator[str]:
        """Each id is recorded once, with the content that was accepted; the answers agree with that."""
        rows = {
            (customer_id, row.command.activity_id): row
            for customer_id, trail in snapshot.trails.items()
            for row in trail
            if isinstance(row.command, model.Act)
        }
        told: dict[tuple[int, str], list[tuple[Call, model.Act, str, int | None]]] = defaultdict(list)
        for call in self.calls:
            if isinstance(call.asked, Activities):
                for (customer_id, act), result in zip(call.asked.items, call.answer["results"], strict=True):
                    told[customer_id, act.activity_id].append((call, act, result["status"], result["code"]))
        for key in rows.keys() - told.keys():
            yield f"an activity that nobody sent: {rows[key]}"
        for key, many in told.items():
            row = rows.get(key)
            for call, act, status, code in many:
                same = row is not None and same_content(act, row.command)
                right = {
                    ("accepted", None): same,
                    ("accepted", TOO_LATE): same,
                    ("duplicate", None): same,
                    ("rejected", CONFLICT): row is not None and not same,
                    ("rejected", FUTURE): True,
                }.get((status, code), False)
                if not right:
                    yield f"activity {key} was answered {status} {code}, but recorded is {row}; {call}"
            takers = [call for call, _, status, _ in many if status == "accepted"]
            if len(takers) > 1:
                yield f"activity {key} was accepted twice: {takers[0]}; {takers[1]}"
            if row is None or (key[0], row.sequence) in self.brought:
                continue
            unheard = {status: call for call, act, status, _ in many if unsure(call) and same_content(act, row.command)}
            if not takers and "duplicate" in unheard:
                # Recorded by an attempt that got no answer; the next one was told that it is there.
                takers = [unheard["duplicate"]]
            if not takers and "rejected" in unheard:
                # Refused, for it lay too far ahead; then the clock was moved, and an earlier attempt, which a server
                # that stood still had held, was worked after all. Nobody can tell when.
                continue
            if not takers:
                told_of = "; ".join(f"{status} {code} by {call.brief}" for call, _, status, code in many)
                yield f"activity {key} is recorded, but nobody was told that it was accepted: {row.command}; {told_of}"
                continue
            self.brought[key[0], row.sequence] = takers[0]

    # ------------------------------------------------------------ one order

    def _order(self, snapshot: Snapshot) -> Iterator[str]:
        """Whoever stands earlier was sent before this one was answered."""
        for customer_id, trail in snapshot.trails.items():
            latest_sent = 0
            for row in trail:
                call = self.brought.get((customer_id, row.sequence))
                if call is None:
                    continue
                if call.answered <= latest_sent:
                    yield f"customer {customer_id}: {row} overtook what had been answered before it was asked"
                latest_sent = max(latest_sent, call.sent)

    # ------------------------------------------------------------ what became of it

    def _outcomes(self, snapshot: Snapshot, *, final: bool) -> Iterator[str]:
        tally = Tally()
        for customer_id in self.customer_ids:
            trail = snapshot.trails.get(customer_id, [])
            verdicts: dict[int, list[str]] = defaultdict(list)
            for group in self.groups:
                told = group.heard(trail)
                commands = [row.command for row in told]
                outcome = model.replay(group.programme, commands, now=snapshot.now)
                history = tuple(zip(commands, outcome.answers, strict=True))
                self.histories[customer_id, group.target_id] = history
                yield from self._answers(customer_id, told, outcome, verdicts)
                place = (customer_id, group.target_id)
                self.outcomes[place] = outcome
                ledger = self._as_earned(place, snapshot.kept.ledger.get(place, {}), final=final)
                yield from _differences(place, group, told, outcome, snapshot.kept, ledger)
                _count(tally, place, outcome, snapshot)
            yield from self._lateness(customer_id, trail, verdicts)
        tally.doubled += sum(count - 1 for count in snapshot.earned.values())
        if tally.lost or tally.unearned or tally.doubled:
            yield f"rewards: {tally}"
        self.tally = tally

    # ------------------------------------------------------------ what was told

    @property
    def giver(self) -> BrandReceiver | None:
        """Who gives this brand's rewards, if somebody does."""
        for receiver in self.receivers:
            if receiver.event_names is None or "rewardIssued" in receiver.event_names:
                return receiver
        return None

    def _as_earned(
        self, place: Place, ledger: Mapping[Any, tuple[str, str | None]], *, final: bool
    ) -> dict[Any, tuple[str, str | None]]:
        """The ledger as the model sees it, which knows of no receivers: what became of an earned reward is right, or stays."""
        if self.giver is None:
            return dict(ledger)
        told = {None: (PENDING, None), True: (model.ISSUED, None), False: (FAILED, REFUSED)}
        seen: dict[Any, tuple[str, str | None]] = {}
        for key, state in ledger.items():
            given = self.giver.given.get(reward_id(place, key))
            right = {told[given]} if final else {told[None], told[given]}
            seen[key] = (model.ISSUED, None) if state in right else state
            if state == told[True] and given is not True:
                seen[key] = ("issued, but not given", None)
        return seen

    def _hand_overs(self, snapshot: Snapshot) -> Iterator[str]:
        """Nothing was handed over that was not earned."""
        if self.giver is None:
            return
        earned = {
            reward_id(place, key)
            for place, outcome in self.outcomes.items()
            for key, (state, _) in outcome.rewards.items()
            if state == model.ISSUED
        }
        for stray in self.giver.given.keys() - earned - self.giver.lost:
            yield f"reward {stray} was handed over, but never earned"

    def _heard(self, receiver: BrandReceiver, snapshot: Snapshot, *, final: bool) -> Iterator[str]:
        """Each customer's notifications once each and in order; finally, all of them."""
        yield from receiver.complaints
        for customer_id in self.customer_ids:
            written = [
                one
                for one in snapshot.notifications.get(customer_id, ())
                if receiver.event_names is None or one["name"] in receiver.event_names
            ]
            taken = receiver.taken.get(customer_id, [])
            wanted = [json.loads(one["body"]) for one in written]
            if taken != (wanted if final else wanted[: len(taken)]):
                yield (
                    f"customer {customer_id}, {receiver.event_names}: heard {[one['sequence'] for one in taken]},"
                    f" written was {[one['sequence'] for one in wanted]}"
                )
            yield from self._written(receiver, customer_id, written, snapshot)

    def _written(
        self, receiver: BrandReceiver, customer_id: int, written: list[asyncpg.Record], snapshot: Snapshot
    ) -> Iterator[str]:
        """What was written to be told is what the model says there is to tell, of the events that it can count."""
        for group in self.groups:
            outcome = self.outcomes[customer_id, group.target_id]
            found = Counter(one["name"] for one in written if one["target_id"] == group.target_id)
            streak = model.is_streak(group.programme)
            held = model.stretches(group.programme, self.histories[customer_id, group.target_id])
            expected = {
                "streakCustomerEnrolment" if streak else "targetCustomerEnrolment": len(held),
                "streakCustomerUnEnrolment" if streak else "milestoneCustomerUnEnrolment": sum(
                    stretch.ends_at is not None for stretch in held
                ),
                "streakLevelAchieved": len(outcome.reached),
                "rewardIssued": sum(state == model.ISSUED for state, _ in outcome.rewards.values()),
                "rewardReversed": 0,
                "targetPeriodCompleted": sum(
                    completed(group.programme, self.histories[customer_id, group.target_id], period, snapshot.now)
                    for period in group.programme.periods
                ),
            }
            for name, count in expected.items():
                if (receiver.event_names is None or name in receiver.event_names) and found[name] != count:
                    yield (
                        f"customer {customer_id}, target {group.target_id}: {name} was written {found[name]} times,"
                        f" not {count}"
                    )

    def _answers(
        self, customer_id: int, told: list[Row], outcome: model.Outcome, verdicts: dict[int, list[str]]
    ) -> Iterator[str]:
        for row, answer in zip(told, outcome.answers, strict=True):
            call = self.brought.get((customer_id, row.sequence))
            if isinstance(row.command, model.Act):
                verdicts[row.sequence].append(str(answer))
                if answer not in model.RECORDED:
                    yield f"customer {customer_id}: recorded, though the model says {answer}: {row}"
            elif call is not None and call.codes != answer and not unsure(call):
                yield f"customer {customer_id}: {row} was answered {call.codes}, the model says {answer}; {call}"

    def _lateness(self, customer_id: int, trail: list[Row], verdicts: dict[int, list[str]]) -> Iterator[str]:
        for row in trail:
            call = self.brought.get((customer_id, row.sequence))
            if not isinstance(row.command, model.Act) or call is None:
                continue
            assert isinstance(call.asked, Activities)
            late = model.TOO_LATE in verdicts[row.sequence] and model.COUNTED not in verdicts[row.sequence]
            for (whose, act), result in zip(call.asked.items, call.answer["results"], strict=True):
                named = (whose, act.activity_id) == (customer_id, row.command.activity_id)
                if not named or result["status"] != "accepted":
                    continue
                if result["code"] != (TOO_LATE if late else None):
                    yield f"customer {customer_id}: {row} was answered {result}, the model says {verdicts[row.sequence]}"

    def count(self, snapshot: Snapshot, customer_id: int, group: Group) -> int | None:
        """The streak's count as the model has it; None of a milestone."""
        if not model.is_streak(group.programme):
            return None
        trail = snapshot.trails.get(customer_id, [])
        told = [row.command for row in group.heard(trail)]
        return model.replay(group.programme, told, now=snapshot.now).count

    # ------------------------------------------------------------ refusals

    def _refusals(self, snapshot: Snapshot) -> Iterator[str]:
        """What was refused, or done already, was so at some moment between its sending and its answer."""
        for call in self.calls[self.judged_until :]:
            if not isinstance(call.asked, Enrolment) or accepted(call) or call in self.brought.values():
                continue
            group = self.groups[call.asked.programme_index]
            customer_id = call.asked.customer_id
            trail = snapshot.trails.get(customer_id, [])
            possible = list(self._possible_answers(call, group, customer_id, trail, snapshot))
            codes = call.codes
            if GROUP_NOT_FOUND in codes:
                # The period of a deactivated group may be looked up or not (decision 4); the model does not.
                codes = [code for code in codes if code != PERIOD_NOT_FOUND]
            if codes not in possible:
                told = group.heard(trail)
                shown = "\n    ".join(
                    f"{row.command} by {self.brought.get((customer_id, row.sequence))}" for row in told
                )
                yield f"{call}: at no moment was that the answer, but one of {possible}\n  after\n    {shown}"

    def _possible_answers(
        self, call: Call, group: Group, customer_id: int, trail: list[Row], snapshot: Snapshot
    ) -> Iterator[model.Answer]:
        assert isinstance(call.asked, Enrolment)
        told = group.heard(trail)
        calls = [self.brought.get((customer_id, row.sequence)) for row in told]
        first = sum(one is not None and one.answered < call.sent for one in calls)
        last = len(told) - sum(one is not None and one.sent > call.answered for one in calls)
        # While the clock is moved it stands at every due instant on the way.
        due = {period.due_at for one in self.groups for period in one.programme.periods}
        instants = sorted({self.clock_at, snapshot.now, *(at for at in due if self.clock_at < at < snapshot.now)})
        history: model.History = ()
        for index, row in enumerate([*told, None]):
            if first <= index <= last:
                earliest = told[index - 1].at if index else self.clock_at
                for at in instants:
                    if at >= earliest and (row is None or at <= row.at):
                        yield model.answer_to(group.programme, history, replace(call.asked.command, at=at))
            if row is not None:
                history = (*history, (row.command, model.answer_to(group.programme, history, row.command)))


KEYS_HOLD = True
"""Whether an Idempotency-Key brings back the stored answer."""


PENDING, FAILED = "pending", "failed"
REFUSED = "refused by the receiver: 400"


def reward_id(place: Place, key: Any) -> str:
    """The public id of a reward by the model's key."""
    period_id, level_id, run, definition_id = key
    thing = f"L{level_id}" if level_id else f"P{period_id}"
    return f"{place[0]}-{place[1]}-{thing}-{run}-{definition_id}"


def completed(
    programme: model.ModelProgramme, history: model.History, period: model.ModelPeriod, now: datetime
) -> bool:
    """Rule 28: whoever is in at a period's end is told when it is due, unless the programme stopped before the end."""
    if now < period.due_at or (programme.deactivated_at is not None and programme.deactivated_at < period.ends_at):
        return False
    until_due = tuple((command, answer) for command, answer in history if command.at < period.due_at)
    return model.stretch_at_end(model.stretches(programme, until_due), period) is not None


def accepted(call: Call) -> bool:
    """Whether an enrolment or un-enrolment was done by this call."""
    return call.status == 200 and GONE_ALREADY not in call.codes


def unsure(call: Call) -> bool:
    """Whether an attempt that got no answer may have done it, and the next one found it done."""
    return call.lost_count > 0 and not (call.keyed and KEYS_HOLD)


def same_content(one: model.Act, other: model.Command) -> bool:
    """The amounts of a transaction are rounded at the edge (decision 24)."""
    assert isinstance(other, model.Act)
    return model.same_content(_at_the_edge(one), other)


def _at_the_edge(act: model.Act) -> model.Act:
    if act.type != "transaction":
        return act
    amounts = {
        name: model.rounded(act.attributes[name]) for name in ("grossAmount", "amount") if name in act.attributes
    }  # type: ignore[arg-type]
    return replace(act, attributes=act.attributes | amounts)


def _differences(
    place: Place,
    group: Group,
    told: list[Row],
    outcome: model.Outcome,
    kept: Kept,
    ledger: Mapping[Any, tuple[str, str | None]],
) -> Iterator[str]:
    compared = {
        "rewards": (outcome.rewards, ledger),
        "progress": (stored.touched(outcome), kept.progress.get(place, {})),
        "levels": (outcome.reached, kept.reached.get(place, set())),
        "enrolled": (outcome.enrolled, place in kept.enrolled),
    }
    for what, (expected, found) in compared.items():
        if expected != found:
            commands = "\n    ".join(str(row.command) for row in told)
            yield (
                f"customer {place[0]}, target {place[1]} ({group.programme.kind}): {what}\n"
                f"  expected {expected}\n  found    {found}\n  programme {group.programme}\n  after\n    {commands}"
            )


def _count(tally: Tally, place: Place, outcome: model.Outcome, snapshot: Snapshot) -> None:
    ledger = snapshot.kept.ledger.get(place, {})
    earned = {key for key, (state, _) in outcome.rewards.items() if state == model.ISSUED}
    given = {key for key, (state, _) in ledger.items() if state != model.FORFEITED}
    tally.issued += len(given)
    tally.forfeited += len(ledger) - len(given)
    tally.lost += len(earned - given)
    tally.unearned += len(given - earned)

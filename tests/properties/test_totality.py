"""Deciding is total: whatever a definition can make, whatever has happened and whatever is asked, there is an answer."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from hypothesis import event, given
from hypothesis import strategies as st
from tests.core.builders import build_target
from tests.properties.definitions import EVENT_NAME, LARGEST, definitions, programme_of
from tests.properties.effort import effort
from tests.properties.worlds import MOMENT

from kosminar.core.activity import TRANSACTION, Activity
from kosminar.core.amount import VALUE_LIMIT, decimal_of
from kosminar.core.decide import Command, Decision, Enrol, UnEnrol, decide, settle
from kosminar.core.definition import Definition, check
from kosminar.core.fold import fold
from kosminar.core.programme import Programme
from kosminar.core.standing import Standing

TARGET_ID = build_target().target_id

# What an attribute may hold once it was read, money or not.
MONEY = [decimal_of(LARGEST), decimal_of(LARGEST), Decimal("10.000"), Decimal("0.0005"), Decimal(0), 1, "7.5"]
NO_MONEY = [Decimal(-1), 10**30, "many", None, True, [1]]
ATTRIBUTES = st.sampled_from([*MONEY, *NO_MONEY])


def instants(programme: Programme) -> st.SearchStrategy[datetime]:
    """Edges and due instants with the moments and minutes beside them, local midnights, and years before and after."""
    edges = {at for p in programme.periods for at in (p.starts_at, p.ends_at, p.due_at)}
    if programme.deactivated_at is not None:
        edges.add(programme.deactivated_at)
    beside = [0 * MOMENT, MOMENT, -MOMENT, timedelta(minutes=5), timedelta(minutes=-5), timedelta(hours=11)]
    near = [at + span for at in sorted(edges) for span in beside]
    far = [programme.periods[0].starts_at - timedelta(days=300), programme.periods[-1].due_at + timedelta(days=300)]
    inside = [p.starts_at + (p.ends_at - p.starts_at) / 2 for p in programme.periods]
    return st.sampled_from(inside) | st.sampled_from(near) | st.sampled_from(near) | st.sampled_from(far)


@st.composite
def steps(draw: st.DrawFn, programme: Programme) -> tuple[datetime, Command]:
    """An instant and a command; most activities are dated when they arrive."""
    at = draw(instants(programme))
    kind = draw(st.sampled_from(["enrol", "leave", "act", "act", "act", "act"]))
    if kind == "leave":
        return at, UnEnrol(TARGET_ID)
    if kind == "enrol":
        names = st.sampled_from([None, None, programme.periods[-1].name.upper(), "no such period"])
        balances = st.sampled_from([None, None, 0, 1, LARGEST])
        return at, Enrol(TARGET_ID, draw(names), draw(balances), reset=draw(st.booleans()))
    activity = Activity(
        activity_id="a",
        type=draw(st.sampled_from([programme.targets[0].measure.hears] * 5 + [TRANSACTION, EVENT_NAME])),
        occurred_at=draw(st.just(at) | st.just(at) | st.just(at) | instants(programme)),
        attributes=dict.fromkeys(("amount", "grossAmount", "minutes"), draw(ATTRIBUTES)),
    )
    return at, activity


@effort(150)
@given(definitions(), st.data())
def test_any_command_at_any_instant_on_any_standing_has_an_answer(
    definition: Definition, choices: st.DataObject
) -> None:
    """The last command may even come from before the others; the engine's clock never does."""
    assert check(definition) == []
    going = programme_of(definition, None)
    deactivated_at = choices.draw(st.none() | st.none() | instants(going))
    programme = programme_of(definition, deactivated_at)
    standing = programme.untouched
    asked = choices.draw(st.lists(steps(programme), min_size=2, max_size=12))
    first = (programme.periods[0].starts_at, Enrol(TARGET_ID)) if choices.draw(st.integers(0, 3)) else asked[0]
    history = sorted([first, *asked], key=lambda each: each[0])
    last = choices.draw(st.sampled_from(asked))

    for at, command in history:
        # The engine refuses calls itself once a programme is deactivated.
        if isinstance(command, Activity) or not programme.deactivated(at):
            standing = answered(programme, standing, command, at)
    at, command = last
    standing = answered(programme, standing, command, at)

    event(f"zone has changed its offset: {_changes_offset(programme)}")
    event(f"several periods: {len(programme.periods) > 1}")
    event(f"deactivated: {deactivated_at is not None}")
    event(f"something counted: {bool(standing.targets[0].progress)}")
    event(f"was enrolled: {bool(standing.targets[0].enrolments)}")
    event(f"asked from before: {at < history[-1][0]}")


def answered(programme: Programme, standing: Standing, command: Command, at: datetime) -> Standing:
    """The standing after the command's facts, each of them well-formed."""
    active = replace(programme, deactivated_at=None, deactivated_version=None)
    known = programme if programme.deactivated(at) else active
    settled, _ = settle(known, standing, at)
    assert settle(known, settled, at) == (settled, ())
    decision = decide(known, standing, command, at)
    assert isinstance(decision, Decision)
    heard = isinstance(command, Activity) and bool(known.hearing(command.type))
    assert decision.facts or decision.errors or decision.warnings or decision.judgements or not heard
    assert not (decision.facts and decision.errors)
    assert bool(decision.judgements) is heard
    for fact in decision.facts:
        assert fact.at <= at
        value = getattr(fact, "value", 0)
        assert isinstance(value, int)
        assert 0 <= value < VALUE_LIMIT
    assert decision.facts or decision.standing is standing
    assert not decision.facts or decision.standing == fold(known, standing, decision.facts)
    return decision.standing


def _changes_offset(programme: Programme) -> bool:
    return len({period.starts_at.astimezone(programme.zone).utcoffset() for period in programme.periods}) > 1
